"""Token budgets on the small video DiT against their bars: equality, time, bytes, processes, peers.

    python benchmarks/diffusion_execution.py [equal] [law] [speed] [long] [bytes] [processes] [peers]
    python benchmarks/diffusion_execution.py look DIR

One thread; times are CPU seconds of that thread, the least (or the median of paired ratios) over
interleaved rounds. `peers` needs diffusers and trained weights, `look` needs trained weights (made in about
a quarter of an hour of one core where they are not in the cache). Without arguments everything but `look`
runs, in some five minutes of one core.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

import tradespace as ts
from tradespace.problems.diffusion import budgeting, scenes
from tradespace.problems.diffusion.astraea import Astraea
from tradespace.problems.diffusion.dit import LONG, Block, DiTConfig, VideoDiT, modulated
from tradespace.problems.diffusion.flow import noise
from tradespace.problems.diffusion.parallel import sample_with_processes
from tradespace.problems.diffusion.picture import animate, contact_sheet
from tradespace.problems.diffusion.quality import pixels, psnr
from tradespace.problems.diffusion.report import shown
from tradespace.problems.diffusion.sampling import BATCH, sample
from tradespace.problems.diffusion.schedule import Schedule
from tradespace.problems.diffusion.selection import chosen_count
from tradespace.problems.diffusion.sparse_attention import attend
from tradespace.problems.diffusion.tokens import TokenRun
from tradespace.problems.diffusion.training import pretrained

STEPS = 20
EVOLVED = 16
THETAS = tuple(i / 10 for i in range(1, 10))
missed: list[str] = []


def bar(met: bool, what: str) -> str:
    """A mark, and a note of what was missed."""
    if not met:
        missed.append(what)
    return "ok" if met else "MISSED"


def shaken(config: DiTConfig) -> VideoDiT:
    """Random weights, none of them zero: times and equality do not need trained ones."""
    torch.manual_seed(0)
    model = VideoDiT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.eval().requires_grad_(False)


def equal() -> None:
    """Budgets of one are the full model."""
    model = shaken(DiTConfig())
    plain = sample(model, [0, 1], [0, 1]).latents
    ones = sample(model, [0, 1], [0, 1], schedule=[1.0] * STEPS).latents
    kept = sample(model, [0, 1], [0, 1], schedule=[1.0] * (STEPS - 1) + [0.9999]).latents
    size = float(np.abs(plain).max())
    for name, made in (("all ones", ones), ("all ones, caches kept", kept)):
        error = float(np.abs(made - plain).max()) / size
        print(f"{name}: largest difference {error:.1e} of the largest value", bar(error < 1e-5, name))


@torch.inference_mode()
def step_seconds(
    model: VideoDiT, thetas: Sequence[float], rounds: int, batch: int = BATCH
) -> dict[float, float]:
    """Seconds of one step of one batch by budget: least of interleaved rounds of three steps. 1: plain."""
    config = model.config
    kinds = torch.zeros(batch, dtype=torch.long)
    clip, at = noise(config, range(batch)), torch.full((batch,), 0.5)
    best = dict.fromkeys(thetas, np.inf)
    for _ in range(rounds):
        for theta in thetas:
            run = TokenRun(model)
            run.velocity(clip, at, kinds, 1.0, keep=theta < 1)
            began = time.thread_time()
            for _ in range(3):
                run.velocity(clip, at, kinds, theta, keep=theta < 1)
            best[theta] = min(best[theta], (time.thread_time() - began) / 3)
    return best


def law(rounds: int = 12) -> None:
    """Host time is linear in the budget, and predicts whole schedules."""
    model = shaken(DiTConfig())
    found = step_seconds(model, (*THETAS, 1.0), rounds)
    thetas, seconds = np.array(THETAS), np.array([found[t] for t in THETAS])
    slope, offset = np.polyfit(thetas, seconds, 1)
    residual = seconds - (offset + slope * thetas)
    r2 = 1 - residual.var() / seconds.var()
    shown = " ".join(f"{t:.1f}:{1e3 * s / BATCH:.1f}" for t, s in found.items())
    print(f"ms a step and sample by budget  {shown}")
    print(f"fit on budgets below 1: {1e3 * offset / BATCH:.2f} + {1e3 * slope / BATCH:.2f} theta ms,",
          f"R^2 {r2:.4f}", bar(r2 >= 0.98, "linear host time"))  # fmt: skip
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(6):
        budgets = (1.0, *rng.choice([0.0, *THETAS, 1.0], size=STEPS - 1))
        expected = sum(0.0 if b == 0 else found[1.0] if b == 1 else offset + slope * b for b in budgets)
        measured = min(sample(model, [0] * BATCH, range(BATCH), schedule=budgets).seconds for _ in range(4))
        error = expected / measured - 1
        worst = max(worst, abs(error))
        print(f"  mean budget {np.mean(budgets):.2f}: predicted {expected:.3f} s, measured {measured:.3f} s, "
              f"{100 * error:+.1f} %")  # fmt: skip
    print(f"worst prediction {100 * worst:.1f} % of whole schedules", bar(worst <= 0.15, "predicted time"))


def ratios(model: VideoDiT, budgets: Sequence[float], batch: int, rounds: int) -> dict[float, list[float]]:
    """Paired speed-ups of uniform schedules over the full run."""
    found: dict[float, list[float]] = {b: [] for b in budgets}
    for _ in range(rounds):
        full = sample(model, [0] * batch, range(batch), batch=batch).seconds
        for budget in budgets:
            fast = sample(
                model, [0] * batch, range(batch), schedule=Schedule.uniform(budget, STEPS), batch=batch
            )
            found[budget].append(full / fast.seconds)
    return found


def ideal(config: DiTConfig, budget: float) -> float:
    """The ratio of operations of the whole schedule."""
    rest = Schedule.uniform(budget, STEPS).budgets[1]
    flops = config.flops() + (STEPS - 1) * config.flops(chosen_count(rest, config.tokens))
    return STEPS * config.flops() / flops


def report_speed(config: DiTConfig, batch: int, rounds: int) -> dict[float, float]:
    """Print paired speed-ups beside the ratio of operations."""
    medians = {}
    for budget, found in ratios(shaken(config), (0.4, 0.5, 0.7), batch, rounds).items():
        medians[budget] = float(np.median(found))
        print(f"  {config.tokens} tokens, batch {batch}, budget {budget:.0%}: {medians[budget]:.2f}x "
              f"({min(found):.2f} to {max(found):.2f}), operations {ideal(config, budget):.2f}x, "
              f"share {medians[budget] / ideal(config, budget):.0%}")  # fmt: skip
    return medians


def speed() -> None:
    """Measured speed-up at half the budget, 256 tokens."""
    for batch in (BATCH, 1):
        share = report_speed(DiTConfig(), batch, 7)[0.5] / ideal(DiTConfig(), 0.5)
        print("80 % of the ratio of operations at 50 %:",
              bar(share >= 0.8, f"speed-up at 256 tokens, batch {batch}"))  # fmt: skip


def long() -> None:
    """Measured speed-up at half the budget, 2048 tokens."""
    half = report_speed(LONG, 1, 3)[0.5]
    print("1.7x at 50 % with 2048 tokens:", bar(half >= 1.7, "speed-up at 2048 tokens"))


def cached() -> None:
    """Bytes of the caches."""
    for config in (DiTConfig(), LONG):
        made = sample(shaken(config), [0], [0], steps=2, schedule=[1.0, 0.5]).cache_bytes
        counted = config.blocks * 4 * config.tokens * (3 * config.width + 2)
        weights = sum(p.numel() * 4 for p in VideoDiT(config).parameters())
        print(f"{config.tokens} tokens: caches {made / 2**20:.2f} MiB a sample, "
              f"weights {weights / 2**20:.2f} MiB",
              bar(made == counted, "cache bytes"))  # fmt: skip


def processes() -> None:
    """Two processes make the clips of one."""
    model = shaken(DiTConfig())
    for budget in (1.0, 0.5):
        schedule = Schedule.uniform(budget, STEPS)
        alone = sample(model, [0, 1], [0, 1], schedule=schedule)
        shared = sample_with_processes(model, [0, 1], [0, 1], schedule=schedule)
        error = float(np.abs(shared.samples[0].latents - alone.latents).max() / np.abs(alone.latents).max())
        busy = max(s.seconds for s in shared.samples)
        print(f"budget {budget:.0%}: two ranks differ by {shared.spread:.0e}, from one process by "
              f"{error:.1e}; CPU time {busy / alone.seconds:.2f} of one process a rank, "
              f"{shared.sent[0] / 2**20:.1f} MiB sent",
              bar(shared.spread == 0 and error < 1e-4, "two processes"))  # fmt: skip


class HookedAttention(nn.Module):
    """A block's attention as a module of its own, so that diffusers' hooks find it."""

    is_cross_attention = False

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(n, tokens, d) -> (n, tokens, d), before the gate."""
        block = self.block
        q, k, v = (block.split(part) for part in block.qkv(hidden_states).chunk(3, dim=-1))
        return block.out(
            attend(block.placed(q), block.placed(k), v)[0].transpose(1, 2).reshape(hidden_states.shape)
        )


