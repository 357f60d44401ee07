"""What runs were trained with, and what each year's rules have against it."""

from __future__ import annotations

import dataclasses
import json
import shlex

import pytest
import torch
from safetensors.torch import save_file

from dcase_asd.backbone import saved, write_tensors
from dcase_asd.cli.app import app
from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings import kept
from dcase_asd.embeddings.kept import KeptCheckpoint, KeptCheckpoints, write_kept
from dcase_asd.embeddings.rules import (
    objections,
    run_objections,
    single_runs,
    subsystem_count,
    uses_of,
    uses_of_checkpoint,
    uses_of_run,
)
from dcase_asd.fusion.result import FusionResult, write_fusion
from dcase_asd.recipe.fusion import FusedSystem, Fusion
from dcase_asd.recipe.system import Embedding, System, recipe_path
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.recipe.training import Training

YEARS = tuple(f"dcase{year}" for year in range(2020, 2026))


def judge(edition, train=(), noise=(), dev=""):
    found = objections(uses_of(train, noise, dev), load_edition(edition), "beats")
    return [(each.level, each.what) for each in found]


@pytest.mark.parametrize(
    ("edition", "train", "levels"),
    [
        ("dcase2025", YEARS, []),
        ("dcase2026", ["dcase2026"], []),
        ("dcase2026", ["dcase2025"], ["error"]),
        ("dcase2026", YEARS, ["error"]),
        ("dcase2025", ["dcase2026"], ["error"]),  # did not exist yet
        ("dcase2020", ["dcase2021"], ["error"]),
        ("dcase2023", ["dcase2022"], ["warning"]),  # that year's rule was not found
        ("dcase2023", ["dcase2022", "dcase2025"], ["warning", "error"]),
        ("dcase2025", ["workshop"], ["warning"]),
        ("dcase2026", ["workshop", "dcase2026"], ["warning"]),
        ("workshop", [*YEARS, "dcase2026", "workshop"], []),
    ],
)
def test_each_year_allows_what_its_rules_say(edition, train, levels):
    assert [level for level, _ in judge(edition, train)] == levels


def test_noise_and_labels_that_choose_checkpoints_are_recordings_too():
    ((level, what),) = judge("dcase2026", ["dcase2026"], ["dcase2025"], "dcase2025")
    assert level == "error"
    assert "noise clips of dcase2025; checkpoints chosen by labels of dcase2025" in what
    assert "train clips" not in what
    assert "beats uses what dcase2026 does not allow" in what
    assert load_edition("dcase2026").training.source in what


def test_recordings_of_ones_own_are_to_be_named_in_the_form():
    (found,) = objections(uses_of(["workshop"], [], ""), load_edition("2025"), "beats")
    assert "external data to dcase2025: train clips of workshop" in found.what
    assert "external_datasets" in found.way_out


def write_run(run, train=None, checkpoint=None, scored=(), about=None):
    """A run folder of a single system, with checkpoints where it was fine-tuned."""
    run.mkdir(parents=True, exist_ok=True)
    recipe_path(run).write_text(
        recipe_text(System(run.name, Embedding("tiny", checkpoint), train=train))
    )
    for file in scored:
        (run / "checkpoints").mkdir(exist_ok=True)
        write_tensors(run / "checkpoints" / file, {"x": torch.zeros(1)}, about or {})
    if scored:
        kept = tuple(KeptCheckpoint(file, number) for number, file in enumerate(scored))
        write_kept(run, KeptCheckpoints("x", kept, tuple(scored), finished=True))
    return run


def about(train, noise=(), dev=""):
    return {"editions": json.dumps(uses_of(train, noise, dev))}


def test_a_checkpoint_says_what_it_was_trained_with(tmp_path):
    assert kept.METADATA == saved.METADATA
    run = write_run(tmp_path / "a", Training(), None, ["s.safetensors"],
                    about(["dcase2025"], ["dcase2025"], "dcase2024"))  # fmt: skip
    assert uses_of_run(run) == {
        "train": ("dcase2025",), "noise": ("dcase2025",), "dev": ("dcase2024",)
    }  # fmt: skip
    path = str(run / "checkpoints" / "s.safetensors")
    embedded_only = write_run(tmp_path / "b", checkpoint=path)
    assert uses_of_run(embedded_only) == uses_of_run(run)
    (found,) = run_objections(embedded_only, load_edition("2026"))
    assert found.way_out == f"start another run from other weights than {path}"


