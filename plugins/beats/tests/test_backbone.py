import copy
import shutil
from pathlib import Path

import pytest
import torch
from dcase_asd_beats import Beats
from dcase_asd_beats import network as network_module

from dcase_asd.errors import AudioError, BackboneError
from dcase_asd.registry import load_backbone
from dcase_asd.testing import check_backbone

DATA = Path(__file__).parent / "data"
FINETUNED = DATA / "beats_tiny_finetuned.pt"
SMALL = {
    "encoder_layers": 3,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 96,
    "encoder_attention_heads": 4,
    "embed_dim": 32,
}


def small(seed=0, architecture=None, **options):
    architecture = SMALL | (architecture or {})
    return Beats.from_checkpoint(random_weights=seed, architecture=architecture, **options).eval()


def clips(samples=32000, count=2):
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layers": [1, 3], "merge": "concat", "exponent": 3.0},
        {"layers": [1, 2], "representation": "bands"},
        {"architecture": {"relative_position_embedding": False, "embed_dim": 48}},
        {"architecture": {"gru_rel_pos": False, "conv_bias": True, "conv_pos": 95}},
        {"architecture": {"layer_norm_first": True, "deep_norm": False, "activation_fn": "glu"}},
        {"architecture": {"input_patch_size": 24, "activation_fn": "gelu_accurate"}},
    ],
)
def test_it_keeps_the_contract(tmp_path, options):
    check_backbone(small(**options), tmp_path)


@pytest.mark.parametrize("name", ["beats_tiny_pretrain", "beats_tiny_finetuned"])
def test_published_weights_keep_the_contract(tmp_path, name):
    check_backbone(Beats.from_checkpoint(DATA / f"{name}.pt"), tmp_path)


def test_class_probabilities_keep_the_contract(tmp_path):
    check_backbone(Beats.from_checkpoint(FINETUNED, representation="classes"), tmp_path)


def test_it_is_installed_under_its_name():
    backbone = load_backbone("beats", random_weights=0, architecture=SMALL)
    assert isinstance(backbone, Beats)
    assert (backbone.dimension, backbone.sample_rate, backbone.pooling) == (48, 16000, "attention")


def test_beats_base_is_the_default_size():
    with torch.device("meta"):
        network = network_module.Network(network_module.Config.released())
    assert sum(each.numel() for each in network.parameters()) == 90_311_792


def test_random_weights_are_those_of_their_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    one, same, other = small(), small(), small(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.embed(clips()), same.embed(clips()))
    assert not torch.allclose(one.embed(clips()), other.embed(clips()), atol=1e-3)


def test_representations_are_means_over_tokens_of_layers():
    frames = small().spectrogram(clips())
    first, second, third = small().network(frames, layers=(1, 2, 3))
    torch.testing.assert_close(small().embed(clips()), third.mean(1))
    torch.testing.assert_close(small(layers=[2]).embed(clips()), second.mean(1))
    merged = small(layers=[1, 3])
    torch.testing.assert_close(merged.tokens(clips()), (first + third) / 2)
    joined = small(layers=[3, 1], merge="concat")
    assert (joined.dimension, joined.token_dimension) == (96, 96)
    torch.testing.assert_close(joined.embed(clips()), torch.cat([third, first], 2).mean(1))
    bands = small(representation="bands")
    expected = torch.cat([third[:, band::8].mean(1) for band in range(8)], 1)
    torch.testing.assert_close(bands.embed(clips()), expected)
    assert (bands.dimension, bands.token_dimension) == (8 * 48, 48)


def test_the_exponent_is_that_of_a_generalised_mean_which_keeps_signs():
    tokens = small().tokens(clips()).double()
    power = (tokens.sign() * tokens.abs() ** 3).mean(1)
    expected = (power.sign() * power.abs() ** (1 / 3)).float()
    torch.testing.assert_close(small(exponent=3.0).embed(clips()), expected, atol=1e-4, rtol=1e-4)


def test_layers_that_nothing_depends_on_are_left_out():
    cut, whole = small(layers=[1]), small()
    assert [len(each.network.encoder.layers) for each in (cut, whole)] == [1, 3]
    clip = clips()
    loss(cut.train().tokens(clip)).backward()
    assert all(each.grad is not None for each in cut.parameters())


def test_the_mask_is_true_for_the_tokens_that_a_clip_has_on_its_own():
    backbone = small()
    lengths = torch.tensor([32000, 20000, 2800])
    mask = backbone.token_mask(lengths, 32000)
    alone = [backbone.tokens(clips(int(length), 1)).shape[1] for length in lengths]
    assert mask.sum(1).tolist() == alone
    assert mask.shape == (3, backbone.tokens(clips(32000, 1)).shape[1])


