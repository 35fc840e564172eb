"""Memory of nodes: caches that grow and shrink, decided by a budget and carried out by a ledger.

The budget counts a scale-down when it is asked for and decides admission; the ledger counts it when it
is done and decides what may start. Scale-ups and loads that the ledger cannot hold yet wait in the
node's station and are looked at again when something is given back (section VII-B of the paper).
"""

from __future__ import annotations

from ....units import GiB
from .state import RUNNING, WAITING, Instance, Node, Work

# Seconds a byte of the new size, from the published 32 to 64 GB in 1.9 s and 32 to 16 GB in 0.3 s.
GROW = 1.9 / (64 * GiB)
SHRINK = 0.3 / (16 * GiB)
UNLOAD = 0.05
ROUNDING = 1.0
"""Bytes by which sums of sizes may be off; an exactly full node must not wait for them."""


def resize_seconds(old: float, new: float) -> float:
    """Seconds that a cache takes from one size to another."""
    return (GROW if new > old else SHRINK) * new


def pause(instance: Instance, size: float, now: float) -> float:
    """Seconds until an instance can run again if its cache is to get this size: no token comes meanwhile."""
    work, seconds, held_then = instance.action, 0.0, instance.held
    if work is not None and work.state == RUNNING:
        seconds, held_then = max(work.start + work.seconds - now, 0.0), work.size
    return seconds if size <= held_then + ROUNDING else seconds + resize_seconds(held_then, size)


def plan(instance: Instance, size: float) -> None:
    """Ask for another size of the cache: the budget changes at once."""
    instance.node.budget += size - instance.planned
    instance.planned = size


def reserve(instance: Instance, size: float, outbox: list[Work], now: float) -> None:
    """Take weights and a first cache on a node; loads them, or has them at once where nothing loads."""
    node = instance.node
    instance.opened = now
    node.budget += instance.weights
    plan(instance, size)
    seconds = instance.weights / node.kind.load_rate
    if seconds == 0.0:
        instance.ready, instance.ready_at = True, now
        instance.held = size
        node.ledger += instance.weights + size
        return
    instance.action = Work("load", instance, seconds)
    submit(instance.action, outbox, now)


def settle(instance: Instance, outbox: list[Work], now: float) -> None:
    """Bring what is held to what is planned, one action at a time."""
    work = instance.action
    if work is not None and work.kind == "resize" and work.state == WAITING:
        instance.action = None  # what waits in the station is asked for anew
        if instance.planned > instance.held:
            instance.action = work
            return
    idle = instance.action is None and instance.ready and not instance.closing
    if idle and instance.held != instance.planned:
        seconds = resize_seconds(instance.held, instance.planned)
        instance.action = Work("resize", instance, seconds, size=instance.planned)
        submit(instance.action, outbox, now)


def growth(work: Work) -> float:
    """Bytes that a work adds to the ledger when it starts."""
    instance = work.instance
    if work.kind == "load":
        return instance.weights + (0.0 if instance.node.kind.allocates else instance.planned)
    return max(instance.planned - instance.held, 0.0) if work.kind == "resize" else 0.0


def submit(work: Work, outbox: list[Work], now: float) -> None:
    """Start it, or let it wait in the station."""
    if growth(work) > 0:
        work.instance.node.station.append(work)
        examine(work.instance.node, outbox, now)
    else:
        start(work, outbox, now)


def start(work: Work, outbox: list[Work], now: float) -> None:
    """Hand a work to the executor; what it adds counts from now."""
    instance = work.instance
    instance.node.ledger += growth(work)
    if work.kind == "resize" or (work.kind == "load" and not instance.node.kind.allocates):
        work.size = instance.planned
    if work.kind == "resize":
        work.seconds = resize_seconds(instance.held, work.size)
        work.reserved = max(instance.held, work.size)
        instance.held = min(instance.held, work.size)
    if work.kind == "load":
        instance.ready_at = now + work.seconds
    work.state, work.start = RUNNING, now
    outbox.append(work)


def finish(work: Work, outbox: list[Work], now: float) -> bool:
    """Book a finished load, resize or unload; whether memory was given back."""
    instance, node = work.instance, work.instance.node
    instance.action = None
    before = node.ledger
    if work.kind == "load":
        instance.ready, instance.held = True, work.size
    elif work.kind == "resize":
        instance.held = work.size
        instance.resizes.append(now - work.start)
    else:
        instance.held, instance.ready = 0.0, False
        leave(instance, now)
    node.ledger = sum(held(i) for i in node.instances)
    given_back = node.ledger < before - 1.0
    if instance.closing and work.kind != "unload":
        unload(instance, outbox, now)
    else:
        settle(instance, outbox, now)
    examine(node, outbox, now)
    return given_back or work.kind == "unload"


def leave(instance: Instance, now: float) -> None:
    """Take an instance off its node and keep how long it lived and was resized."""
    node = instance.node
    node.instances.remove(instance)
    node.lives.append((now - instance.opened, len(instance.resizes), sum(instance.resizes)))


def held(instance: Instance) -> float:
    """Bytes of an instance that may be in use."""
    work = instance.action
    if work is not None and work.state == RUNNING:
        if work.kind == "load":
            return instance.weights + work.size
        if work.kind == "resize":
            return instance.weights + work.reserved
    return instance.weights + instance.held if instance.ready else 0.0


def examine(node: Node, outbox: list[Work], now: float) -> None:
    """Start what waits in the station, in order, while it fits."""
    while node.station:
        work = node.station[0]
        if work.state != WAITING or work.instance.action is not work:
            node.station.popleft()
            continue
        if node.ledger + growth(work) > node.kind.capacity + ROUNDING:
            return
        node.station.popleft()
        if work.kind == "resize" and work.instance.planned == work.instance.held:
            work.instance.action = None
            continue
        start(work, outbox, now)


def close(instance: Instance, outbox: list[Work], now: float) -> None:
    """Give an instance up: the budget is free at once, the ledger when it is unloaded."""
    node = instance.node
    instance.closing = True
    node.budget -= instance.weights + instance.planned
    instance.planned = 0.0
    work = instance.action
    if work is not None and work.state == WAITING:
        instance.action = work = None
    if work is None and instance.number not in node.running:
        unload(instance, outbox, now)


def unload(instance: Instance, outbox: list[Work], now: float) -> None:
    """Free weights and cache; an instance that never loaded is gone at once."""
    if not instance.ready or instance.weights / instance.node.kind.load_rate == 0.0:
        node = instance.node
        instance.ready = False
        leave(instance, now)
        node.ledger = sum(held(i) for i in node.instances)
        examine(node, outbox, now)
        return
    instance.action = Work("unload", instance, UNLOAD)
    submit(instance.action, outbox, now)
