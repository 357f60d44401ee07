import pytest
import torch
from dcase_asd_fisher import Fisher
from dcase_asd_fisher.network import Architecture

from dcase_asd.errors import AudioError, BackboneError
from dcase_asd.registry import load_backbone
from dcase_asd.testing import check_backbone

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 4}


def small(**options):
    return Fisher.from_checkpoint(random_weights=0, architecture=SMALL, **options).eval()


def clips(samples=20000, count=2):
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"representation": "mean", "sample_rate": 8000},
        {"representation": "frame_mean", "layer": 1, "target_length": 120},
        {"padded": True, "target_length": 256},
        {"bands": "mean", "sample_rate": "native"},
        {"sample_rate": 44100},
    ],
)
def test_it_keeps_the_contract(tmp_path, options):
    check_backbone(small(**options), tmp_path)


def test_it_is_installed_under_its_name():
    backbone = load_backbone("fisher", random_weights=0, architecture=SMALL)
    assert isinstance(backbone, Fisher)
    assert (backbone.dimension, backbone.sample_rate, backbone.pooling) == (96, 16000, "cls")


def test_random_weights_are_those_of_their_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    one, same = small(), small()
    other = Fisher.from_checkpoint(random_weights=1, architecture=SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    clip = clips()
    assert torch.equal(one.embed(clip), same.embed(clip))
    assert not torch.allclose(one.embed(clip), other.embed(clip), atol=1e-3)


@pytest.mark.parametrize(
    ("dimension", "heads", "parameters"), [(192, 3, 5_388_288), (256, 4, 9_543_680)]
)
def test_the_published_sizes_are_those_of_the_authors(dimension, heads, parameters):
    backbone = Fisher(Architecture(embed_dim=dimension, num_heads=heads))
    assert sum(each.numel() for each in backbone.parameters()) == parameters


@pytest.mark.parametrize(
    ("rate", "bands"), [(1000, 1), (4000, 1), (16000, 2), (22050, 2), (44100, 5), (48000, 6)]
)
def test_the_dimension_is_that_of_all_bands_of_the_rate(rate, bands):
    backbone = small(sample_rate=rate)
    clip = clips(rate, 1)
    assert backbone.dimension == bands * 48
    assert backbone.embed(clip).shape == (1, bands * 48)
    assert backbone.tokens(clip).shape == (1, 1 + 98 // 16 * 6, bands * 48)


def test_bands_are_independent_and_their_mean_has_one_dimension_at_every_rate():
    mean = small(bands="mean", sample_rate="native")
    for rate, bands in ((16000, 2), (48000, 6)):
        clip = clips(rate)
        concatenated = small(sample_rate=rate).embed(clip)
        expected = concatenated.unflatten(1, (bands, 48)).mean(1)
        torch.testing.assert_close(mean.embed(clip, None, rate), expected)
    spectrogram = small().spectrogram(clips())
    changed = spectrogram.clone()
    changed[..., 100:] = 0
    before, after = (small().cls_from_spectrogram(each) for each in (spectrogram, changed))
    torch.testing.assert_close(before[:, :48], after[:, :48])
    assert not torch.allclose(before[:, 48:], after[:, 48:], atol=1e-3)


def test_padding_is_seen_only_where_it_is_asked_for():
    clip = clips()
    lengths = torch.tensor([20000, 20000])
    longer = torch.nn.functional.pad(clip, (0, 9000))
    for padded in (False, True):
        backbone = small(padded=padded, target_length=256)
        found = backbone.embed(longer, lengths)
        torch.testing.assert_close(found, backbone.embed(clip), atol=1e-5, rtol=0)
    assert not torch.allclose(small().embed(clip), small(padded=True).embed(clip), atol=1e-3)


def test_a_clip_is_cropped_to_its_first_frames_after_its_mean_is_removed():
    clip = clips(30000, 1)
    clip[:, 20000:] += 1.0
    found = small(target_length=96).spectrogram(clip)
    assert found.shape[1] == 96
    torch.testing.assert_close(found, small().spectrogram(clip)[:, :96])


@pytest.mark.parametrize("padded", [False, True])
def test_what_lies_beyond_a_clip_is_not_looked_at(padded):
    backbone = small(padded=padded)
    padded, lengths = clips(), torch.tensor([20000, 9000])
    dirty = padded.clone()
    padded[1, 9000:] = 0
    mask = backbone.token_mask(lengths, 20000)
    found, same = backbone.tokens(padded, lengths), backbone.tokens(dirty, lengths)
    assert torch.equal(found[mask], same[mask])
    assert torch.equal(backbone.embed(padded, lengths), backbone.embed(dirty, lengths))


def test_the_token_mask_tells_a_clips_own_tokens():
    lengths = torch.tensor([20000, 9000, 400 + 15 * 160])
    mask = small().token_mask(lengths, 20000)
    assert mask.sum(1).tolist() == [1 + 7 * 6, 1 + 3 * 6, 1 + 6]
    assert mask.shape == small().tokens(clips(20000, 3), lengths).shape[:2]
    assert small(padded=True, target_length=64).token_mask(lengths, 20000).shape == (3, 25)


def test_fine_tuning_sees_the_same_tokens_with_a_gradient():
    backbone = small()
    clip, lengths = clips(), torch.tensor([20000, 9000])
    spectrogram = backbone.spectrogram(clip, lengths).requires_grad_()
    tokens = backbone.tokens_from_spectrogram(spectrogram, lengths)
    assert torch.equal(tokens, backbone.tokens(clip, lengths))
    cls = backbone.cls_from_spectrogram(spectrogram, lengths)
    torch.testing.assert_close(cls, tokens[:, 0])
    torch.testing.assert_close(cls, backbone.embed(clip, lengths))
    cls.square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    gradient = spectrogram.grad.abs().sum(2) > 0
    assert gradient[0, :112].all()
    assert not gradient[1, 48:].any()


@pytest.mark.parametrize("representation", ["cls", "mean"])
def test_lower_precision_stays_close(representation):
    backbone, lengths = small(representation=representation), torch.tensor([20000, 9000])
    expected = backbone.embed(clips(), lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = backbone.embed(clips(), lengths)
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0)


def test_clips_that_it_cannot_take_are_refused():
    short = "2799 samples is shorter than 16 frames, that is 2800 .175 ms at 16000 Hz"
    with pytest.raises(AudioError, match=short):
        small().embed(torch.zeros(1, 2799))
    with pytest.raises(AudioError, match=r"399 samples is shorter than one frame of 400 \(25 ms"):
        small(padded=True).embed(torch.zeros(2, 1000), torch.tensor([1000, 399]))
    with pytest.raises(AudioError, match="clips of 48000 Hz, but this backbone takes 16000 Hz"):
        small().embed(torch.zeros(1, 5000), sample_rate=48000)
    native = small(bands="mean", sample_rate="native")
    with pytest.raises(AudioError, match="clips of 999 Hz; FISHER takes 1000 Hz and more"):
        native.embed(torch.zeros(1, 5000), sample_rate=999)
    with pytest.raises(AudioError, match="the rate of the clips must be given"):
        native.embed(torch.zeros(1, 5000))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_length": 15}, "target_length must be a number of frames from 16 to 17056"),
        ({"target_length": 17057}, "not 17057"),
        ({"target_length": 96.0}, "not 96.0"),
        ({"sample_rate": 999}, "sample_rate must be 'native' or at least 1000 Hz, not 999"),
        ({"sample_rate": "any"}, "not 'any'"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"representation": "csl"}, "no representation is called 'csl'; did you mean 'cls'"),
        ({"bands": "man"}, "no bands is called 'man'; did you mean 'mean'"),
        ({"layer": 3}, "no layer 3; choose from 1 to 2"),
        ({"sample_rate": "native"}, "choose bands = mean, or a sample_rate"),
        ({"architecture": {"dpeth": 2}}, "no 'dpeth'; did you mean 'depth'"),
        ({"architecture": {"band_width": 15}}, "band_width must be at least 16 bins, not 15"),
        ({"random_weights": None}, "the checkpoint says the architecture"),
        ({"path": "x.pt"}, r"x\.pt: leave out either this checkpoint or random_weights"),
    ],
)
def test_wrong_options_are_refused(options, message):
    given = {"random_weights": 0, "architecture": SMALL} | options
    with pytest.raises(BackboneError, match=message):
        Fisher.from_checkpoint(**given)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_gives_the_same(tmp_path):
    check_backbone(small(), tmp_path, device="cuda")
    backbone = small()
    expected = backbone.embed(clips())
    found = backbone.cuda().embed(clips().cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("padded", [True, False])
def test_frames_of_a_clip_are_told_from_padding_also_where_that_is_seen(padded):
    backbone = small(padded=padded, target_length=256)
    waveforms, lengths = clips(32000, 3), torch.tensor([32000, 16000, 8080])
    frames = backbone.spectrogram(waveforms, lengths, 16000)
    mask = backbone.frame_mask(lengths, frames.shape[1], 16000)
    assert mask.shape == frames.shape[:2]
    assert mask.sum(1).tolist() == [198, 98, 49]
    assert not frames[~mask].any()
    assert bool(frames[mask].any(1).all())


@pytest.mark.parametrize(("bands", "rows"), [("concatenate", 12), ("mean", 6)])
def test_the_grid_has_the_patches_of_all_sub_bands_from_low_to_high(bands, rows):
    backbone = small(bands=bands, padded=True, target_length=160)
    with torch.inference_mode():
        tokens, mask = backbone.token_grid(clips(20000), torch.tensor([20000, 9000]))
        flat = backbone.tokens(clips(20000), torch.tensor([20000, 9000]))
    assert tokens.shape == (2, 10, rows, 48)
    assert mask.sum(1).tolist() == [7, 3]  # of 123 and 54 frames
    token = flat[:, 1 + 4 * 6 + 2]  # the third patch of each sub-band at the fifth moment
    if bands == "mean":
        assert torch.allclose(tokens[:, 4, 2], token, atol=1e-6)
    else:
        assert torch.equal(tokens[:, 4, [2, 6 + 2]].flatten(1), token)


def test_tokens_are_the_mean_of_several_layers_or_one_after_the_other(tmp_path):
    first, last = (small(layer=layer) for layer in (1, 2))
    merged, joined = small(layers=[2, 1]), small(layers=[1, 2], merge="concat")
    with torch.inference_mode():
        one, two = (each.token_grid(clips())[0] for each in (first, last))
        torch.testing.assert_close(merged.token_grid(clips())[0], (one + two) / 2)
        torch.testing.assert_close(joined.token_grid(clips())[0], torch.cat([one, two], -1))
        torch.testing.assert_close(
            merged.embed(clips()), (first.embed(clips()) + last.embed(clips())) / 2
        )
    check_backbone(joined, tmp_path)
    assert "layers" not in first.options
    with pytest.raises(BackboneError, match="there is no layer 3; choose from 1 to 2"):
        small(layers=[1, 3])
    with pytest.raises(BackboneError, match="no merge is called 'sum'"):
        small(layers=[1, 2], merge="sum")
