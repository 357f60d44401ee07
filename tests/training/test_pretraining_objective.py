"""The objective of pre-training, against the published code and against its formulas."""

import dataclasses
import math
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from dcase_asd.backbone.family import STEM, published_key
from dcase_asd.backbone.vision_transformer import TransformerSize, VisionTransformer
from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.training.pretraining_objective import (
    MaskedPrediction,
    draw_masks,
    effective_rank,
    teacher_decay,
    visible_patches,
)

GOLDEN = Path(__file__).parents[1] / "data" / "pretraining" / "eat_tiny_pretrain_step.npz"
"""One step of EAT's published class (with random weights, without mask noise)."""
RELATIVE = 1e-4
SETTINGS = Pretraining(decoder_layers=2, decoder_width=32, decoder_kernel=3)


def filled(name, shape):
    """Weights that everybody can draw again, by the name that they have in published files."""
    random = np.random.RandomState((zlib.crc32(name.encode()) + 1000003 * 4) % 2**32)
    values = random.standard_normal(tuple(shape))
    if name.endswith("extra_tokens"):
        values = 0.5 * values
    elif len(shape) > 1:
        values = values / np.sqrt(np.prod(shape[1:]))
    else:
        values = (1 if name.endswith("weight") else 0) + 0.1 * values
    return torch.from_numpy(values.astype(np.float32))


def key_of(name):
    """The published key of a tensor of `MaskedPrediction`."""
    part, own = name.split(".", 1)
    if part == "decoder":
        return f"{STEM}decoder." + re.sub(r"convolutions\.(\d+)", r"blocks.\1.0", own)
    key = published_key(own)
    key = key if key.startswith("blocks.") else STEM + key
    return f"_ema.{key}" if part == "teacher" else key


