"""What a sweep tries: how values are written, their grid, random and proposed combinations."""

import numpy as np
import pytest

from dcase_asd.errors import RecipeError
from dcase_asd.runs.space import draw, grid, propose, read_space


def test_a_list_is_tried_as_it_stands_and_the_grid_has_all_combinations():
    space = read_space(["train.learning_rate=1e-5,5e-5", "train.schedule=cosine, constant"])
    assert grid(space) == [
        {"train.learning_rate": rate, "train.schedule": schedule}
        for rate in (1e-5, 5e-5)
        for schedule in ("cosine", "constant")
    ]


def test_values_may_be_lists_and_truths_and_one_that_stands_twice_counts_once():
    (snrs,) = read_space(["train.noise_snrs=[5.0, 10.0],[0.0]"])
    assert snrs.values == ([5.0, 10.0], [0.0])
    (truths,) = read_space(["train.balanced=true,false,true"])
    assert truths.values == (True, False)


def test_a_range_has_a_grid_where_it_says_how_many_points():
    (margin,) = read_space(["train.margin=0.1:0.5:5"])
    assert margin.grid() == pytest.approx((0.1, 0.2, 0.3, 0.4, 0.5))
    (rate,) = read_space(["train.learning_rate=1e-6:1e-3:4:log"])
    assert rate.grid() == pytest.approx((1e-6, 1e-5, 1e-4, 1e-3))
    (steps,) = read_space(["train.keep=1:4:4"])
    assert steps.grid() == (1, 2, 3, 4)


def test_numbers_without_a_point_are_whole_but_where_a_recipe_takes_any():
    (whole,) = read_space(["train.keep=1:4"])
    (option,) = read_space(["embed.options.layer=1:12"])
    (margin,) = read_space(["train.margin=0:1"])
    assert [each.whole for each in (whole, option, margin)] == [True, True, False]
    drawn = [draw([whole], [{}] * number, 0)["train.keep"] for number in range(60)]
    assert set(drawn) == {1, 2, 3, 4}


def test_a_logarithmic_range_draws_each_factor_of_ten_alike():
    space = read_space(["train.learning_rate=1e-6:1e-2:log"])
    drawn = np.array([draw(space, [{}] * n, 0)["train.learning_rate"] for n in range(400)])
    assert drawn.min() >= 1e-6
    assert drawn.max() <= 1e-2
    # Four factors of ten, 100 each; 5 standard deviations of a binomial are 43.
    assert np.abs(np.histogram(np.log10(drawn), [-6, -5, -4, -3, -2])[0] - 100).max() < 43
    assert all(float(f"{value:.4g}") == value for value in drawn)


def test_nothing_is_drawn_twice_and_the_end_is_told():
    space = read_space(["score.neighbors=1,2", "score.domains=pooled,minimum"])
    tried = []
    while (found := draw(space, tried, 3)) is not None:
        tried.append(found)
    assert len(tried) == 4
    assert sorted(map(str, tried)) == sorted(map(str, grid(space)))


def test_a_gaussian_process_comes_closer_to_the_best_than_chance():
    space = read_space(["train.margin=0:1", "train.schedule=cosine,constant"])

    def cost(point):
        return (point["train.margin"] - 0.7) ** 2 + (point["train.schedule"] == "cosine")

    tried = []
    for _ in range(16):
        tried += propose(space, tried, [cost(each) for each in tried], 0)
    assert len({str(each) for each in tried}) == 16
    best = min(tried, key=cost)
    assert abs(best["train.margin"] - 0.7) < 0.02  # 16 random ones: 0.06 on average
    again = list(propose(space, tried[:8], [cost(each) for each in tried[:8]], 0))
    assert again == tried[8:9]


def test_several_are_proposed_at_once_and_a_failure_counts_as_the_worst():
    space = read_space(["train.margin=0:1"])
    tried = [{"train.margin": value} for value in (0.1, 0.2, 0.3, 0.8, 0.9, 1.0)]
    costs = [1.0, 0.5, 0.0, None, None, None]
    found = list(propose(space, tried, costs, 0, 3))
    assert len({each["train.margin"] for each in found}) == 3
    assert max(each["train.margin"] for each in found) < 0.8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.learning_rat=1,2", "'train.learning_rat'.*did you mean 'learning_rate'"),
        ("trian.margin=1,2", r"unknown table 'trian' \(did you mean 'train'\?\)"),
        ("train.margin=0.1,much", "'train.margin' must be a number, not 'much'"),
        ("train.schedule=cosine,sine", "'train.schedule' cannot be 'sine'.*mean 'cosine'"),
        ("train.schedule=1:2", "'train.schedule' cannot be 1"),
        ("train.margin=0.5:0.1", "0.5:0.1 is no range; give two numbers, the first smaller"),
        ("train.margin=0:1:log", "is no range; give two numbers, .*, both above 0"),
        ("train.margin=a:1", "'a' is no number; a range is low:high"),
        ("train.margin=0:inf", "'inf' is no number"),
        ("train.margin=0:1:1", "a grid has at least 2 points"),
        ("train.margin", "'train.margin' is not of the form table.name=a,b,c"),
        ("train.margin=", "is not of the form"),
        ("train=1,2", "'train' is a table"),
    ],
)  # fmt: skip
def test_wrong_values_are_told_with_the_way_out(text, message):
    with pytest.raises(RecipeError, match=message):
        read_space([text])


def test_a_value_given_twice_none_and_a_grid_without_points_are_refused():
    with pytest.raises(RecipeError, match=r"train\.margin is given twice"):
        read_space(["train.margin=0.1", "train.margin=0.2"])
    with pytest.raises(RecipeError, match=r"nothing is varied; give values with --set train"):
        read_space([])
    with pytest.raises(RecipeError, match=r"say how many, such as train\.margin=0:1:5"):
        grid(read_space(["train.margin=0:1"]))
