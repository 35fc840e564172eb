"""This machine: what the operating system tells about it, and what calibration stored."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import DataError
from .energy import dram_energy
from .record import Device, Quantity

_SYS = Path("/sys/devices/system/cpu/cpu0/cache")


def configuration_folder() -> Path:
    """Where calibrated devices are kept: $TRADESPACE_HOME, else the user's configuration folder."""
    base = os.environ.get("TRADESPACE_HOME")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "tradespace"


def host() -> Device:
    """The calibrated record of this machine where `calibrate` stored one, else the probed one."""
    return stored("host") or probe()


def stored(name: str) -> Device | None:
    """The record that `optimize calibrate NAME` keeps by default, None where there is none.

    Raises DataError where the file is damaged or describes another device.
    """
    path = configuration_folder() / f"{name}.json"
    if not path.is_file():
        return None
    again = f"run `optimize calibrate {name}` again, or remove the file"
    try:
        made = Device.from_record(json.loads(path.read_text()))
    except (OSError, ValueError, RecursionError, DataError) as error:
        raise DataError(f"{path} cannot be read ({error}); {again}") from None
    if made.name != name:
        raise DataError(f"{path} describes '{made.name}', not '{name}'; {again}")
    return made


def probe(threads: int = 1) -> Device:
    """This CPU as the operating system describes it; `cores` is the number of threads modelled."""
    info = _cpuinfo()
    flags = set(info.get("flags", "").split())
    clock = max(float(info.get("cpu MHz", "3000")) * 1e6, 1e9)
    boost = 1.6 * clock
    lanes = 16.0 if "avx512f" in flags else 8.0 if "avx2" in flags else 4.0
    fp32 = lanes * 4 * boost * threads
    if "amx_bf16" in flags or "amx_bf16_tile" in flags:
        bf16, how = (
            1024 * boost * threads,
            "AMX, 1024 operations a cycle and core, at 1.6 x the reported clock",
        )
    elif "avx512_bf16" in flags:
        bf16, how = 2 * fp32, "AVX-512 BF16, twice fp32, at 1.6 x the reported clock"
    else:
        bf16, how = fp32, "no bf16 arithmetic: the fp32 rate"
    system = "reported by the operating system"
    caches = _caches()
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    table = {
        "cores": Quantity(float(threads), "", "threads the cost models assume", "measured"),
        "clock": Quantity(clock, "Hz", system, "measured"),
        "peak.fp32": Quantity(
            fp32, "flop/s", f"{lanes:g} lanes x 4 x 1.6 x reported clock: a bound, not a measurement", "guess"
        ),
        "peak.bf16": Quantity(bf16, "flop/s", how, "guess"),
        "peak.int8": Quantity(2 * bf16, "flop/s", "twice bf16", "guess"),
        "special": Quantity(boost * threads, "op/s", "one vectorised exponential a clock", "guess"),
    }
    rates = {"l1": 128.0, "l2": 48.0, "l3": 24.0}
    energy = {"l1": 1.1e-12, "l2": 1.8e-12, "l3": 6e-12}
    for level in ("l1", "l2", "l3"):
        size = caches.get(level)
        table |= {
            f"{level}.capacity": Quantity(size or {"l1": 32e3, "l2": 1e6, "l3": 16e6}[level], "B",
                                          system if size else "common size, not reported here",
                                          "measured" if size else "guess"),
            f"{level}.bandwidth": Quantity(rates[level] * boost * threads, "B/s",
                                           f"{rates[level]:g} B a clock and thread", "guess"),
            f"{level}.energy": Quantity(energy[level], "J/B", "SRAM at 7 nm, remembered", "guess"),
        }  # fmt: skip
    table |= {
        "dram.capacity": Quantity(memory, "B", system, "measured"),
        "dram.bandwidth": Quantity(40e9 * threads, "B/s", "what one thread of a server draws", "guess"),
        "dram.energy": dram_energy("ddr5"),
        "launch": Quantity(
            1.5e-6, "s", "one framework operator call, 1 to 3 us measured on a Zen 5 host", "guess"
        ),
        "energy.fp32": Quantity(2e-11, "J/flop", "order of magnitude for a server core", "guess"),
        "energy.bf16": Quantity(5e-12, "J/flop", "order of magnitude for a server core", "guess"),
        "power": Quantity(None, "W", "not reported", "guess"),
        "idle_power": Quantity(None, "W", "not reported", "guess"),
        "area": Quantity(None, "m2", "not reported", "guess"),
        "node": Quantity(None, "nm", "not reported", "guess"),
    }
    model = (
        f"{info.get('vendor_id', 'cpu')} family {info.get('cpu family', '?')} model {info.get('model', '?')}"
    )
    return Device(
        name="host",
        kind="cpu",
        family=model,
        table=table,
        levels=("l1", "l2", "l3", "dram"),
        core_levels=("l1", "l2"),
        origin="host",
    )


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _caches() -> dict[str, float]:
    """Data cache sizes in bytes by level."""
    sizes: dict[str, float] = {}
    for folder in sorted(_SYS.glob("index*")) if _SYS.is_dir() else []:
        try:
            level, kind = (folder / "level").read_text().strip(), (folder / "type").read_text().strip()
            text = (folder / "size").read_text().strip()
        except OSError:
            continue
        if kind != "Instruction":
            unit = {"K": 2.0**10, "M": 2.0**20}.get(text[-1], 1.0)
            sizes[f"l{level}"] = float(text.rstrip("KM")) * unit
    return sizes
