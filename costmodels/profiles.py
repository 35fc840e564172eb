"""Measured kernels from a folder of public profiles, as `Samples`.

Expected below the folder (CSV with a header): `aiconfigurator/` (Apache-2.0), `neusight/` (MIT),
`vidur/` (MIT), `slinfer/latency_grid.csv` (grid of the SLINFER artifact, no licence stated),
`gpu_measured/vllm_rtx4090_llama31-8b/` (LLMServingSim, MIT; these CSVs compressed, in microseconds).
Latencies are milliseconds. Only numbers derived from them ship.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .architectures import architecture
from .fitting import Samples
from .serving import widths

Array = NDArray[np.float64]
AIC = "AIConfigurator silicon tables, Apache-2.0, NVIDIA"
NEUSIGHT = "NeuSight ASPLOS 2025 artifact, MIT, Georgia Tech and Microsoft"
VIDUR = "Vidur profiling data, MIT, Microsoft"
NEUSIGHT_DEVICES = {
    "NVIDIA A100-PCIE-40GB": "a100-pcie-40gb",
    "NVIDIA A100 80GB PCIe": "a100-pcie-80gb",
    "Tesla V100-PCIE-32GB": "v100-pcie-32gb",
    "Tesla T4": "t4-16gb",
}


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a CSV file, as text."""

    path: Path
    columns: dict[str, list[str]]

    def numbers(self, name: str) -> Array:
        """One column as float64 (n,); DataError names the file and the column."""
        if name not in self.columns:
            raise DataError(f"{self.path} must have a column '{name}'; it has {', '.join(self.columns)}")
        try:
            return np.array(self.columns[name], dtype=np.float64)
        except ValueError:
            raise DataError(f"{self.path}: column '{name}' must hold numbers") from None

    def text(self, name: str) -> NDArray[Any]:
        """One column as text (n,)."""
        if name not in self.columns:
            raise DataError(f"{self.path} must have a column '{name}'; it has {', '.join(self.columns)}")
        return np.array(self.columns[name], dtype=object)


def read_table(path: Path) -> Table:
    """A CSV file with a header; DataError where it is missing, empty or ragged."""
    try:
        with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as stream:
            rows = list(csv.reader(stream))
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(rows) < 2:
        raise DataError(f"{path} must have a header and at least one row")
    if any(len(row) != len(rows[0]) for row in rows):
        raise DataError(f"{path} has rows of different lengths")
    return Table(path, dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True)))


def groups(*keys: Array) -> Array:
    """A number for each distinct combination of the keys (n,)."""
    _, inverse = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
    return np.asarray(inverse).ravel().astype(np.float64)


