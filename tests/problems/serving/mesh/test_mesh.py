"""The mesh and its simulator: nothing lost, no ledger exceeded, deadlines validated as scheduled."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tradespace.costmodels.architectures import architecture
from tradespace.errors import DataError, SpaceError
from tradespace.problems.serving.mesh.cluster import (
    Cluster,
    Pace,
    ServiceLevel,
    concurrency_limit,
    cpu_node,
    gpu_node,
    published,
    weights,
)
from tradespace.problems.serving.mesh.memory import resize_seconds
from tradespace.problems.serving.mesh.mesh import Mesh
from tradespace.problems.serving.mesh.policy import POLICIES, Policy
from tradespace.problems.serving.mesh.simulate import simulate
from tradespace.problems.serving.mesh.state import Request
from tradespace.problems.serving.mesh.validation import demand_fits
from tradespace.problems.serving.mesh.workload import generated, halves, load, read_functions
from tradespace.problems.serving.trace import Trace

SEVEN = architecture("llama-2-7b")
SHAPES = [architecture(n) for n in ("llama-3.2-3b", "llama-2-7b", "llama-2-13b")]


def watch_laws(mesh: Mesh) -> None:
    """Every request in one state; budgets and ledgers within capacity; instances know their requests."""
    census = mesh.census()
    assert all(n >= 0 for n in census.values())
    assert len(mesh.queue) == census["queued"]
    assert sum(i.batch for n in mesh.nodes for i in n.instances) == census["placed"]
    for node in mesh.nodes:
        slack = 1e-6 * node.kind.capacity
        assert node.ledger <= node.kind.capacity + slack
        assert node.budget <= node.kind.capacity + slack
        assert len(node.instances) <= node.kind.slots
        for i in node.instances:
            assert i.cached == sum(r.length for r in i.decoding.values())
            assert i.cached * i.per_token <= max(i.held, i.action.reserved if i.action else 0) + slack


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    policy=st.sampled_from(list(POLICIES)),
    cpus=st.integers(0, 2),
    gpus=st.integers(1, 2),
    load=st.floats(0.5, 20.0),
    allocates=st.booleans(),
    watermark=st.floats(0.0, 0.6),
)
@example(
    seed=5860, policy="mesh", cpus=1, gpus=1, load=15.46875, allocates=False, watermark=0.49541687014014246
)
def test_no_request_is_lost_and_no_ledger_exceeds_capacity(
    seed, policy, cpus, gpus, load, allocates, watermark
):
    rng = np.random.default_rng(seed)
    trace = generated(6, 1.0, simulation_seed=seed, load=load, output_mean=float(rng.integers(5, 900)))
    kinds = (cpu_node(SEVEN), dataclasses.replace(gpu_node(SEVEN), allocates=allocates))
    chosen = dataclasses.replace(POLICIES[policy], watermark=watermark)
    shapes = [SHAPES[i] for i in rng.integers(0, 3, 6)]
    outcome = simulate(trace, Cluster(kinds, (cpus, gpus)), shapes, chosen, watch=watch_laws)
    census = outcome.census
    assert census["queued"] == census["placed"] == 0
    assert census["finished"] + census["dropped"] + census["rejected"] == len(trace)
    assert np.isfinite(outcome.finish).sum() == census["finished"]
    assert not outcome.met[~np.isfinite(outcome.finish)].any()


def test_a_lone_request_takes_its_prefill_and_its_decodes():
    trace = Trace.of_requests([0.0], [700], [50])
    cluster = Cluster((cpu_node(SEVEN),), (1,))
    outcome = simulate(trace, cluster, [SEVEN], Policy(cpus="first"))
    pace = Pace(cluster.kinds[0].device, SEVEN)
    first = pace.prefill(700)
    assert outcome.first_token[0] == pytest.approx(first)
    assert outcome.finish[0] == pytest.approx(first + sum(pace.decode(1, 701 + k) for k in range(49)))


def edf(start, prefills, streams, tpot, horizon):
    """Brute force: run the least deadline first, one job at a time; the deadlines that were missed."""
    jobs = [(due, seconds) for due, seconds in prefills]
    for first, seconds in streams:
        jobs += [(first + k * tpot, seconds) for k in range(int((horizon - first) / tpot) + 1)]
    now, missed = start, []
    for due, seconds in sorted(jobs):
        now += seconds
        if now > due + 1e-9 and due <= horizon:
            missed.append(due)
    return missed


@given(st.integers(0, 10**6))
def test_shadow_validation_agrees_with_running_the_node(seed):
    rng = np.random.default_rng(seed)
    tpot = 0.25
    prefills = [(rng.uniform(0.3, 4), rng.uniform(0.02, 0.8)) for _ in range(rng.integers(1, 4))]
    count = rng.integers(0, 4)
    streams = [(rng.uniform(0.0, 1.0), rng.uniform(0.005, tpot / max(count, 1))) for _ in range(count)]
    missed = edf(0.0, prefills, streams, tpot, horizon=12.0)
    since = min(due for due, _ in prefills)
    assert demand_fits(0.0, prefills, streams, since, tpot) == (not [d for d in missed if d >= since - 1e-9])


@pytest.mark.parametrize("tokens", ["mean", "deadlines"])
@pytest.mark.parametrize(("prompt", "output"), [(870.0, 220.0), (3000.0, 12.0)])
def test_admitted_requests_keep_their_level_when_predictions_hold(tokens, prompt, output):
    """Also long prompts with short answers, of which an early first token leaves a scheduler much time."""
    trace = generated(8, 5.0, simulation_seed=3, load=2.0, prompt_mean=prompt, output_mean=output)
    policy = Policy(safety_cpu=1.0, safety_gpu=1.0, tightening=1.0, quantum=1, preemption="none")
    level = ServiceLevel(tokens=tokens)
    outcome = simulate(trace, published("llama-2-7b", 2, 1), [SEVEN] * 8, policy, level)
    finished = np.isfinite(outcome.finish)
    assert finished.sum() > 100
    assert outcome.met[finished].mean() > 0.98


@pytest.mark.parametrize("tokens", ["mean", "deadlines"])
def test_sharing_serves_long_prompts_no_worse_than_nodes_of_ones_own(tokens):
    trace = generated(24, 4.0, prompt_mean=3000.0, output_mean=12.0, load=3.0)
    shared, alone = (
        simulate(trace, published(), [SEVEN] * 24, POLICIES[name], ServiceLevel(tokens=tokens)).share
        for name in ("mesh", "mesh without sharing")
    )
    assert shared >= alone - 0.01


def test_a_slow_answer_after_an_early_first_token_is_late_by_its_mean_and_in_time_by_its_deadlines():
    """Of a prompt of 3,000 tokens the first is due at 5.86 s and comes earlier; each more takes 76 ms."""
    trace, cluster = Trace.of_requests([0.0], [3000], [40]), Cluster((cpu_node(SEVEN),), (1,))
    pace = Pace(cluster.kinds[0].device, SEVEN)
    tpot = 0.95 * pace.decode(1, 3000)
    found = {
        tokens: simulate(trace, cluster, [SEVEN], POLICIES["sllm+c"], ServiceLevel(tpot=tpot, tokens=tokens),
                         limits={("cpu", SEVEN.name): 4})
        for tokens in ("mean", "deadlines")
    }  # fmt: skip
    assert pace.prefill(3000) < ServiceLevel().ttft(3000) - 1
    assert not found["mean"].met[0]
    assert found["deadlines"].met[0]
    assert np.array_equal(found["mean"].finish, found["deadlines"].finish)


@pytest.mark.parametrize("tpot", [0.07, 0.09])
def test_what_is_met_by_deadlines_is_what_has_no_late_token(tpot):
    """Against every token's own time, from the iterations of a node that one instance has to itself."""
    arrivals = [0.0, 0.3, 0.5, 4.0]
    trace = Trace.of_requests(arrivals, [400, 900, 300, 700], [30, 20, 45, 10])
    cluster, level = Cluster((cpu_node(SEVEN),), (1,)), ServiceLevel(tpot=tpot, tokens="deadlines")
    outcome = simulate(trace, cluster, [SEVEN], POLICIES["sllm+c"], level, record=True,
                       limits={("cpu", SEVEN.name): 4})  # fmt: skip
    decodes = [end for _, _, kind, _, end in outcome.spans if kind == "decode"]
    for i, arrival in enumerate(arrivals):
        ends = [outcome.first_token[i]]
        ends += [end for end in decodes if outcome.first_token[i] < end <= outcome.finish[i] + 1e-9]
        first = arrival + level.ttft(trace.input[i])
        late = any(end > first + k * level.tpot + 1e-9 for k, end in enumerate(ends))
        assert outcome.met[i] == (not late)
        assert len(ends) == trace.output[i]


