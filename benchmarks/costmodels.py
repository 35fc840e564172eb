"""Accuracy and speed of the cost models against their bars, measured in one run.

    python benchmarks/costmodels.py --profiles DIR [--profiles DIR ...]   stored GPU and CPU measurements
    python benchmarks/costmodels.py --host                                this CPU: calibrate, then validate
    python benchmarks/costmodels.py --speed                               evaluations a second
    python benchmarks/costmodels.py --profiles DIR --ship                 rewrite the shipped coefficients

Without options: --speed. Nothing here is tuned to a bar; a missed bar is printed as missed.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
import warnings
from itertools import chain
from pathlib import Path

import numpy as np

import tradespace.costmodels as models
from tradespace.costmodels import calibration, conformal, fitting, profiles, shipping, validation
from tradespace.costmodels.accuracy import Accuracy, accuracy
from tradespace.costmodels.defaults import DEFAULTS, SIGMAS
from tradespace.costmodels.fitting import Samples
from tradespace.hardware import device

SEED = 0
Part = tuple[str, str, Samples]


def line(what: str, value: str, bar: str, held: bool | None) -> None:
    mark = "" if held is None else "held" if held else "MISSED"
    print(f"  {what:<58} {value:<46} {bar:<16} {mark}")


def percent(found: Accuracy) -> str:
    return (
        " / ".join(f"{100 * v:.1f}" for v in (found.mape, found.median, found.p90))
        + f" / {100 * found.bias:+.1f}"
    )


def load(folders: list[Path]) -> list[Part]:
    return list(chain.from_iterable(profiles.load(folder) for folder in folders))


def held_out(parts: list[Part]) -> None:
    """Five folds by group of shapes; the fold's coefficients never saw its groups."""
    bars = {
        ("a100-sxm-80gb", "gemm", "bf16"): 9.0,
        ("h100-sxm-80gb", "gemm", "bf16"): 10.5,
        ("a100-sxm-80gb", "attention_prefill", "bf16"): 12.0,
        ("h100-sxm-80gb", "attention_prefill", "bf16"): 17.0,
        ("a100-sxm-80gb", "attention_decode", "bf16"): 16.0,
        ("h100-sxm-80gb", "attention_decode", "bf16"): 14.0,
    } | {
        (name, op, "int8"): 15.0
        for name in ("a100-sxm-80gb", "h100-sxm-80gb")
        for op in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
    }
    print("\nHeld-out shapes, calibrated device: MAPE / median / P90 / bias in %, rank correlation")
    for name, split, rows in parts:
        if rows.family == "serving":
            continue
        predicted = fitting.cross_validate(device(name), rows)
        found = accuracy(predicted, rows.seconds)
        bar = bars.get((name, rows.family, rows.dtype)) if split == "all" else None
        what = f"{name} {rows.family} {rows.dtype} {split if split != 'all' else ''} n={len(rows)}"
        worst = min(found.decades.values(), default=float("nan"))
        text = f"{percent(found)}, {found.spearman:.3f} (worst decade {worst:.2f})"
        line(
            what, text, "" if bar is None else f"<= {bar:g}", None if bar is None else 100 * found.mape <= bar
        )


def streams(parts: list[Part]) -> None:
    """Elementwise and norms, fitted on NeuSight's small shapes, tested on its large ones."""
    print("\nFitted on small shapes, tested on large ones (extrapolation by size)")
    by = {(name, rows.family, split): rows for name, split, rows in parts}
    for (name, family, split), large in by.items():
        small = by.get((name, family, "small"))
        if split != "large" or small is None:
            continue
        values = fitting.fit(device(name), small)
        found = accuracy(fitting.predict(device(name), large, values), large.seconds)
        bar = 3.0 if family == "elementwise" else None
        line(
            f"{name} {family} fp32 n={len(large)}",
            f"{100 * found.mape:.1f} %",
            "" if bar is None else f"<= {bar:g}",
            None if bar is None else 100 * found.mape <= bar,
        )


def siblings(parts: list[Part]) -> None:
    """Coefficients of one device on another of its family, with the other's own record."""
    print("\nSame family, no calibration on it")
    by = {(name, rows.family, split): rows for name, split, rows in parts}
    small = by.get(("a100-pcie-40gb", "gemm", "small"))
    large = by.get(("a100-pcie-80gb", "gemm", "large"))
    own = by.get(("a100-pcie-40gb", "gemm", "large"))
    if small and large and own:
        values = fitting.fit(device("a100-pcie-40gb"), small)
        found = accuracy(fitting.predict(device("a100-pcie-80gb"), large, values), large.seconds)
        what = "a100-pcie-80gb gemm fp32 from a100-pcie-40gb small shapes"
        line(what, f"{100 * found.mape:.1f} %", "<= 15", found.mape <= 0.15)
        values = fitting.fit(device("a100-pcie-40gb"), shipping.joined([small, own]))
        found = accuracy(fitting.predict(device("a100-pcie-80gb"), large, values), large.seconds)
        what = "a100-pcie-80gb gemm fp32 from a100-pcie-40gb all shapes"
        line(what, f"{100 * found.mape:.1f} %", "<= 15", found.mape <= 0.15)
    h200 = models.gemm(device("h200-sxm-141gb"), m=4096, n=4096, k=4096)
    line("h200-sxm-141gb takes its coefficients from h100", h200.tier, "", h200.tier == "same family")