@pytest.fixture
def model():
    student = VisionTransformer(TransformerSize(48, 2, 4), (96, 8))
    model = MaskedPrediction(student, SETTINGS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(filled(key_of(name), parameter.shape))
    return model


def step(model, golden):
    masked = torch.from_numpy(golden["mask"]).bool()
    noise = torch.zeros(8, int(masked[0].sum()), 48)
    images = torch.from_numpy(golden["source"])[:, 0]
    return model(images, torch.tensor([4, 4]), masked, noise)


def close(found, expected):
    found = np.asarray(found.detach() if torch.is_tensor(found) else found)
    assert np.abs(found - expected).max() <= RELATIVE * np.abs(expected).max()


def test_a_step_is_the_published_one(model):
    golden = np.load(GOLDEN)
    targets, _ = model.targets(torch.from_numpy(golden["source"])[:, 0])
    close(targets, golden["target"])
    losses = step(model, golden)
    assert losses.patches == golden["sample_size"]
    close(losses.cls, golden["loss_cls_sum"])
    close(losses.regression, golden["loss_regression_sum"])
    close(losses.total, golden["loss_total"])
    close(losses.target_deviation, golden["target_var"])
    close(losses.predicted_deviation, golden["pred_var"])
    losses.total.backward()
    learnt = [each for each in model.parameters() if each.requires_grad]
    close(torch.nn.utils.get_total_norm([each.grad for each in learnt]), golden["grad_norm"])
    close(model.student.blocks[0].attn.qkv.weight.grad[:8], golden["grad_qkv0"])
    close(model.student.cls_token.grad, golden["grad_extra_tokens"])
    close(model.decoder.proj.weight.grad[:8], golden["grad_decoder_proj"])
    teacher = model.teacher.blocks[0].attn.qkv.weight
    assert np.array_equal(teacher[:4], golden["ema_qkv0_before"])
    decay = teacher_decay(1, SETTINGS)
    assert decay == pytest.approx(float(golden["ema_decay_after_update1"]), rel=1e-6)
    model.follow(decay)
    moved = (golden["ema_qkv0_after"] - golden["ema_qkv0_before"]).max()
    assert np.abs(teacher[:4].numpy() - golden["ema_qkv0_after"]).max() < 1e-3 * moved


def test_bands_and_clones_in_one_batch_are_each_computed_alone(model):
    torch.manual_seed(0)
    images, clones = torch.randn(3, 128, 128), torch.tensor([2, 1, 3])
    masked = draw_masks(6, 8, 8, SETTINGS, torch.Generator().manual_seed(1))
    noise = 0.01 * torch.randn(6, 52, 48)
    together = model(images, clones, masked, noise)
    alone, first = [], 0
    for image, count in zip(images, clones.tolist(), strict=True):
        for row in range(first, first + count):
            part = slice(row, row + 1)
            one = torch.tensor([1])
            alone.append(model(image[None], one, masked[part], noise[part]))
        first += count
    assert together.patches == sum(each.patches for each in alone)
    close(together.regression, sum(each.regression for each in alone).numpy())
    close(together.cls / 6, sum(each.cls for each in alone).numpy())  # a clone knows of its own


def test_masked_patches_are_never_seen(model):
    torch.manual_seed(0)
    images = torch.randn(2, 128, 128)
    masked = draw_masks(2, 8, 8, SETTINGS, torch.Generator().manual_seed(1))
    noise, clones = torch.zeros(2, 52, 48), torch.tensor([1, 1])
    hidden = masked.view(2, 8, 8).repeat_interleave(16, 1).repeat_interleave(16, 2)
    other = torch.where(hidden, torch.randn(2, 128, 128), images)
    model.targets = lambda _: (torch.zeros(2, 64, 48), torch.zeros(2, 48))
    first, second = (model(each, clones, masked, noise) for each in (images, other))
    assert torch.equal(first.total, second.total)


def test_predicting_all_patches_counts_all(model):
    model.settings = dataclasses.replace(SETTINGS, predict="all", cls_weight=0.5)
    losses = step(model, np.load(GOLDEN))
    assert losses.patches == 8 * 64
    close(losses.total, (losses.regression + 0.5 * losses.cls).numpy())


def test_only_the_last_layers_are_averaged(model):
    image = torch.randn(1, 32, 32)
    model.settings = dataclasses.replace(SETTINGS, target_layers=1)
    hidden = {}
    model.teacher.blocks[1].mlp.register_forward_hook(lambda *each: hidden.update(last=each[2]))
    targets, cls = model.targets(image)
    last = hidden["last"][0, 1:].double().numpy()
    last = (last - last.mean(0)) / np.sqrt(last.var(0) + 1e-5)
    last = (last - last.mean(1, keepdims=True)) / np.sqrt(last.var(1, keepdims=True) + 1e-5)
    close(targets[0], last)
    close(cls, model.teacher(image, cls_only=True)[:, 0].numpy())


@pytest.mark.parametrize(("rows", "columns", "visible"), [(64, 8, 102), (62, 6, 74), (8, 8, 12)])
def test_masks_leave_blocks_of_a_fixed_number_of_patches(rows, columns, visible):
    assert visible_patches(rows * columns, SETTINGS) == visible
    masks = draw_masks(200, rows, columns, SETTINGS, torch.Generator().manual_seed(0))
    assert ((~masks).sum(1) == visible).all()
    seen = (~masks).view(200, rows, columns).numpy()
    neighbors = (seen[:, :, 1:] & seen[:, :, :-1]).sum() / seen[:, :, 1:].sum()
    assert neighbors > 0.5  # of single patches it would be a fifth
    assert len({each.tobytes() for each in seen}) > 150  # a block of 12 in 64 comes again
    again = draw_masks(200, rows, columns, SETTINGS, torch.Generator().manual_seed(0))
    assert torch.equal(masks, again)


def test_effective_rank_of_known_spreads():
    ring = torch.stack([torch.tensor([math.cos(a), math.sin(a), 0.0]) for a in range(6283)])
    assert effective_rank(ring) == pytest.approx(2, abs=1e-3)
    assert effective_rank(torch.outer(torch.arange(5.0), torch.ones(3))) == pytest.approx(1)
    assert effective_rank(torch.ones(4, 3)) == 0


def test_the_teacher_slows_down_linearly():
    settings = dataclasses.replace(SETTINGS, decay_start=0.9, decay_end=0.98, decay_updates=40)
    assert [teacher_decay(n, settings) for n in (0, 10, 40, 900)] == pytest.approx(
        [0.9, 0.92, 0.98, 0.98]
    )
