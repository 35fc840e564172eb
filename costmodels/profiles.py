"""Measured kernels from folders of public profiles, as `Samples`.

Found anywhere below a folder, as their authors publish them or re-encoded: AIConfigurator, Vidur and NeuSight
(see their modules), `slinfer/latency_grid.csv` (grid of the SLINFER artifact, no licence stated) and
`gpu_measured/vllm_rtx4090_llama31-8b/` (LLMServingSim, MIT; these tables in microseconds). Other latencies
are milliseconds. Only numbers derived from them ship.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError
from . import aiconfigurator, neusight, vidur
from .architectures import architecture
from .fitting import Samples
from .profile_tables import groups, read_table
from .serving import widths


def load(folder: Path, device: str | None = None) -> Iterator[tuple[str, str, Samples]]:
    """(device, split, samples) of every data set below `folder`; split is "all", "small" or "large"."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of profiles")
    files = sorted(path for path in folder.resolve().rglob("*") if path.is_file())
    found = False
    for source in (aiconfigurator.read, vidur.read, neusight.read, _slinfer, _vllm):
        for name, split, samples in source(files):
            found = True
            if device is None or device == name:
                yield name, split, samples
    if not found:
        raise DataError(
            f"{folder} must hold aiconfigurator/, vidur/, neusight/, slinfer/ or gpu_measured/, or the data "
            "of AIConfigurator (systems/data), Vidur (data/profiling) or NeuSight (dataset) of a device in "
            "'optimize devices'; found none"
        )


SLINFER = "SLINFER artifact, measured latency grid (no licence stated: coefficients only)"
SLINFER_DEVICES = {
    "a100-80gb": "a100-sxm-80gb",
    "xeon6462c-32c": "xeon-6462c",
    "xeon-16c": "xeon-6462c-16c",
    "xeon-8c": "xeon-6462c-8c",
}


def _slinfer(files: Sequence[Path]) -> Iterator[tuple[str, str, Samples]]:
    """Whole serving iterations of four models: prefill of one batch, or one decode step."""
    path = next((path for path in files if path.parts[-2:] == ("slinfer", "latency_grid.csv")), None)
    if path is None:
        return
    table = read_table(path)
    names, device, phase = table.text("model"), table.text("device"), table.text("phase")
    batch, length = table.numbers("batch"), table.numbers("tokens_per_request")
    models = {name: widths(architecture(name)) for name in set(names)}
    shapes = {key: np.array([models[name][key] for name in names]) for key in widths(architecture("gpt2"))}
    first = phase == "prefill"
    shapes |= {
        "tokens": np.where(first, batch * length, batch),
        "pairs": np.where(first, np.floor(0.5 * batch * length**2), 0.0),
        "requests": batch,
        "cached": np.where(first, 0.0, batch * length),
    }
    group = groups(shapes["layers"], shapes["head_weights"])
    everything = Samples("serving", "bf16", shapes, 1e-3 * table.numbers("latency_ms"), group, SLINFER)
    for theirs, ours in SLINFER_DEVICES.items():
        yield ours, "all", everything.take(device == theirs)


LLMSERVINGSIM = "LLMServingSim profiles of vLLM 0.19 on an RTX 4090, MIT"


def _vllm(files: Sequence[Path]) -> Iterator[tuple[str, str, Samples]]:
    """Kernels of Llama-3.1-8B inside vLLM: products, norm, activation, decode attention."""
    wanted = ("vllm_rtx4090_llama31-8b", "layer_profile_dense.csv.gz")
    path = next((path for path in files if path.parts[-2:] == wanted), None)
    if path is None:
        return
    base = path.parent
    name, model = "rtx4090-24gb", architecture("llama-3.1-8b")
    table, head = read_table(path), read_table(base / "layer_profile_per_sequence.csv.gz")
    layer, tokens, seconds = table.text("layer"), table.numbers("tokens"), 1e-6 * table.numbers("time_us")
    hidden, inner = float(model.hidden), float(model.intermediate)
    products = {
        "qkv_proj": ((model.heads + 2 * model.kv_heads) * float(model.head_dim), hidden),
        "o_proj": (hidden, hidden),
        "gate_up_proj": (2 * inner, hidden),
        "down_proj": (hidden, inner),
    }
    rows = [(tokens[layer == op], n, k, seconds[layer == op]) for op, (n, k) in products.items()]
    last = head.text("layer") == "lm_head"
    rows.append(
        (
            head.numbers("sequences")[last],
            float(model.vocabulary),
            hidden,
            1e-6 * head.numbers("time_us")[last],
        )
    )
    m = np.concatenate([row[0] for row in rows])
    n, k = (np.concatenate([np.full(len(row[0]), row[i]) for row in rows]) for i in (1, 2))
    shapes = {"m": m, "n": n, "k": k, "batch": np.ones_like(m)}
    times = np.concatenate([row[3] for row in rows])
    yield name, "all", Samples("gemm", "bf16", shapes, times, groups(n, k), LLMSERVINGSIM)
    act, norm = layer == "act_fn", np.isin(layer, ["layernorm", "final_layernorm"])
    one = np.ones(act.sum())
    shapes = {"elements": tokens[act] * inner, "reads": 2 * one, "writes": one, "operations": 10 * one}
    yield name, "all", Samples("elementwise", "bf16", shapes, seconds[act], tokens[act], LLMSERVINGSIM)
    shapes = {"rows": tokens[norm], "width": np.full(norm.sum(), hidden)}
    yield name, "all", Samples("layer_norm", "bf16", shapes, seconds[norm], tokens[norm], LLMSERVINGSIM)
    table = read_table(base / "layer_profile_attention.csv.gz")
    keep = (table.numbers("prefill_chunk") == 0) & (table.numbers("n_decode") > 0)
    batch, context = table.numbers("n_decode")[keep], table.numbers("kv_decode")[keep]
    geometry = {"heads": model.heads, "kv_heads": model.kv_heads, "head_dim": model.head_dim}
    shapes = {"batch": batch, "context": context} | {k: np.full_like(batch, v) for k, v in geometry.items()}
    times = 1e-6 * table.numbers("time_us")[keep]
    yield (
        name,
        "all",
        Samples("attention_decode", "bf16", shapes, times, groups(batch, context), LLMSERVINGSIM),
    )