def uncalibrated(parts: list[Part]) -> None:
    """The defaults of a GPU nobody calibrated: their sigma must not be smaller than what they show."""
    print("\nUncalibrated: defaults by kind of device (report only)")
    for name, split, rows in parts:
        target = device(name)
        if split == "small" or rows.dtype == "fp8" or target.kind != "gpu":
            continue
        predicted = fitting.predict(target, rows, DEFAULTS["gpu"][rows.family])
        shown = conformal.profile(predicted, rows.seconds)["sigma"]
        claimed = SIGMAS[rows.family]
        text = f"{percent(accuracy(predicted, rows.seconds))}, sigma {shown:.2f}"
        line(f"{name} {rows.family} {rows.dtype}", text, f"<= {claimed:g}", shown <= claimed)


def few_shapes(parts: list[Part]) -> None:
    """Twelve calibration shapes, drawn to the coefficients of the other GPU; twenty draws."""
    print("\nTwelve calibration shapes, prior from the other GPU (mean of 20 draws, worst)")
    rows_by = {name: rows for name, _, rows in parts if rows.family == "gemm" and rows.dtype == "bf16"}
    for name, rows in rows_by.items():
        other = next((o for o in rows_by if o != name), None)
        if other is None:
            continue
        prior = fitting.fit(device(other), rows_by[other])
        rng = np.random.default_rng(SEED)
        errors = []
        for _ in range(20):
            size = np.argsort(rows.shapes["m"] * rows.shapes["n"] * rows.shapes["k"])
            chosen = [rng.choice(part) for part in np.array_split(size, 12)]  # one of each size class
            values = fitting.fit(device(name), rows.take(np.array(chosen)), prior)
            rest = rows.take(~np.isin(np.arange(len(rows)), chosen))
            errors.append(accuracy(fitting.predict(device(name), rest, values), rest.seconds).mape)
        mean, worst = 100 * np.mean(errors), 100 * np.max(errors)
        line(f"{name} gemm bf16", f"{mean:.1f} % (worst {worst:.1f})", "<= 12.5", bool(mean <= 12.5))


def serving(parts: list[Part]) -> None:
    print("\nServing law, six constants a device, every attained fraction in (0, 1]")
    for name, _, rows in parts:
        if rows.family != "serving":
            continue
        gpu = device(name)
        values = fitting.fit(gpu, rows)
        found = accuracy(fitting.predict(gpu, rows, values), rows.seconds)
        left = accuracy(fitting.cross_validate(gpu, rows), rows.seconds)
        fractions = ", ".join(f"{k} {values[k]:.2f}" for k in ("compute", "weights", "cache", "attention"))
        text = f"{100 * found.mape:.1f} % (a model left out {100 * left.mape:.1f} %)"
        line(f"{name} n={len(rows)}: {fractions}", text, "<= 8", found.mape <= 0.08)


def intervals(parts: list[Part]) -> None:
    """Interval from a random four fifths of out-of-fold predictions, coverage on the last fifth.

    The band is the binomial one of the last fifth alone; the quantile's own noise widens the truth by a
    quarter of its variance.
    """
    print("\nConformal interval at 90 %: coverage on held-out shapes")
    merged: dict[tuple[str, str, str], list[Samples]] = {}
    for name, _, rows in parts:
        merged.setdefault((name, rows.family, rows.dtype), []).append(rows)
    inside, total = 0.0, 0
    for (name, family, dtype), pieces in merged.items():
        rows = shipping.joined(pieces)
        if len(rows) < 300:
            continue
        predicted = fitting.cross_validate(device(name), rows)
        most = np.random.default_rng(SEED).permutation(len(rows)) < 4 * len(rows) // 5
        kept = conformal.profile(predicted[most], rows.seconds[most])
        sigma = conformal.sigma_at(predicted[~most], tuple(kept["decades"]), tuple(kept["sigmas"]))
        covered = conformal.coverage(predicted[~most], rows.seconds[~most], sigma)
        size = int((~most).sum())
        low, high = conformal.binomial_band(size)
        inside, total = inside + covered * size, total + size
        what = f"{name} {family} {dtype} n={size}"
        line(what, f"{100 * covered:.1f} %", f"{100 * low:.1f} .. {100 * high:.1f}", low <= covered <= high)
    if total:
        pooled = 100 * inside / total
        line(f"pooled, n={total}", f"{pooled:.1f} %", "85 .. 95", 85 <= pooled <= 95)