class HookedBlock(nn.Module):
    """Our block with the argument names that diffusers' hooks read."""

    def __init__(self, block: Block, attention: type[nn.Module]) -> None:
        super().__init__()
        self.attn1 = attention(block)

    def forward(self, hidden_states: Tensor, shared: Tensor) -> Tensor:
        """(n, tokens, d) -> (n, tokens, d): the plain path."""
        block = self.attn1.block
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = block.modulation(shared)
        x = torch.addcmul(hidden_states, gate_a, self.attn1(modulated(hidden_states, shift_a, scale_a)))
        return torch.addcmul(x, gate_m, block.mlp(modulated(x, shift_m, scale_m)))


def hooked(model: VideoDiT) -> nn.Module:
    """The same weights in a form that takes diffusers' own cache hooks."""
    from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
    from diffusers.models.attention import AttentionModuleMixin
    from diffusers.models.cache_utils import CacheMixin

    class Attention(HookedAttention, AttentionModuleMixin):
        pass

    class Hooked(nn.Module, CacheMixin):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(HookedBlock(block, Attention) for block in model.blocks)
            self.timestep = 1000.0

        def forward(self, clip: Tensor, time: Tensor, classes: Tensor) -> Tensor:
            self.timestep = 1000.0 * (1 - float(time[0]))
            x, shared, condition = model.tokens(clip, time, classes)
            for block in self.blocks:
                x = block(x, shared)
            return model.velocity(x, clip, time, condition)

    TransformerBlockRegistry.register(HookedBlock, TransformerBlockMetadata(return_hidden_states_index=0))
    return Hooked().eval()


