"""Flags that every command has, and those that the values of a recipe give."""

import dataclasses
import json
import typing

import pytest
import typer
from typer.testing import CliRunner

from dcase_asd import __version__
from dcase_asd.cli import PIPELINE
from dcase_asd.cli.app import app
from dcase_asd.errors import DataError, RecipeError
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.fusion import Fusion
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.recipe.training import Training
from dcase_asd.training import finetune as module
from dcase_asd.training.finetune import FineTuned

COMMANDS = typer.main.get_command(app).commands


def call(*arguments):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def options(name):
    return {each.name: each for each in COMMANDS[name].params if each.param_type_name == "option"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("embed", Embedding), ("finetune", Training), ("score", Detector), ("fuse", Fusion)],
)
def test_a_flag_has_its_text_default_and_choices_from_the_recipe(name, kind):
    hints = typing.get_type_hints(kind)
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "300"}).output
    for field in dataclasses.fields(kind):
        flag = options(name)[field.name]
        assert flag.help.startswith(field.metadata["help"])
        assert flag.default is None
        if typing.get_origin(hints[field.name]) is typing.Literal:
            assert f"<{'|'.join(typing.get_args(hints[field.name]))}>" in shown
    assert options("embed")["batch_size"].help == "Clips computed at once. (16)"
    assert options("fuse")["step"].help == "Grid step; must divide 1. (0.1)"
    assert options("finetune")["batch_size"].help == "Clips in a batch. (32)"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            ("embed", "--run", "x", "--edition", "2025", "--channel", -1),
            "channel must be at least 0",
        ),
        (
            ("embed", "--plugin", "spectral", "--run", "x", "--edition", "2025", "--batch-size", 0),
            "batch_size must be at least 1, not 0",
        ),
        (
            ("score", "x", "--edition", "2025", "--neighbors", 0),
            "neighbors must be at least 1, not 0",
        ),
        (("fuse", "a", "b", "--budget", 0, "--seed", -1), "budget .* not 0; seed .* 0, not -1"),
        (("finetune", "--run", "x", "--channel", -2), "channel must be at least 0, not -2"),
        (
            ("finetune", "--run", "x", "--margin", 90),
            r"margin must be at most 1\.571 radians, not 90",
        ),
    ],
)
def test_a_number_out_of_the_range_of_its_field_is_told(line, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=message):
        call(*line)
    assert not list(tmp_path.iterdir())


def test_the_version_is_printed():
    assert call("--version").stdout == f"dcase-asd {__version__}\n"


@pytest.mark.parametrize("name", PIPELINE)
def test_every_command_may_be_quiet_and_finds_data_below_data(name):
    assert options(name)["quiet"].opts == ["--quiet", "-q"]
    data = options(name).get("data")
    assert data is None or not data.required


def test_quiet_lasts_for_one_command_and_leaves_json(small_tree, monkeypatch):
    monkeypatch.chdir(small_tree.parent)
    assert small_tree.name == "data"
    assert (call("prepare", "-q").output, call("labels", "--quiet").output) == ("", "")
    assert len(json.loads(call("labels", "-q", "--json").stdout)) == 2
    assert "15 clips" in call("prepare").stdout


def test_embed_and_score_speak_json(small_tree, tmp_path):
    base = ("--edition", "2025", "--json")
    folder = tmp_path / "runs/x"
    call("prepare", "--data", small_tree)
    done = call("embed", "--plugin", "spectral", "--data", small_tree, "--run", folder, *base)
    assert json.loads(done.stdout) == {"run": str(folder), "made": 1, "kept": 0, "clips": 14}
    done = call("score", folder, *base, "--domains", "minimum")
    assert json.loads(done.stdout) == {
        "scores": f"{folder}/scores/dcase2025.csv", "train": 6, "test": 8, "changed": True,
        "detector": {"detector": "mean", "options": {"of": ["varmin", "mahalanobis"]},
                     "standardize": True, "references": 0,
                     "neighbors": 1, "domains": "minimum", "normalize": "none",
                     "density_neighbors": 16},
    }  # fmt: skip


@pytest.fixture
def fine_tuned(monkeypatch, tmp_path):
    told = {}

    def step(data, run, system, **_):
        told.update(data=data, system=system)
        return FineTuned((), (run / "step_1.safetensors",), changed=True)

    monkeypatch.setattr(module, "finetune", step)
    recipe = tmp_path / "x.toml"
    system = System("x", Embedding("beats", options={"layers": [1]}), train=Training(seed=4))
    recipe.write_text(recipe_text(system))

    def run(*arguments):
        return call("finetune", "--recipe", recipe, "--run", tmp_path / "tuned", *arguments), told

    return run


def test_finetune_speaks_json(fine_tuned, tmp_path):
    done, told = fine_tuned("--json")
    expected = {"run": f"{tmp_path}/tuned", "changed": True, "scored": ["step_1.safetensors"]}
    assert json.loads(done.stdout) == expected
    assert str(told["data"]) == "data"


def test_set_replaces_values_of_any_table(fine_tuned):
    _, told = fine_tuned(
        *("--set", "train.steps=80", "--steps", 8, "--set", "embed.batch_size = 4"),
        *("--set", "embed.options.pooling=mean", "--set", 'train.editions=["dcase2024"]'),
        *("--set", "score.normalize=density", "--margin", "0.3"),
    )
    assert told["system"] == System(
        "tuned",
        Embedding("beats", options={"layers": [1], "pooling": "mean"}, batch_size=4),
        Detector(normalize="density"),
        train=Training(seed=4, steps=80, editions=("dcase2024",), margin=0.3),
    )


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("trian.steps=80", r"--set: unknown name 'trian' \(did you mean 'train'"),
        ("train.stesp=80", r"--set: unknown name 'train.stesp' \(did you mean 'steps'"),
        ("train.steps=many", "--set: 'train.steps' must be a whole number, not 'many'"),
        ("train.margin=90", "--set: train: margin must be at most 1.571 radians, not 90"),
        ("train.steps", "'train.steps' is not of the form name=value"),
    ],
)
def test_wrong_values_that_are_set_are_told(fine_tuned, pair, message):
    with pytest.raises(RecipeError, match=message):
        fine_tuned("--set", pair)


@pytest.mark.parametrize("pair", ["name=x", "train=3"])
def test_set_takes_values_of_tables_alone(fine_tuned, pair):
    done, told = fine_tuned("--set", pair)
    assert (done.exit_code, told) == (2, {})
    assert "takes TABLE.NAME=VALUE" in done.output


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False)])
def test_debugging_shows_a_traceback(monkeypatch, capsys, tmp_path, value, shown):
    monkeypatch.setenv("DCASE_ASD_DEBUG", value)
    with pytest.raises(DataError, match="no such data folder"):
        COMMANDS["prepare"].callback(data=tmp_path / "gone", quiet=False)
    assert ("Traceback" in capsys.readouterr().err) is shown