def speed() -> None:
    """Best of seven runs by thread CPU time, one core."""
    print("\nSpeed on one core (thread CPU time, best of 7)")
    rng = np.random.default_rng(SEED)
    gpu, cpu = device("a100-sxm-80gb"), device("host")
    m, n, k = rng.integers(1, 8192, (3, 10**6))

    def rate(call: object, count: int) -> float:
        best = np.inf
        for _ in range(7):
            start = time.thread_time()
            call()  # type: ignore[operator]
            best = min(best, time.thread_time() - start)
        return count / best

    elements = rng.integers(2**14, 2**30, 10**6)
    for what, call, bar in (
        ("elementwise, 10^6 shapes (GPU)", lambda: models.elementwise(gpu, elements=elements), 1e7),
        ("softmax, 10^6 shapes (GPU)", lambda: models.softmax(gpu, rows=m, width=n), 1e7),
        ("all-reduce, 10^6 messages", lambda: models.all_reduce(gpu, bytes=elements, devices=8), 1e7),
        ("transfer, 10^6 messages", lambda: models.transfer(gpu, bytes=elements), 1e7),
        ("decode attention, 10^6 shapes (GPU)", lambda: models.attention_decode(
            gpu, batch=8, context=m, heads=32, kv_heads=8, head_dim=128), None),
        ("gemm, full menu (8 tiles x 4 splits), 10^6 shapes", lambda: models.gemm(gpu, m=m, n=n, k=k), 2e6),
        ("gemm, 10^6 shapes (CPU)", lambda: models.gemm(cpu, m=m, n=n, k=k), None),
    ):  # fmt: skip
        found = rate(call, 10**6)
        line(what, f"{found / 1e6:.1f} M/s", "" if bar is None else f">= {bar / 1e6:g} M/s",
             None if bar is None else found >= bar)  # fmt: skip
    designs = gpu.sweep(
        dram_bandwidth=rng.uniform(1e12, 4e12, 1000), cores=np.floor(rng.uniform(50, 200, 1000)),
        peak_bf16=rng.uniform(1e14, 1e15, 1000),
    )  # fmt: skip
    shapes = {"m": m[:1000, None], "n": n[:1000, None], "k": k[:1000, None]}
    tracemalloc.start()
    cost = models.gemm(designs, **shapes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = rate(lambda: models.gemm(designs, **shapes), 10**6)
    line(
        f"gemm, grid {cost.shape} in one call",
        f"{found / 1e6:.1f} M/s, peak {peak / 2**20:.0f} MiB",
        ">= 2 M/s",
        found >= 2e6,
    )


def host(shapes: int) -> None:
    """Calibrate this CPU, then time fresh shapes: the bar is the issue's, or 1.5 x the noise floor."""
    bars = {"gemm": 12, "attention_prefill": 16, "attention_decode": 16, "softmax": 15, "layer_norm": 15,
            "elementwise": 15, "quantize": 12, "dequantize": 12, "gather": 28, "scatter": 28, "sort": 28,
            "layer": 15}  # fmt: skip
    start = time.monotonic()
    calibrated = calibration.calibrate(shapes=shapes)
    took = time.monotonic() - start
    rows = validation.run(calibrated, shapes=shapes)
    print(f"\nThis CPU, one thread, {shapes} shapes a family, {took:.0f} s; fresh ones validate")
    for row in rows:
        noise = 100 * (row.noise or 0.0)
        bar = max(bars[row.family], 1.5 * noise)
        found = row.accuracy
        held = 100 * found.mape <= bar and (row.family != "layer" or abs(100 * found.bias) <= 8)
        text = f"{percent(found)}, {found.spearman:.3f}"
        line(f"{row.family} {row.dtype} n={found.n}, noise {noise:.1f} %", text, f"<= {bar:.0f}", held)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profiles", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--ship", action="store_true")
    parser.add_argument("--host", action="store_true")
    parser.add_argument("--shapes", type=int, default=25)
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore", models.OutsideCalibration)
    if options.ship:
        records = shipping.build(options.profiles, progress=print)
        shipping.write(records, Path(models.__file__).parent / "data")
        return
    if options.profiles:
        parts = load(options.profiles)
        for report in (held_out, streams, siblings, uncalibrated, few_shapes, serving, intervals):
            report(parts)
    if options.host:
        host(options.shapes)
    if options.speed or not (options.profiles or options.host):
        speed()


if __name__ == "__main__":
    main()
