from itertools import product
from math import comb

import numpy as np
import pytest

from dcase_asd.fusion.search import grid_points, grid_size, nearest_point
from dcase_asd.recipe.fusion import parts_of


@pytest.mark.parametrize(("systems", "step"), [(1, 0.1), (2, 0.5), (3, 0.1), (4, 0.2), (5, 1.0)])
def test_every_point_of_the_simplex_comes_once(systems, step):
    parts = round(1 / step)
    expected = {each for each in product(range(parts + 1), repeat=systems) if sum(each) == parts}
    points = np.concatenate(list(grid_points(systems, step, at_once=7)))
    assert len(points) == grid_size(systems, step) == len(expected)
    assert {tuple(each) for each in np.rint(points * parts).astype(int).tolist()} == expected
    assert points.sum(axis=1) == pytest.approx(1, abs=1e-15)


def test_weights_are_the_numbers_that_are_meant():
    points = np.concatenate(list(grid_points(2, 0.1)))
    assert points[:, 0].tolist() == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]


def test_points_come_in_chunks_that_do_not_change_their_order():
    whole = next(grid_points(4, 0.1))
    chunks = list(grid_points(4, 0.1, at_once=50))
    assert [len(chunk) for chunk in chunks] == [50] * 5 + [36]
    assert (np.concatenate(chunks) == whole).all()
    assert whole[0].tolist() == [1, 0, 0, 0]


def test_thirteen_systems_at_a_step_of_a_tenth_are_646646_points():
    assert grid_size(13, 0.1) == comb(22, 12) == 646_646
    assert grid_size(2, 1 / 3) == 4


@pytest.mark.parametrize("step", [0.3, 0, -0.1, 1.5, 0.11])
def test_a_step_that_does_not_divide_one_is_refused(step):
    with pytest.raises(ValueError, match=r"does not divide 1; take 0\.5, 0\.2"):
        parts_of(step)
    with pytest.raises(ValueError, match="does not divide 1"):
        next(grid_points(3, step))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1 / 3, 1 / 3, 1 / 3], [4, 3, 3]),
        ([0.1, 0.2, 0.7], [1, 2, 7]),
        ([0.04, 0.06, 0.9], [0, 1, 9]),
        ([1.0], [10]),
    ],
)
def test_the_nearest_point_takes_the_largest_remainders_then_the_first(weights, expected):
    assert nearest_point(np.array(weights), 10).tolist() == expected


def test_the_nearest_point_is_that_of_the_whole_lattice():
    points = next(grid_points(4, 0.1))
    for weights in np.random.default_rng(0).dirichlet(np.ones(4), 50):
        distance = np.square(points - weights).sum(axis=1).min()
        near = nearest_point(weights, 10) / 10
        assert np.square(near - weights).sum() == pytest.approx(distance)