@torch.inference_mode()
def sample_hooked(model: nn.Module, config: DiTConfig, kinds: Sequence[int], seeds: Sequence[int]):
    """Clips by the same Euler steps, and CPU seconds."""
    made, seconds = [], 0.0
    for start in range(0, len(kinds), BATCH):
        classes = torch.tensor(kinds[start : start + BATCH])
        clip = noise(config, seeds[start : start + BATCH])
        began = time.thread_time()
        with model.cache_context("cond"):
            for i in range(STEPS):
                clip = clip + model(clip, torch.full((len(classes),), i / STEPS), classes) / STEPS
        seconds += time.thread_time() - began
        if model.is_cache_enabled:
            model._reset_stateful_cache()
        made.append(clip.numpy())
    return np.concatenate(made), seconds


def decibel(clips: np.ndarray, reference: np.ndarray) -> float:
    """Mean PSNR over clips."""
    return float(np.mean([psnr(a, b) for a, b in zip(pixels(clips), pixels(reference), strict=True)]))


def caches() -> dict[str, Callable[[nn.Module], object]]:
    """Configurations of diffusers' caches that leave the model's input and output as they are."""
    from diffusers import FasterCacheConfig, FirstBlockCacheConfig, PyramidAttentionBroadcastConfig

    def pyramid(skip: int) -> Callable[[nn.Module], object]:
        return lambda model: PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=skip, spatial_attention_timestep_skip_range=(-1, 951),
            spatial_attention_block_identifiers=("blocks",), current_timestep_callback=lambda: model.timestep,
        )  # fmt: skip

    def faster(skip: int) -> Callable[[nn.Module], object]:
        return lambda model: FasterCacheConfig(
            spatial_attention_block_skip_range=skip, spatial_attention_timestep_skip_range=(-1, 951),
            spatial_attention_block_identifiers=("blocks.*attn1",), is_guidance_distilled=True,
            current_timestep_callback=lambda: model.timestep,
        )  # fmt: skip

    def first(threshold: float) -> Callable[[nn.Module], object]:
        return lambda model: FirstBlockCacheConfig(threshold=threshold)

    found: dict[str, Callable[[nn.Module], object]] = {}
    found |= {f"FirstBlockCache {t:g}": first(t) for t in (0.1, 0.2, 0.3, 0.5)}
    found |= {f"PyramidAttentionBroadcast {n}": pyramid(n) for n in (2, 4)}
    return found | {f"FasterCache {n}": faster(n) for n in (2,)}