def load(folder: Path, device: str | None = None) -> Iterator[tuple[str, str, Samples]]:
    """(device, split, samples) of every data set below `folder`; split is "all", "small" or "large"."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of profiles")
    found = False
    for source in (_aiconfigurator, _vidur, _neusight, _slinfer, _vllm):
        for name, split, samples in source(folder):
            found = True
            if device is None or device == name:
                yield name, split, samples
    if not found:
        raise DataError(
            f"{folder} must hold aiconfigurator/, vidur/, neusight/, slinfer/ or gpu_measured/; found none"
        )


def _aiconfigurator(folder: Path) -> Iterator[tuple[str, str, Samples]]:
    base = folder / "aiconfigurator"
    for prefix, device in (("a100_sxm", "a100-sxm-80gb"), ("h100_sxm", "h100-sxm-80gb")):
        for file, dtype in (("gemm_bfloat16", "bf16"), ("gemm_fp8", "fp8")):
            if (path := base / f"{prefix}_{file}.csv").is_file():
                yield device, "all", _gemm(read_table(path), dtype)
        if (path := base / f"{prefix}_attention_context.csv").is_file():
            yield device, "all", _attention(read_table(path), "attention_prefill")
        if (path := base / f"{prefix}_attention_generation.csv").is_file():
            yield device, "all", _attention(read_table(path), "attention_decode")
        if (path := base / f"{prefix}_nccl.csv").is_file():
            yield from ((device, "all", samples) for samples in _collectives(read_table(path)))


def _gemm(table: Table, dtype: str) -> Samples:
    m, n, k = (table.numbers(name) for name in "mnk")
    shapes = {"m": m, "n": n, "k": k, "batch": np.ones_like(m)}
    return Samples("gemm", dtype, shapes, 1e-3 * table.numbers("latency_ms"), groups(n, k), AIC)


def _attention(table: Table, family: str) -> Samples:
    """Full windows, 16-bit caches, FlashAttention 2 and 3 (head sizes above 256 run another kernel)."""
    heads, kv, dim = (table.numbers(n) for n in ("num_heads", "num_key_value_heads", "head_dim"))
    keep = (table.text("kv_cache_dtype") == "bfloat16") & (dim <= 256)
    if "window_size" in table.columns:
        keep &= table.numbers("window_size") == 0
    length = table.numbers("isl") + (table.numbers("step") if family == "attention_decode" else 0.0)
    shapes = {
        "batch": table.numbers("batch_size"),
        "sequence" if family == "attention_prefill" else "context": length,
        "heads": heads,
        "kv_heads": kv,
        "head_dim": dim,
    }
    samples = Samples(family, "bf16", shapes, 1e-3 * table.numbers("latency_ms"), groups(heads, kv, dim), AIC)
    return samples.take(keep)


def _collectives(table: Table) -> Iterable[Samples]:
    """message_size counts elements (half takes longer than int8 at equal size)."""
    names = {"all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
             "alltoall": "all_to_all"}  # fmt: skip
    item = np.where(table.text("nccl_dtype") == "half", 2.0, 1.0)
    size, devices = table.numbers("message_size"), table.numbers("num_gpus")
    seconds = 1e-3 * table.numbers("latency_ms")
    operation = table.text("op_name")
    for theirs, ours in names.items():
        keep = operation == theirs
        shapes = {"bytes": (item * size)[keep], "devices": devices[keep]}
        yield Samples(ours, "int8", shapes, seconds[keep], groups(size[keep]), AIC)


def _vidur(folder: Path) -> Iterator[tuple[str, str, Samples]]:
    """fp16 operators around the products: add, norm and activation of five models."""
    for prefix, device in (("a100", "a100-sxm-80gb"), ("h100", "h100-sxm-80gb")):
        paths = sorted((folder / "vidur").glob(f"compute_{prefix}_*.csv"))
        if not paths:
            continue
        parts: dict[str, list[Sequence[Array]]] = {"elementwise": [], "layer_norm": []}
        for number, path in enumerate(paths):
            table = read_table(path)
            op, tokens = table.text("op"), table.numbers("num_tokens")
            width, hidden = table.numbers("n_embd"), table.numbers("n_expanded_embd")
            ways, seconds = table.numbers("num_tensor_parallel_workers"), 1e-3 * table.numbers("median_ms")
            gated = table.text("use_gated_mlp") == "True"
            usable = seconds > 2.5e-6  # stored with a resolution of one microsecond
            add = (op == "add") & usable & (ways == 1)
            act = (op == "mlp_act") & usable & gated
            for keep, elements, reads, operations in (
                (add, tokens * width, 2.0, 1.0),
                (act, tokens * hidden / ways, 2.0, 10.0),
            ):
                one = np.ones(keep.sum())
                parts["elementwise"].append(
                    (
                        elements[keep],
                        reads * one,
                        one,
                        operations * one,
                        seconds[keep],
                        number * one * 2 + operations,
                    )
                )
            norm = (op == "input_layernorm") & usable & (ways == 1)
            parts["layer_norm"].append(
                (tokens[norm], width[norm], seconds[norm], np.full(norm.sum(), float(number)))
            )
        e = [np.concatenate(c) for c in zip(*parts["elementwise"], strict=True)]
        names = ("elements", "reads", "writes", "operations")
        yield (
            device,
            "all",
            Samples("elementwise", "fp16", dict(zip(names, e, strict=False)), e[4], e[5], VIDUR),
        )
        rows, width, seconds, group = (np.concatenate(c) for c in zip(*parts["layer_norm"], strict=True))
        yield (
            device,
            "all",
            Samples("layer_norm", "fp16", {"rows": rows, "width": width}, seconds, group, VIDUR),
        )


_OPERATIONS = {"pow": 10.0, "div": 4.0, "tanh": 10.0, "gelu": 10.0}


def _neusight(folder: Path) -> Iterator[tuple[str, str, Samples]]:
    """fp32 kernels of PyTorch 2.1, each with a small (training) and a large (test) part."""
    base = folder / "neusight"
    for file, family in (
        ("linear", "gemm"),
        ("elem", "elementwise"),
        ("softmax", "softmax"),
        ("ln", "layer_norm"),
    ):
        if not (path := base / f"{file}_fp32.csv").is_file():
            continue
        table = read_table(path)
        seconds = 1e-3 * table.numbers("latency_ms")
        device, split = table.text("device"), table.text("split")
        if family == "gemm":
            m, n, k = (table.numbers(name) for name in "mnk")
            shapes = {"m": m, "n": n, "k": k, "batch": table.numbers("b")}
            group = groups(n, k)
        else:
            rows, width = table.numbers("b"), table.numbers("h")
            shapes, group = {"rows": rows, "width": width}, groups(rows, width)
            if family == "elementwise":
                op = table.text("op")
                two = np.isin(op, ["add", "mul", "pow", "div"])
                work = [
                    _OPERATIONS.get(name.removesuffix("u") if name != "gelu" else name, 1.0) for name in op
                ]
                shapes = {
                    "elements": rows * width,
                    "reads": np.where(two, 2.0, 1.0),
                    "writes": np.ones_like(rows),
                    "operations": np.array(work),
                }
        everything = Samples(family, "fp32", shapes, seconds, group, NEUSIGHT)
        for theirs, ours in NEUSIGHT_DEVICES.items():
            for part in ("small", "large"):
                keep = (device == theirs) & (split == part)
                if keep.any():
                    yield ours, part, everything.take(keep)


SLINFER = "SLINFER artifact, measured latency grid (no licence stated: coefficients only)"
SLINFER_DEVICES = {
    "a100-80gb": "a100-sxm-80gb",
    "xeon6462c-32c": "xeon-6462c",
    "xeon-16c": "xeon-6462c-16c",
    "xeon-8c": "xeon-6462c-8c",
}


def _slinfer(folder: Path) -> Iterator[tuple[str, str, Samples]]:
    """Whole serving iterations of four models: prefill of one batch, or one decode step."""
    if not (path := folder / "slinfer" / "latency_grid.csv").is_file():
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


def _vllm(folder: Path) -> Iterator[tuple[str, str, Samples]]:
    """Kernels of Llama-3.1-8B inside vLLM: products, norm, activation, decode attention."""
    base = folder / "gpu_measured" / "vllm_rtx4090_llama31-8b"
    if not (path := base / "layer_profile_dense.csv.gz").is_file():
        return
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