def test_tokens_of_a_padded_clip_are_those_of_the_clip_alone():
    backbone = small()
    padded = clips()
    padded[1, 20000:] = 0
    lengths = torch.tensor([32000, 20000])
    tokens = backbone.tokens(padded, lengths)
    valid = backbone.token_mask(lengths, 32000)[1]
    torch.testing.assert_close(tokens[1, valid], backbone.tokens(padded[1:, :20000])[0])


def test_noise_in_the_padding_changes_nothing():
    backbone = small()
    lengths = torch.tensor([32000, 20000])
    silent, noisy = clips(), clips()
    silent[1, 20000:] = 0
    torch.testing.assert_close(backbone.embed(silent, lengths), backbone.embed(noisy, lengths))


def test_tokens_are_made_of_the_spectrogram_that_may_be_masked_between():
    backbone, lengths = small(), torch.tensor([32000, 20000])
    frames = backbone.spectrogram(clips(), lengths)
    assert frames.shape == (2, 198, 128)
    tokens = backbone.tokens_from_spectrogram(frames, lengths)
    assert torch.equal(tokens, backbone.tokens(clips(), lengths))
    frames[:, 40:80] = 0
    assert not torch.allclose(backbone.tokens_from_spectrogram(frames, lengths), tokens, atol=1e-3)


def test_clips_of_several_blocks_are_those_of_one(monkeypatch):
    backbone, many = small(), clips(count=5)
    lengths = torch.tensor([32000, 32000, 20000, 32000, 9000])
    with torch.inference_mode():
        in_blocks = backbone.embed(many, lengths)
        monkeypatch.setattr(network_module, "CPU_BLOCK_CLIPS", 5)
        torch.testing.assert_close(in_blocks, backbone.embed(many, lengths))