def test_sharing_and_cpus_serve_more_than_exclusive_gpus():
    trace = generated(48, 4.0, load=2.0)
    shares = {
        name: simulate(trace, published(), [SEVEN] * 48, POLICIES[name]).share
        for name in ("sllm", "sllm+c", "sllm+c+s", "mesh")
    }
    assert shares["sllm"] < shares["sllm+c"] < shares["sllm+c+s"] < shares["mesh"]


def test_concurrency_limits_follow_from_the_law_as_published():
    cluster = published("llama-2-7b")
    found = [concurrency_limit(k, SEVEN, ServiceLevel(), s) for k in cluster.kinds for s in (1.0, 0.5)]
    assert found == pytest.approx([15, 4, 32, 12], abs=1)


def test_halves_of_a_cpu_run_at_once_and_those_of_a_gpu_in_turn():
    trace = Trace.of_requests([0.0, 0.0], [600, 600], [40, 40], kind=[0, 1], classes=["a", "b"])
    cpu, gpu = cpu_node(SEVEN), gpu_node(SEVEN)
    alone = simulate(
        Trace.of_requests([0.0], [600], [40]), Cluster((cpu,), (1,)), [SEVEN], POLICIES["sllm+c+s"]
    )
    for kind in (cpu, gpu):
        both = simulate(trace, Cluster((kind,), (1,)), [SEVEN] * 2, POLICIES["sllm+c+s"], record=True)
        spans = sorted((start, end) for _, _, _, start, end in both.spans)
        overlapping = any(later < end - 1e-9 for (_, end), (later, _) in itertools.pairwise(spans))
        assert overlapping == (not kind.gpu)
        if not kind.gpu:  # equal work at half the speed
            assert both.finish == pytest.approx(2 * alone.finish[0])


