"""How a mesh decides: its knobs, the published settings, and the baselines as settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ....errors import SpaceError

ORDERS = ("headroom", "prefill-first")
CPUS = ("first", "last", "none")
SHARING = ("elastic", "none", "halves")
ADMISSION = ("validated", "limit")
PREEMPTION = ("batch", "share", "none")
PACKING = ("fullest", "emptiest")


@dataclass(frozen=True)
class Policy:
    """The knobs of a mesh; the defaults are the published ones.

    admission: shadow validation, or a limit on requests at once. sharing: elastic, one instance a node,
    or two static halves. cpus: CPU nodes before GPU nodes, after them, or unused. order: which instance
    runs next. preemption: what makes an instance small enough to be moved away. packing: which instance,
    and which node in use, is asked first. watermark: cache held beyond the need. keep_alive: s an idle
    instance stays (GPU nodes). safety_gpu, safety_cpu: factors on predicted times. tightening: factor on
    the service level aimed at. quantum: decode iterations a turn on GPU nodes (0: by model size, as the
    artefact has it). poll: s between the times that a queued request asks for a place (0: the most urgent
    one is placed as soon as something is given back).
    """

    admission: str = "validated"
    sharing: str = "elastic"
    cpus: str = "first"
    order: str = "headroom"
    preemption: str = "batch"
    packing: str = "fullest"
    watermark: float = 0.25
    keep_alive: float = 1.0
    safety_gpu: float = 1.05
    safety_cpu: float = 1.1
    tightening: float = 0.95
    quantum: int = 0
    poll: float = 0.0

    def __post_init__(self) -> None:
        for name, choices in (("admission", ADMISSION), ("sharing", SHARING), ("cpus", CPUS),
                              ("order", ORDERS), ("preemption", PREEMPTION),
                              ("packing", PACKING)):  # fmt: skip
            if getattr(self, name) not in choices:
                raise SpaceError(
                    f"{name} of a policy must be one of {', '.join(choices)}; got {getattr(self, name)!r}."
                )
        for name in ("watermark", "keep_alive", "poll"):
            if getattr(self, name) < 0:
                raise SpaceError(f"{name} of a policy must not be negative, got {getattr(self, name):g}.")
        for name in ("safety_gpu", "safety_cpu", "tightening"):
            if not getattr(self, name) > 0:
                raise SpaceError(f"{name} of a policy must be positive, got {getattr(self, name):g}.")


FULL = Policy()
SLLM_C = Policy(
    admission="limit", sharing="none", order="prefill-first", preemption="none", tightening=0.95, poll=0.25
)
POLICIES: dict[str, Policy] = {
    "sllm": replace(SLLM_C, cpus="none"),
    "sllm+c": SLLM_C,
    "sllm+c+s": replace(SLLM_C, sharing="halves"),
    "mesh": FULL,
    "mesh, GPUs only": replace(FULL, cpus="none"),
    "mesh without sharing": replace(FULL, sharing="none"),
    "mesh without preemption": replace(FULL, preemption="none"),
    "mesh without consolidation": replace(FULL, preemption="none", packing="emptiest"),
    "mesh prefill first": replace(FULL, order="prefill-first"),
}
"""Named settings: the paper's baselines, the full system and its ablations."""
