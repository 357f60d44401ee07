"""ROC curves, heat maps, comparisons line by line, and training curves."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from dcase_asd.metrics.roc import RocCurve
from dcase_asd.reports.figures.bars import (
    FARTHEST,
    QUANTILES,
    Standing,
    axis_begin,
    results_figure,
    shift_figure,
    standings_figure,
    weights_figure,
)
from dcase_asd.reports.figures.heat_map import NONE, SQUARE, heat_map
from dcase_asd.reports.figures.roc import roc_figure
from dcase_asd.reports.figures.style import WIDTH, drawing
from dcase_asd.reports.figures.training import (
    POINTS,
    WINDOW,
    checkpoints_figure,
    history_figure,
    smoothed,
    thinned,
)


@pytest.fixture(autouse=True)
def _drawing():
    with drawing():
        yield


def words(artists):
    return [text.get_text() for text in artists]


def test_roc_curves_are_named_and_shaded_up_to_a_tenth():
    x, y = np.array([0.0, 0.0, 0.2, 1.0]), np.array([0.0, 0.5, 0.9, 1.0])
    curves = [RocCurve("fan", "00", domain, x, y) for domain in ("", "source", "target")]
    labels = {"source": "source: AUC 90.00", "target": "target: AUC 80.00", "": "both: pAUC 70.00"}
    axes = roc_figure(curves, labels, frozenset({""})).axes[0]
    assert words(axes.get_legend().get_texts()) == list(labels.values())
    chance, *lines = axes.lines
    np.testing.assert_allclose(chance.get_xydata(), [[0, 0], [100, 100]])
    for line in lines:
        np.testing.assert_allclose(line.get_xydata(), 100 * np.stack([x, y], axis=1))
    (shade,) = axes.collections
    corners = shade.get_paths()[0].vertices
    assert corners[:, 0].max() == 10
    # Between the points at 0 and 20 percent the curve is a straight line.
    assert corners[corners[:, 0] == 10][:, 1].max() == pytest.approx(70)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("false-alarm rate, %", "detection rate, %")
    assert len({line.get_linestyle() for line in lines if line.get_color() != lines[2].get_color()}
               ) == 2  # fmt: skip


def test_a_heat_map_writes_every_value_into_its_square():
    values = np.array([[1.0, 0.25], [np.nan, 0.5]])
    figure = heat_map(["a", "b"], ["x", "y"], values, lambda v: f"{v:.2f}", (0.0, 1.0))
    axes = figure.axes[0]
    assert words(axes.texts) == ["1.00", "0.25", NONE, "0.50"]
    assert words(axes.get_xticklabels()) == ["x", "y"]
    assert words(axes.get_yticklabels()) == ["a", "b"]
    shades = [patch.get_facecolor()[3] for patch in axes.patches if isinstance(patch, Rectangle)]
    assert shades[0] > shades[2] > shades[1]
    assert figure.get_figwidth() == WIDTH


def test_rows_that_are_the_columns_are_numbered_and_many_make_a_wide_figure():
    names = [f"system_{number}" for number in range(13)]
    figure = heat_map(names, names, np.eye(13), lambda v: f"{v:.0f}", (0.0, 1.0))
    axes = figure.axes[0]
    assert words(axes.get_xticklabels()) == [str(number) for number in range(1, 14)]
    assert words(axes.get_yticklabels())[12] == "system_12  13"
    assert figure.get_figwidth() > WIDTH
    box = axes.get_position()
    assert box.width * figure.get_figwidth() / 13 == pytest.approx(SQUARE)


def test_weights_are_bars_with_their_spread():
    weights = np.array([0.7, 0.3, 0.0])
    spread = (np.array([0.5, 0.1, 0.0]), np.array([0.95, 0.4, 0.1]))
    axes = weights_figure(["a", "b", "c"], weights, spread).axes[0]
    assert [patch.get_width() for patch in axes.patches] == pytest.approx([70, 30, 0])
    segments = [segment[:, 0] for segment in axes.collections[0].get_segments()]
    np.testing.assert_allclose(segments, [[50, 95], [10, 40], [0, 10]])
    assert words(axes.get_yticklabels()) == ["a", "b", "c"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first on top
    assert axes.get_xlim()[1] > 95
    assert not weights_figure(["a"], np.array([1.0]), None).axes[0].collections


def test_standings_are_points_with_a_marker_for_each_kind():
    standings = [Standing("fused", 0.7, "fitted"), Standing("out", 0.6, "out"), Standing("a", 0.5)]
    axes = standings_figure(standings).axes[0]
    chance, *points = axes.lines
    assert list(chance.get_xdata()) == [50, 50]
    assert [line.get_xdata()[0] for line in points] == pytest.approx([70, 60, 50])
    assert len({line.get_marker() for line in points}) == 3
    assert words(axes.texts) == ["70.0", "60.0", "50.0"]
    assert axes.get_xlabel() == "official score, %"


def test_intervals_are_lines_through_the_points():
    figure = standings_figure([Standing("a", 0.7, interval=(0.62, 0.75))])
    _, line, point = figure.axes[0].lines
    assert list(line.get_xdata()) == pytest.approx([62, 75])
    assert list(point.get_xdata()) == pytest.approx([70])


def test_axes_of_scores_begin_at_chance_or_below_all_values_and_end_at_100():
    for lowest, begin in ((0.9, 50), (0.5, 50), (0.499, 40), (0.31, 30), (0.0, 0)):
        assert axis_begin(lowest) == begin
        high = [Standing("a", 0.95, interval=(lowest, 1.0)), Standing("b", 0.96)]
        points = results_figure(["fan", "valve"], {"AUC": np.array([lowest, np.nan])})
        for figure in (standings_figure(high), points):
            left, right = figure.axes[0].get_xlim()
            assert begin - 1 == pytest.approx(left)
            assert right == 101
    left, right = results_figure(["fan"], {"AUC": np.array([0.9])}, 20).axes[0].get_xlim()
    assert (left, right) == (19, 101)


def test_results_are_points_with_a_marker_for_each_metric():
    values = {"AUC_s": np.array([0.9, np.nan]), "pAUC": np.array([0.6, 0.5])}
    figure = results_figure(["fan", "valve"], values)
    assert words(figure.legends[0].get_texts()) == ["AUC_s", "pAUC"]
    chance, first, second = figure.axes[0].lines
    assert chance.get_xdata()[0] == 50
    np.testing.assert_allclose(first.get_xdata(), [90, np.nan])
    np.testing.assert_allclose(second.get_xdata(), [60, 50])


def test_shifts_show_quantiles_of_train_and_test_scores():
    generator = np.random.default_rng(0)
    train, test = generator.standard_normal(200), generator.standard_normal(50) + 40
    figure = shift_figure(["fan"], [train], [test])
    axes = figure.axes[0]
    low, _, middle, _, high = np.quantile(train, QUANTILES)
    np.testing.assert_allclose(axes.collections[0].get_segments()[0][:, 0], [low, high])
    assert axes.lines[0].get_xdata()[0] == pytest.approx(middle)
    assert axes.lines[1].get_xdata()[0] == FARTHEST
    assert axes.get_xlim() == pytest.approx((-FARTHEST / 4 - 0.3, FARTHEST + 0.3))
    assert words(figure.legends[0].get_texts()) == ["train, leave-one-out", "test"]


def test_a_long_course_is_thinned_to_means_and_smoothed():
    values = np.arange(10 * POINTS, dtype=np.float64)
    means = thinned(values)
    np.testing.assert_allclose(means, values.reshape(POINTS, 10).mean(axis=1))
    assert len(thinned(values[:-3])) == POINTS
    assert thinned(values[:-3])[-1] == pytest.approx(values[-10:-3].mean())
    noisy = np.random.default_rng(0).standard_normal(100)
    expected = [noisy[max(i - WINDOW // 2, 0) : i + WINDOW // 2 + 1].mean() for i in range(100)]
    np.testing.assert_allclose(smoothed(noisy), expected)


def test_a_course_has_a_faint_and_a_smooth_line_where_it_is_noisy():
    steps = np.arange(1, 101, dtype=np.float64)
    assert len(history_figure(steps, steps, "loss").axes[0].lines) == 2
    (line,) = history_figure(steps, steps, "learning rate", smooth=False).axes[0].lines
    assert len(line.get_xdata()) == 100
    (point,) = history_figure(steps[:1], steps[:1], "loss").axes[0].lines
    assert point.get_marker() == "o"


def test_scored_checkpoints_are_ringed():
    steps, scores = np.array([1000.0, 2000.0, 3000.0]), np.array([0.5, 0.7, 0.6])
    axes = checkpoints_figure(steps, scores, {2000, 3000}).axes[0]
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[2000, 70], [3000, 60]])
    assert words(axes.get_legend().get_texts()) == ["scored checkpoints"]
    assert checkpoints_figure(steps, scores, set()).axes[0].get_legend() is None
