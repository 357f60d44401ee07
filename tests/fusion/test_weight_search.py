from contextlib import contextmanager
from itertools import product

import numpy as np
import pytest

from dcase_asd.fusion import search
from dcase_asd.fusion.search import coordinate_search, grid_points, grid_search, search_weights
from dcase_asd.progress import Silent
from dcase_asd.recipe.fusion import Fusion


def closeness(*targets):
    """Objectives that are highest at the targets, one fold for each."""
    targets = np.array(targets)
    return lambda weights: -np.square(weights[:, None] - targets).sum(axis=2)


def closeness_to(target):
    return lambda weights: closeness(target)(weights)[:, 0]


def hilly(seed):
    """An objective with many local optima: a random value for each grid point."""
    coefficients = np.random.default_rng(seed).normal(size=(6, 4))

    def objective(weights):
        return np.sin(9 * weights @ coefficients.T).sum(axis=1)

    return objective


def test_the_lattice_search_finds_the_best_of_all_points():
    objective = hilly(0)
    (found,) = grid_search(objective, 4, 0.05)
    parts = [each for each in product(range(21), repeat=4) if sum(each) == 20]
    scores = objective(np.array(parts) / 20)
    assert found.score == scores.max()
    assert found.weights.tolist() == (np.array(parts[int(scores.argmax())]) / 20).tolist()
    assert found.evaluated == len(parts) == 1771
    assert found.method == "exhaustive lattice, step 0.05, 1,771 points"


def test_several_objectives_are_searched_in_one_pass():
    targets = [0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.0, 0.4, 0.6]
    passed = []
    found = grid_search(closeness(*targets), 3, 0.1, passed.append)
    assert [each.weights.tolist() for each in found] == [list(target) for target in targets]
    assert passed == [66]


def test_equal_scores_of_the_whole_lattice_go_to_the_most_equal_weights():
    (found,) = grid_search(lambda weights: np.zeros(len(weights)), 5, 0.1)
    assert found.weights.tolist() == [0.2] * 5
    (found,) = grid_search(lambda weights: np.zeros(len(weights)), 3, 0.1)
    assert found.weights.tolist() == [0.4, 0.3, 0.3]


def test_one_system_gets_all_the_weight():
    (found,) = grid_search(closeness_to([0.3]), 1, 0.1)
    refined = coordinate_search(closeness_to([0.3]), 1, 0.1)
    assert found.weights.tolist() == refined.weights.tolist() == [1.0]


@pytest.mark.parametrize("step", [0.1, 0.05])
def test_refinement_finds_the_optimum_of_an_objective_with_one_hill(step):
    for target in np.random.default_rng(0).dirichlet(np.ones(5), size=8):
        objective = closeness_to(target)
        found = coordinate_search(objective, 5, step)
        assert found.score == grid_search(objective, 5, step)[0].score
        assert found.weights.sum() == pytest.approx(1)


def test_a_refined_point_is_improved_by_no_exchange_between_two_systems():
    objective, parts = hilly(3), 10
    found = coordinate_search(objective, 4, 1 / parts)
    point = np.rint(found.weights * parts).astype(int)
    for giver, taker in product(range(4), repeat=2):
        if point[giver] and giver != taker:
            other = point.copy()
            other[giver] -= 1
            other[taker] += 1
            assert objective(other[None] / parts)[0] <= found.score
    assert found.score >= objective(np.concatenate([np.eye(4), np.full((1, 4), 0.25)])).max()


def test_refinement_says_what_it_did_and_counts_what_it_looked_at():
    looked_at, starts = [], []

    def objective(weights):
        looked_at.append(len(weights))
        return hilly(1)(weights)

    found = coordinate_search(objective, 4, 0.1, advance=starts.append)
    assert starts == [1] * 5
    assert found.evaluated == sum(looked_at)
    assert found.method == (
        f"coordinate-wise refinement, step 0.1, from 5 start(s), {found.evaluated:,} candidates"
    )
    again = coordinate_search(hilly(1), 4, 0.1)
    assert (again.weights == found.weights).all()


def test_refinement_starts_where_it_is_told():
    objective = hilly(2)
    points = next(grid_points(4, 0.1))
    found = [coordinate_search(objective, 4, 0.1, [point]) for point in points[::20]]
    assert len({each.score for each in found}) > 1  # so the start matters
    best = max(found, key=lambda each: each.score)
    several = coordinate_search(objective, 4, 0.1, list(points[::20]))
    assert several.score == best.score


def test_equal_scores_are_refined_to_equal_weights():
    found = coordinate_search(lambda weights: np.zeros(len(weights)), 4, 0.25)
    assert found.weights.tolist() == [0.25] * 4


class Recorder(Silent):
    """Remembers how long the bar is and how far it came."""

    @contextmanager
    def bar(self, description, total, unit):
        self.total, self.done = total, 0

        def advance(items):
            self.done += items

        yield advance


def search_folds(*targets, **settings):
    progress = Recorder()
    fusion = Fusion(("a", "b", "c"), **settings)
    found = search_weights(closeness(*targets), len(targets), 3, fusion, progress)
    return found, (progress.done, progress.total)


def test_a_small_lattice_is_searched_as_a_whole_and_a_large_one_refined(monkeypatch):
    targets = [0.2, 0.5, 0.3], [1.0, 0.0, 0.0]
    found, bar = search_folds(*targets)
    assert all("exhaustive lattice" in each.method for each in found)
    assert bar == (66, 66)
    monkeypatch.setattr(search, "LARGEST_GRID", 65)
    found, bar = search_folds(*targets)
    assert all("coordinate-wise refinement" in each.method for each in found)
    assert [each.weights.tolist() for each in found] == [list(target) for target in targets]
    assert bar == (2 * 4, 2 * 4)


def test_one_of_several_objectives_stands_by_itself():
    targets = [0.2, 0.5, 0.3], [0.7, 0.0, 0.3]
    found, bar = search_folds(*targets, method="bayesian", budget=45, patience=45)
    assert np.stack([each.weights for each in found]) == pytest.approx(np.array(targets), abs=0.02)
    assert bar == (2 * 45, 2 * 45)


@pytest.mark.parametrize("search", [grid_search, coordinate_search])
def test_a_step_that_does_not_divide_one_is_refused(search):
    with pytest.raises(ValueError, match="does not divide 1"):
        search(hilly(0), 4, 0.3)
