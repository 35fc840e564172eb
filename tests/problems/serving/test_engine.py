"""The batched engine: laws of conservation, blocks, preemption, and hand-counted iterations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradespace.costmodels import IterationLaw, architecture, draw, iteration_law, serving_iteration
from tradespace.errors import DataError
from tradespace.hardware import device
from tradespace.problems.serving.engine import Engine, Order, simulate
from tradespace.problems.serving.generate import requests
from tradespace.problems.serving.law import iteration_time
from tradespace.problems.serving.metrics import by_class, saturated, summary
from tradespace.problems.serving.nodes import route, simulate_nodes
from tradespace.problems.serving.trace import Stage, Trace

LAW = IterationLaw(fixed=1.0, per_token=0.01, per_cached=0.001)


def test_the_law_is_that_of_the_cost_models() -> None:
    gpu, model = device("a100-sxm-80gb"), architecture("llama-2-7b")
    law, pairs = iteration_law(gpu, model), 600 * (512 + 150)
    ours = iteration_time(law.constants, 8, 8192 + 1024, 600, 2, pairs)
    theirs = serving_iteration(gpu, model, prefill=600, past=512, prompts=2, decode=8, context=8192).time
    assert ours == pytest.approx(float(theirs), rel=1e-12)
    assert law(608, 10, 8192 + 1024, pairs) == pytest.approx(float(theirs), rel=1e-12)


@given(seed=st.integers(0, 1000), shards=st.sampled_from([1, 2, 8]))
def test_a_drawn_device_slows_the_engine_by_its_error(seed: int, shards: int) -> None:
    gpu, model = device("a100-sxm-80gb"), architecture("llama-2-7b")
    drawn = draw(gpu, np.random.default_rng(seed))
    law, off = (iteration_law(on, model, shards=shards) for on in (gpu, drawn))
    error = np.exp(float(drawn.deviations["serving"]) * law.sigma)
    np.testing.assert_allclose(off.constants, error * law.constants, rtol=1e-12)


@given(
    constants=st.lists(st.floats(0, 10), min_size=9, max_size=9),
    decoding=st.integers(0, 300), prompts=st.integers(0, 20), tokens=st.integers(1, 2000),
)  # fmt: skip
def test_the_compiled_law_is_the_law(
    constants: list[float], decoding: int, prompts: int, tokens: int
) -> None:
    law, tokens = IterationLaw(*constants), tokens if prompts else 0
    if decoding + prompts == 0:
        return
    slow = law(tokens + decoding, decoding + prompts, 77, 5.5 * prompts, prompts=prompts)
    fast = iteration_time(law.constants, decoding, 77, tokens, prompts, 5.5 * prompts)
    assert fast == pytest.approx(float(slow), rel=1e-12)


def test_two_requests_by_hand() -> None:
    trace = Trace.of_requests([0.0, 0.5], [100, 50], [3, 2])
    replay = simulate(trace, Engine(LAW, blocks=100))
    first = 1.0 + 1.0  # 100 prompt tokens
    second = first + 1.0 + 0.5 + 0.01 + 0.1  # 50 prompt tokens and one decoding with 100 cached
    third = second + 1.0 + 0.02 + 0.001 * (101 + 50)
    assert replay.first_token.tolist() == pytest.approx([first, second])
    assert replay.last_token.tolist() == pytest.approx([third, third])


def test_prompts_longer_than_the_budget_run_in_chunks() -> None:
    trace = Trace.of_requests([0.0], [5000], [1])
    replay = simulate(trace, Engine(IterationLaw(fixed=1.0), blocks=400, token_budget=2048))
    assert replay.iterations == 3


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), blocks=st.integers(20, 200), most=st.integers(1, 12), swap=st.booleans())
def test_every_request_ends_whatever_the_memory(seed: int, blocks: int, most: int, swap: bool) -> None:
    rng = np.random.default_rng(seed)
    trace = Trace.of_requests(
        np.cumsum(rng.exponential(1.0, 30)), rng.integers(1, 160, 30), rng.integers(1, 160, 30)
    )
    engine = Engine(LAW, blocks=blocks, max_running=most, token_budget=64, swap=1e-3 if swap else None)
    replay = simulate(trace, engine)
    assert np.isfinite(replay.finish).all()
    assert (replay.ttft > 0).all()
    assert (replay.last_token >= replay.first_token).all()
    assert replay.tokens == trace.output.sum()
    assert replay.busy <= replay.end - trace.arrival[0] + 1e-9


def test_preempted_requests_resume_and_a_larger_memory_preempts_less() -> None:
    trace = requests(120, rate=5.0, input_mean=100, output_mean=100)
    small, large = (simulate(trace, Engine(LAW, blocks=b)) for b in (80, 4000))
    assert small.preemptions > 0
    assert large.preemptions == 0
    assert large.completion.mean() < small.completion.mean()


def test_shared_prompts_are_computed_once() -> None:
    prefix = [[1, 2, 3]] * 10
    shared = Trace.of_requests(np.arange(10.0) * 100, [48] * 10, [4] * 10, prefix=prefix, prefix_tokens=16)
    alone = Trace.of_requests(np.arange(10.0) * 100, [48] * 10, [4] * 10)
    with_prefix, without = (simulate(t, Engine(LAW, blocks=50)) for t in (shared, alone))
    assert with_prefix.reused_blocks == 9 * 2  # the last token is always computed
    assert with_prefix.ttft[1:].max() < without.ttft[1:].min()


def test_batched_single_requests_wait_like_a_single_server() -> None:
    """One at a time and one iteration a request: the M/D/1 queue, within its confidence interval."""
    service, load, count = 1.0, 0.7, 40_000
    rng = np.random.default_rng(3)
    means = []
    for _ in range(8):
        arrival = np.cumsum(rng.exponential(service / load, count))
        trace = Trace.of_requests(arrival, np.ones(count), np.ones(count))
        replay = simulate(trace, Engine(IterationLaw(fixed=service), blocks=10, max_running=1))
        means.append(replay.completion[count // 10 :].mean())
    expected = service * (1 + load / (2 * (1 - load)))
    assert np.mean(means) == pytest.approx(expected, abs=4 * np.std(means) / np.sqrt(8) + 1e-3)


def test_stages_follow_each_other_and_slots_are_kept() -> None:
    run = [
        Stage("think", "llm", ((10, 2), (10, 4))),
        Stage("tool", "docker", seconds=5.0),
        Stage("say", "llm", ((10, 1),)),
    ]
    trace = Trace.of_applications([0.0, 0.0], ["a", "a"], [run, run])
    replay = simulate(trace, Engine(IterationLaw(fixed=1.0), blocks=100), capacities={"docker": 1})
    assert replay.finish.tolist() == pytest.approx([4 + 5 + 1, 4 + 10 + 1])


def test_a_lower_rank_goes_first() -> None:
    trace = Trace.of_requests([0.0, 0.1, 0.2], [10, 10, 10], [20, 20, 20])
    engine = Engine(IterationLaw(fixed=1.0), blocks=100, max_running=1)
    fcfs = simulate(trace, engine)
    ranked = simulate(trace, engine, Order("fixed", ranks=np.array([0.0, 2.0, 1.0])))
    assert fcfs.finish[1] < fcfs.finish[2]
    assert ranked.finish[2] < ranked.finish[1]


def test_metrics_and_saturation() -> None:
    law = IterationLaw(fixed=0.05, sigma=0.1)
    calm = simulate(requests(300, rate=0.5, input_mean=20, output_mean=20), Engine(law))
    flood = simulate(requests(300, rate=50.0, input_mean=20, output_mean=200), Engine(law, max_running=4))
    assert not saturated(calm)
    assert saturated(flood)
    assert summary(calm, ttft_limit=1.0)["within"] == 1.0
    assert by_class(calm)[0]["applications"] == 300


def test_bad_requests_are_named() -> None:
    with pytest.raises(DataError, match="call 1 of trace needs 7 KV blocks; the engine has 6"):
        simulate(Trace.of_requests([0.0], [100], [1]), Engine(LAW, blocks=6))
    with pytest.raises(DataError, match="unknown backend 'dokcer'"):
        simulate(requests(5), Engine(LAW), capacities={"dokcer": 1})


def test_a_faster_node_gets_more_and_nodes_together_beat_one() -> None:
    trace = requests(300, rate=3.0, input_mean=300, output_mean=150)
    fast, slow = Engine(IterationLaw(fixed=0.02)), Engine(IterationLaw(fixed=0.08))
    chosen = route(trace, [fast, slow])
    assert (chosen == 0).sum() > 2 * (chosen == 1).sum() > 0
    _, both = simulate_nodes(trace, [fast, slow])
    _, alone = simulate_nodes(trace, [slow])
    assert both.mean() < alone.mean()
    np.testing.assert_allclose(alone, simulate(trace, slow).completion)
