"""The front end against the feature extractors that it stands for."""

import pytest
import torch
from dcase_asd_huggingface.front_end import FrontEnd
from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor

EXTRACTORS = {
    "samples": lambda normalize: Wav2Vec2FeatureExtractor(do_normalize=normalize),
    "ast": lambda normalize: ASTFeatureExtractor(
        max_length=200, num_mel_bins=32, do_normalize=normalize
    ),
}


@pytest.mark.parametrize("kind", EXTRACTORS)
@pytest.mark.parametrize("normalize", [True, False])
def test_what_an_extractor_normalizes_is_normalized_and_nothing_else(kind, normalize):
    extractor = EXTRACTORS[kind](normalize)
    clips = 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0)) + 0.05
    found = FrontEnd(extractor)(clips, [16_000] * 2)
    for clip, features in zip(clips, found, strict=True):
        expected = extractor(clip.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
        torch.testing.assert_close(features, expected[0], rtol=1e-4, atol=1e-4)
