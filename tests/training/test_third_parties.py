"""Losses and augmentations that somebody else's package brings: trained with, recorded, missed."""

import dataclasses
import json
import sys
import tomllib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from dcase_asd.cli.app import app
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.kept import checkpoint_metadata
from dcase_asd.errors import RecipeError, TrainingError
from dcase_asd.recipe.toml import recipe_from, recipe_text
from dcase_asd.recipe.training import Training
from dcase_asd.runs.recipes import read_nodes
from dcase_asd.runs.requirements import missing
from dcase_asd.training.augment import mix_at_snr
from dcase_asd.training.engine import Engine
from dcase_asd.training.finetune import finetune
from dcase_asd.training.model import make_loss
from dcase_asd.training.named import installed_parts, parts_of, read_record

PARTS = """
import torch
from torch import nn
from torch.nn import functional

class CosFace(nn.Module):
    def __init__(self, dimension, counts, scale: float = 30.0, margin: float = 0.35):
        super().__init__()
        self.scale, self.margin = scale, margin
        self.centers = nn.Parameter(torch.randn(len(counts), dimension))
    def near(self, embeddings):
        return functional.normalize(embeddings) @ functional.normalize(self.centers).T
    def forward(self, embeddings, labels):
        near = self.near(embeddings)
        own = functional.one_hot(labels, len(self.centers))
        logits = self.scale * (near - self.margin * own)
        return functional.cross_entropy(logits, labels, reduction="none"), near

class Mean(CosFace):
    def forward(self, embeddings, labels):
        loss, near = super().forward(embeddings, labels)
        return loss.mean(), near

class Alone(CosFace):
    def forward(self, embeddings, labels):
        return super().forward(embeddings, labels)[0]

class Frozen(CosFace):
    def forward(self, embeddings, labels):
        return super().forward(embeddings.detach(), labels)[0].detach(), self.near(embeddings)

class Infinite(CosFace):
    def forward(self, embeddings, labels):
        loss, near = super().forward(embeddings, labels)
        return loss * float("nan"), near

class Raises(CosFace):
    def forward(self, embeddings, labels):
        raise KeyError("of the third\\nparty")

def nothing(dimension, counts):
    return None

def no_sizes(counts):
    return None

def louder(waveforms, generator, decibels: float = 6.0):
    gains = decibels * (2 * torch.rand(len(waveforms), 1, generator=generator) - 1)
    return waveforms * 10 ** (gains / 20)

def offset(waveforms, generator, lengths, sample_rate):
    return waveforms + sample_rate / 1e6

def stripes(spectrogram, generator, inside, level: float = 0.0):
    spectrogram[:, ::2] = level
    return spectrogram

def shorter(waveforms, generator):
    return waveforms[:, :-1]

def listed(spectrogram, generator):
    return spectrogram.tolist()

def not_a_number(waveforms, generator):
    return waveforms / 0

def no_generator(waveforms):
    return waveforms

def other_first(audio, generator):
    return audio

opaque = dict
number = 3
"""
LOSSES = {
    "cosface": "CosFace", "mean": "Mean", "alone": "Alone", "frozen": "Frozen",
    "infinite": "Infinite", "raises": "Raises", "nothing": "nothing", "no-sizes": "no_sizes",
    "number": "number", "opaque": "opaque",
}  # fmt: skip
AUGMENTATIONS = (
    "louder", "offset", "stripes", "shorter", "listed", "not_a_number", "no_generator",
    "other_first",
)  # fmt: skip


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a version of the package; None takes it away."""
    folder = tmp_path / "site"
    metadata = folder / "somebody.dist-info"
    metadata.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))

    def put(version="1.2"):
        sys.modules.pop("their_parts", None)
        if version is None:
            (metadata / "entry_points.txt").write_text("")
            return
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: somebody\nVersion: {version}\n"
        )
        lines = ["[dcase_asd.losses]", "gone = nowhere_at_all:X"]
        lines += [f"{name} = their_parts:{of}" for name, of in LOSSES.items()]
        lines += ["[dcase_asd.augmentations]"]
        lines += [f"{name} = their_parts:{name}" for name in AUGMENTATIONS]
        (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (folder / "their_parts.py").write_text(PARTS)

    put()
    return put


def tune(data, run, system, **options):
    return finetune(data, run, system, device="cpu", workers=0, **options)


SMALL = {"steps": 4, "eval_every": 0, "save_every": 2}


def test_a_run_trained_with_them_says_whose_they_were_and_is_embedded_without_them(
    data, tmp_path, make_system, install
):
    system = make_system(
        **SMALL, loss="cosface", loss_options={"margin": 0.1}, augmentations=("louder", "stripes"),
        augmentation_options={"louder": {"decibels": 3}}, mixup=0.2,
    )  # fmt: skip
    run = tmp_path / "run"
    done = tune(data, run, system)
    whose = [
        {"kind": kind, "name": name, "package": "somebody", "version": "1.2"}
        for kind, name in (
            ("augmentation", "louder"), ("augmentation", "stripes"), ("loss", "cosface"),
        )
    ]  # fmt: skip
    assert read_record(run) == whose
    assert json.loads(checkpoint_metadata(done.scored[0])["plugins"]) == whose
    install(None)
    assert embed(data, run, "dcase2025", system, "cpu").made
    assert not tune(data, run, system).changed


def test_a_stopped_run_resumes_to_the_same_weights_and_misses_the_package_by_name(
    data, tmp_path, make_system, install, monkeypatch
):
    system = make_system(**SMALL, loss="cosface", augmentations=("louder",))
    undisturbed = tune(data, tmp_path / "undisturbed", system)
    whole, calls, run = Engine.update, [], tmp_path / "run"

    def stopping(self, *arguments):
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "update", stopping)
        with pytest.raises(KeyboardInterrupt):
            tune(data, run, system)
    install(None)
    with pytest.raises(TrainingError) as raised:
        tune(data, run, system)
    assert str(raised.value) == (
        f"{run}: begun with the augmentation 'louder' of somebody 1.2 (no augmentation is called "
        "'louder'; choose from nothing: there is none); install it again to go on; "
        f"{run}: begun with the loss 'cosface' of somebody 1.2 (no loss is called 'cosface'; did "
        "you mean 'arcface'?); install it again to go on"
    )
    install("1.3")
    notes = []
    monkeypatch.setattr("dcase_asd.progress.Silent.note", lambda self, text: notes.append(text))
    done = tune(data, run, system)
    assert done.checkpoints[-1].step == undisturbed.checkpoints[-1].step
    told = "the loss 'cosface' is that of somebody 1.3 now; this run was begun with 1.2"
    assert told in notes
    assert [each["version"] for each in read_record(run)] == ["1.2", "1.2", "1.3", "1.3"]
    one, other = load_file(done.scored[-1]), load_file(undisturbed.scored[-1])
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_loss_gets_embeddings_classes_and_its_options(install):
    """Their CosFace against cross entropy over cosines, written out with NumPy."""
    settings = Training(loss="cosface", loss_options={"scale": 10.0, "margin": 0.2}, embedding=3)
    loss = make_loss(settings, [1, 4])
    embeddings, labels = (
        torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, 1, 1, 0, 1]),
    )
    found, near = loss(embeddings, labels)
    centers = loss.made.centers.detach().numpy().astype(np.float64)
    vectors = embeddings.numpy().astype(np.float64)
    cosines = vectors @ centers.T / np.linalg.norm(vectors, axis=1)[:, None]
    cosines /= np.linalg.norm(centers, axis=1)
    logits = 10 * (cosines - 0.2 * np.eye(2)[labels])
    expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(5), labels]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(near.detach().numpy(), cosines, atol=1e-5)


def test_augmentations_get_each_batch_in_order_and_leave_padding_and_other_draws_alone(
    data, tmp_path, make_system, install, monkeypatch
):
    seen = {}
    for name, parts in (("without", ()), ("with", ("offset", "stripes", "louder"))):
        seen[name] = []
        real = mix_at_snr

        def mixed(*of, name=name, real=real):
            found = real(*of)
            seen[name].append(found)
            return found

        masks = []

        def masked(spectrogram, *of, masks=masks):
            masks.append((spectrogram.clone(), of[2].get_state()))
            return spectrogram

        monkeypatch.setattr("dcase_asd.training.engine.mix_at_snr", mixed)
        monkeypatch.setattr("dcase_asd.training.engine.mask_spectrogram", masked)
        tune(data, tmp_path / name, make_system(**SMALL, augmentations=parts))
        seen[name] = (seen[name], masks)
    (plain, before), (theirs, after) = seen["without"], seen["with"]
    assert all(torch.equal(one, other) for one, other in zip(plain, theirs, strict=True))
    for (one, drawn), (other, also) in zip(before, after, strict=True):
        assert torch.equal(drawn, also)
        assert not torch.equal(one[:, 1::2], other[:, 1::2])  # louder, and with an offset
        assert (other[:, ::2] == 0).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "cosfac"}, "no loss is called 'cosfac'; did you mean 'cosface'?"),
        ({"loss": "arcfac"}, "no loss is called 'arcfac'; did you mean 'arcface'?"),
        ({"augmentations": ("loudr",)},
         "no augmentation is called 'loudr'; did you mean 'louder'?"),
        ({"loss": "gone"},
         "the loss 'gone' (nowhere_at_all:X) cannot be imported: ModuleNotFoundError"),
        ({"loss": "number"}, "(their_parts:number) is no class and no function"),
        ({"loss": "opaque"}, "(their_parts:opaque): its arguments are not known: "),
        ({"loss": "no-sizes"}, "(their_parts:no_sizes) takes no argument dimension"),
        ({"loss": "nothing"}, "'nothing' of somebody 1.2 gives NoneType, not a torch.nn.Module"),
        ({"loss": "cosface", "loss_options": {"margn": 0.1}},
         "'cosface' of somebody 1.2 refuses its options: unknown name 'margn' (did you mean 'marg"),
        ({"loss": "cosface", "loss_options": {"margin": "x"}}, "'margin' must be a number, not"),
        ({"loss": "mean"},
         "'mean' of somebody 1.2 gives () and (8, 6) for 8 clips of 6 classes; it must give tenso"),
        ({"loss": "alone"}, "gives (8,) for 8 clips of 6 classes"),
        ({"loss": "frozen"}, "'frozen' of somebody 1.2 has no gradient, so that nothing can be"),
        ({"loss": "infinite"}, "the loss 'infinite' of somebody 1.2 of batch 0 is nan"),
        ({"loss": "raises"}, "'raises' of somebody 1.2 failed: KeyError: 'of the third"),
        ({"augmentations": ("no_generator",)}, "takes no argument generator"),
        ({"augmentations": ("other_first",)},
         "must take waveforms or spectrogram as its first argument"),
        ({"augmentations": ("shorter",)},
         "gives (8, 12799) of torch.float32 on cpu for waveforms (8, 12800) of torch.float32"),
        ({"augmentations": ("listed",)}, "gives list for spectrogram (8, "),
        ({"augmentations": ("not_a_number",)},
         "'not_a_number' of somebody 1.2 gives waveforms that are not finite"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_part_is_told_in_one_line(
    data, tmp_path, make_system, install, changes, message
):
    with pytest.raises(TrainingError) as raised:
        tune(data, tmp_path / "run", make_system(**SMALL, **changes))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    system = make_system(**SMALL)  # nothing was made that another recipe could not take up
    assert tune(data, tmp_path / "run", system).changed


def test_all_wrong_parts_of_a_recipe_are_told_before_anything_runs(
    data, tmp_path, make_system, install
):
    system = make_system(loss="cosfac", augmentations=("loudr", "stripes"))
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(system))
    found = missing(read_nodes([path]), data, tmp_path / "runs", ["dcase2025"])
    told = (
        f"{path}: no augmentation is called 'loudr'; did you mean 'louder'?; no loss is called "
        "'cosfac'; did you mean 'cosface'?"
    )
    assert told in found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss_options": {"margin": 1}}, "loss_options are of a third party's loss, and loss is"),
        ({"augmentations": ("louder",), "augmentation_options": {"loder": {}}},
         "augmentation_options: 'loder' is none of augmentations; did you mean 'louder'?"),
        ({"augmentations": ("a",), "augmentation_options": {"a": 3}}, "give a.name=value, not 3"),
        ({"augmentations": ("a", "a")}, "augmentations has 'a' twice"),
    ],
)  # fmt: skip
def test_options_that_belong_to_nothing_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Training(**values)


def test_a_recipe_with_options_is_read_back_as_it_was(make_system):
    train = dataclasses.replace(
        make_system().train, loss="cosface", loss_options={"margin": 0.1},
        augmentations=("louder",), augmentation_options={"louder": {"decibels": 3.0}},
    )  # fmt: skip
    assert recipe_from(tomllib.loads(recipe_text(train)), Training, "x") == train
    with pytest.raises(RecipeError, match="unknown name 'los_options'"):
        recipe_from({"los_options": {}}, Training, "x")


def test_they_are_listed_and_a_broken_one_is_told(install):
    rows = {each["name"]: each for each in installed_parts("loss")}
    assert rows["cosface"] == {
        "name": "cosface", "package": "somebody", "version": "1.2", "options": ""
    }  # fmt: skip
    assert "their_parts" not in sys.modules
    told = CliRunner().invoke(app, ["plugins", "--check", "--json"]).stdout
    rows = {(each["kind"], each["name"]): each for each in json.loads(told)}
    assert rows["loss", "cosface"]["options"] == "scale=30.0 margin=0.35"
    assert rows["augmentation", "louder"]["options"] == "decibels=6.0"
    assert rows["loss", "arcface"]["state"] == rows["augmentation", "stripes"]["state"] == "works"
    assert "cannot be imported: ModuleNotFoundError" in rows["loss", "gone"]["state"]


def test_two_packages_with_one_name_are_told(install, tmp_path, monkeypatch):
    other = tmp_path / "other/else.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: else\nVersion: 1\n")
    (other / "entry_points.txt").write_text("[dcase_asd.losses]\ncosface = elsewhere:X\n")
    monkeypatch.syspath_prepend(str(other.parent))
    with pytest.raises(TrainingError, match="more than one loss is called 'cosface'"):
        parts_of(Training(loss="cosface"))
