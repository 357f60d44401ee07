import pytest
import torch
from dcase_asd_huggingface import HuggingFace

from dcase_asd.backbone.finetuned import Finetuned, HeadSizes, write_finetuned
from dcase_asd.errors import AudioError, BackboneError
from dcase_asd.recipe.training import Training
from dcase_asd.registry import load_backbone
from dcase_asd.testing import check_backbone
from dcase_asd.training.augment import mask_spectrogram
from dcase_asd.training.model import TrainingModel, choose_parameters, merged_state

MODELS = (
    "ast", "clap", "clap_fusion", "data2vec", "hubert", "sew", "wav2vec2", "wav2vec2_layer_norm",
    "wav2vec2_bert", "wavlm", "whisper",
)  # fmt: skip
"""Names that `save_model` knows."""
FIXED = {"ast": 32000, "whisper": 32000, "clap": 96000, "clap_fusion": 96000}
"""Families that take so many samples at once, of every clip."""


def clips(backbone, seconds=1.5, count=2):
    samples = int(seconds * backbone.sample_rate)
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(1))


def test_it_keeps_the_contract(tmp_path, save_model, family):
    check_backbone(HuggingFace.from_checkpoint(save_model(family)).eval(), tmp_path)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("ast", {"representation": "cls", "layers": [1, 3], "merge": "concat"}),
        ("clap", {"representation": "mean"}),
        ("wav2vec2", {"layers": [1, 2]}),
        ("whisper", {"layers": [2]}),
    ],
)
def test_it_keeps_the_contract_with_options(tmp_path, save_model, family, options):
    check_backbone(HuggingFace.from_checkpoint(save_model(family), **options).eval(), tmp_path)


def test_clips_of_any_lengths_in_one_batch_are_embedded_as_alone(save_model, family):
    backbone = HuggingFace.from_checkpoint(save_model(family)).eval()
    many = clips(backbone, 2.5, count=5)
    share = torch.tensor([1.0, 0.4, 0.83, 0.4, 0.031])
    lengths = (share * many.shape[1]).long()
    with torch.no_grad():
        found = backbone.embed(many, lengths)  # with noise in the padding
        alone = [
            backbone.embed(clip[None, :length]) for clip, length in zip(many, lengths, strict=True)
        ]
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FIXED)
def test_a_clip_longer_than_the_model_takes_is_the_mean_over_windows(save_model, family):
    backbone = HuggingFace.from_checkpoint(save_model(family)).eval()
    (clip,) = clips(backbone, 3.5, count=1)
    longest = FIXED[family]
    assert backbone.front_end.longest == longest
    with torch.no_grad():
        parts = backbone.embed(torch.stack([clip[:longest], clip[-longest:]]))
        torch.testing.assert_close(backbone.embed(clip[None])[0], parts.mean(0))
    with pytest.raises(AudioError, match=f"samples is too long .* takes {longest} at once"):
        backbone.tokens(clip[None])


