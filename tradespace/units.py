"""Units: SI inside, human units at the edges.

`parse("24GiB", "B")` reads a number with a unit, `show(2.58e10, "B")` prints one. A bare number is
SI. Binary prefixes (KiB, MiB, GiB, TiB) belong to bytes, decimal ones (n, u or µ, m, k, M, G, T, P)
to every unit.
"""

from __future__ import annotations

import math
import re

from .errors import GoalError, nearest

KiB, MiB, GiB, TiB = 2.0**10, 2.0**20, 2.0**30, 2.0**40
kB, MB, GB, TB = 1e3, 1e6, 1e9, 1e12

_DECIMAL = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0,
            "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}  # fmt: skip
_BINARY = {"Ki": KiB, "Mi": MiB, "Gi": GiB, "Ti": TiB}
_EXTRA = {
    "s": {"min": 60.0, "h": 3600.0},
    "m2": {"mm2": 1e-6, "um2": 1e-12},
    "J": {"Wh": 3600.0, "kWh": 3.6e6},
    "1": {"%": 0.01},
    "": {"%": 0.01},
}
_NUMBER = re.compile(r"\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf)\s*(.*?)\s*$")
_COUNTS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_GROUPS = re.compile(r"[-+]?\d{1,3}(,\d{3})+")
_SHOWN = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""),
          (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f")]  # fmt: skip
_PREFIXED = {"s", "B", "J", "W", "Hz", "flop", "B/s", "flop/s", "bit", "bit/s", "V", "A", "request/s"}


def scales(unit: str) -> dict[str, float]:
    """Every spelling accepted where the unit is `unit`, with its factor to SI.

    >>> scales("B")["GiB"] == 2.0**30
    True
    """
    table = {"": 1.0, **_EXTRA.get(unit, {})}
    if unit.startswith("1/"):
        table[unit[1:]] = 1.0
    if unit in {"", "1"}:
        return table
    if unit == "m2":
        return {**table, unit: 1.0}
    prefixes = dict(_DECIMAL)
    if unit.split("/")[0] in {"B", "bit"}:
        prefixes = {p: f for p, f in prefixes.items() if f >= 1} | _BINARY
    if unit in _PREFIXED:
        table |= {prefix + unit: factor for prefix, factor in prefixes.items()}
    return {**table, unit: 1.0}


def parse(text: str, unit: str) -> float:
    """Read a number with an optional unit; a bare number is SI.

    text: such as "24GiB", "1.5 ms", "1e-3", "12 %". unit: the SI unit expected.
    Raises GoalError where the number cannot be read or the unit does not fit.

    >>> parse("24GiB", "B") == 24 * 2**30
    True
    >>> parse("250us", "s")
    0.00025
    """
    match = _NUMBER.match(text)
    if not match:
        if unit in {"", "1"}:
            raise GoalError(f"'{text}' is not a number; write for example '2' or '1.5'.")
        raise GoalError(f"'{text}' is not a number with a unit; write for example '1.5{unit}' or '1.5'.")
    suffix = match[2].replace("µ", "u").replace("μ", "u").replace("²", "2")
    table = scales(unit)
    if suffix not in table:
        bare = unit in {"", "1"}
        expected = f"'{text}' must be a bare number" if bare else f"the unit of '{text}' must fit '{unit}'"
        raise GoalError(f"{expected}, got '{match[2]}'; {nearest(suffix, [s for s in table if s])}")
    return float(match[1].replace("_", "")) * table[suffix]


def parse_count(text: str) -> int:
    """Read a whole number as people write it: "2000", "10k", "1e3", "2M", "10,000".

    Raises GoalError where it is none.

    >>> parse_count("10k"), parse_count("1e3"), parse_count("10,000")
    (10000, 1000, 10000)
    """
    plain = text.replace(",", "") if _GROUPS.fullmatch(text.strip()) else text
    match = _NUMBER.match(plain)
    factor = _COUNTS.get(match[2]) if match else None
    if match is None or factor is None:
        raise GoalError(f"'{text}' is not a whole number; write for example '2000' or '2k'.")
    number = float(match[1].replace("_", "")) * factor
    if not math.isfinite(number) or number != round(number):
        raise GoalError(f"'{text}' is not a whole number; write for example '2000' or '2k'.")
    return int(match[1]) if match[1].lstrip("+-").isdecimal() and factor == 1 else round(number)


def show(value: float | None, unit: str = "", digits: int = 4) -> str:
    """A number for people: `411.2 ms`, `39.98 GiB`, `1.2 %`.

    value: SI, or None for unknown. unit: its SI unit. digits: significant digits.

    >>> show(0.4112, "s"), show(40 * 2.0**30, "B"), show(26.0, "1/h"), show(None, "s")
    ('411.2 ms', '40 GiB', '26 /h', 'unknown')
    """
    if value is None:
        return "unknown"
    if not math.isfinite(value):
        return str(value)
    factor, name = 1.0, unit
    size = abs(value)
    if unit == "B" and size >= KiB:
        factor, name = next((f, p + "B") for p, f in reversed(_BINARY.items()) if size >= f)
    elif unit == "m2":
        factor, name = 1e-6, "mm²"
    elif unit == "s" and size >= 600:
        factor, name = (3600.0, "h") if size >= 7200 else (60.0, "min")
    elif unit in _PREFIXED and size:
        whole = unit.split("/")[0] in {"B", "bit"}
        fits = [(f, p + unit) for f, p in _SHOWN if size >= f * 0.9999995 and not (whole and f < 1)]
        factor, name = fits[0] if fits else ((1.0, unit) if whole else (1e-15, "f" + unit))
    elif unit == "1" or unit.startswith("1/"):
        name = unit[1:]
    number = f"{value / factor:.{digits}g}"
    if "e" in number and 1e-4 <= size / factor < 1e9:
        number = f"{value / factor:.0f}"
    return f"{number} {name}".rstrip()


def percent(share: float) -> str:
    """A share for people: whole percents, more digits near 0 and 1, where they matter.

    >>> percent(0.394), percent(0.9996), percent(0.0138), percent(1.0)
    ('39 %', '99.96 %', '1.4 %', '100 %')
    """
    value = 100 * share
    if abs(value) < 10:
        return f"{value:.2g} %"
    if 99 < value < 100:
        return f"{100 - float(f'{100 - value:.1g}'):.6g} %"
    return f"{value:.0f} %"


def count(number: int) -> str:
    """A whole number for people: digits in groups, or its order of magnitude.

    >>> count(2560), count(3**576)
    ('2,560', 'about 10^274')
    """
    return f"{number:,}" if number < 10**15 else f"about 10^{len(str(number)) - 1}"
