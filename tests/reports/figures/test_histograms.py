import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import StepPatch

from dcase_asd.reports.figures.histograms import BARS, Panel, limits, score_histogram
from dcase_asd.reports.figures.style import drawing

GENERATOR = np.random.default_rng(0)
TRAIN = GENERATOR.normal(1, 0.2, 100)
NORMAL, ANOMALY = GENERATOR.normal(1.1, 0.2, 20), GENERATOR.normal(2, 0.4, 10)


def histogram(panels, train=TRAIN, threshold=1.3):
    with drawing():
        return score_histogram(panels, train, threshold)


def both_domains():
    scores = {"normal": NORMAL, "anomaly": ANOMALY, "": np.array([])}
    return [Panel("Source domain", scores), Panel("Target domain", scores)]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_each_panel_shows_its_kinds_of_clips_in_percent():
    figure = histogram(both_domains())
    assert [axes.get_title("left") for axes in figure.axes] == ["Source domain", "Target domain"]
    assert legend(figure) == ["normal", "anomaly", "train", "threshold"]
    for axes in figure.axes:
        assert axes.get_ylabel() == "clips, %"
        drawn = [patch.get_data().values for patch in axes.patches if isinstance(patch, StepPatch)]
        assert len(drawn) == 6
        assert all(len(values) == BARS and values.sum() == pytest.approx(100) for values in drawn)
    assert figure.axes[-1].get_xlabel() == "anomaly score"
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert figure.axes[0].get_ylim()[0] == 0


def test_bars_count_the_clips_between_their_edges():
    figure = histogram([Panel("", {"normal": NORMAL})], np.array([]), None)
    values, edges, _ = figure.axes[0].patches[0].get_data()
    expected, _ = np.histogram(NORMAL, edges)
    np.testing.assert_allclose(values * len(NORMAL) / 100, expected)
    assert legend(figure) == ["normal"]


def test_the_threshold_stands_where_it_is_set():
    figure = histogram(both_domains(), threshold=1.234)
    assert [line.get_xdata()[0] for axes in figure.axes for line in axes.lines] == [1.234, 1.234]
    assert not histogram(both_domains(), threshold=None).axes[0].lines


def test_clips_without_labels_are_drawn_as_such():
    figure = histogram([Panel("Test clips", {"": NORMAL})])
    assert legend(figure) == ["unlabelled", "train", "threshold"]


def test_scores_far_out_are_gathered_and_counted():
    far = np.append(NORMAL, 1000.0)
    figure = histogram([Panel("", {"normal": far})])
    axes = figure.axes[0]
    assert axes.get_xlim()[1] < 10
    assert axes.get_xlabel() == "anomaly score (1 beyond the ends)"
    assert axes.patches[-1].get_data().values[-1] == pytest.approx(100 / len(far))


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0, 1e-12, 0.1 + 0.2])
def test_equal_scores_have_an_axis(value):
    scores = np.full(5, value)
    scores[0] *= 1 + 1e-16
    low, high = limits(scores, None)
    assert low < value < high
    figure = histogram([Panel("", {"normal": scores})], scores, value)
    assert figure.axes[0].patches[0].get_data().values.max() == 100


def test_the_axis_always_holds_the_threshold():
    assert limits(NORMAL, 9.0)[1] == 9.0
    assert limits(NORMAL, -9.0)[0] == -9.0


def test_a_legend_of_every_kind_has_room():
    scores = {"normal": NORMAL, "anomaly": ANOMALY, "": NORMAL}
    with drawing():
        figure = score_histogram([Panel("Title", scores)], TRAIN, 1.3)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        box = figure.legends[0].get_window_extent()
        (axes,) = figure.axes
        title = axes._left_title.get_window_extent()
    assert len(legend(figure)) == 5
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    assert box.y0 >= title.y1 - 2