def test_checkpoints_of_earlier_versions_tell_by_their_classes_and_recipe(tmp_path):
    classes = {"fan/00/v_1/dcase2024": 1, "fan/00/dcase2020/source": 16, "saw/00/own": 1}
    recipe = recipe_text(Training(dev_edition="2025", noise_editions=("2025",)))
    made = {"classes": json.dumps(classes), "recipe": recipe}
    run = write_run(tmp_path / "a", Training(), None, ["s.safetensors"], made)
    assert uses_of_run(run) == {
        "train": ("dcase2020", "dcase2024", "own"), "noise": ("dcase2025",), "dev": ("dcase2025",)
    }  # fmt: skip
    last = recipe_text(Training(dev_edition="2025", ensemble="last", noise_probability=0.0))
    run = write_run(tmp_path / "b", Training(), None, ["s.safetensors"], made | {"recipe": last})
    assert (uses_of_run(run)["noise"], uses_of_run(run)["dev"]) == ((), ())


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64, b"PK\x03\x04" * 99])
def test_files_of_others_say_nothing(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    assert uses_of_checkpoint(tmp_path / "x.pt") == {}
    save_file({"x": torch.zeros(1)}, tmp_path / "y.safetensors")
    assert uses_of_checkpoint(tmp_path / "y.safetensors") == {}
    assert uses_of_checkpoint(tmp_path / "none") == {}


def test_a_run_without_fine_tuning_was_trained_with_nothing(tmp_path):
    assert uses_of_run(write_run(tmp_path / "a")) == {}
    assert run_objections(tmp_path / "a", load_edition("2026")) == []


def test_what_is_not_known_is_said(tmp_path):
    gone = write_run(tmp_path / "gone", Training())
    assert uses_of_run(gone) is None
    for run in (gone, tmp_path / "nowhere"):
        (found,) = run_objections(run, load_edition("2026"))
        assert found.level == "warning"
        assert f"what {run} was trained with is not known" in found.what
    stated = write_run(tmp_path / "stated", Training(editions=YEARS, dev_edition="dcase2025"))
    assert uses_of_run(stated)["train"] == YEARS


def test_the_way_out_can_be_run_as_it_stands(tmp_path):
    run = write_run(tmp_path / "a", Training(), None, ["s.safetensors"],
                    about(["dcase2025"], ["dcase2025"], "dcase2025"))  # fmt: skip
    (found,) = run_objections(run, load_edition("2026"))
    _, command, _ = found.way_out.split("`")
    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("dcase-asd", "finetune")
    import typer

    click = typer.main.get_command(app)
    finetune = click.get_command(None, "finetune")
    given = finetune.make_context("finetune", arguments).params
    assert given["run"] == tmp_path / "a_dcase2026"
    assert (given["editions"], given["dev_edition"]) == (["dcase2026"], "dcase2026")
    assert given["noise_probability"] == 0


def result(systems, weights):
    values = dict.fromkeys(each.name for each in dataclasses.fields(FusionResult))
    known = {"edition": "dcase2026", "systems": systems, "weights": weights, "notes": []}
    return FusionResult(**values | known | {"metric": "2022", "machines": [], "select": ""})


@pytest.fixture
def fused(tmp_path):
    """A fusion of a and of another fusion of b and c; each is of three checkpoints but c."""
    files = [f"{number}.safetensors" for number in range(3)]
    for name, year in (("a", "dcase2026"), ("b", "dcase2025")):
        write_run(tmp_path / name, Training(), None, files, about([year]))
    write_run(tmp_path / "c")
    for name, systems in (("inner", ("b", "c")), ("outer", ("a", "inner"))):
        (tmp_path / name).mkdir()
        recipe = FusedSystem(name, Fusion(systems, method="mean"))
        recipe_path(tmp_path / name).write_text(recipe_text(recipe))
    return tmp_path


def test_a_fusion_is_made_of_all_its_systems(fused):
    outer = fused / "outer"
    assert single_runs(outer, "dcase2026") == [fused / name for name in "abc"]
    assert subsystem_count(outer, "dcase2026") == 3 + 3 + 1
    (found,) = run_objections(outer, load_edition("2026"))
    assert found.what.startswith(f"{fused / 'b'} uses what dcase2026 does not allow")


def test_systems_without_a_weight_do_not_count(fused):
    outer = fused / "outer"
    write_fusion(outer, result(["a", "inner"], [0.4, 0.6]))
    write_fusion(fused / "inner", result(["b", "c"], [0.0, 1.0]))
    assert single_runs(outer, "dcase2026") == [fused / "a", fused / "c"]
    assert subsystem_count(outer, "dcase2026") == 3 + 1
    assert run_objections(outer, load_edition("2026")) == []
    write_fusion(outer, result(["a"], None))  # selected, without weights
    assert subsystem_count(outer, "dcase2026") == 3


def test_systems_that_are_gone_are_not_counted_as_if_known(fused):
    (fused / "a").rename(fused / "moved")
    assert subsystem_count(fused / "outer", "dcase2026") is None
    levels = [each.level for each in run_objections(fused / "outer", load_edition("2026"))]
    assert levels == ["warning", "error"]


def test_systems_alike_are_told_together(fused):
    shared = run_objections(fused / "inner", load_edition("2026"))
    again = write_run(fused / "c", Training(), None, ["s.safetensors"], about(["dcase2025"]))
    (found,) = run_objections(fused / "inner", load_edition("2026"))
    assert len(shared) == 1
    assert found.what.startswith(f"{fused / 'b'}, {again} uses what dcase2026")
