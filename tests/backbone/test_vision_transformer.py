import pytest
import torch
from torch import nn

from dcase_asd.backbone.family import PUBLISHED_KEYS, published_key
from dcase_asd.backbone.vision_transformer import (
    TransformerSize,
    VisionTransformer,
    sin_cos_positions,
)


def network(depth=2, grid=(8, 4)):
    made = VisionTransformer(TransformerSize(24, depth, 3), grid)
    made.draw_weights(torch.Generator().manual_seed(0))
    for parameter in made.parameters():
        # Biases and norms that are not neutral, so that leaving one out shows.
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        parameter.data.add_(noise, alpha=0.1)
    return made.eval()


def images(count=2, frames=70, bins=50):
    return torch.randn(count, frames, bins, generator=torch.Generator().manual_seed(2))


def written_out(net, clip):
    """The formula, one patch and one head at a time, in float64."""
    net = net.double()
    patches = [
        (net.patches.weight[:, 0] * clip[t : t + 16, f : f + 16].double()).sum((1, 2))
        + net.patches.bias
        for t in range(0, clip.shape[0] - 15, 16)
        for f in range(0, clip.shape[1] - 15, 16)
    ]
    tokens = torch.stack(patches) + net.positions[0, : len(patches)]
    x = net.norm(torch.cat([net.cls_token[0], tokens]))
    for block in net.blocks:
        query, key, value = block.attn.qkv(x).split(24, dim=1)
        heads = []
        for start in range(0, 24, 8):
            part = slice(start, start + 8)
            logits = query[:, part] @ key[:, part].T / 8**0.5
            heads.append(logits.softmax(1) @ value[:, part])
        x = block.norm1(x + block.attn.proj(torch.cat(heads, 1)))
        x = block.norm2(x + block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(x))))
    return x


def test_it_is_the_formula_written_out():
    clips = images()
    found = network()(clips)
    assert found.shape == (2, 1 + 4 * 3, 24)
    for clip, tokens in zip(clips, found, strict=True):
        expected = written_out(network(), clip).float()
        torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("depth", [1, 3])
def test_cls_alone_is_that_of_all_tokens(depth):
    net = network(depth)
    torch.testing.assert_close(net(images(), cls_only=True), net(images())[:, :1])


def test_masked_tokens_change_nothing():
    net, long = network(), images()
    mask = torch.ones(2, 13, dtype=torch.bool)
    mask[1, 1 + 2 * 3 :] = False
    for cls_only in (False, True):
        found = net(long, mask, cls_only=cls_only)
        expected = net(long[1:, :32], cls_only=cls_only)
        torch.testing.assert_close(found[1:, : expected.shape[1]], expected)
        torch.testing.assert_close(found[:1], net(long[:1], cls_only=cls_only))


@pytest.mark.parametrize("masked", [False, True])
def test_blocks_of_images_on_a_cpu_give_what_all_at_once_give(monkeypatch, masked):
    net, batch = network(), images(5)
    mask = torch.ones(5, 13, dtype=torch.bool) if masked else None
    if masked:
        mask[3:, 7:] = False
    expected = net(batch, mask)
    assert expected.requires_grad  # computed at once, for the gradient
    monkeypatch.setattr("dcase_asd.backbone.vision_transformer.CPU_BLOCK_VALUES", 2 * 13 * 96)
    seen = []
    net.norm.register_forward_hook(lambda *arguments: seen.append(len(arguments[1][0])))
    with torch.no_grad():
        torch.testing.assert_close(net(batch, mask), expected)
        torch.testing.assert_close(net(batch, mask, cls_only=True), expected[:, :1])
    assert seen == [2, 2, 1] * 2


def test_published_keys_are_unique_and_cover_every_tensor():
    keys = [published_key(name) for name in network().state_dict()]
    assert len(set(keys)) == len(keys)
    assert "extra_tokens" in keys
    assert "context_encoder.norm.bias" in keys
    assert "blocks.1.norm1.bias" in keys
    assert {key for key in PUBLISHED_KEYS.values() if not key.endswith(".")} <= set(keys)


def test_positions_tell_the_column_then_the_row():
    table = sin_cos_positions(3, 5, 8)
    assert table.shape == (15, 8)
    column, row = 4, 2
    omega = torch.tensor([1.0, 1e-2])
    expected = [wave(index * omega) for index in (column, row) for wave in (torch.sin, torch.cos)]
    torch.testing.assert_close(table[row * 5 + column], torch.cat(expected))


def test_random_weights_come_from_the_generator_alone():
    with torch.device("meta"):
        empty = VisionTransformer(TransformerSize(24, 2, 3), (8, 4))
    drawn = empty.to_empty(device="cpu")
    drawn.draw_weights(torch.Generator().manual_seed(3))
    other = VisionTransformer(TransformerSize(24, 2, 3), (8, 4))
    other.draw_weights(torch.Generator().manual_seed(3))
    for name, value in drawn.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert drawn.blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.1)
    # Xavier's: 256 values of a patch in, 24 out; (-a, a) has the deviation a / sqrt(3).
    assert drawn.patches.weight.std().item() == pytest.approx((2 / (256 + 24)) ** 0.5, rel=0.1)
    assert drawn.cls_token.std().item() == pytest.approx(1, rel=0.4)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((48, 0, 4), "depth must be a whole number of at least 1, not 0"),
        ((48, 2, 2.5), "num_heads must be a whole number"),
        ((48, 2, 5), "embed_dim must be a multiple of 4 and of num_heads: 48"),
        ((6, 2, 3), "a multiple of 4"),
        ((48, 2, 4, 0), "mlp_ratio must be a number above 0, not 0"),
        ((48, 2, 4, 4.0, "small"), "norm_eps must be a number above 0"),
    ],
)
def test_sizes_out_of_range_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        TransformerSize(*size)
