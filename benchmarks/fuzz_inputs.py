"""Good inputs spoilt by a seed, and a reader that must take them or refuse them in a sentence of ours."""

from __future__ import annotations

import json
import traceback
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tradespace.errors import TradespaceError

ROOT = Path(__file__).resolve().parent.parent
ODD_TEXT = (
    *("", "nan", "inf", "-1", "1e999", "9" * 40, "\x00", "\ud7ff", "é", '"', "'", "{", "]", ",", "\n", "<="),
    *(
        ">=",
        "=",
        ":",
        "..",
        "%s",
        "1/0",
        "0x10",
        "1_0",
        "GiB",
        "-",
        "+",
        "e",
        "[[[[",
        "\r\n",
        "\t",
        ";",
        "null",
    ),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 2**70, -(2**64), 1e308, 1e-320, float("nan"), float("inf"), ""),
    *("nan", "x" * 300, [], [[]], [1], {}, {"": None}, "../../x", 0.5, "knapsack"),
)


# --- spoiling --------------------------------------------------------------------------------------------
def spoil_bytes(rng: np.random.Generator, good: bytes) -> bytes:
    """Some bytes flipped, taken out, repeated, put in; or the end cut off."""
    data = bytearray(good)
    for _ in range(1 + int(rng.geometric(0.5))):
        at, length = int(rng.integers(len(data) + 1)), int(rng.geometric(0.2))
        match int(rng.integers(6)):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << int(rng.integers(8))
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length]
            case 3:
                data[at:at] = rng.bytes(length)
            case 4:
                data[at : at + 8] = int(rng.choice([0, 1, 2**31, 2**32 - 1, 2**62])).to_bytes(8, "little")
            case _ if rng.random() < 0.3:
                del data[at:]
    return bytes(data)


def spoil_text(rng: np.random.Generator, good: str) -> str:
    """Odd texts put in, pieces taken out, exchanged or repeated."""
    text = good
    for _ in range(1 + int(rng.geometric(0.5))):
        at, to = sorted(int(v) for v in rng.integers(len(text) + 1, size=2))
        to = min(to, at + int(rng.geometric(0.1)))
        odd = ODD_TEXT[int(rng.integers(len(ODD_TEXT)))]
        text = text[:at] + (odd, odd + text[at:to], "", text[at:to] * 2)[int(rng.integers(4))] + text[to:]
    return text


def spoil_json(rng: np.random.Generator, good: Any) -> Any:
    """A value somewhere exchanged, taken out or nested."""
    value = json.loads(json.dumps(good))
    for _ in range(1 + int(rng.geometric(0.6))):
        places = [*_places(value)]
        if not places:
            break
        holder, key = places[int(rng.integers(len(places)))]
        match int(rng.integers(4)):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]]
            case _:
                holder[key] = deepcopy(ODD_VALUES[int(rng.integers(len(ODD_VALUES)))])
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


# --- readers ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Reader:
    """A reader with good inputs. kind: how inputs are spoilt ("bytes", "text", "json"). read: takes what
    `kind` spoils. slow: gets a tenth of the inputs."""

    name: str
    kind: str
    good: tuple[Any, ...]
    read: Callable[[Any], Any]
    slow: bool = False

    def input(self, seed: int) -> Any:
        """The spoilt input of a seed."""
        rng = np.random.default_rng([seed, sum(self.name.encode())])
        good = self.good[int(rng.integers(len(self.good)))]
        if self.kind == "json" and rng.random() < 0.2:
            return spoil_bytes(rng, json.dumps(good).encode())
        if self.kind == "json":
            return json.dumps(spoil_json(rng, good)).encode()
        return spoil_text(rng, good) if self.kind == "text" else spoil_bytes(rng, good)

    def fault(self, given: Any) -> str | None:
        """What went wrong beyond a refusal, or None."""
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                self.read(given)
        except TradespaceError as error:
            sentence = str(error)
            return None if sentence.strip() else "an error without a sentence"
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [
                f
                for f in frames
                if str(ROOT) in f.filename and Path(f.filename).parent != Path(__file__).parent
            ]
            last = (ours or frames)[-1]
            return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {error}"
        return None


def from_file(folder: Path, name: str, read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """A reader of bytes through a file."""

    def through(content: bytes) -> Any:
        path = folder / name
        path.write_bytes(content)
        return read(path)

    return through
