"""Tiny models with random weights, saved as their authors save them."""

import pytest
import torch
import transformers
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ClapConfig,
    ClapFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
)

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

SIZES = {"num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
CONVOLUTIONS = {
    "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
SAMPLES = {"feature_size": 1, "sampling_rate": 16000, "padding_value": 0.0}
CLAP_AUDIO = {
    "spec_size": 64, "patch_embeds_hidden_size": 8, "depths": [1, 1], "hidden_size": 16,
    "num_attention_heads": [2, 2], "window_size": 4, "num_mel_bins": 16, "patch_size": 4,
    "patch_stride": [4, 4], "flatten_patch_embeds": True, "num_hidden_layers": 2,
}  # fmt: skip


def samples_in(kind, **changes):
    """A model that takes samples, and its feature extractor."""
    config = getattr(transformers, f"{kind}Config")
    sizes = SIZES | CONVOLUTIONS | {"hidden_size": 32} | changes
    return config(**sizes), Wav2Vec2FeatureExtractor(**SAMPLES, return_attention_mask=True)


def ast():
    config = ASTConfig(**SIZES, hidden_size=32, max_length=200, num_mel_bins=32)
    return config, ASTFeatureExtractor(max_length=200, num_mel_bins=32)


def whisper():
    sizes = {"encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 48}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 48}
    words = {"vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = WhisperConfig(
        **sizes, **decoder, **words, d_model=32, num_mel_bins=80, max_source_positions=100,
        decoder_start_token_id=3, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    return config, WhisperFeatureExtractor(chunk_length=2)


def clap(**changes):
    text = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16,
            "num_attention_heads": 2, "max_position_embeddings": 16}  # fmt: skip
    config = ClapConfig(text_config=text, audio_config=CLAP_AUDIO | changes, projection_dim=16)
    extractor = ClapFeatureExtractor(
        feature_size=16, max_length_s=2, truncation="fusion" if changes else "rand_trunc"
    )
    return config, extractor


def seamless():
    sizes = SIZES | {"hidden_size": 32, "feature_projection_input_dim": 160, "add_adapter": False}
    return Wav2Vec2BertConfig(**sizes), SeamlessM4TFeatureExtractor()


MODELS = {
    "ast": ast,
    "clap": clap,
    "clap_fusion": lambda: clap(enable_fusion=True, fusion_type="aff_2d"),
    "data2vec": lambda: samples_in("Data2VecAudio"),
    "hubert": lambda: samples_in("Hubert"),
    "sew": lambda: samples_in("SEW", conv_dim=(16,) * 13),
    "wav2vec2": lambda: samples_in("Wav2Vec2"),
    "wav2vec2_layer_norm": lambda: samples_in(
        "Wav2Vec2", feat_extract_norm="layer", do_stable_layer_norm=True
    ),
    "wav2vec2_bert": seamless,
    "wavlm": lambda: samples_in("WavLM"),
    "whisper": whisper,
}
"""Name of a family -> its tiny configuration and feature extractor."""


@pytest.fixture(scope="session")
def save_model(tmp_path_factory):
    """Save the tiny model of a family, once; returns its folder."""
    made = {}

    def save(family):
        if family not in made:
            folder = tmp_path_factory.mktemp("models") / family
            config, extractor = MODELS[family]()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = transformers.AutoModel.from_config(config)
                for parameter in model.parameters():  # biases and norms, too
                    torch.nn.init.normal_(parameter, parameter.mean().item(), 0.1)
            model.save_pretrained(folder)
            extractor.save_pretrained(folder)
            made[family] = folder
        return made[family]

    return save


@pytest.fixture(params=list(MODELS))
def family(request):
    """Each family's name."""
    return request.param
