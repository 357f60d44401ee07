import pytest
import torch
from torch.nn import functional

from dcase_asd.backbone.pooling import AttentiveStatistics, MeanPooling


@pytest.fixture
def tokens():
    return torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))


MASK = torch.tensor([[1] * 7, [1] * 5 + [0] * 2, [1] + [0] * 6]).bool()


def by_hand(pool, tokens):
    """ECAPA's pooling of one clip without padding, step by step with the context written out."""
    mean, deviation = tokens.mean(0), tokens.var(0, correction=0).clamp(min=1e-7).sqrt()
    context = torch.cat([tokens, mean.expand_as(tokens), deviation.expand_as(tokens)], 1)
    hidden = functional.linear(context, pool.squeeze.weight, pool.squeeze.bias).relu()
    hidden = pool.norm(hidden[None], torch.ones(1, len(hidden)).bool())[0]
    weights = pool.expand(hidden.tanh()).softmax(0)
    mean = (weights * tokens).sum(0)
    variance = (weights * tokens.square()).sum(0) - mean.square()
    return pool.output_norm(torch.cat([mean, variance.clamp(min=1e-7).sqrt()])[None])[0]


def test_attentive_statistics_are_those_of_ecapa_over_valid_tokens(tokens):
    torch.manual_seed(1)
    pool = AttentiveStatistics(4, 6).eval()
    for norm in (pool.norm, pool.output_norm):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    found = pool(tokens, MASK)
    assert found.shape == (3, pool.dimension)
    for clip, row, mask in zip(found, tokens, MASK, strict=True):
        torch.testing.assert_close(clip, by_hand(pool, row[mask]), atol=1e-5, rtol=1e-4)


def test_tokens_of_padding_have_no_influence(tokens):
    other = torch.where(MASK[..., None], tokens, 1e4)
    for pool in (AttentiveStatistics(4).eval(), MeanPooling(4)):
        assert torch.allclose(pool(tokens, MASK), pool(other, MASK), atol=1e-6)


def test_padding_has_no_influence_on_a_training_batch_and_what_is_learnt_from_it(tokens):
    torch.manual_seed(1)
    first, second = AttentiveStatistics(4, 6), AttentiveStatistics(4, 6)
    second.load_state_dict(first.state_dict())
    other = torch.where(MASK[..., None], tokens, 1e4)
    torch.testing.assert_close(first(tokens, MASK), second(other, MASK))
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value)


def test_tokens_are_normalised_as_torch_does_those_that_count(tokens):
    pool, reference = AttentiveStatistics(4, 4), torch.nn.BatchNorm1d(4)
    values = tokens.clone().requires_grad_()
    alike = tokens.clone().requires_grad_()
    for _ in range(3):  # the running statistics too
        found, expected = pool.norm(values, MASK)[MASK], reference(alike[MASK])
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(dict(pool.norm.state_dict()), dict(reference.state_dict()))
    for result in (found, expected):
        (result**3).sum().backward()
    torch.testing.assert_close(values.grad, alike.grad, atol=1e-5, rtol=1e-4)
    pool.eval(), reference.eval()
    torch.testing.assert_close(pool.norm(tokens, MASK)[MASK], reference(tokens[MASK]))


def test_equal_tokens_have_finite_gradients():
    tokens = torch.ones(2, 5, 4, requires_grad=True)
    AttentiveStatistics(4)(tokens, torch.ones(2, 5).bool()).square().sum().backward()
    assert bool(torch.isfinite(tokens.grad).all())


def test_the_mean_is_that_of_valid_tokens(tokens):
    found = MeanPooling(4)(tokens, MASK)
    torch.testing.assert_close(found[1], tokens[1, :5].mean(0))
