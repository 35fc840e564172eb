"""`optimize calibrate` and `validate`: cost models against real kernels."""

from __future__ import annotations

from pathlib import Path

from ...costmodels import calibration, validation
from ...errors import DataError, SolverUnavailable
from ...hardware import Device, device
from ..folder import check_writable, unwritable
from .console import console, print_json, rows, table
from .progress import fraction_bar

PICTURES = (".png", ".pdf", ".svg")


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise SolverUnavailable(
            "timing real kernels needs PyTorch; install it with pip install 'tradespace[torch]'."
        ) from None


def calibrate_device(
    name: str, families: list[str], shapes: int, passes: int, out: Path | None, json: bool
) -> None:
    """Time kernels here, fit the device's coefficients and keep them."""
    target: Device | None = None if name == "host" else device(name)
    if out is not None:
        check_writable(out, "--out")
    _need_torch()
    with fraction_bar(json) as progress:
        made = calibration.calibrate(
            target, shapes=shapes, passes=passes, families=families or None, progress=progress
        )
    try:
        path = calibration.store(made, out)
    except OSError as error:
        raise unwritable(out or Path(name), error) from None
    fits = [
        (family, dtype, entry["report"])
        for family, entries in made.calibration.items()
        for dtype, entry in entries.items()
    ]
    if json:
        listed = [{"family": f, "dtype": d, **report} for f, d, report in fits]
        print_json({"device": made.name, "file": str(path), "families": listed})
        return
    heads = ("family", "dtype", "shapes", "MAPE", "P90", "beyond the largest")
    cells = [
        (
            f,
            d,
            r.get("n", ""),
            _percent(r.get("mape")),
            _percent(r.get("p90")),
            _percent(r.get("extrapolation")),
        )
        for f, d, r in fits
    ]
    console().print(
        rows(table(f"{made.name}, cross-validated by shape group", *heads, right=heads[2:]), cells)
    )
    console().print(
        f"\n[dim]stored in[/]   {path}\n[dim]next[/]        optimize validate --device {made.name}"
    )


def validate_models(
    name: str, profiles: Path | None, families: list[str], shapes: int, plot: Path | None, json: bool
) -> None:
    """Compare predictions with kernels timed here, or with stored profiles of GPUs."""
    if plot is not None:
        if plot.suffix not in PICTURES:
            raise DataError(f"--plot '{plot}' must end in {', '.join(PICTURES)}.")
        check_writable(plot, "--plot")
    with fraction_bar(json) as progress:
        if profiles is not None:
            if not profiles.is_dir():
                raise DataError(f"--profiles '{profiles}' is no folder.")
            chosen = None if name == "host" else name
            found = validation.run_profiles(profiles, chosen, families or None, progress)
        else:
            _need_torch()
            found = validation.run(device(name), families=families or None, shapes=shapes, progress=progress)
    if plot is not None:
        try:
            plot.parent.mkdir(parents=True, exist_ok=True)
            validation.scatter(found).savefig(plot, dpi=150)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot draw '{plot}': {error}.") from None
    if json:
        print_json([row.record() for row in found])
        return
    heads = (
        "device",
        "family",
        "dtype",
        "n",
        "MAPE",
        "median",
        "P90",
        "bias",
        "rank",
        "in 90 %",
        "noise",
        "tier",
    )
    cells = [
        (
            r.device,
            r.family,
            r.dtype,
            r.accuracy.n,
            _percent(r.accuracy.mape),
            _percent(r.accuracy.median),
            _percent(r.accuracy.p90),
            f"{100 * r.accuracy.bias:+.1f} %",
            f"{r.accuracy.spearman:.3f}",
            _percent(r.covered),
            _percent(r.noise),
            r.tier,
        )
        for r in found
    ]
    title = "predicted against measured; " + ", ".join(sorted({r.held for r in found}))
    console().print(rows(table(title, *heads, right=heads[3:11]), cells))
    if plot is not None:
        console().print(f"\n[dim]picture[/]     {plot}")


def validate_serving(log: Path | None, kv_tokens: int | None, json: bool) -> None:
    """Fit the serving simulator on the first requests of a real log, score it on the others."""
    from ...problems.serving.validate import validate

    if log is None:
        raise DataError("validate serving needs --log DIR, the folder of a vLLM benchmark log.")
    with fraction_bar(json) as progress:
        found = validate(log, kv_tokens=kv_tokens, progress=lambda part: progress(part, "fitting"))
    if json:
        print_json(found.rows)
    else:
        cells = [tuple(_words(value) for value in row.values()) for row in found.rows]
        console().print(rows(table(f"simulated against {log.name}", *found.rows[0]), cells))
    for note in found.notes:
        console(stderr=json).print(f"[dim]{note}[/]")


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{100 * value:+.2f} %"
    return "" if value is None else str(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
