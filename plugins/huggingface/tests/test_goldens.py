"""What transformers itself gives is the reference, computed here for one clip at a time."""

import inspect
import warnings

import pytest
import torch
from dcase_asd_huggingface import HuggingFace
from transformers import AutoFeatureExtractor, AutoModel

POOLED = ("ast", "clap", "clap_fusion")
"""Families whose models pool their tokens themselves."""


def clips(backbone, seconds=1.5, count=2):
    samples = int(seconds * backbone.sample_rate)
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(1))


def direct(folder, clip, *, hidden=False):
    """What transformers gives for one clip, without anything of this plugin."""
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    inputs = extractor(clip.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    if "is_longer" in inputs:
        inputs["is_longer"] = torch.tensor([[False]])
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    model = getattr(model, "audio_model", model)
    accepted = inspect.signature(model.forward).parameters
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # WavLM's, of a mask that this plugin does not give
        return model(
            **{name: value for name, value in inputs.items() if name in accepted},
            output_hidden_states=hidden,
        )


def rows(state):
    return state.flatten(2).transpose(1, 2) if state.ndim == 4 else state


def test_tokens_and_embeddings_are_those_of_transformers(save_model, family):
    backbone = HuggingFace.from_checkpoint(save_model(family)).eval()
    (clip,) = clips(backbone, count=1)
    expected = direct(save_model(family), clip)
    with torch.no_grad():
        tokens, embedding = backbone.tokens(clip[None]), backbone.embed(clip[None])
    torch.testing.assert_close(tokens, rows(expected.last_hidden_state), atol=1e-4, rtol=1e-4)
    if family in POOLED:
        pooled = expected.pooler_output
    elif family == "whisper":  # a token for 20 ms of 1.5 s; what follows is padding
        pooled = expected.last_hidden_state[:, :75].mean(1)
    else:
        pooled = expected.last_hidden_state.mean(1)
    torch.testing.assert_close(embedding, pooled, atol=1e-4, rtol=1e-4)


def test_layers_are_the_hidden_states_of_transformers(save_model, family):
    wanted = [1, 2]
    backbone = HuggingFace.from_checkpoint(save_model(family), layers=wanted, merge="mean")
    (clip,) = clips(backbone, count=1)
    states = direct(save_model(family), clip, hidden=True)
    expected = [states.hidden_states[1], states.hidden_states[2]]
    if len(states.hidden_states) == 3:
        expected[1] = states.last_hidden_state
    with torch.no_grad():
        found = backbone.eval().tokens(clip[None])
    mean = torch.stack([rows(each) for each in expected]).mean(0)
    torch.testing.assert_close(found, mean, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["ast", "wav2vec2"])
def test_features_computed_at_once_are_those_of_the_feature_extractor(save_model, family):
    backbone = HuggingFace.from_checkpoint(save_model(family))
    waveforms = clips(backbone) + 0.2
    extractor, samples = backbone.front_end.extractor, waveforms.shape[1]
    lengths = [samples, samples if family == "wav2vec2" else samples // 3]
    expected = [
        extractor(clip[:length].numpy(), sampling_rate=16000, return_tensors="pt")["input_values"]
        for clip, length in zip(waveforms, lengths, strict=True)
    ]
    found = backbone.front_end(waveforms, lengths)
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-4, rtol=1e-4)
