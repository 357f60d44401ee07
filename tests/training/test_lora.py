"""LoRA on the projections of attention: the layers that a recipe names, by the formula."""

import copy

import pytest
import torch
from torch import nn

from dcase_asd.errors import TrainingError
from dcase_asd.recipe.training import Training
from dcase_asd.registry import load_backbone
from dcase_asd.training.model import choose_parameters, merged_state

QKV = ("q", "k", "v")
SMALL = {"embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}
ARCHITECTURES = {
    "beats": {
        "encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 24,
        "encoder_attention_heads": 2, "embed_dim": 16, "conv_pos": 8, "conv_pos_groups": 2,
        "encoder_layerdrop": 0.0,
    },
    "eat": SMALL | {"max_length": 64, "target_length": 208},
    "fisher": SMALL,
}  # fmt: skip
"""Networks of the published kinds with few and random weights."""
NAMED = {
    "beats": {"q_proj", "k_proj", "v_proj"},
    "eat": {"qkv"},  # one layer makes all three
    "fisher": {"qkv"},
}


def backbone(name):
    options = {"target_length": 208} if name == "eat" else {}
    made = load_backbone(name, None, random_weights=0, architecture=ARCHITECTURES[name], **options)
    for parameter in made.parameters():
        parameter.requires_grad_(True)
    return made


def tokens(of):
    waveforms = torch.randn(2, 32000, generator=torch.Generator().manual_seed(1))
    return of.tokens(waveforms, sample_rate=16000)


def adapted(name, **settings):
    made = backbone(name)
    choose_parameters(made, Training(tune="lora", **{"lora_targets": QKV} | settings))
    return made


def layers_of(of, kind):
    return {name: layer for name, layer in of.named_modules() if hasattr(layer, kind)}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_the_named_projections_get_matrices_of_the_rank(name):
    made = adapted(name)
    found = layers_of(made, "lora_A")
    assert {each.rpartition(".")[2] for each in found} == NAMED[name]
    assert len(found) == 2 * len(NAMED[name])  # of both layers
    for layer in found.values():
        assert layer.lora_A["default"].weight.shape[0] == 64  # as published, and the default
    trained = {each for each, parameter in made.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(".lora_" in each for each in trained)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_before_the_first_update_nothing_has_changed(name):
    assert torch.equal(tokens(adapted(name)), tokens(backbone(name)))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_named_projections_follow_the_formula_and_all_other_layers_stay_to_the_bit(name):
    rank, alpha = 3, 7.5
    made = adapted(name, lora_rank=rank, lora_alpha=alpha)
    plain = dict(backbone(name).named_modules())
    seen, generator = [], torch.Generator().manual_seed(2)
    for path, layer in made.named_modules():
        if hasattr(layer, "lora_A"):
            for part in (layer.lora_A, layer.lora_B):
                nn.init.normal_(part["default"].weight, generator=generator)
        elif ".lora_" in path or ".base_layer" in path or not isinstance(layer, nn.Linear):
            continue
        layer.register_forward_hook(
            lambda layer, inputs, output, path=path: seen.append((path, layer, inputs[0], output))
        )
    changed = tokens(made)
    assert not torch.allclose(changed, tokens(backbone(name)), atol=1e-3)
    kinds = set()
    for path, layer, x, output in seen:
        before = plain[path]
        if not hasattr(layer, "lora_A"):
            assert torch.equal(output, before(x))
            continue
        kinds.add(path.rpartition(".")[2])
        down, up = (part["default"].weight.double() for part in (layer.lora_A, layer.lora_B))
        assert down.shape[0] == up.shape[1] == rank
        weight = before.weight.double()
        expected = x.double() @ weight.T + before.bias.double()
        expected = expected + alpha / rank * (x.double() @ down.T @ up.T)
        torch.testing.assert_close(output.double(), expected, rtol=1e-4, atol=1e-4)
    assert kinds == NAMED[name]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_matrix_learns_and_what_is_merged_gives_the_same(name):
    made, generator = adapted(name, lora_rank=2), torch.Generator().manual_seed(3)
    for path, parameter in made.named_parameters():
        if ".lora_B." in path:
            nn.init.normal_(parameter, std=0.1, generator=generator)
    tokens(made).square().sum().backward()
    for path, parameter in made.named_parameters():
        if ".lora_" in path:
            assert parameter.grad.abs().max() > 0, path
    merged = backbone(name)
    merged.load_state_dict(merged_state(made))
    torch.testing.assert_close(tokens(merged), tokens(made), rtol=1e-4, atol=1e-4)


def test_a_layer_can_still_be_named_by_the_end_of_its_name_and_all_are_by_default():
    of = {"fc1", "fc2"}
    found = layers_of(adapted("beats", lora_targets=tuple(of)), "lora_A")
    assert {each.rpartition(".")[2] for each in found} == of
    everything = layers_of(adapted("beats", lora_targets=()), "lora_A")
    linear = [each for each in backbone("beats").modules() if isinstance(each, nn.Linear)]
    assert len(everything) == len(linear)


def test_a_part_of_a_fused_layer_and_a_name_that_is_not_there_are_refused():
    with pytest.raises(TrainingError, match=r"'eat' makes q, k and v in one layer, .* or qkv"):
        adapted("eat", lora_targets=("q", "v"))
    with pytest.raises(TrainingError, match=r"of 'beats' is called 'qq'; choose from .*q_proj"):
        adapted("beats", lora_targets=("qq",))


class Reading(nn.Module):
    """Multiplies with a layer's weights by itself, as the attention of WavLM does."""

    name = "reading"

    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(4, 4)

    def forward(self, x):
        return nn.functional.linear(x, self.q_proj.weight, self.q_proj.bias)


def test_networks_that_read_the_weights_see_the_changed_ones():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made, x = Reading(), torch.randn(3, 4)
    plain = copy.deepcopy(made)
    choose_parameters(made, Training(tune="lora", lora_targets=("q",), lora_rank=2))
    assert torch.equal(made(x), plain(x))
    up = made.q_proj.lora_B["default"].weight
    made(x).sum().backward()
    assert up.grad.abs().max() > 0
    nn.init.ones_(up)
    change = up @ made.q_proj.lora_A["default"].weight * 64 / 2
    torch.testing.assert_close(made(x), plain(x) + x @ change.T)
