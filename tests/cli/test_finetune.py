"""The command `finetune`: its flags, and what it answers."""

import dataclasses

import pytest
from typer.testing import CliRunner

from dcase_asd.cli.app import app
from dcase_asd.errors import RecipeError, TrainingError
from dcase_asd.recipe.setting import as_typed, flag_of
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.recipe.training import Training
from dcase_asd.training import finetune as module
from dcase_asd.training.finetune import FineTuned, planned_system


@pytest.fixture
def called(monkeypatch, tmp_path):
    """Calls the command with the step replaced; returns what the step was told."""
    told = {}

    def step(data, run, system, **options):
        told.update(data=data, run=run, system=system, **options)
        return FineTuned((), (run / "step_1.safetensors",), changed=True)

    monkeypatch.setattr(module, "finetune", step)

    def call(*arguments):
        base = ["finetune", "--data", str(tmp_path), "--run", str(tmp_path / "beats")]
        result = CliRunner().invoke(app, [*base, *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result, told

    return call


def test_without_options_it_is_the_report_s_recipe(called):
    result, told = called("--plugin", "beats")
    assert result.exit_code == 0
    assert "fine-tuned; scored with step_1.safetensors" in result.output
    assert told["system"] == System("beats", Embedding("beats"), train=Training())
    assert (told["device"], told["workers"], told["tensorboard"]) == ("auto", 2, False)


def test_every_setting_is_a_flag(called):
    values = {
        int: lambda old: 2 * old if old else 8, float: lambda old: old / 2,
        bool: lambda old: not old, str: lambda _: "dcase2024",
    }  # fmt: skip
    other = {"seed": 7, "cycles": 2, "lora_dropout": 0.1, "mixup": 0.2, "clip_norm": 1.0,
             "step_unit": "update", "schedule": "constant", "precision": "fp32", "pooling": "mean",
             "loss": "theirs", "loss_options": {"power": 2}, "augmentations": ("a", "b"),
             "augmentation_options": {"a": {"p": 0.5}},
             "sub_centered": "all", "tune": "lora", "ensemble": "last",
             "representation": "pooled", "head": "aggregate", "center_weight": 0.1,
             "pseudo": "kmeans", "pseudo_run": "runs/a", "editions": ("2020", "2024"),
             "noise_snrs": (3.0, 6.5), "noise_editions": (),
             "lora_targets": ("q_proj",), "freeze": ("a.*", "b")}  # fmt: skip
    wanted, arguments = {}, []
    for field in dataclasses.fields(Training):
        name, old = field.name, field.default
        if name == "pseudo_threshold":  # excludes pseudo_clusters
            continue
        value = other[name] if name in other else values[type(old)](old)
        assert value != old
        wanted[name] = value
        flag = flag_of(field)
        if isinstance(value, (bool, dict)):
            arguments += as_typed(field, value)
        elif isinstance(value, tuple):
            arguments += [part for each in value or ("",) for part in (flag, str(each))]
        else:
            arguments += [flag, str(value)]
    result, told = called("--plugin", "beats", *arguments)
    assert result.exit_code == 0, result.output
    assert told["system"].train == Training(**wanted)


def test_help_shows_defaults_and_an_example():
    result = CliRunner().invoke(app, ["finetune", "--help"], env={"COLUMNS": "200"})
    assert "Clips in a batch. (32)" in result.output
    assert "(5, 10, 15, 20)" in result.output
    assert "Example: dcase-asd finetune --plugin beats" in result.output


def test_flags_change_a_recipe_and_options_go_to_the_plugin(called, tmp_path):
    recipe = tmp_path / "x.toml"
    recipe.write_text(recipe_text(System("x", Embedding("beats"), train=Training(seed=4))))
    _, told = called("--recipe", str(recipe), "--margin", "0.3", "--checkpoint", "w.pt",
                     "--option", "layers=[1, 2]", "--channel", "1", "--tensorboard",
                     "--mlflow", "mlruns", "--workers", "0")  # fmt: skip
    expected = Embedding("beats", "w.pt", {"layers": [1, 2]}, channel=1)
    assert told["system"] == System("beats", expected, train=Training(seed=4, margin=0.3))
    assert (told["workers"], told["tensorboard"], told["mlflow"]) == (0, True, "mlruns")


def test_a_run_s_own_recipe_is_gone_on_with(tmp_path):
    (tmp_path / "recipe.toml").write_text(
        recipe_text(System("old", Embedding("eat"), train=Training(seed=9)))
    )
    assert planned_system(tmp_path).train == Training(seed=9)
    assert planned_system(tmp_path).embed.plugin == "eat"


def test_wrong_values_and_a_missing_plugin_are_told(called):
    with pytest.raises(RecipeError, match="batch_size must be at least 2, not 0"):
        called("--plugin", "beats", "--batch-size", "0")
    with pytest.raises(RecipeError, match="say what to fine-tune with --plugin"):
        called()
    # From Python nothing has looked at the values before.
    with pytest.raises(RecipeError, match="batch_size must be at least 2, not 0"):
        planned_system("runs/a", plugin="beats", settings={"batch_size": 0})
    result, _ = called("--plugin", "beats", "--schedule", "linear")
    assert result.exit_code == 2


def test_no_checkpoint_is_never_taken_for_success(tmp_path):
    with pytest.raises(TrainingError, match="no checkpoint was written"):
        module._outcome(tmp_path, changed=True)


def test_a_channel_without_a_far_one_is_refused(tmp_path):
    recipe = tmp_path / "x.toml"
    recipe.write_text(recipe_text(System("x", Embedding("beats", far="cancel"))))
    with pytest.raises(RecipeError, match="far = cancel takes the other of two channels, and chan"):
        planned_system(tmp_path / "run", recipe, channel=2)