def test_clips_too_short_or_of_another_rate_are_refused():
    backbone = small()
    with pytest.raises(AudioError, match="2799 samples is shorter than 16 frames, that is 2800"):
        backbone.embed(clips(2799))
    with pytest.raises(AudioError, match="a clip of 300 samples is shorter than 16 frames"):
        backbone.embed(clips(), torch.tensor([32000, 300]))
    with pytest.raises(AudioError, match="clips of 48000 Hz, but this backbone takes 16000 Hz"):
        backbone.embed(clips(), sample_rate=48000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"representation": "band"}, "no representation is called 'band'; did you mean 'bands'"),
        ({"merge": "sum"}, "no merge is called 'sum'"),
        ({"layers": [0]}, r"layers are \[0\]; choose from 1 to 3"),
        ({"layers": [2, 4]}, r"layers are \[2, 4\]"),
        ({"representation": "classes"}, "classes need .* weights fine-tuned on AudioSet"),
        ({"exponent": 0.0}, "exponent is 0.0; it must be positive"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(BackboneError, match=message):
        load_backbone("beats", random_weights=0, architecture=SMALL, **options)


def loss(tokens):
    """A sum with random signs; a norm's output has the same length whatever the weights."""
    signs = torch.randn(tokens.shape[1:], generator=torch.Generator().manual_seed(2))
    return (tokens.double() * signs).sum() / len(signs)


def gradients(backbone):
    backbone.zero_grad()
    loss(backbone.tokens(clips())).backward()
    return {name: each.grad.clone() for name, each in backbone.named_parameters()}


def test_every_parameter_is_trained_and_gradients_are_those_of_the_same_function():
    backbone = Beats.from_checkpoint(FINETUNED, gradient_decay=1.0).eval()
    analytic = gradients(backbone)
    step = 1e-2
    for name in (
        "network.encoder.pos_conv.0.weight_v",
        "network.encoder.pos_conv.0.weight_g",
        "network.encoder.relative_attention_bias.weight",
        "network.encoder.layers.1.self_attn.grep_linear.weight",
        "network.patch_embedding.weight",
    ):
        weight = backbone.get_parameter(name)
        direction = analytic[name] / analytic[name].norm()
        losses = []
        with torch.no_grad():
            for sign in (1, -1):
                weight.add_(sign * step * direction)
                losses.append(float(loss(backbone.tokens(clips()))))
                weight.sub_(sign * step * direction)
        measured = (losses[0] - losses[1]) / (2 * step)
        assert measured == pytest.approx(float(analytic[name].norm()), rel=0.05), name


def test_gradient_decay_scales_the_gradient_once_for_each_layer_above():
    whole, decayed = gradients(small(gradient_decay=1.0)), gradients(small())  # 0.6
    for layer in range(3):
        name = f"network.encoder.layers.{layer}.fc1.weight"
        torch.testing.assert_close(decayed[name], whole[name] * 0.6 ** (2 - layer))
    name = "network.patch_embedding.weight"
    torch.testing.assert_close(decayed[name], whole[name] * 0.6**3)


def test_computing_layers_again_gives_the_same_gradients():
    torch.manual_seed(0)
    kept = gradients(small(architecture={"dropout": 0.1}).train())
    torch.manual_seed(0)
    again = gradients(small(architecture={"dropout": 0.1}, checkpoint_activations=True).train())
    for name, expected in kept.items():
        torch.testing.assert_close(again[name], expected)


def test_a_dropped_layer_is_passed_by_and_still_has_a_gradient():
    backbone = small(architecture={"encoder_layerdrop": 1.0}).train()
    assert all(torch.isfinite(each).all() for each in gradients(backbone).values())
    first, _, third = backbone.network(backbone.spectrogram(clips()), layers=(1, 2, 3))
    assert torch.equal(first, third)
    backbone.eval()
    first, _, third = backbone.network(backbone.spectrogram(clips()), layers=(1, 2, 3))
    assert not torch.allclose(first, third, atol=1e-3)


def test_an_embedding_follows_every_change_of_the_weights():
    backbone = small()
    for name in (
        "network.encoder.pos_conv.0.weight_g",
        "network.encoder.relative_attention_bias.weight",
    ):
        before = backbone.embed(clips()).detach()
        with torch.inference_mode():
            kept = backbone.embed(clips())
        torch.testing.assert_close(kept, before)
        with torch.no_grad():
            backbone.get_parameter(name).mul_(3).add_(torch.randn(1))
        with torch.inference_mode():
            changed = backbone.embed(clips())
        assert not torch.allclose(changed, kept, atol=1e-5)
        torch.testing.assert_close(backbone.embed(clips()).detach(), changed)
    twin = copy.deepcopy(backbone)
    twin.load_state_dict(small(seed=5).state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(twin.embed(clips()), small(seed=5).embed(clips()))
        torch.testing.assert_close(backbone.embed(clips()), changed)


def test_only_a_few_tables_of_biases_are_kept():
    backbone = small()
    table = backbone.network.encoder.relative_attention_bias
    with torch.inference_mode():
        for tokens in range(8, 100, 8):
            assert table(tokens) is table(tokens)
    assert len(table._kept._results) == network_module.LENGTHS_KEPT


def test_what_is_embedded_in_inference_mode_can_be_trained_afterwards():
    with torch.inference_mode():
        backbone = small()
        backbone.embed(clips())
    assert all(bool(each.isfinite().all()) for each in gradients(backbone).values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_embeds_and_trains_in_half_precision(dtype):
    backbone = small()
    lengths = torch.tensor([32000, 20000])
    expected = backbone.embed(clips(), lengths).detach()
    with torch.autocast("cpu", dtype):
        with torch.inference_mode():
            found = backbone.embed(clips(), lengths)
        loss(backbone.train().tokens(clips(), lengths)).backward()
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < 0.1
    for parameter in backbone.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler raises some of its own
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_layers_give_the_same_embeddings_and_gradients():
    one = {"encoder_layers": 1, "encoder_layerdrop": 0.0}  # else chance decides in training
    plain, compiled = small(architecture=one), small(architecture=one, compile=True)
    with torch.inference_mode():
        torch.testing.assert_close(compiled.embed(clips()), plain.embed(clips()))
    found = gradients(compiled.train())
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for name, expected in gradients(plain.train()).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-4)


def test_frames_of_a_clip_are_those_that_it_has_alone():
    backbone = small()
    lengths = torch.tensor([32000, 16000, 8080])
    mask = backbone.frame_mask(lengths, backbone.spectrogram(clips(count=3), lengths).shape[1])
    alone = [backbone.spectrogram(clips(int(each), 1)).shape[1] for each in lengths]
    assert mask.sum(1).tolist() == alone == [198, 98, 49]
    assert torch.equal(mask, mask.sort(1, descending=True).values)


def test_the_grid_has_eight_bands_of_each_moment():
    backbone = small()
    with torch.inference_mode():
        tokens, mask = backbone.token_grid(clips(32000), torch.tensor([32000, 20000]))
        flat = backbone.tokens(clips(32000), torch.tensor([32000, 20000]))
    assert tokens.shape == (2, 12, 8, 48)  # 198 frames
    assert torch.equal(tokens[:, 5, 3], flat[:, 5 * 8 + 3])
    assert mask.sum(1).tolist() == [12, 7]  # 123 frames
    # What sounds in one band changes the patch embeddings of that band alone.
    low = torch.zeros(1, 198, 128)
    low[..., 16:32] = 1.0
    with torch.inference_mode():
        patches = backbone.network.patch_embedding(low[:, None]).flatten(2).transpose(1, 2)
    changed = patches.abs().sum(-1).reshape(-1, 8).sum(0) > 0
    assert changed.tolist() == [False, True] + 6 * [False]
