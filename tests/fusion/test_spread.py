import numpy as np
import pytest

from dcase_asd.fusion import spread as module
from dcase_asd.fusion.spread import weight_spread

TARGETS = [[0.2, 0.5, 0.3], [0.4, 0.5, 0.1], [0.3, 0.2, 0.5], [0.1, 0.0, 0.9]]
FITTED = np.array([0.2, 0.5, 0.3])


def resamples():
    for target in TARGETS:
        yield lambda weights, target=target: -np.square(weights - target).sum(axis=1)


@pytest.mark.parametrize("few", [1001, 1])
def test_each_resample_is_fitted_by_itself(monkeypatch, few):
    monkeypatch.setattr(module, "FEW_POINTS", few)
    done = []
    spread = weight_spread(resamples(), FITTED, 0.1, done.append)
    each = [weight_spread([resample], FITTED, 0.1) for resample in resamples()]
    assert [list(one.mean) for one in each] == TARGETS
    assert done == [1] * spread.resamples == [1] * 4
    assert spread.mean == pytest.approx([0.25, 0.3, 0.45])
    assert spread.std == pytest.approx(np.std(TARGETS, axis=0))
    assert spread.lower == pytest.approx(np.quantile(TARGETS, 0.025, axis=0))
    assert spread.upper == pytest.approx(np.quantile(TARGETS, 0.975, axis=0))


def test_the_method_is_said(monkeypatch):
    assert weight_spread(resamples(), FITTED, 0.1).searched == "exhaustive lattice, step 0.1"
    monkeypatch.setattr(module, "FEW_POINTS", 1)
    assert weight_spread(resamples(), FITTED, 0.1).searched == (
        "coordinate-wise refinement from equal and fitted weights, step 0.1"
    )


def test_no_resample_has_no_spread():
    with pytest.raises(ValueError, match="at least one resample"):
        weight_spread([], FITTED, 0.1)