def test_a_first_cache_takes_its_time_after_the_load_and_only_the_load_is_excused():
    trace, cluster = Trace.of_requests([0.0], [100], [3]), Cluster((gpu_node(SEVEN),), (1,))
    free = Cluster((dataclasses.replace(gpu_node(SEVEN), allocates=False),), (1,))
    slow, fast = (simulate(trace, c, [SEVEN], POLICIES["sllm"]) for c in (cluster, free))
    cache = gpu_node(SEVEN).capacity - weights(SEVEN)
    assert slow.first_token[0] - fast.first_token[0] == pytest.approx(resize_seconds(0.0, cache))
    assert fast.met[0]
    assert not slow.met[0]


def test_a_queued_request_asks_again_at_its_own_times():
    trace = Trace.of_requests([0.0, 0.1], [100, 1000], [5, 5], kind=[0, 1], classes=["a", "b"])
    cluster = Cluster((cpu_node(SEVEN),), (1,))
    first, polled = (
        simulate(trace, cluster, [SEVEN] * 2, dataclasses.replace(POLICIES["sllm+c"], poll=poll))
        for poll in (0.0, 0.25)
    )
    begun = first.finish[0]
    asked = 0.1 + 0.25 * math.ceil((begun - 0.1) / 0.25)
    assert polled.first_token[1] - first.first_token[1] == pytest.approx(asked - begun)


def test_decisions_are_placed_then_queue_then_reject():
    mesh = Mesh(Cluster((cpu_node(SEVEN),), (1,)), [SEVEN] * 9)
    kinds = []
    for i in range(40):
        kinds.append(mesh.admit(Request(i, i % 3, 0.0, 900), 0.0).kind)
        mesh.step(0.0)
    assert kinds[0] == "placed"
    assert kinds[-1] == "queue"
    assert mesh.admit(Request(99, 0, 0.0, 60_000), 0.0).kind == "reject"
    assert mesh.due < math.inf


def test_what_cannot_be_served_is_said():
    with pytest.raises(SpaceError, match="llama-2-70b"):
        Mesh(published(), [architecture("llama-2-70b")])
    with pytest.raises(SpaceError, match=r"TPOT of 5 ms .* ms alone"):
        Mesh(published(), [SEVEN], level=ServiceLevel(tpot=0.005))
    with pytest.raises(SpaceError, match="must not be negative, got -1"):
        published(cpus=-1)
    with pytest.raises(SpaceError, match=r"memory of node kind 'gpu' must be positive"):
        gpu_node(memory=-1.0)
    with pytest.raises(SpaceError, match="order of a policy must be one of"):
        Policy(order="random")


def test_functions_are_read_as_the_artefact_selects_them(tmp_path):
    functions = [{"timestamps": [float(i), 50.0], "input": [10, 20], "output": [1, 2]} for i in range(16)]
    path = tmp_path / "functions.json"
    import json

    path.write_text(json.dumps(functions))
    trace = load(path, 4, minutes=0.5)
    assert len(trace.classes) == 4
    assert trace.arrival.tolist() == [0.0, 1.0, 8.0, 9.0]
    path.write_text("[]")
    with pytest.raises(DataError, match="has no functions"):
        read_functions(path)
    path.write_text('[{"timestamps": [1.0], "input": [1]}]')
    with pytest.raises(DataError, match=r"function 1 of functions\.json: output is missing"):
        read_functions(path)


def test_halves_share_all_requests():
    trace = generated(4, 2.0)
    first, second = halves(trace)
    assert len(first) + len(second) == len(trace)
    assert second.arrival[0] == 0.0


def test_the_live_demo_answers_what_the_simulation_answers():
    pytest.importorskip("torch")
    from tradespace.problems.serving.mesh.live import live

    rows = {row["quantity"]: row for row in live(seconds=1.0, rate=6.0)}
    assert rows["answered"]["measured"] >= 1
    assert all(row["measured"] > 0 for row in rows.values())
