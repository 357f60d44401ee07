import math
import types

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcase_asd.training import losses
from dcase_asd.training.losses import AdaCos, ArcFace, CenterLoss, add_margin

COUNTS = [1, 4, 2, 1, 16]


def drawn(kind, batch=6, dimension=5, **options):
    torch.manual_seed(0)
    loss = kind(dimension, COUNTS, **options).double()
    embeddings = torch.randn(batch, dimension, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 4, 4])[:batch]
    return loss, embeddings, labels


def reference(weight, embedding, label, scale, margin):
    """Equation 1 of the report with arc cosines, one clip at a time, in float64 numpy."""
    rows, cosines = 0, []
    for count in COUNTS:
        centers = weight[rows : rows + count]
        rows += count
        lengths = np.linalg.norm(centers, axis=1) * np.linalg.norm(embedding)
        cosines.append(max(centers @ embedding / lengths))
    angle = math.acos(cosines[label])
    target = math.exp(scale * math.cos(angle + margin))
    others = sum(math.exp(scale * c) for j, c in enumerate(cosines) if j != label)
    return -math.log(target / (target + others))


@pytest.fixture
def exact(monkeypatch):
    """Losses compute in float32 whatever they get; here they compute as precisely as they can."""
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)


def test_arcface_is_equation_1_with_the_nearest_of_each_class_s_sub_centers(exact):
    loss, embeddings, labels = drawn(ArcFace, scale=7.0, margin=0.2)
    values, cosines = loss(embeddings, labels)
    weight = loss.weight.detach().numpy()
    expected = [
        reference(weight, each.numpy(), int(label), 7.0, 0.2)
        for each, label in zip(embeddings, labels, strict=True)
    ]
    np.testing.assert_allclose(values.detach().numpy(), expected, rtol=1e-10)
    assert cosines.shape == (6, len(COUNTS))


def test_arcface_s_gradient_is_that_of_equation_1(exact):
    loss, embeddings, labels = drawn(ArcFace, scale=5.0, margin=0.3)
    embeddings.requires_grad_()
    loss(embeddings, labels)[0].sum().backward()
    weight, step = loss.weight.detach().numpy().copy(), 1e-6

    def total(weight, embeddings):
        return sum(
            reference(weight, each, int(label), 5.0, 0.3)
            for each, label in zip(embeddings, labels, strict=True)
        )

    points = embeddings.detach().numpy().copy()
    for array, found, other in (
        (points, embeddings.grad, lambda: total(weight, points)),
        (weight, loss.weight.grad, lambda: total(weight, points)),
    ):
        for place in np.ndindex(array.shape):
            before = array[place]
            array[place] = before + step
            above = other()
            array[place] = before - step
            below = other()
            array[place] = before
            assert float(found[place]) == pytest.approx((above - below) / (2 * step), abs=2e-7)


def test_the_margin_is_on_the_target_class_only():
    loss, embeddings, labels = drawn(ArcFace, margin=0.0)
    loss, embeddings = loss.float(), embeddings.float()
    plain, cosines = loss(embeddings, labels)
    expected = torch.nn.functional.cross_entropy(30 * cosines, labels, reduction="none")
    torch.testing.assert_close(plain, expected)
    loss.margin = 0.2
    with_margin, same = loss(embeddings, labels)
    torch.testing.assert_close(same, cosines)
    assert bool((with_margin > plain).all())


@given(st.floats(-1, 1), st.floats(0, math.pi))
def test_the_margin_is_added_to_the_angle_until_it_is_straight(cosine, margin):
    value = torch.tensor(cosine, dtype=torch.float64, requires_grad=True)
    result = add_margin(value, margin)
    result.backward()
    shifted = result.detach()
    assert math.isfinite(value.grad)
    assert float(shifted) <= cosine + 1e-6
    angle = math.acos(cosine)
    if angle + margin < math.pi - 1e-3:
        assert float(shifted) == pytest.approx(math.cos(angle + margin), abs=2e-6)
    else:
        assert float(shifted) < -0.99


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 1.5))
def test_a_larger_angle_is_never_rewarded(one, other, margin):
    low, high = sorted((one, other))
    values = add_margin(torch.tensor([low, high], dtype=torch.float64), margin)
    assert float(values[0]) <= float(values[1]) + 1e-9


