"""The contract suite that every backbone plugin runs: `check_backbone`.

In a plugin's tests::

    from dcase_asd.testing import check_backbone

    def test_keeps_the_contract(tmp_path):
        check_backbone(MyBackbone.from_checkpoint(None, depth=2), tmp_path)
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dcase_asd.backbone import Backbone
from dcase_asd.backbone.time_pooling import GRID_DIMENSIONS, pool

DEFAULT_RATE = 16000
"""Rate in Hz to test backbones at that take every rate."""


def check_backbone(
    backbone: Backbone,
    folder: str | Path,
    *,
    seconds: tuple[float, ...] = (2.0, 1.0, 1.37),
    device: str = "cpu",
    tolerance: float = 1e-4,
) -> None:
    """Check that a backbone keeps the plugin contract.

    Args:
        backbone: The backbone in eval mode; random weights do.
        folder: An empty folder for the save and load round trip.
        seconds: Lengths of the test clips; the first must be the longest.
        device: Where to run; its results are compared with itself only.
        tolerance: Largest difference relative to the largest value of an embedding, between ways
            of computing that must not matter (batching, padding).

    Raises:
        AssertionError: The contract is broken; the message says how.
    """
    backbone = backbone.to(device).eval()
    rate = backbone.sample_rate or DEFAULT_RATE
    clips = [_clip(int(length * rate), seed).to(device) for seed, length in enumerate(seconds)]
    with torch.inference_mode():
        _check_attributes(backbone)
        singles = torch.cat([backbone.embed(clip[None], sample_rate=rate) for clip in clips])
        _check_shapes(backbone, clips[0], singles, rate)
        again = backbone.embed(clips[0][None], sample_rate=rate)
        assert torch.equal(again[0], singles[0]), "the same clip twice gives two embeddings"
        stack = torch.stack([clips[0], clips[0].flip(0), clips[0] * 0.5])
        _check_equal(
            backbone.embed(stack, sample_rate=rate)[:1],
            singles[:1],
            tolerance,
            "a clip in a batch is embedded otherwise than alone",
        )
        lengths = torch.tensor([len(clip) for clip in clips], device=device)
        padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
        _check_equal(
            backbone.embed(padded, lengths, rate),
            singles,
            tolerance,
            "padding changes an embedding",
        )
        _check_grid(backbone, clips, padded, lengths, rate, tolerance)
        _check_round_trip(backbone, clips[0], singles[0], rate, Path(folder))


def _check_attributes(backbone: Backbone) -> None:
    assert isinstance(backbone.name, str), "name must be text: the entry point's name"
    assert backbone.name, "name must not be empty"
    assert isinstance(backbone.dimension, int), "dimension must be a whole number"
    assert backbone.dimension > 0, "dimension must be positive"
    rate = backbone.sample_rate
    assert rate is None or rate > 0, f"sample_rate must be None or in Hz, not {rate}"
    assert isinstance(backbone.options, dict), "options must hold from_checkpoint's arguments"


def _check_shapes(backbone: Backbone, clip: Tensor, singles: Tensor, rate: int) -> None:
    expected = (len(singles), backbone.dimension)
    assert singles.shape == expected, f"embed gives {tuple(singles.shape)}, not {expected}"
    assert bool(torch.isfinite(singles).all()), "embeddings are not finite"
    assert not torch.equal(singles[0], singles[1]), "different clips give one embedding"
    tokens = backbone.tokens(clip[None], sample_rate=rate)
    assert tokens.ndim == 3, f"tokens must be (b, t, d), not {tuple(tokens.shape)}"  # noqa: PLR2004
    assert bool(torch.isfinite(tokens).all()), "tokens are not finite"
    silence = backbone.embed(torch.zeros_like(clip)[None], sample_rate=rate)
    assert bool(torch.isfinite(silence).all()), (
        "digital silence gives an embedding that is not finite"
    )


def _check_grid(
    backbone: Backbone,
    clips: list[Tensor],
    padded: Tensor,
    lengths: Tensor,
    rate: int,
    tolerance: float,
) -> None:
    if backbone.lacks(["tokens"]) and backbone.lacks(["token_grid"]):
        return
    alone = []
    for clip in clips:
        tokens, mask = backbone.token_grid(clip[None], sample_rate=rate)
        shape = tuple(tokens.shape)
        assert len(shape) == GRID_DIMENSIONS, f"token_grid must be (b, t, f, d), not {shape}"
        right = mask.dtype == torch.bool and mask.shape == tokens.shape[:2] and bool(mask.any())
        assert right, "the mask of token_grid must be (b, t), of truth values, some of them true"
        alone.append(pool(tokens.float(), "rdp", mask=mask))
    tokens, mask = backbone.token_grid(padded, lengths, rate)
    _check_equal(
        pool(tokens.float(), "rdp", mask=mask),
        torch.cat(alone),
        tolerance,
        "padding changes a pooled token_grid",
    )


def _check_round_trip(
    backbone: Backbone, clip: Tensor, expected: Tensor, rate: int, folder: Path
) -> None:
    path = folder / "backbone.safetensors"
    backbone.save(path)
    with torch.inference_mode(mode=False):  # as everybody loads it
        loaded = type(backbone).from_checkpoint(path).to(clip.device).eval()
    found = loaded.embed(clip[None], sample_rate=rate)[0]
    assert torch.equal(found, expected), "a saved and loaded backbone embeds otherwise"
    assert loaded.options == backbone.options, "options change when saved and loaded"


def _check_equal(found: Tensor, expected: Tensor, tolerance: float, message: str) -> None:
    difference = float((found - expected).abs().max() / expected.abs().max())
    assert difference <= tolerance, f"{message} (relative difference {difference:.2g})"


def _clip(samples: int, seed: int) -> Tensor:
    """A hum with noise, (samples,), within [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / DEFAULT_RATE
    hum = torch.sin(2 * torch.pi * (90.0 + 35.0 * seed) * time)
    return (0.3 * hum + 0.1 * torch.randn(samples, generator=generator)).clamp(-1, 1)