@functools.cache
def trained() -> VideoDiT:
    """The trained model."""
    return pretrained(
        progress=lambda done, steps, loss: print(f"\rtraining {done}/{steps} {loss:.4f}", end="")
    )


SETS = (900, 2_000, 3_000)
"""First seeds of the sets of clips that peers are compared on; no schedule was chosen on them."""


def computed_steps(model: nn.Module, run: Callable[[], object]) -> list[str]:
    """For each batch, the steps at which a cache computed the middle block: X, the others 0."""
    asked: list[int] = []
    middle = model.blocks[len(model.blocks) // 2].attn1.block.out
    handle = middle.register_forward_hook(lambda *_: asked.append(round((1 - model.timestep / 1000) * STEPS)))
    run()
    handle.remove()
    rows: list[str] = []
    for i, step in enumerate(asked):
        if i == 0 or step <= asked[i - 1]:
            rows.append("0" * STEPS)
        rows[-1] = rows[-1][:step] + "X" + rows[-1][step + 1 :]
    return rows


def peers(path: str | None = None) -> None:
    """Our schedules beside diffusers' caches at equal time, on three sets of clips.

    Ours are chosen on the calibration prompts of the problem `astraea`, none of them in a set: by the
    shortest path over jumps, and by evolution from there. Every ratio is to a full run just before, the
    median over the sets.
    """
    model, config, problem = trained(), DiTConfig(), Astraea()
    problem.ready()
    kinds = list(range(8))
    full = {first: sample(model, kinds, range(first, first + 8)).latents for first in SETS}
    plain, _ = sample_hooked(hooked(model), config, kinds, list(range(SETS[0], SETS[0] + 8)))
    print(f"the hooked model differs from ours by {np.abs(plain - full[SETS[0]]).max():.1e}")

    def beside(run: Callable[[Sequence[int]], tuple[np.ndarray, float]]) -> tuple[float, np.ndarray]:
        """Speed-up, and dB of each set."""
        ratios, quality = [], []
        for first, reference in full.items():
            seeds = list(range(first, first + 8))
            before = sample(model, kinds, seeds).seconds
            made, seconds = run(seeds)
            ratios.append(before / seconds)
            quality.append(decibel(made, reference))
        return float(np.median(ratios)), np.array(quality)

    def ours(shares: Sequence[float]) -> tuple[float, np.ndarray]:
        def run(seeds: Sequence[int]) -> tuple[np.ndarray, float]:
            made = sample(model, kinds, seeds, schedule=shares)
            return made.latents, made.seconds

        return beside(run)

    def line(name: str, found: tuple[float, np.ndarray], schedule: str = "") -> None:
        speed, quality = found
        sets = ", ".join(f"{value:.2f}" for value in quality)
        print(f"  {name:28s} {speed:.2f}x  {quality.mean():6.2f} dB ({sets})  {schedule}", flush=True)

    def steps_of(other: nn.Module, first: int) -> np.ndarray:
        """The clips of a set where the steps that a cache computed are whole and the others empty."""
        seeds = list(range(first, first + 8))
        made = []
        for row in computed_steps(other, lambda: sample_hooked(other, config, kinds, seeds)):
            at = slice(BATCH * len(made), BATCH * (len(made) + 1))
            made.append(sample(model, kinds[at], seeds[at], schedule=[float(c == "X") for c in row]).latents)
        return np.concatenate(made)

    lost = []
    for name, config_of in caches().items():
        other = hooked(model)
        other.enable_cache(config_of(other))
        theirs = beside(lambda seeds, other=other: sample_hooked(other, config, kinds, seeds))
        pattern = computed_steps(
            other, lambda other=other: sample_hooked(other, config, kinds, range(SETS[0], SETS[0] + 8))
        )
        line(name, theirs, "computes " + " ".join(dict.fromkeys(pattern)))
        if name.startswith("FirstBlockCache"):
            whole = max(row.count("X") for row in pattern)
            same = np.array([decibel(steps_of(other, first), reference) for first, reference in full.items()])
            chosen = ours((1.0, *(problem.chosen_steps(whole) / 10)))
            print(f"    its steps, the others empty  {same.mean():6.2f} dB")
            print(f"    {whole} chosen by the path     {chosen[1].mean():6.2f} dB")
        goal = ts.Goal(
            maximize=("psnr",), limits=(f"time_share<={min(1.0, 1 / theirs[0])!r}",), no_limits=("kept",)
        )
        best = ts.solve(problem, "ga", goal, ts.Budget(evaluations=EVOLVED)).best
        within = problem.within(goal.resolve(problem))
        made = {
            "evolved": budgeting.tenths_of(best["share"]),
            "chosen steps": within["chosen steps"],
            "uniform": within["uniform"],
        }
        results = {label: ours((1.0, *(tenths / 10))) for label, tenths in made.items()}
        for label, found in results.items():
            line(f"  {label}", found, shown(made[label]))
        gain = results["evolved"][1] - theirs[1]
        reach = f"{gain.min():+.2f} to {gain.max():+.2f}"
        print(f"    evolved over {name}: {gain.mean():+.2f} dB, {reach} over the sets")
        lost += [name] if gain.mean() < 0 else []
    if path is not None:
        line(path, ours(Schedule.load(path).budgets))
    print("at least as good as each:", bar(not lost, f"peers {lost}"))


def look(folder: str = ".") -> None:
    """Contact sheet and moving picture of the trained model's samples, and of scenes that it learnt from."""
    model = trained()
    kinds, seeds = list(range(8)), list(range(700, 708))
    made = sample(model, kinds, seeds)
    half = sample(model, kinds, seeds, schedule=Schedule.uniform(0.5, STEPS))
    contact_sheet(made.latents, f"{folder}/dit-samples.png", scenes.CLASSES)
    pairs = np.stack([made.latents, half.latents], axis=1).reshape(-1, *made.latents.shape[1:])
    titles = [f"{name}, {how}" for name in scenes.CLASSES for how in ("full", "half")]
    contact_sheet(pairs, f"{folder}/dit-full-and-half.png", titles)
    animate(made.latents, f"{folder}/dit-samples.gif")
    contact_sheet(scenes.batch(kinds, seeds), f"{folder}/dit-scenes.png", scenes.CLASSES)
    print(f"full against half: {decibel(half.latents, made.latents):.2f} dB; pictures in {folder}")


SECTIONS: dict[str, Callable[[], None]] = {
    "equal": equal, "law": law, "speed": speed, "long": long, "bytes": cached, "processes": processes,
    "peers": peers,
}  # fmt: skip


def main(words: Sequence[str]) -> int:
    """Run the sections named, or all but `look`."""
    torch.set_num_threads(1)
    if words and words[0] == "look":
        look(*words[1:2])
        return 0
    for name in words or SECTIONS:
        print(f"== {name}")
        SECTIONS[name]()
    print("missed: " + ", ".join(missed) if missed else "every bar met")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
