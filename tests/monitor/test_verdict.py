"""Thresholds, p-values and rules against values worked out by hand."""

import numpy as np
import pytest

from dcase_asd.errors import RecipeError
from dcase_asd.monitor.heat import HeatMap, Span
from dcase_asd.monitor.verdict import Calibration, Rule, Verdict

NINETY_NINE = Calibration(np.arange(1.0, 100.0))


@pytest.mark.parametrize(
    ("score", "p", "word"),
    [
        (99.5, 0.01, "anomalous"),  # above all 99: 1 / 100
        (99.0, 0.02, "suspicious"),  # a tie counts against it
        (96.0, 0.05, "suspicious"),
        (95.0, 0.06, "normal"),
        (0.0, 1.0, "normal"),
    ],
)
def test_a_score_among_ninety_nine_normal_ones(score, p, word):
    found = NINETY_NINE.decide(np.array([score]), 0.01, None)
    assert (found.score, found.word) == (score, word)
    assert found.p_value == pytest.approx(p)
    assert found.threshold == 99.0


def test_a_larger_share_of_false_alarms_lowers_the_threshold():
    assert NINETY_NINE.decide(np.array([91.0]), 0.1, None).threshold == 90.0
    assert NINETY_NINE.decide(np.array([91.0]), 0.1, None).word == "anomalous"


def test_few_normal_ones_support_no_small_share():
    few = Calibration(np.arange(1.0, 13.0))
    assert few.supports == pytest.approx(1 / 13)
    words = [few.decide(np.array([score]), 0.01, None).word for score in (12.5, 11.5, 10.5)]
    assert words == ["anomalous", "suspicious", "normal"]


def test_of_several_windows_each_has_its_part_of_the_false_alarms():
    found = NINETY_NINE.decide(np.array([97.5, 3.0]), 0.1, None)
    assert found.threshold == 95.0  # 5 % each
    assert found.p_value == pytest.approx(2 * 0.03)
    assert (found.word, found.window) == ("anomalous", 0)


def test_where_a_part_is_not_supported_more_windows_are_asked_for():
    windows = np.full(100, 1.0)
    windows[[3, 50]] = 150.0
    found = NINETY_NINE.decide(windows, 0.01, None)
    # Of 100 windows with 1 % each, five or more are above in 0.34 % of cases, four in 1.8 %.
    assert found.rule == Rule(5, 100)
    assert found.word == "normal"
    windows[:5] = 1000.0
    found = NINETY_NINE.decide(windows, 0.01, None)
    assert found.word == "anomalous"
    assert found.p_value == pytest.approx(0.00343, abs=1e-5)  # of five or more


def test_a_rule_asks_for_consecutive_windows():
    rule = Rule.parse("2/3")
    assert NINETY_NINE.decide(np.array([150, 0, 0, 150, 0.0]), 0.01, rule).word == "normal"
    found = NINETY_NINE.decide(np.array([0, 0, 200, 0, 300.0]), 0.01, rule)
    assert (found.word, found.score, found.window) == ("anomalous", 200.0, 4)
    # 3 runs of 3 windows, 3 p^2 - 2 p^3 each
    assert found.p_value == pytest.approx(3 * (3 * 0.01**2 - 2 * 0.01**3))
    assert NINETY_NINE.decide(np.array([200.0]), 0.01, rule).word == "anomalous"


@pytest.mark.parametrize("text", ["3/2", "0/1", "2", "a/b", "2/3/4", ""])
def test_another_rule_is_refused(text):
    with pytest.raises(RecipeError, match="such as 2/3"):
        Rule.parse(text)


def test_a_verdict_as_json_has_the_documented_fields():
    heat = HeatMap(np.zeros((1, 1)), np.arange(2.0), np.arange(2.0))
    span = Span(5.1, 6.3, 2800, 3400, 14.2, 3.0)
    verdict = Verdict("a.wav", 3.0, 2.0, 0.01, "anomalous", (span,), "n.wav", ("x",), heat)
    value = verdict.as_json()
    assert list(value) == [
        "file", "score", "threshold", "p_value", "verdict", "spans", "nearest", "notes",
    ]  # fmt: skip
    assert value["spans"][0]["text"] == (
        "5.1 to 6.3 s, 2.8 to 3.4 kHz, 14 dB above the nearest normal"
    )
    assert "anomalous, score 3 (above 2), p 0.01; 5.1 to 6.3 s" in str(verdict)
    assert str(Span(0, 1, 100, 900, -7, -2)).endswith(
        "100 to 900 Hz, 7 dB below the nearest normal"
    )


def test_a_window_that_stands_out_alone_makes_a_recording_suspicious():
    found = NINETY_NINE.decide(np.array([1.0, 200, 1.0]), 0.01, Rule.parse("2/3"))
    assert (found.word, found.window, found.alone, found.score) == ("suspicious", 1, True, 1.0)
    alone = NINETY_NINE.decide(np.array([1.0, 150, 1.0]), 0.01, Rule.parse("2/3"))
    assert (alone.word, alone.alone) == ("normal", False)
    many = Calibration(np.arange(1.0, 1000.0))  # can tell 0.33 %, a third of the rate
    assert many.decide(np.array([1.0, 998, 1.0]), 0.01, Rule.parse("2/3")).alone
