"""Poolings over time against values that an independent program computed."""

import inspect
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from dcase_asd.backbone.time_pooling import POOLINGS, pool
from dcase_asd.errors import BackboneError
from dcase_asd.poolings import PARAMETERS, RANGES, Pooling

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "detectors" / "seed_0.npz")
TOKENS = GOLDEN["tokens"]
EXPECTED = {
    "pool_mean": ("mean", {}),
    "pool_max": ("max", {}),
    "pool_gem_p3": ("gem", {"p": 3}),
    "pool_gem_p10": ("gem", {"p": 10}),
    "pool_gwrp_r0.4": ("gwrp", {"r": 0.4}),
    "pool_rdp_4": ("rdp", {"gamma": 4}),
    "pool_rdp_19": ("rdp", {"gamma": 19}),
    "pool_rdp_gem_16_3": ("rdp+gem", {"gamma": 16, "p": 3}),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_pooling_gives_the_published_formula(name):
    method, parameters = EXPECTED[name]
    np.testing.assert_allclose(pool(TOKENS, method, **parameters), GOLDEN[name], rtol=1e-9)


def test_the_deviation_is_that_of_the_population():
    np.testing.assert_allclose(pool(TOKENS, "std"), TOKENS.std(axis=0), rtol=1e-9)


def test_the_ends_of_the_ranked_pooling_are_maximum_and_mean():
    np.testing.assert_allclose(pool(TOKENS, "gwrp", r=0.0), TOKENS.max(axis=0))
    np.testing.assert_allclose(pool(TOKENS, "gwrp", r=1.0), TOKENS.mean(axis=0))


@pytest.mark.parametrize("method", POOLINGS)
def test_padding_never_counts(method):
    noise = 9 * np.random.default_rng(0).standard_normal((4, *TOKENS.shape[1:]))
    padded = np.concatenate([TOKENS, noise])
    mask = np.arange(len(padded)) < len(TOKENS)
    np.testing.assert_allclose(pool(padded, method, mask=mask), pool(TOKENS, method), rtol=1e-9)
    padded[~mask] = np.nan
    np.testing.assert_allclose(pool(padded, method, mask=mask), pool(TOKENS, method), rtol=1e-9)


def test_recipes_know_the_poolings_and_their_parameters_without_torch():
    assert get_args(Pooling) == tuple(POOLINGS)
    for name, method in POOLINGS.items():
        taken = list(inspect.signature(method).parameters)[2:]
        assert sorted(PARAMETERS.get(name, ())) == sorted(taken)
        assert set(taken) <= set(RANGES)


@pytest.mark.parametrize("method", POOLINGS)
def test_a_batch_in_single_precision_is_pooled_clip_by_clip(method):
    batch = torch.from_numpy(np.stack([TOKENS, TOKENS[::-1].copy()])).float()
    pooled = pool(batch, method)
    assert pooled.dtype == torch.float32
    for clip in pooled:  # no pooling depends on the order of the times
        np.testing.assert_allclose(clip, pool(TOKENS, method), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", POOLINGS)
def test_equal_tokens_are_their_own_pooling(method):
    pooled = pool(np.ones((5, 2, 3)), method)
    np.testing.assert_allclose(pooled, 0.0 if method == "std" else 1.0)


def test_large_values_stay_finite_in_single_precision():
    assert np.isfinite(pool(np.full((5, 2, 3), 1e20, np.float32), "gem", p=10.0)).all()
    assert (pool(-np.ones((5, 2, 3)), "gem") == 0).all()


def test_what_there_is_not_is_refused():
    with pytest.raises(BackboneError, match="no pooling is called 'rpd'; did you mean 'rdp'"):
        pool(TOKENS, "rpd")
    with pytest.raises(BackboneError, match="the pooling 'gem' has no parameter 'gamma'; it has p"):
        pool(TOKENS, "gem", gamma=4)
    with pytest.raises(BackboneError, match=r"r = 1.5 of the pooling 'gwrp' must lie in \[0, 1\]"):
        pool(TOKENS, "gwrp", r=1.5)
    with pytest.raises(BackboneError, match=r"shape \(5, 3\) are no grid"):
        pool(np.ones((5, 3)))
    with pytest.raises(BackboneError, match="leaves a clip without a token"):
        pool(TOKENS, mask=np.zeros(len(TOKENS), dtype=bool))
