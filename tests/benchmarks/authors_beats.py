"""BEATs the way its authors' code computes it, the slow twin that benchmarks compare ours with.

A Kaldi front end clip by clip, position buckets and bias anew in every call and repeated over the
batch, the convolution's weight normalised in every call, and attention by explicit products with
the largest logit subtracted.
"""

import math

import torch
from dcase_asd_beats.front_end import FBANK_MEAN, FBANK_STD
from torch.nn import functional
from torchaudio.compliance import kaldi

SAMPLES = 160_000
GFLOP = 98.6  # matrix products of a clip: 93.3 in the layers, 4.7 in the convolution, 0.6 elsewhere


def authors_tokens(network, waveforms):
    """Tokens of the last layer, (b, n, d)."""
    return tokens_of_frames(network, authors_frames(waveforms))


def authors_frames(waveforms):
    """Normalised log-mel frames, (b, t, 128)."""
    frames = [kaldi.fbank(clip[None] * 2**15, num_mel_bins=128) for clip in waveforms]
    return (torch.stack(frames) - FBANK_MEAN) / (2 * FBANK_STD)


def tokens_of_frames(network, spectrogram):
    patches = network.patch_embedding(spectrogram[:, None]).flatten(2).transpose(1, 2)
    x = network.post_extract_proj(network.layer_norm(patches))
    encoder = network.encoder
    position = encoder.pos_conv[0]
    norm = position.weight_v.square().sum((0, 1), keepdim=True).sqrt()
    moved = functional.conv1d(
        x.transpose(1, 2),
        position.weight_v * (position.weight_g / norm),
        position.bias,
        padding=position.kernel // 2,
        groups=position.groups,
    )
    x = encoder.layer_norm(x + functional.gelu(moved[:, :, :-1]).transpose(1, 2))
    bias = bias_of(encoder.relative_attention_bias, x.shape[1], len(x))
    x = x.transpose(0, 1)
    for layer in encoder.layers:
        attended = attend(layer.self_attn, x, bias)
        x = layer.self_attn_layer_norm(x * layer.residual_scale + attended)
        fed = layer.fc2(functional.gelu(layer.fc1(x)))
        x = layer.final_layer_norm(x * layer.residual_scale + fed)
    return x.transpose(0, 1)


def bias_of(table, tokens, batch):
    place = torch.arange(tokens)
    values = functional.embedding(table.buckets(place[None] - place[:, None]), table.weight)
    return values.permute(2, 0, 1)[None].repeat(batch, 1, 1, 1).flatten(0, 1)


def attend(attention, x, bias):
    """(n, b, d) -> (n, b, d); `bias` (b * h, n, n)."""
    tokens, batch, width = x.shape
    heads = attention.heads
    query, key, value = (
        projection(x).reshape(tokens, batch * heads, -1).transpose(0, 1)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    scale, calm = math.sqrt(width // heads), 32.0
    logits = torch.bmm(query / (scale * calm), key.transpose(1, 2))
    logits = (logits - logits.max(-1, keepdim=True).values) * calm
    each = query.reshape(batch, heads, tokens, -1)
    gates = attention.grep_linear(each).reshape(batch, heads, tokens, 2, 4).sum(-1).sigmoid()
    inner, outer = gates.chunk(2, -1)
    gate = inner * (outer * attention.grep_a - 1.0) + 2.0
    weights = functional.softmax(logits + gate.reshape(batch * heads, tokens, 1) * bias, -1)
    joined = torch.bmm(weights, value).transpose(0, 1).reshape(tokens, batch, width)
    return attention.out_proj(joined)
