"""How a mesh decides: its knobs, the published settings, and the baselines as settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ....errors import SpaceError

ORDERS = ("headroom", "prefill-first")
CPUS = ("first", "last", "none")
SHARING = ("elastic", "none", "halves")
ADMISSION = ("validated", "limit")
PREEMPTION = ("batch", "share", "none")


@dataclass(frozen=True)
class Policy:
    """The knobs of a mesh; the defaults are the published ones.

    admission: shadow validation, or a limit on requests at once. sharing: elastic, one instance a node,
    or two static halves. cpus: CPU nodes before GPU nodes, after them, or unused. order: which instance
    runs next. preemption: what makes an instance small enough to be moved away. watermark: cache held
    beyond the need. keep_alive: s an idle instance stays (GPU nodes). safety_gpu, safety_cpu: factors on
    predicted times. tightening: factor on the service level aimed at. quantum: decode iterations a turn
    on GPU nodes (0: by model size, as the artefact has it).
    """

    admission: str = "validated"
    sharing: str = "elastic"
    cpus: str = "first"
    order: str = "headroom"
    preemption: str = "batch"
    watermark: float = 0.25
    keep_alive: float = 1.0
    safety_gpu: float = 1.05
    safety_cpu: float = 1.1
    tightening: float = 0.95
    quantum: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("admission", ADMISSION), ("sharing", SHARING), ("cpus", CPUS),
                              ("order", ORDERS), ("preemption", PREEMPTION)):  # fmt: skip
            if getattr(self, name) not in choices:
                raise SpaceError(
                    f"{name} of a policy must be one of {', '.join(choices)}; got {getattr(self, name)!r}."
                )
        for name in ("watermark", "keep_alive"):
            if getattr(self, name) < 0:
                raise SpaceError(f"{name} of a policy must not be negative, got {getattr(self, name):g}.")
        for name in ("safety_gpu", "safety_cpu", "tightening"):
            if not getattr(self, name) > 0:
                raise SpaceError(f"{name} of a policy must be positive, got {getattr(self, name):g}.")


FULL = Policy()
SLLM_C = Policy(admission="limit", sharing="none", order="prefill-first", preemption="none", tightening=0.95)
POLICIES: dict[str, Policy] = {
    "sllm": replace(SLLM_C, cpus="none"),
    "sllm+c": SLLM_C,
    "sllm+c+s": replace(SLLM_C, sharing="halves"),
    "mesh": FULL,
    "mesh, GPUs only": replace(FULL, cpus="none"),
    "mesh without sharing": replace(FULL, sharing="none"),
    "mesh without preemption": replace(FULL, preemption="none"),
    "mesh prefill first": replace(FULL, order="prefill-first"),
}
"""Named settings: the paper's baselines, the full system and its ablations."""
