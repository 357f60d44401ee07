"""A backbone with a head of its own keeps the contract of a backbone, and cuts long clips."""

import json

import pytest
import torch
from tiny_backbone import Tiny, TinyCls

from dcase_asd.backbone import read_tensors, write_tensors
from dcase_asd.backbone.finetuned import Finetuned, HeadSizes
from dcase_asd.errors import BackboneError
from dcase_asd.registry import load_backbone
from dcase_asd.testing import check_backbone


def made(kind=Tiny, pooling="attention", seconds=10.0, embedding="dense"):
    torch.manual_seed(0)
    return Finetuned(kind(), HeadSizes(pooling, 12, 6, seconds), embedding).eval()


class Opened(Finetuned):
    """Knows its plugin, as the registry does."""

    @classmethod
    def from_checkpoint(cls, path=None, **options):
        return super().from_checkpoint(path, Tiny, **options)


@pytest.mark.parametrize("pooling", ["attention", "mean", "cls"])
def test_it_keeps_the_contract(tmp_path, pooling):
    backbone = made(pooling=pooling)
    backbone.__class__ = Opened
    check_backbone(backbone, tmp_path)


def test_long_clips_are_the_mean_over_evenly_spaced_windows():
    backbone = made(seconds=1.0)
    clip = torch.randn(40000, generator=torch.Generator().manual_seed(0)) * 0.1
    starts = [0, 12000, 24000]  # three windows of 16,000 samples over 40,000
    parts = torch.stack([clip[start : start + 16000] for start in starts])
    batch = torch.zeros(2, 40000)
    batch[0], batch[1, :9000] = clip, clip[:9000]
    with torch.inference_mode():
        found = backbone.embed(batch, torch.tensor([40000, 9000]))
        expected = backbone.embed(parts).mean(0)
        short = backbone.embed(clip[None, :9000])[0]
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], short, atol=1e-5, rtol=1e-4)


def test_the_vector_before_the_dense_layer_can_be_had(tmp_path):
    path = tmp_path / "x.safetensors"
    made().save(path)
    dense = Finetuned.from_checkpoint(path, Tiny).eval()
    pooled = Finetuned.from_checkpoint(path, Tiny, embedding="pooled").eval()
    clip = torch.randn(1, 16000) * 0.1
    with torch.inference_mode():
        assert (dense.dimension, pooled.dimension) == (12, 64)
        assert torch.equal(dense.head.dense(pooled.embed(clip)), dense.embed(clip))
    with pytest.raises(ValueError, match="embedding must be dense, pooled or cls, not 'x'"):
        made(embedding="x")


@pytest.mark.parametrize("pooling", ["attention", "mean", "cls"])
def test_the_class_token_can_be_had_whatever_the_pooling(tmp_path, pooling):
    path = tmp_path / "x.safetensors"
    made(TinyCls, pooling).save(path)
    model = Finetuned.from_checkpoint(path, TinyCls, embedding="cls").eval()
    backbone = model.backbone
    batch = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.inference_mode():
        found = model.embed(batch, torch.tensor([16000, 9000]))
        first, second = backbone.tokens(batch[:1])[0, 0], backbone.tokens(batch[1:, :9000])[0, 0]
    assert found.shape == (2, model.dimension) == (2, 32)
    torch.testing.assert_close(found, torch.stack([first, second]), atol=1e-5, rtol=1e-4)


class NamesNoToken(TinyCls):
    """Has a class token, and is pooled by attention unless told otherwise."""

    pooling = "attention"


class FirstOfAll(Tiny):
    """Names its first token and leaves it to the default to take it."""

    pooling = "cls"


def test_a_class_token_is_only_where_the_backbone_has_one():
    assert [kind().has_cls for kind in (Tiny, TinyCls, NamesNoToken, FirstOfAll)] == [
        False, True, True, True,
    ]  # fmt: skip
    with pytest.raises(BackboneError, match=r"'tiny' has no class token .* dense or pooled"):
        made(embedding="cls")
    assert made(FirstOfAll, "cls", embedding="cls").dimension == 32


def test_the_class_token_stands_in_place_of_pooling(tmp_path):
    backbone = made(TinyCls, "cls")
    clip = torch.randn(1, 16000) * 0.1
    with torch.inference_mode():
        token = backbone.tokens(clip)[:, 0]
        assert torch.allclose(backbone.embed(clip), backbone.head.dense(token), atol=1e-6)


def test_the_same_model_gives_the_same_bytes(tmp_path):
    made().save(tmp_path / "a")
    made().save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_wrong_checkpoints_are_told(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(BackboneError, match=r"not a checkpoint that fine-tuning saved"):
        Finetuned.from_checkpoint(path, Tiny)
    made().save(path)
    with pytest.raises(
        BackboneError, match="a checkpoint of the backbone 'tiny', not of 'tiny-cls'"
    ):
        Finetuned.from_checkpoint(path, TinyCls)
    with pytest.raises(BackboneError, match="'tiny', not of 'spectral'; use --plugin tiny"):
        load_backbone("spectral", path)
    tensors, metadata = read_tensors(path)
    head = json.loads(metadata["head"]) | {"bottleneck": 5}
    write_tensors(path, tensors, metadata | {"head": json.dumps(head)})
    with pytest.raises(BackboneError, match="the head does not fit"):
        Finetuned.from_checkpoint(path, Tiny)


def test_a_backbone_without_a_front_end_is_refused():
    with pytest.raises(
        BackboneError,
        match="it has no spectrogram and no tokens_from",
    ):
        Finetuned(load_backbone("spectral"), HeadSizes())


def test_the_grid_is_that_of_the_backbone_before_the_head_in_windows_of_the_training_length():
    backbone = made(seconds=1.0)
    clip = torch.randn(40000, generator=torch.Generator().manual_seed(0)) * 0.1
    parts = torch.stack([clip[start : start + 16000] for start in (0, 12000, 24000)])
    batch = torch.zeros(2, 40000)
    batch[0], batch[1, :9000] = clip, clip[:9000]
    with torch.inference_mode():
        tokens, mask = backbone.token_grid(batch, torch.tensor([40000, 9000]))
        expected = backbone.backbone.tokens(parts)
        short = backbone.backbone.tokens(clip[None, :9000])
    torch.testing.assert_close(tokens[0][mask[0]][:, 0], expected.flatten(0, 1))
    torch.testing.assert_close(tokens[1][mask[1]][:, 0], short[0])
