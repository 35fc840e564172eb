"""Plans on real modules: the recorded bytes are the measured ones, gradients exact, faults told."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import optuna
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import tradespace as ts  # noqa: E402
from tradespace.errors import DataError, SpaceError  # noqa: E402
from tradespace.problems.training import adacc  # noqa: E402
from tradespace.problems.training.execution import (  # noqa: E402
    evolution,
    modules,
    places,
    profiling,
    recording,
)
from tradespace.problems.training.execution.live import allocated_peak, live_peak  # noqa: E402
from tradespace.problems.training.execution.training import checkpointed  # noqa: E402
from tradespace.problems.training.module import AdaccModule  # noqa: E402
from tradespace.problems.training.replanning import frontier, least  # noqa: E402

FAMILIES = modules.FAMILIES


def batch(shape: modules.Shape) -> tuple[torch.Tensor, torch.Tensor]:
    return modules.draw_batch(modules.characters(), 4, shape.sequence, torch.Generator().manual_seed(0))


@cache
def planned(family: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, torch.Tensor], AdaccModule]:
    shape = modules.Shape(2, 48, 4, 48, dropout=0.0 if family == "llama" else 0.1)
    module, example = modules.language_model(family, shape), batch(shape)
    torch.set_num_threads(1)
    return module, example, adacc.Adacc.from_module(module, example, memory="1GiB", offload=True)


def gradients(module, example, plan=None) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    if plan is None:
        profiling.step(module, example)
    else:
        with adacc.apply(module, plan):
            profiling.step(module, example)
    return profiling.gradients(module)


def same(found, exact) -> bool:
    return found.keys() == exact.keys() and all(torch.equal(found[n], exact[n]) for n in exact)


def everywhere(problem: AdaccModule, *labels: str) -> list[str]:
    return [next((a for a in labels if t.treatment(a)), "retain") for t in problem.step.saved]


def at_share(problem: AdaccModule, share: float) -> AdaccModule:
    whole = problem.score({"action": everywhere(problem, "retain")}).metrics["peak"][0]
    return problem.replace(memory=float(whole - (1 - share) * problem.step.activations), error_budget=1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputing_and_moving_give_the_same_gradients_to_the_bit(family: str) -> None:
    module, example, problem = planned(family)
    exact = gradients(module, example)
    mixed = [("recompute", "offload", "retain")[i % 3] for i in range(problem.tensor_count)]
    mixed = [a if t.treatment(a) else "retain" for a, t in zip(mixed, problem.step.saved, strict=True)]
    for plan in (everywhere(problem, "recompute"), everywhere(problem, "offload"), mixed):
        assert same(gradients(module, example, plan), exact)


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_pack_without_loss_and_codes_err_as_measured(family: str) -> None:
    module, example, problem = planned(family)
    exact = gradients(module, example)
    masks = ["int4" if t.content == "mask" else "retain" for t in problem.step.saved]
    assert same(gradients(module, example, masks), exact)
    coded = everywhere(problem, "int8")
    stated = problem.score({"action": coded}).metrics["error"][0] * problem.step.blocks
    assert 0.1 * stated < profiling.distance(gradients(module, example, coded), exact) <= stated


@pytest.mark.parametrize("share", [0.8, 0.5, 0.3])
@pytest.mark.parametrize("family", FAMILIES)
def test_predicted_peak_is_the_measured_one_and_within_the_limit(family: str, share: float) -> None:
    module, example, problem = planned(family)
    problem = at_share(problem, share)
    result = ts.solve(problem, "milp", budget=ts.Budget(seconds=20, gap=1e-3))

    def run() -> None:
        with adacc.apply(module, result.best):
            profiling.step(module, example)

    run()
    measured = live_peak(run) + problem.step.static
    assert measured <= problem.memory
    assert result.metrics["peak"] == pytest.approx(measured, rel=0.02)


def test_the_allocator_counts_the_same_bytes() -> None:
    module, example, problem = planned("gpt")
    plan = everywhere(problem, "int8", "recompute")

    def run() -> None:
        with adacc.apply(module, plan):
            profiling.step(module, example)

    run()
    for p in module.parameters():
        p.grad = None
    counted = live_peak(run)
    for p in module.parameters():
        p.grad = None
    assert allocated_peak(run) == counted


def test_random_plans_are_never_underestimated() -> None:
    module, example, problem = planned("gpt")
    batch = problem.space.sample(np.random.default_rng(0), 6)
    predicted = problem.score(batch).metrics["peak"]
    for row, point in enumerate(problem.space.points(batch)):

        def run(point=point) -> None:
            with adacc.apply(module, point):
                profiling.step(module, example)

        assert live_peak(run) + problem.step.static <= predicted[row] * (1 + 1e-9)


def test_more_memory_never_makes_a_slower_plan() -> None:
    _, _, problem = planned("encoder")
    graph = problem.step
    whole = problem.score({"action": everywhere(problem, "retain")}).metrics["peak"][0]
    budgets = [whole - (1 - share) * graph.activations for share in np.linspace(0.9, 0.25, 8)]
    found = frontier(graph, problem.action_labels, budgets, 0.05, gap=1e-3)
    times = [answer.step_time for answer in found if answer is not None]
    assert len(times) >= 6
    assert times == sorted(times)


def test_the_view_agrees_with_the_matrices() -> None:
    problem = at_share(planned("llama")[2], 0.4)
    result = ts.solve(problem, "milp", budget=ts.Budget(seconds=20, gap=1e-5))
    answer = least(problem.liveness, "step_time", {"peak": problem.memory, "error": 1.0}, gap=1e-5)
    assert answer.step_time == pytest.approx(result.metrics["step_time"], rel=1e-4)


def test_each_forward_pass_has_its_own_tensors() -> None:
    module, example, problem = planned("gpt")
    plan = everywhere(problem, "recompute", "offload")
    other = tuple(t.flip(0) for t in example)

    def both(step) -> dict[str, torch.Tensor]:
        for p in module.parameters():
            p.grad = None
        torch.manual_seed(5)
        step()
        return profiling.gradients(module)

    def run() -> None:
        (module(*example) + 2 * module(*other)).backward()

    exact = both(run)
    with adacc.apply(module, plan):
        assert same(both(run), exact)


def test_a_file_is_written_again_only_when_nobody_can_ask_for_what_it_held() -> None:
    module, example, problem = planned("gpt")
    moved = everywhere(problem, "offload")
    exact = gradients(module, example)
    assert same(gradients(module, example, moved), exact)
    files = places.place_of(module, torch.device("cpu"))
    written = files.count
    torch.manual_seed(3)
    with adacc.apply(module, moved):
        waiting = module(*example)
        gradients(module, tuple(t.flip(0) for t in example))
        profiling.step(module, tuple(t.flip(1) for t in example))
        assert files.count == 2 * written
    for p in module.parameters():
        p.grad = None
    waiting.backward()
    assert same(profiling.gradients(module), exact)
    assert len(files.free) == files.count


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_sentence() -> None:
    files = places.Files()
    files.free.append(Path("/dev/full"))
    with pytest.raises(DataError, match="Set TMPDIR to a folder with room"):
        files.put(torch.ones(1 << 16).untyped_storage())


def test_a_plan_leaves_nothing_behind() -> None:
    module, example, problem = planned("gpt")
    for p in module.parameters():
        p.grad = None

    def run() -> None:
        with adacc.apply(module, everywhere(problem, "int4", "recompute")):
            profiling.step(module, example)
        for p in module.parameters():
            p.grad = None

    from tradespace.problems.training.execution.live import LiveBytes

    with LiveBytes() as counter:
        run()
        counter.poll()
    assert counter.live == 0


def test_checkpointing_as_a_peer_gives_the_same_gradients() -> None:
    shape = modules.Shape(2, 48, 4, 48)
    one, two = (modules.language_model("gpt", shape) for _ in range(2))
    profiling.step(one, batch(shape))
    policy = checkpointed("full", two)
    policy.gradients(batch(shape))
    assert same(profiling.gradients(one), profiling.gradients(two))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_hugging_face_models_run_by_plans_unmodified(name: str) -> None:
    hub = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"vocab_size": 128, "bos_token_id": 0, "eos_token_id": 0, "use_cache": False}
    if name == "gpt2":
        module = hub.GPT2LMHeadModel(hub.GPT2Config(n_positions=32, n_embd=32, n_layer=2, n_head=4, **sizes))
    else:
        llama = {"hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "num_key_value_heads": 2}
        module = hub.LlamaForCausalLM(hub.LlamaConfig(num_attention_heads=4, **llama, **sizes))
    tokens = torch.randint(0, 128, (4, 32), generator=torch.Generator().manual_seed(0))
    example = {"input_ids": tokens, "labels": tokens}
    problem = AdaccModule.from_module(module, example, memory="1GiB")
    assert problem.step.blocks == 2
    exact = gradients(module, example)
    assert same(gradients(module, example, everywhere(problem, "recompute")), exact)


# --- what is refused -----------------------------------------------------------------------------------
class InPlace(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = torch.nn.Linear(32, 32), torch.nn.Linear(32, 32)

    def forward(self, x):
        y = self.one(x)
        z = self.two(y)
        y.add_(1.0)
        return (z + y).sum()


def test_bad_input_is_told_in_a_sentence() -> None:
    module, example, problem = planned("gpt")
    x = torch.randn(64, 32)
    with pytest.raises(SpaceError, match="in place"):
        recording.record(InPlace(), x)
    frozen = torch.nn.Linear(32, 32).requires_grad_(False)
    with pytest.raises(SpaceError, match="no parameter that requires a gradient"):
        adacc.Adacc.from_module(frozen, x, memory="1MiB")
    with pytest.raises(SpaceError, match="was not recorded"):
        adacc.apply(torch.nn.Linear(2, 2), {"action": []})
    with pytest.raises(SpaceError, match="another module"):
        adacc.apply(module, {"action": ["retain"] * 3})
    whole = everywhere(problem, "retain")
    fixed = next(i for i, t in enumerate(problem.step.saved) if t.refused)
    with pytest.raises(SpaceError, match="cannot be treated by 'recompute'"):
        adacc.apply(module, [*whole[:fixed], "recompute", *whole[fixed + 1 :]])
    other = least(planned("llama")[2].liveness, "step_time", {})
    with pytest.raises(SpaceError, match=r"another module \(digest"):
        adacc.apply(module, other)
    with pytest.raises(SpaceError, match=r"another module \(digest"):
        profiling.remember(planned("llama")[0], example, problem.step)
    with pytest.raises(SpaceError, match="device must be 'host'"):
        adacc.Adacc.from_module(module, example, memory="1MiB", device="tpu")
    layer = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32))
    with pytest.raises(SpaceError, match=r"least reachable peak is .* more step time"):
        adacc.Adacc.from_module(layer, x, memory="9kB")


def test_a_parameter_changed_before_the_backward_pass_is_noticed() -> None:
    shape = modules.Shape(2, 48, 4, 48)
    module, example = modules.language_model("gpt", shape), batch(shape)
    recorded = profiling.structure_of(module, example)
    from tradespace.problems.training.execution.executor import applied
    from tradespace.problems.training.execution.program import Program
    from tradespace.problems.training.graph import Treatment

    saved = tuple(
        t
        if t.refused
        else profiling.dataclasses.replace(t, treatments=(Treatment("recompute", "", 0, 0, 0, 0, 0),))
        for t in recorded.graph.saved
    )
    graph = profiling.dataclasses.replace(recorded.graph, saved=saved)
    labels = ["retain" if t.refused else "recompute" for t in saved]
    program = Program(module, profiling.Recording(recorded.tape, graph, recorded.recipes), labels)
    with applied(module, program):
        loss = module(*example)
        with torch.no_grad():
            module.norm.weight.mul_(2.0)
        with pytest.raises(SpaceError, match=r"was changed or freed|in place"):
            loss.backward()


def test_integer_and_partly_used_storages_are_not_coded() -> None:
    class Gather(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(64, 64)

        def forward(self, x):
            y = self.linear(x)
            order = y.argsort(1)
            return (y.gather(1, order) * torch.arange(64.0)).square().mean()

    module, x = torch.nn.Sequential(Gather()), torch.randn(64, 64)
    problem = AdaccModule.from_module(module, x, memory="1MiB", offload=True)
    kinds = {t.content for t in problem.step.saved}
    assert "other" in kinds
    place = next(i for i, t in enumerate(problem.step.saved) if t.content == "other")
    plan = everywhere(problem, "retain")
    plan[place] = "int8"
    with pytest.raises(SpaceError, match=r"it holds torch\.int64"):
        adacc.apply(module, plan)
    exact = gradients(module, x)
    assert same(gradients(module, x, everywhere(problem, "recompute", "offload")), exact)


def test_a_plain_chain_can_be_computed_again_from_any_of_its_layers() -> None:
    layers = [torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh()) for _ in range(6)]
    module, x = torch.nn.Sequential(*layers), torch.randn(256, 64)
    problem = AdaccModule.from_module(module, x, memory="8MiB")
    whole = problem.score({"action": everywhere(problem, "retain")}).metrics["peak"][0]
    plan = least(problem.liveness, "step_time", {"peak": whole - 2 * 64 * 256 * 4, "error": 0.0})
    assert plan is not None
    assert "recompute" in plan.actions
    exact = gradients(module, x)
    assert same(gradients(module, x, plan), exact)

    def run() -> None:
        with adacc.apply(module, plan):
            profiling.step(module, x)

    assert live_peak(run) + problem.step.static <= plan.peak


# --- evolution --------------------------------------------------------------------------------------------
def test_spare_memory_and_a_broken_budget_change_the_plan_and_nothing_else_does() -> None:
    module, example, problem = planned("llama")
    tight, wide = at_share(problem, 0.35), at_share(problem, 0.9)
    heard: list[evolution.Event] = []
    run = evolution.Evolution(module, tight.memory, 1.0, problem.action_labels, every=1, heard=heard.append)
    run.after_step(example)
    quiet = len([e for e in heard if e.changed])
    run.memory, run.wait = wide.memory, 1
    before = run.answer
    run.after_step(example)
    assert quiet == 0
    assert run.events
    assert run.answer.step_time <= before.step_time
    run.memory, run.wait = tight.memory, 1
    run.after_step(example)
    assert run.answer.peak <= tight.memory
    run.error_budget, run.wait = run.answer.error / 2 or 1e-9, 1
    run.after_step(example)
    assert run.answer.error <= run.error_budget or "exceeds its budget" in run.events[-1].reason
    with run.apply():
        profiling.step(module, example)
    study = optuna.create_study()
    run.log(study)
    assert list(study.user_attrs.values()) == [str(event) for event in run.events]


def test_the_drawn_timeline_peaks_where_the_referee_says() -> None:
    from tradespace.problems.training.module_figures import timeline

    problem = planned("llama")[2]
    point = {"action": everywhere(problem, "int8", "recompute")}
    parts = timeline(problem, point)
    peak = float(problem.score(point).metrics["peak"][0])
    assert problem.step.static + float((parts["stored"] + parts["working"]).max()) == pytest.approx(peak)
    assert set(problem.figures(point)) == {"memory", "plan"}


def test_the_answer_of_another_module_is_refused_also_where_the_tensors_are_as_many() -> None:
    module, example, problem = planned("gpt")
    shape = modules.Shape(2, 32, 4, 48, dropout=0.1)
    other = modules.language_model("gpt", shape)
    plan = problem.answer({"action": everywhere(problem, "recompute")})
    assert plan == {"action": everywhere(problem, "recompute")}
    profiling.remember(other, batch(shape), profiling.structure_of(other, batch(shape)).graph)
    with pytest.raises(SpaceError, match="made for another module"):
        adacc.apply(other, plan)
    with adacc.apply(module, plan):
        profiling.step(module, example)
    with pytest.raises(SpaceError, match=r"a torch\.nn\.Module is planned, got str"):
        adacc.Adacc.from_module("gpt", example, memory="1GiB")


# --- promises ---------------------------------------------------------------------------------------------
def coded_parent(problem: AdaccModule, label: str) -> list[str] | None:
    """A plan that codes one tensor and computes again what is made of it; None where there is none."""
    graph = problem.step
    for i, t in enumerate(graph.saved):
        heirs = [c for c in problem.liveness.children[i] if graph.saved[c].unpacked > -1]
        if t.treatment(label) is not None and any(t.treatment(label).inherited) and heirs:
            plan = ["retain"] * len(graph.saved)
            plan[i] = label
            for c in heirs:
                plan[c] = "recompute"
            return plan
    return None


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_computed_again_from_a_coded_tensor_inherits_its_error_and_the_promise_counts_it(
    family,
) -> None:
    module, example, problem = planned(family)
    plan = coded_parent(problem, "int4")
    assert plan is not None
    alone = ["retain" if a == "recompute" else a for a in plan]
    exact = gradients(module, example)
    promised, without = (problem.score({"action": p}).metrics["error"][0] for p in (plan, alone))
    measured = profiling.distance(gradients(module, example, plan), exact) / problem.step.blocks
    assert without < measured <= 1.1 * promised


def test_view_and_matrices_count_inherited_errors_as_the_referee_does() -> None:
    problem = at_share(planned("gpt")[2], 0.35).replace(error_budget=0.01, offload=False)
    findings = [f for f in ts.check(problem, points=20) if "view" in f.check]
    assert findings
    assert all(f.level != "error" for f in findings), findings
    result = ts.solve(problem, "milp", budget=ts.Budget(seconds=20, gap=1e-4))
    answer = least(problem.liveness, "step_time", {"peak": problem.memory, "error": 0.01}, gap=1e-4)
    assert answer.step_time == pytest.approx(result.metrics["step_time"], rel=1e-3)


def test_a_promise_that_carrying_out_breaks_is_learnt_from_before_a_plan_is_called_feasible() -> None:
    module, example, problem = planned("gpt")
    sure = at_share(problem.replace(offload=False), 0.3).replace(
        graph=problem.step.scaled(1e-3), error_budget=0.02
    )
    result = ts.solve(sure, "milp", budget=ts.Budget(seconds=20, gap=1e-3))
    exact = gradients(module, example)
    measured = profiling.distance(gradients(module, example, list(result.best["action"])), exact)
    assert any("carried out" in note for note in result.notes)
    assert result.feasible
    assert measured / problem.step.blocks <= 1.1 * result.metrics["error"] <= 1.1 * 0.02


def test_a_module_that_saves_nothing_to_decide_about_is_one_sentence() -> None:
    with pytest.raises(SpaceError, match="nothing is saved to plan"):
        adacc.Adacc.from_module(torch.nn.Linear(4, 4), torch.randn(2, 4), memory="1MiB")
