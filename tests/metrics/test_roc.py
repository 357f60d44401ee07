import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_auc_score, roc_curve

from dcase_asd.errors import GroundTruthError
from dcase_asd.metrics.official import evaluate
from dcase_asd.metrics.ranking import MAXIMUM_FALSE_ALARM_RATE, mcclish
from dcase_asd.metrics.roc import roc_curves, roc_points


def labelled_clips(seed, clips=12, sections=("00",)):
    """Clips of two machines with many equal scores."""
    generator = np.random.default_rng(seed)
    rows = [
        (machine, section, f"{domain}_{condition}_{index}.wav", domain, condition)
        for machine in ("fan", "valve")
        for section in sections
        for domain in ("source", "target")
        for condition in ("normal", "anomaly")
        for index in range(clips)
    ]
    table = pd.DataFrame(rows, columns=["machine", "section", "file", "domain", "condition"])
    return table.assign(score=generator.integers(0, 9, len(table)) / 8)


def area(curve, limit=1.0):
    """Area below a curve by the trapezoidal rule, up to a false-alarm rate."""
    x, y = curve.false_alarm_rate, curve.detection_rate
    inside = x <= limit
    return auc([*x[inside], limit], [*y[inside], np.interp(limit, x, y)])


@pytest.mark.parametrize("seed", range(3))
def test_areas_below_the_curves_are_the_official_values_of_2022(seed):
    labelled = labelled_clips(seed)
    results = {each.machine: each.result for each in evaluate(labelled, "2022").sections}
    curves = roc_curves(labelled, "2022")
    assert len(curves) == 6
    for curve in curves:
        of_machine = results[curve.machine]
        if curve.domain:
            assert area(curve) == pytest.approx(of_machine[f"auc_{curve.domain}"], abs=1e-12)
        else:
            partial = mcclish(np.array(area(curve, MAXIMUM_FALSE_ALARM_RATE)))
            assert partial == pytest.approx(of_machine["pauc"], abs=1e-12)


@pytest.mark.parametrize("metric", ["2020", "2021"])
def test_areas_below_the_curves_are_the_official_values_of_other_years(metric):
    labelled = labelled_clips(3, sections=("00", "01"))
    results = {
        (each.machine, each.section, each.domain): each.result
        for each in evaluate(labelled, metric).sections
    }
    curves = roc_curves(labelled, metric)
    assert len(curves) == len(results)
    for curve in curves:
        of_curve = results[curve.machine, curve.section, curve.domain]
        assert area(curve) == pytest.approx(of_curve["auc"], abs=1e-12)
        partial = mcclish(np.array(area(curve, MAXIMUM_FALSE_ALARM_RATE)))
        assert partial == pytest.approx(of_curve["pauc"], abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_points_are_those_of_an_independent_curve(clips):
    scores = np.array([score for score, _ in clips], dtype=np.float64)
    anomalous = np.array([condition for _, condition in clips])
    if anomalous.all() or not anomalous.any():
        return
    x, y = roc_points(scores, anomalous)
    expected_x, expected_y, _ = roc_curve(anomalous, scores, drop_intermediate=False)
    np.testing.assert_allclose((x, y), (expected_x, expected_y), atol=1e-12)
    assert auc(x, y) == pytest.approx(roc_auc_score(anomalous, scores))


def test_a_section_without_anomalies_has_no_curve():
    labelled = labelled_clips(0)
    labelled = labelled[(labelled["machine"] == "fan") | (labelled["condition"] == "normal")]
    with pytest.raises(GroundTruthError, match="valve section 00: no anomaly clip"):
        roc_curves(labelled, "2022")
    assert {curve.machine for curve in roc_curves(labelled, "2022", strict=False)} == {"fan"}
