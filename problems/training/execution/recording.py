"""Record one step of an unmodified module: first what would live anyway, then the step itself.

Two passes over the same batch, random numbers and all. In the first nothing is saved for the backward
pass, so that each buffer dies when the module's own code lets go of it. The second is the step.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ....errors import SpaceError
from .cells import storage_of
from .tape import Buffer, Call, Outer, Pack, Ref, Tape, geometry
from .tracing import casts_kept, facts, is_kept_cast

Loss = Callable[[Any], Tensor]


def check_module(module: Any) -> None:
    """Raises SpaceError where something is no module that can be planned."""
    if not isinstance(module, nn.Module):
        raise SpaceError(f"a torch.nn.Module is planned, got {type(module).__name__}.")


def call_form(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a module is called with a batch: a tuple is its arguments, a mapping its keywords."""
    if isinstance(batch, dict):
        return (), dict(batch)
    return (tuple(batch), {}) if isinstance(batch, tuple | list) else ((batch,), {})


def call_module(module: nn.Module, batch: Any) -> Any:
    """The module's output for a batch."""
    args, kwargs = call_form(batch)
    return module(*args, **kwargs)


def input_tensors(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors a module is called with, in a fixed order."""
    if all(isinstance(a, Tensor | int | float | str | None) for a in (*args, *kwargs.values())):
        return [a for a in (*args, *(kwargs[name] for name in sorted(kwargs))) if isinstance(a, Tensor)]
    leaves = [*tree_leaves(args), *(leaf for name in sorted(kwargs) for leaf in tree_leaves(kwargs[name]))]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def loss_of(output: Any, loss: Loss | None = None) -> Tensor:
    """A number to run backward: the given loss of the output, its `.loss`, itself, or its mean square."""
    found = loss(output) if loss is not None else getattr(output, "loss", None)
    if found is None and isinstance(output, dict):
        found = output.get("loss")
    if found is None:
        found = next(
            (t for t in tree_leaves(output) if isinstance(t, Tensor) and t.is_floating_point()), None
        )
        if found is None:
            raise SpaceError(
                "the module returns no floating-point tensor; pass loss=, a function of its output."
            )
        found = found if found.numel() == 1 else found.float().square().mean()
    return found.reshape(())


def module_digest(module: nn.Module) -> str:
    """Sixteen digits that two modules share where their classes, parameters and buffers are alike."""
    parts = [
        f"{n} {type(m).__module__}.{type(m).__qualname__} {m.training}" for n, m in module.named_modules()
    ]
    tensors = [*module.named_parameters(), *module.named_buffers()]
    parts += [f"{n} {tuple(t.shape)} {t.dtype} {t.device.type}" for n, t in tensors]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def repeated_blocks(module: nn.Module) -> tuple[str, ...]:
    """Names of the repeated blocks: the container's alike children that hold most parameters."""
    best: tuple[int, tuple[str, ...]] = (0, ())
    for name, container in module.named_modules():
        children = list(container.named_children())
        if not isinstance(container, nn.ModuleList | nn.Sequential) or len(children) < 2:
            continue
        shapes = {(type(c), tuple(p.shape for p in c.parameters())) for _, c in children}
        size = sum(p.numel() for p in container.parameters())
        if len(shapes) == 1 and size > best[0]:
            best = size, tuple(f"{name}.{child}".lstrip(".") for child, _ in children)
    return best[1]


class _Recorder(TorchDispatchMode):  # type: ignore[misc]
    """Logs operators, saved tensors and deaths. keep: whether saved tensors are kept for a backward pass."""

    def __init__(self, blocks: tuple[str, ...], keep: bool) -> None:
        super().__init__()
        self.keep, self.blocks = keep, blocks
        self.buffers: list[Buffer] = []
        self.stream: list[Call] = []
        self.index: dict[int, int] = {}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.packs: list[tuple[Ref | Outer, int]] = []
        self.unpacked: dict[int, int] = {}
        self.event = 0
        self.path: list[str] = []
        self.inside = False
        self.backward = False
        self.casts = casts_kept()
        self.gradients: list[tuple[str, int, int]] = []

    # --- events
    def tick(self) -> int:
        """The number of a new event."""
        self.event += 1
        return self.event - 1

    def poll(self, event: int) -> None:
        """Note what died."""
        for key in [k for k, (reference, _) in self.alive.items() if reference.expired()]:
            self.buffers[self.alive.pop(key)[1]].died = event
            del self.index[key]

    @property
    def block(self) -> int:
        """The repeated block that runs, or -1."""
        return next((self.blocks.index(p) for p in self.path if p in self.blocks), -1)

    def source(self, tensor: Tensor) -> Ref | Outer:
        """Where a tensor comes from."""
        storage = storage_of(tensor)
        if storage is None:
            return Outer((tensor.dtype, 0, tuple(tensor.shape), ()))
        found = self.index.get(storage._cdata)
        return Outer(geometry(tensor)) if found is None else Ref(found, geometry(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        before = {s._cdata for s in map(storage_of, tensors) if s is not None}
        told = facts(func)
        sources = () if told.empty else tuple(self.source(t) for t in tensors)  # made from sizes alone
        made = func(*args, **kwargs)
        event = self.tick()
        call = Call(func, sources, event, told.random)
        kept = told.view or (self.casts and is_kept_cast(func, args))
        if self.inside and not self.backward and not kept:
            self.stream.append(call)
        for place, name in told.written:
            for t in tree_leaves(args[place] if place < len(args) else kwargs.get(name)):
                if isinstance(t, Tensor):
                    self._change(t, call)
        if not self.backward:
            for r in call.reads:
                self.buffers[r].readers.append(event)
        for position, t in enumerate(tree_leaves(made)):
            storage = storage_of(t) if isinstance(t, Tensor) else None
            if storage is not None and storage.nbytes():
                key = storage._cdata
                if key not in before and key not in self.index:
                    self._make(t, key, call, position)
        self.poll(event)
        return made

    def _make(self, tensor: Tensor, key: int, call: Call, position: int) -> None:
        path = self.path[-1] if self.path else ""
        buffer = Buffer(
            len(self.buffers), tensor.untyped_storage().nbytes(), geometry(tensor), [call], position, path,
            self.block, call.order, forward=self.inside and not self.backward,
        )  # fmt: skip
        self.buffers.append(buffer)
        self.index[key] = buffer.index
        self.alive[key] = (StorageWeakRef(tensor.untyped_storage()), buffer.index)

    def _change(self, tensor: Tensor, call: Call) -> None:
        storage = storage_of(tensor)
        if self.backward or storage is None or storage._cdata not in self.index:
            return
        buffer = self.buffers[self.index[storage._cdata]]
        buffer.rewritten |= bool(buffer.packs)
        buffer.calls.append(call)

    # --- saved tensors
    def pack(self, tensor: Tensor) -> Any:
        """Note a saved tensor."""
        source = self.source(tensor)
        event = self.tick()
        self.poll(event)
        if not self.inside:
            if isinstance(source, Ref):
                self.buffers[source.buffer].outside = True
            return tensor
        number = len(self.packs)
        self.packs.append((source, event))
        if isinstance(source, Ref):
            self.buffers[source.buffer].packs.append(number)
        kept = tensor if tensor.is_leaf else tensor.detach()
        return (number, kept, tensor._version) if self.keep else number

    def unpack(self, packed: Any) -> Tensor:
        """Note that the backward pass asks for it."""
        if isinstance(packed, Tensor):
            return packed
        if isinstance(packed, int):
            raise SpaceError(
                "the module runs a backward pass inside its forward pass; what that needs cannot be planned."
            )
        number, tensor, version = packed
        if tensor._version != version:
            raise SpaceError(
                f"a tensor {tuple(tensor.shape)} that the backward pass reads is changed in place after it "
                "was saved; use the operator that makes a new tensor."
            )
        self.unpacked.setdefault(number, self.tick())
        self.poll(self.event - 1)
        return tensor

    def complete(self, name: str, parameter: Tensor) -> None:
        """Note that a parameter's gradient is complete."""
        event = self.tick()
        self.poll(event)
        gradient = parameter.grad
        storage = None if gradient is None else storage_of(gradient)
        if storage is not None and storage._cdata in self.index and gradient.is_floating_point():
            buffer = self.buffers[self.index[storage._cdata]]
            if buffer.size == gradient.numel() * gradient.element_size():
                self.gradients.append((name, buffer.index, event))

    # --- modules
    @contextlib.contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Follow which module runs."""
        handles = []
        for name, child in module.named_modules():

            def enter(_: Any, __: Any, name: str = name) -> None:
                self.path.append(name)
                self.inside = True

            def leave(_: Any, __: Any, output: Any, name: str = name) -> None:
                self.path.pop()
                self.inside = bool(self.path)
                if name in self.blocks or not name:
                    for t in tree_leaves(output):
                        source = self.source(t) if isinstance(t, Tensor) else None
                        if isinstance(source, Ref):
                            self.buffers[source.buffer].block_output = True

            handles += [child.register_forward_pre_hook(enter), child.register_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextlib.contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Leave gradients, module buffers and random generators as they were."""
    gradients = [(p, p.grad) for p in module.parameters()]
    buffers = [(b, b.clone()) for b in module.buffers()]
    gpu = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=gpu), torch.enable_grad():
            for p, _ in gradients:
                p.grad = None
            yield
    finally:
        for p, gradient in gradients:
            p.grad = gradient
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


def record(module: nn.Module, batch: Any, loss: Loss | None = None) -> Tape:
    """The tape of a step. Raises SpaceError where the module cannot be planned."""
    if not any(p.requires_grad for p in module.parameters()):
        raise SpaceError(
            f"{type(module).__name__} has no parameter that requires a gradient: nothing is saved to plan."
        )
    blocks = repeated_blocks(module)
    natural = _step(module, batch, loss, blocks, keep=False)
    step = _step(module, batch, loss, blocks, keep=True)
    end = natural.event
    if [b.size for b in natural.buffers] != [b.size for b in step.buffers[: len(natural.buffers)]]:
        raise SpaceError(
            f"{type(module).__name__} ran differently the second time on the same batch; its operators must "
            "not depend on chance or on state."
        )
    for early, buffer in zip(natural.buffers, step.buffers, strict=False):
        buffer.natural = early.died if early.died >= 0 else step.event
    for buffer in step.buffers:
        buffer.died = buffer.died if buffer.died >= 0 else step.event
        buffer.natural = buffer.natural if buffer.natural >= 0 else buffer.died
    packs = tuple(
        Pack(source, event, step.unpacked.get(i, step.event)) for i, (source, event) in enumerate(step.packs)
    )
    device = next(module.parameters()).device
    tensors = (*module.parameters(), *input_tensors(*call_form(batch)))
    return Tape(
        tuple(step.buffers), packs, tuple(step.stream), tuple(t.requires_grad for t in tensors),
        max(len(blocks), 1), step.event, end, device, tuple(step.gradients),
    )  # fmt: skip


def _step(module: nn.Module, batch: Any, loss: Loss | None, blocks: tuple[str, ...], keep: bool) -> _Recorder:
    recorder = _Recorder(blocks, keep)
    if torch.is_autocast_cache_enabled():
        torch.clear_autocast_cache()  # so that weights are cast in each pass
    hooks = torch.autograd.graph.saved_tensors_hooks(recorder.pack, recorder.unpack)
    with undisturbed(module), recorder.watching(module), recorder:
        with hooks:
            value = loss_of(call_module(module, batch), loss)
        if not value.requires_grad:
            raise SpaceError(
                f"the loss of {type(module).__name__} requires no gradient: nothing is saved to plan."
            )
        recorder.poll(recorder.event)
        if keep:
            recorder.backward = True
            handles = [
                p.register_post_accumulate_grad_hook(partial(recorder.complete, n))
                for n, p in module.named_parameters()
                if p.requires_grad
            ]
            value.backward()
            for handle in handles:
                handle.remove()
            recorder.poll(recorder.tick())
    return recorder
