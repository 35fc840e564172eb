"""LLM-Mesh: which model shares which node, token by token, on CPUs and GPUs (after arXiv 2507.00507).

What a gateway calls: `Mesh.admit` for each request, `Mesh.step` for the work to start now, `Mesh.complete`
when a work has ended. `simulate.simulate` drives the same code through a trace.
"""

from .cluster import Cluster, NodeKind, ServiceLevel, published
from .mesh import Decision, Mesh
from .policy import POLICIES, Policy
from .state import Instance, Node, Request, Work

__all__ = [
    "POLICIES", "Cluster", "Decision", "Instance", "Mesh", "Node", "NodeKind", "Policy", "Request",
    "ServiceLevel", "Work", "published",
]  # fmt: skip
