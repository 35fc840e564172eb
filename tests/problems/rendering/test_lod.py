"""Level of detail: every traversal of a hierarchy selects the same cut, and merged Gaussians keep moments."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradespace.errors import DataError
from tradespace.problems.rendering import cameras, cut, hierarchy, reuse, sltree
from tradespace.problems.rendering.frame import render
from tradespace.problems.rendering.gaussians import Gaussians
from tradespace.problems.rendering.synthetic import cloud, surface

TREE = hierarchy.build(surface(3_000))
EVERYWHERE = {
    "distance": st.floats(0.05, 20.0),
    "azimuth": st.floats(0.0, 360.0),
    "elevation": st.floats(-80.0, 80.0),
    "turn": st.floats(-60.0, 60.0),
    "threshold": st.sampled_from([0.0, 0.5, 2.0, 7.0, 30.0, 1e9]),
}


def camera(distance, azimuth, elevation, turn=0.0):
    around = {"focal": 150.0, "width": 128, "height": 96, "azimuth": azimuth, "elevation": elevation}
    return cameras.orbit((0, 0, 0), distance, **around).turned(turn)


@settings(max_examples=60, deadline=None)
@given(**EVERYWHERE, limit=st.sampled_from([2, 5, 32, 500]), merged=st.booleans())
def test_streaming_subtrees_gives_the_recursive_cut(limit, merged, threshold, **place):
    seen = camera(**place)
    found = sltree.stream(sltree.partition(TREE, limit, merged), seen, threshold)
    assert np.array_equal(found.nodes, cut.cut(TREE, seen, threshold).nodes)


@settings(max_examples=60, deadline=None)
@given(**EVERYWHERE, then=st.floats(-40.0, 40.0))
def test_a_cut_begun_from_another_frame_is_the_cut(threshold, then, **place):
    seen = camera(**place)
    after = seen.turned(then)
    found = cut.updated(TREE, cut.cut(TREE, seen, threshold), after, threshold)
    wanted = cut.cut(TREE, after, threshold)
    assert np.array_equal(found.nodes, wanted.nodes)
    assert np.array_equal(found.frontier, wanted.frontier)


@settings(max_examples=30, deadline=None)
@given(**EVERYWHERE)
def test_every_leaf_is_below_exactly_one_node_of_the_frontier(threshold, **place):
    frontier = cut.cut(TREE, camera(**place), threshold).frontier
    below = np.zeros(len(TREE) + 1, int)
    np.add.at(below, frontier, 1)
    np.add.at(below, TREE.skip[frontier], -1)
    assert np.all(np.cumsum(below)[:-1][TREE.leaf] == 1)


def test_the_recursive_cut_is_the_definition():
    """A node is drawn where it is small and its parent is not, or where it is a leaf; ancestors in sight."""
    seen, threshold = camera(3.0, 20.0, 10.0), 6.0

    def descend(node):
        state = cut.judge(TREE.centre[node], TREE.radius[node], TREE.extent[node], cut.view(seen), threshold)
        if state == cut.OUTSIDE:
            return []
        if state == cut.SMALL or TREE.leaf[node]:
            return [node]
        children, child = [], node + 1
        while child < TREE.skip[node]:
            children.append(child)
            child = TREE.skip[child]
        return [found for child in children for found in descend(child)]

    assert descend(0) == cut.cut(TREE, seen, threshold).nodes.tolist()


def test_neighbours_at_90_frames_a_second_share_their_cut():
    tree = hierarchy.build(surface(20_000))
    path = list(cameras.head_path(camera(3.0, 0.0, 15.0), 4))
    cuts = [cut.cut(tree, seen, 2.0, margin=8.0) for seen in path]
    assert min(a.overlap(b) for a, b in pairwise(cuts)) >= 0.99


@settings(max_examples=25, deadline=None)
@given(**EVERYWHERE, seed=st.integers(0, 99), stride=st.sampled_from([1e-4, 0.01, 0.3, 3.0]))
def test_a_kept_cut_is_a_fresh_one_wherever_the_camera_goes(threshold, seed, stride, **place):
    rng, seen = np.random.default_rng(seed), camera(**place)
    kept = reuse.KeptCut(TREE, threshold)
    for _ in range(8):
        found, fresh = kept.step(seen), cut.cut(TREE, seen, threshold)
        assert np.array_equal(found.nodes, fresh.nodes)
        assert np.array_equal(found.frontier, fresh.frontier)
        moved = seen.position + stride * rng.normal(size=3)
        seen = replace(seen, position=moved).turned(float(rng.normal(0.0, 50.0 * stride)))


def test_a_kept_cut_tests_only_where_the_slack_is_used_up():
    path = list(cameras.head_path(camera(3.0, 30.0, 15.0), 5))
    kept = reuse.KeptCut(TREE, 3.0)
    assert kept.step(path[0]).visited == kept.seen
    assert kept.step(path[0]).visited == 0
    for seen in path[1:]:
        assert 0 < kept.step(seen).visited < 0.2 * kept.seen
    with pytest.raises(DataError, match="the same lens and picture"):
        kept.step(path[0].resized(64, 48))


def test_a_merged_gaussian_has_the_moments_of_its_leaves():
    scene = cloud(200)
    tree = hierarchy.build(scene)
    weight = scene.opacities * hierarchy.surface(scene.scales)
    mean = np.average(scene.means, axis=0, weights=weight)
    away = scene.means - mean
    second = hierarchy.covariances(scene) + away[:, :, None] * away[:, None, :]
    root = tree.gaussians.take(slice(0, 1))
    assert root.means[0] == pytest.approx(mean, abs=1e-5)
    assert hierarchy.covariances(root)[0] == pytest.approx(
        np.average(second, axis=0, weights=weight), abs=1e-5
    )


def test_leaves_are_the_scene_and_threshold_zero_draws_it():
    scene = surface(3_000)
    seen = camera(3.0, 40.0, 20.0)
    drawn = TREE.gaussians.take(cut.cut(TREE, seen, 0.0).nodes)
    whole, part = render(scene, seen).image, render(drawn, seen).image
    assert np.mean((whole - part) ** 2) < 1e-7
    assert sorted(TREE.gaussians.means[TREE.leaf].tolist()) == sorted(scene.means.tolist())


def test_blocks_keep_the_limit_and_merging_fills_them():
    apart, together = (sltree.partition(TREE, 32, merged) for merged in (False, True))
    for forest in (apart, together):
        assert forest.sizes.max() <= 32
        assert np.array_equal(np.sort(forest.order), np.arange(len(TREE)))
    assert together.fill > 1.5 * apart.fill


def test_subtrees_take_nodes_breadth_first():
    """The first subtree holds the nodes of least depth, up to its limit."""
    first = sltree.partition(TREE, 20, False)
    depths = np.sort(TREE.depth)[:20]
    assert np.array_equal(np.sort(TREE.depth[first.order[: first.block[1]]]), depths)


def test_equal_means_and_one_gaussian_make_a_tree():
    one = cloud(1)
    assert len(hierarchy.build(one)) == 1
    same = Gaussians(*(np.repeat(v, 50, axis=0) for v in (one.means, one.scales, one.quaternions,
                                                          one.opacities, one.harmonics)))  # fmt: skip
    assert hierarchy.build(same).leaves == 50


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: cut.cut(TREE, camera(3, 0, 0), -1.0), "threshold must be a number of pixels >= 0, got -1.0"),
        (lambda: cut.cut(TREE, camera(3, 0, 0), float("nan")), "got nan"),
        (lambda: sltree.partition(TREE, 1), "must hold 2 to 65,536 nodes, got 1"),
        (lambda: hierarchy.build(cloud(3).take(slice(0, 0))), "at least one Gaussian"),
    ],
)
def test_bad_input_is_one_sentence(made, words):
    with pytest.raises(DataError, match=words):
        made()
