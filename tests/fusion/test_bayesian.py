import numpy as np
import pytest

from dcase_asd.fusion.bayesian import bayesian_search


def closeness_to(target):
    return lambda weights: -np.square(weights - target).sum(axis=1)


@pytest.mark.parametrize("target", [[0.2, 0.5, 0.3], [0.0, 0.35, 0.65], [1.0, 0.0, 0.0]])
def test_the_optimum_is_found_within_and_on_the_edges_of_the_simplex(target):
    found = bayesian_search(closeness_to(np.array(target)), 3, budget=45, seed=1)
    assert found.weights == pytest.approx(target, abs=0.02)


def test_it_does_better_than_thirty_times_as_many_random_candidates():
    scale = np.random.default_rng(4).normal(size=(8, 6))

    def objective(weights):  # a ridge between several hills
        return np.log(np.exp(3 * np.tanh(weights @ scale.T)).sum(axis=1)) - weights.max(axis=1)

    found = bayesian_search(objective, 6, budget=60, seed=0, patience=60)
    random = np.random.default_rng(0).dirichlet(np.ones(6), size=1800)
    assert found.score > objective(random).max()


def test_candidates_lie_on_the_simplex_and_are_within_the_budget():
    looked_at = []

    def objective(weights):
        looked_at.extend(weights)
        return weights[:, 0] * weights[:, 1]

    done = []
    found = bayesian_search(objective, 4, budget=30, seed=0, patience=30, advance=done.append)
    candidates = np.array(looked_at)
    assert len(candidates) == found.evaluated == sum(done) == 30
    assert (candidates >= 0).all()
    assert candidates.sum(axis=1) == pytest.approx(1, abs=1e-12)
    assert candidates[0].tolist() == [0.25] * 4
    assert candidates[1:5].tolist() == np.eye(4).tolist()
    assert len(np.unique(candidates, axis=0)) == 30


def test_a_seed_gives_the_same_search_and_another_seed_another():
    objective = closeness_to(np.array([0.2, 0.5, 0.3]))
    searches = [bayesian_search(objective, 3, budget=20, seed=seed) for seed in (0, 0, 1)]
    assert searches[0].weights.tolist() == searches[1].weights.tolist()
    assert searches[0].weights.tolist() != searches[2].weights.tolist()


def test_it_stops_early_when_nothing_gets_better_and_says_so():
    done = []
    found = bayesian_search(
        lambda weights: -np.abs(weights - 0.5).sum(axis=1), 2, 60, 0, 4, advance=done.append
    )
    assert found.weights.tolist() == [0.5, 0.5]
    assert found.evaluated == 1 + 2 + 3 + 4
    assert sum(done) == 60
    assert found.method == (
        "Gaussian process over the simplex (scikit-optimize), 10 candidates, "
        "stopped early of 60, seed 0"
    )


def test_an_objective_without_differences_gives_equal_weights():
    found = bayesian_search(lambda weights: np.full(len(weights), 0.5), 3, budget=15)
    assert found.weights == pytest.approx([1 / 3] * 3)
    assert found.score == 0.5


def test_a_budget_smaller_than_the_first_candidates_is_kept():
    found = bayesian_search(lambda weights: weights[:, 2], 3, budget=2)
    assert (found.evaluated, found.weights.tolist()) == (2, pytest.approx([1 / 3] * 3))


def test_one_system_gets_all_the_weight():
    assert bayesian_search(lambda weights: weights[:, 0], 1).weights.tolist() == [1.0]


@pytest.mark.parametrize(("budget", "patience"), [(0, 5), (5, 0)])
def test_a_budget_or_patience_of_nothing_is_refused(budget, patience):
    with pytest.raises(ValueError, match="budget and a patience of at least 1"):
        bayesian_search(lambda weights: weights[:, 0], 2, budget, 0, patience)
