"""Where tensors are moved to: pinned host memory from a GPU, files from a CPU.

A file is written again once nobody can ask for what it held: its pages are in the system's cache already,
and writing costs half of what new pages cost. Files stay with their module from step to step and are removed
with it, or when Python ends.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

import torch
from torch import Tensor, nn

from ....errors import DataError
from .tape import window


def _flat(storage: torch.UntypedStorage) -> Tensor:
    return window(storage, (torch.uint8, 0, (storage.nbytes(),), (1,)))


class HostMemory:
    """Where tensors of a GPU are moved to: pinned memory, by a stream of its own, not waited for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def put(self, storage: torch.UntypedStorage) -> Tensor:
        """Begin to move a storage; returns where it will be."""
        here = _flat(storage)
        there = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=True)
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            there.copy_(here, non_blocking=True)
        here.record_stream(self.stream)
        return there

    def get(self, there: Tensor) -> torch.UntypedStorage:
        """Move it back."""
        made = torch.empty(there.numel(), dtype=torch.uint8, device=self.device)
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            made.copy_(there, non_blocking=True)
        torch.cuda.current_stream(self.device).wait_stream(self.stream)
        return made.untyped_storage()


class Away:
    """A storage in a file; the file is free again when this dies."""

    __slots__ = ("files", "path", "size")

    def __init__(self, files: Files, path: Path, size: int) -> None:
        self.files, self.path, self.size = files, path, size

    def __del__(self) -> None:
        self.files.free.append(self.path)


class Files:
    """Where tensors of the CPU are moved to: files in a temporary folder, the last freed first."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tradespace-"))
        self.count = 0
        self.free: list[Path] = []
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def put(self, storage: torch.UntypedStorage) -> Away:
        """Write a storage to a file that is free, or to a new one."""
        if self.free:
            path = self.free.pop()
        else:
            self.count += 1
            path = self.folder / str(self.count)
            path.touch()
        away = Away(self, path, storage.nbytes())
        try:
            with path.open("r+b") as file:
                file.write(memoryview(_flat(storage).numpy()))
        except OSError as error:
            raise DataError(
                f"cannot move a tensor of {away.size:,} B to a file in {self.folder.parent}: "
                f"{error.strerror}. Set TMPDIR to a folder with room, or plan without offload."
            ) from error
        return away

    def get(self, away: Away) -> torch.UntypedStorage:
        """Read it back."""
        made = torch.empty(away.size, dtype=torch.uint8)
        with away.path.open("rb") as file:
            file.readinto(memoryview(made.numpy()))
        return made.untyped_storage()


Place = HostMemory | Files
_PLACES: weakref.WeakKeyDictionary[nn.Module, Place] = weakref.WeakKeyDictionary()


def place_of(module: nn.Module, device: torch.device) -> Place:
    """Where the tensors of a module on a device are moved to; the same from step to step."""
    found = _PLACES.get(module)
    if found is None or isinstance(found, HostMemory) != (device.type == "cuda"):
        found = _PLACES[module] = HostMemory(device) if device.type == "cuda" else Files()
    return found