def test_fine_tuning_sees_the_same_tokens_with_a_gradient(save_model, family):
    backbone = HuggingFace.from_checkpoint(save_model(family)).eval()
    waveforms = clips(backbone)
    samples = waveforms.shape[1]
    lengths = torch.tensor([samples, samples // 2])
    spectrogram = backbone.spectrogram(waveforms, lengths, backbone.sample_rate)
    assert spectrogram.ndim == 3
    assert not spectrogram.requires_grad
    tokens = backbone.tokens_from_spectrogram(spectrogram, lengths)
    torch.testing.assert_close(tokens, backbone.tokens(waveforms, lengths), atol=1e-5, rtol=1e-4)
    mask = backbone.token_mask(lengths, samples)
    assert mask.shape == tokens.shape[:2]
    assert mask[0].sum() >= mask[1].sum() > 0
    # All padded, as short clips in a training batch are, and none.
    both = torch.tensor([samples // 2, samples // 2])
    short = backbone.tokens_from_spectrogram(backbone.spectrogram(waveforms, both), both)
    assert short.shape[:2] == backbone.token_mask(both, samples).shape
    whole = backbone.tokens_from_spectrogram(backbone.spectrogram(waveforms))
    torch.testing.assert_close(whole, backbone.tokens(waveforms), atol=1e-5, rtol=1e-4)
    backbone.train()
    loss = backbone.tokens_from_spectrogram(spectrogram, lengths).square().sum()
    loss.backward()
    trained = [each for each in backbone.parameters() if each.grad is not None]
    assert len(trained) > 20
    assert all(bool(each.grad.isfinite().all()) for each in trained)
    convolutions = [name for name, _ in backbone.named_parameters() if "feature_extractor." in name]
    assert all(not backbone.get_parameter(name).requires_grad for name in convolutions)


@pytest.mark.parametrize(
    ("family", "tune"),
    [(each, "full") for each in MODELS] + [(each, "lora") for each in ("ast", "wavlm", "whisper")],
)
def test_training_steps_change_it_and_what_is_saved_embeds_the_same(
    tmp_path, save_model, family, tune
):
    settings = Training(tune=tune, embedding=8, bottleneck=8, seconds=1.0)
    trainee = TrainingModel(HuggingFace.from_checkpoint(save_model(family)), [1, 2, 1], settings)
    backbone = trainee.model.backbone
    waveforms = clips(backbone, 1.0, count=4)
    lengths = torch.full((4,), waveforms.shape[1])
    before = {name: value.clone() for name, value in merged_state(backbone).items()}
    optimizer = torch.optim.AdamW(
        [each for each in trainee.parameters() if each.requires_grad], lr=0.05
    )
    trainee.train()
    for step in range(3):
        spectrogram = backbone.spectrogram(waveforms, lengths)
        masked = mask_spectrogram(spectrogram, 10, 10, torch.Generator().manual_seed(step))
        loss, _ = trainee(masked, lengths, waveforms.shape[1], torch.tensor([0, 1, 1, 2]))
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    trainee.eval()
    state = trainee.checkpoint_state()
    changed = [name for name, value in before.items() if not value.equal(state[f"backbone.{name}"])]
    assert changed
    assert not [name for name in changed if "feature_extractor." in name]
    write_finetuned(tmp_path / "x", state, trainee.model, {})
    loaded = load_backbone("huggingface", tmp_path / "x")
    with torch.no_grad():
        found, expected = loaded.embed(waveforms), trainee.model.embed(waveforms)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert loaded.options == trainee.model.options


def test_the_class_token_or_what_a_model_pools_can_be_fine_tuned(save_model):
    sizes = HeadSizes(pooling="cls", embedding=8)
    for family, representation in (("ast", "cls"), ("ast", "pooled"), ("clap", "pooled")):
        backbone = HuggingFace.from_checkpoint(save_model(family), representation=representation)
        model = Finetuned(backbone, sizes, "pooled").eval()
        waveforms = clips(backbone)
        torch.testing.assert_close(model.embed(waveforms), backbone.eval().embed(waveforms))
    backbone = HuggingFace.from_checkpoint(save_model("hubert"))
    with pytest.raises(BackboneError, match="or --pooling attention"):
        Finetuned(backbone, sizes).embed(clips(backbone))


def test_padding_that_the_feature_extractor_adds_is_not_averaged(save_model):
    backbone = HuggingFace.from_checkpoint(save_model("whisper")).eval()
    mask = backbone.token_mask(torch.tensor([32000, 16000, 400]), 32000)
    assert mask.sum(1).tolist() == [100, 50, 2]


def test_it_is_installed_under_its_name(save_model):
    backbone = load_backbone("huggingface", save_model("hubert"))
    assert isinstance(backbone, HuggingFace)
    assert (backbone.dimension, backbone.sample_rate, backbone.pooling) == (32, 16000, "attention")


def test_making_a_backbone_leaves_the_global_generator_alone(tmp_path, save_model):
    before = torch.get_rng_state()
    HuggingFace.from_checkpoint(save_model("wav2vec2")).save(tmp_path / "x")
    HuggingFace.from_checkpoint(tmp_path / "x")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("family", ["ast", "clap", "wav2vec2", "whisper"])
def test_it_embeds_in_half_precision(save_model, family):
    backbone = HuggingFace.from_checkpoint(save_model(family)).eval()
    waveforms = clips(backbone)
    with torch.no_grad():
        expected = backbone.embed(waveforms)
        with torch.autocast("cpu", torch.bfloat16):
            found = backbone.embed(waveforms)
    assert found.dtype == torch.float32
    # A random stack of convolutions makes much of a rounding, how much depends on the processor.
    assert torch.cosine_similarity(found, expected).min() > 0.95


def test_clips_that_it_cannot_take_are_refused(save_model, family):
    backbone = HuggingFace.from_checkpoint(save_model(family)).eval()
    shortest = backbone.front_end.shortest
    with torch.no_grad():
        assert bool(backbone.embed(clips(backbone)[:, :shortest]).isfinite().all())
    with pytest.raises(AudioError, match=f"{shortest - 1} samples is too short for this model"):
        backbone.embed(torch.zeros(1, shortest - 1))
    with pytest.raises(AudioError, match="a clip of 10 samples is too short"):
        backbone.embed(clips(backbone), torch.tensor([10, 20000]))
    with pytest.raises(AudioError, match="clips of 8000 Hz, but this backbone takes"):
        backbone.embed(clips(backbone), sample_rate=8000)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("hubert", {"representation": "maen"}, "no representation is called 'maen'; did you mean"),
        ("hubert", {"representation": "cls"}, "'hubert' has no representation 'cls'; take mean"),
        ("hubert", {"representation": "pooled"}, "no representation 'pooled'; take mean"),
        ("clap", {"representation": "cls"}, "no representation 'cls'; take mean or pooled"),
        ("hubert", {"merge": "sum"}, "no merge is called 'sum'"),
        ("hubert", {"layers": [0, 4]}, r"layers are \[0, 4\]; 'hubert' has 1 to 3"),
        ("hubert", {"depth": 3}, "no option 'depth'"),
    ],
)
def test_options_that_do_not_fit_are_refused(save_model, family, options, message):
    with pytest.raises(BackboneError, match=message):
        load_backbone("huggingface", save_model(family), **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_gives_the_same(tmp_path, save_model, family):
    backbone = HuggingFace.from_checkpoint(save_model(family)).eval()
    waveforms = clips(backbone)
    expected = backbone.embed(waveforms)
    check_backbone(backbone, tmp_path, device="cuda")
    found = backbone.embed(waveforms.cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=1e-3)


def test_frames_of_a_clip_are_told_from_padding(save_model, family):
    backbone = HuggingFace.from_checkpoint(save_model(family)).eval()
    waveforms = clips(backbone, 1.5)
    samples = waveforms.shape[1]
    lengths = torch.tensor([samples, samples // 2])
    frames = backbone.spectrogram(waveforms, lengths).shape[1]
    mask = backbone.frame_mask(lengths, frames)
    assert mask.shape == (2, frames)
    if family.startswith("clap"):  # which repeats a short clip until it is long enough
        assert bool(mask.all())
        return
    alone = [backbone.spectrogram(waveforms[:1, :each]).shape[1] for each in lengths.tolist()]
    # wav2vec2_bert joins two frames to one, and its mask leaves out what half is padding.
    known = {"ast": [148, 73], "whisper": [150, 75], "wav2vec2_bert": [74, 36]}
    expected = known.get(family, alone)
    assert mask.sum(1).tolist() == expected
    assert torch.equal(mask, mask.sort(1, descending=True).values)


def test_a_model_without_a_class_token_is_told_before_it_is_trained(save_model):
    backbone = HuggingFace.from_checkpoint(save_model("hubert"))
    for settings in (Training(pooling="cls"), Training(representation="cls")):
        with pytest.raises(BackboneError, match="'huggingface' has no class token"):
            TrainingModel(backbone, [1, 1], settings)
    ast = HuggingFace.from_checkpoint(save_model("ast"), representation="cls")
    assert TrainingModel(ast, [1, 1], Training(representation="cls")).model.dimension == 32


def test_a_model_of_samples_without_convolutions_cannot_be_fine_tuned(save_model):
    backbone = HuggingFace.from_checkpoint(save_model("hubert"))
    backbone.network.shape = []
    with pytest.raises(BackboneError, match="no convolutions apart from the rest"):
        backbone.spectrogram(clips(backbone))


def test_the_grid_of_ast_is_that_of_its_convolution(save_model):
    backbone = HuggingFace.from_checkpoint(save_model("ast")).eval()
    many, lengths = clips(backbone, 1.5), torch.tensor([24000, 9000])
    with torch.no_grad():
        tokens, mask = backbone.token_grid(many, lengths)
        flat = backbone.tokens(many, lengths)
        frames = backbone.spectrogram(many, lengths)
        embeddings = backbone.network.encoder.embeddings
        patches = backbone.network.patch_grid(embeddings(frames) - embeddings.position_embeddings)
        first = embeddings.patch_embeddings.projection
        patch = frames[0, 30:46, 10:26].T[None]  # 16 mel bins from the 10th, frames from the 30th
        expected = (first.weight * patch).sum((1, 2, 3)) + first.bias
    assert tokens.shape == (2, 19, 2, 32)  # (200 - 16) // 10 + 1 times, (32 - 16) // 10 + 1 bands
    assert torch.equal(tokens[:, 3, 1], flat[:, 2 + 19 + 3])
    torch.testing.assert_close(patches[0, 3, 1], expected, atol=1e-4, rtol=1e-4)
    assert mask.sum(1).tolist() == [14, 4]  # patches within 148 and 54 frames


@pytest.mark.parametrize("family", ["wav2vec2", "whisper", "clap"])
def test_the_grid_of_other_models_has_one_band(save_model, family):
    backbone = HuggingFace.from_checkpoint(save_model(family)).eval()
    many = clips(backbone)
    with torch.no_grad():
        tokens, mask = backbone.token_grid(many)
        assert torch.equal(tokens[:, :, 0], backbone.tokens(many))
    assert mask.shape == tokens.shape[:2]


def test_the_grid_of_a_clip_longer_than_the_model_takes_is_that_of_its_windows(save_model):
    backbone = HuggingFace.from_checkpoint(save_model("ast")).eval()
    many, lengths = clips(backbone, 3.5), torch.tensor([56000, 20000])
    with torch.no_grad():
        tokens, mask = backbone.token_grid(many, lengths)
        windows = backbone.token_grid(torch.stack([many[0, :32000], many[0, 24000:]]))
        short, of_short = backbone.token_grid(many[1:, :20000])
    assert torch.equal(tokens[0][mask[0]], windows[0][windows[1]])
    torch.testing.assert_close(tokens[1][mask[1]], short[of_short], atol=1e-5, rtol=1e-4)


def test_lora_on_q_k_and_v_reaches_the_projections_of_every_family(save_model, family):
    backbone = HuggingFace.from_checkpoint(save_model(family))
    settings = Training(tune="lora", lora_rank=2, lora_targets=("q", "k", "v"))
    choose_parameters(backbone, settings)
    found = {name for name, layer in backbone.named_modules() if hasattr(layer, "lora_A")}
    ends = {name.rpartition(".")[2] for name in found}
    assert ends in (
        {"q_proj", "k_proj", "v_proj"}, {"linear_q", "linear_k", "linear_v"},
        {"query", "key", "value"},
    )  # fmt: skip
    waveforms = clips(backbone, 1.0, count=2)
    lengths = torch.full((2,), waveforms.shape[1])
    spectrogram = backbone.spectrogram(waveforms, lengths)
    backbone.tokens_from_spectrogram(spectrogram, lengths).square().sum().backward()
    for name, parameter in backbone.named_parameters():
        if ".lora_B." in name:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