@pytest.mark.parametrize("kind", [ArcFace, AdaCos])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_embeddings_on_a_center_or_opposite_to_it_are_safe(kind, sign):
    torch.manual_seed(0)
    loss = kind(3, [1, 2, 1])
    embeddings = (sign * 1e3 * loss.weight.detach()[[0, 1, 3]]).requires_grad_()
    values, _ = loss(embeddings, torch.tensor([0, 1, 2]))
    values.sum().backward()
    assert bool(torch.isfinite(values).all())
    assert bool(torch.isfinite(embeddings.grad).all())
    assert bool(torch.isfinite(loss.weight.grad).all())


def test_adacos_sums_the_probabilities_of_a_class_s_sub_clusters(exact):
    loss, embeddings, labels = drawn(AdaCos)
    loss.eval()
    values, _ = loss(embeddings, labels)
    weight = torch.nn.functional.normalize(loss.weight.detach())
    cosines = torch.nn.functional.normalize(embeddings) @ weight.T
    probability = (float(loss.scale) * cosines).softmax(1)
    owner = np.repeat(np.arange(len(COUNTS)), COUNTS)
    expected = [
        -math.log(float(row[owner == int(label)].sum()))
        for row, label in zip(probability, labels, strict=True)
    ]
    np.testing.assert_allclose(values.detach().numpy(), expected, rtol=1e-9)


def test_adacos_follows_the_batch_only_while_training():
    torch.manual_seed(1)
    loss = AdaCos(5, [1, 1, 1, 1])
    first = float(loss.scale)
    assert first == pytest.approx(math.sqrt(2) * math.log(3), rel=1e-6)
    embeddings, labels = torch.randn(7, 5), torch.arange(7) % 4
    loss.eval()(embeddings, labels)
    assert float(loss.scale) == first
    loss.train()(embeddings, labels)
    cosines = loss.cosines(embeddings).detach()
    others = sum(
        math.exp(first * float(cosines[i, k]))
        for i in range(7)
        for k in range(4)
        if k != int(labels[i])
    )
    angles = sorted(math.acos(float(cosines[i, labels[i]])) for i in range(7))
    expected = math.log(others / 7) / math.cos(min(math.pi / 4, angles[3]))
    assert float(loss.scale) == pytest.approx(max(expected, 1.0), rel=1e-5)


def test_adacos_follows_the_mean_of_the_scales_of_all_processes(monkeypatch):
    torch.manual_seed(1)
    alone, shared = AdaCos(5, [1, 1, 1, 1]), AdaCos(5, [1, 1, 1, 1])
    shared.load_state_dict(alone.state_dict())
    embeddings, labels = torch.randn(7, 5), torch.arange(7) % 4
    alone.train()(embeddings, labels)
    others = 4.0  # the sum of two other processes' scales
    processes = types.SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: True, get_world_size=lambda: 3,
        all_reduce=lambda scale: scale.add_(others),
    )  # fmt: skip
    monkeypatch.setattr(losses, "dist", processes)
    shared.train()(embeddings, labels)
    assert float(shared.scale) == pytest.approx((float(alone.scale) + others) / 3, rel=1e-6)


def test_the_center_loss_is_one_minus_the_cosine_to_the_class_s_center():
    torch.manual_seed(0)
    loss = CenterLoss(5, 3)
    embeddings, labels = torch.randn(4, 5), torch.tensor([0, 2, 2, 1])
    centers = loss.weight.detach().numpy()[labels]
    points = embeddings.numpy()
    lengths = np.linalg.norm(points, axis=1) * np.linalg.norm(centers, axis=1)
    expected = 1 - (points * centers).sum(axis=1) / lengths
    np.testing.assert_allclose(loss(embeddings, labels).detach().numpy(), expected, rtol=1e-5)


def test_only_centers_of_classes_in_the_batch_are_moved_by_the_center_loss():
    loss = CenterLoss(5, 3)
    loss(torch.randn(4, 5), torch.tensor([0, 2, 2, 0])).sum().backward()
    moved = loss.weight.grad.abs().sum(1) > 0
    assert moved.tolist() == [True, False, True]
