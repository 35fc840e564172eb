"""The index of the catalog: which device is described in which module. Imports nothing."""

from __future__ import annotations

INDEX: dict[str, str] = {
    "v100-sxm-32gb": "gpus",
    "v100-pcie-32gb": "gpus",
    "a100-pcie-40gb": "gpus",
    "a100-pcie-80gb": "gpus",
    "a100-sxm-80gb": "gpus",
    "h100-sxm-80gb": "gpus",
    "h100-pcie-80gb": "gpus",
    "h200-sxm-141gb": "gpus",
    "l4-24gb": "gpus",
    "l40s-48gb": "gpus",
    "t4-16gb": "gpus",
    "rtx4090-24gb": "gpus",
    "jetson-agx-xavier": "gpus",
    "jetson-orin-nx-16gb": "gpus",
    "jetson-agx-orin-64gb": "gpus",
    "xeon-6462c": "cpus",
    "xeon-6462c-16c": "cpus",
    "xeon-6462c-8c": "cpus",
    "xeon-8462y": "cpus",
    "xeon-6430": "cpus",
    "epyc-9354": "cpus",
    "host": "host",
}


def names() -> tuple[str, ...]:
    """Names of the shipped devices, in catalog order.

    >>> "h100-sxm-80gb" in names()
    True
    """
    return tuple(INDEX)
