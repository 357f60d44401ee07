"""A recipe on a part of the recordings, from its flags to what is refused of it."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcase_asd.cli.app import app
from dcase_asd.clips.prepare import prepare
from dcase_asd.errors import ArtifactError, DataError, RecipeError, ScoresError, SubmissionError
from dcase_asd.fusion.fuse import fuse
from dcase_asd.progress import Silent
from dcase_asd.recipe.fusion import Fusion
from dcase_asd.recipe.subset import Subset
from dcase_asd.recipe.system import read_system
from dcase_asd.runs.dry_run import plan_recipes
from dcase_asd.runs.recipes import read_nodes
from dcase_asd.runs.runner import Setup, run_recipe
from dcase_asd.runs.side_by_side import command_flags
from dcase_asd.runs.submissions import run_submissions
from dcase_asd.scores.table import read_scores, scored_subset
from dcase_asd.submission.submit import submit

EXAMPLES = Path(__file__).parents[2] / "submissions" / "examples"
SPECTRAL = EXAMPLES / "spectral.toml"
FAN = Subset(("fan",))


@pytest.fixture(scope="module")
def years(small_miniature, tmp_path_factory):
    """Two years, of which one has no fan."""
    folder = tmp_path_factory.mktemp("years")
    shutil.copytree(small_miniature / "dcase2025t2", folder / "dcase2025t2")
    shutil.copytree(small_miniature / "dcase2025t2", folder / "dcase2024t2")
    shutil.rmtree(folder / "dcase2024t2" / "dev_data" / "raw" / "fan")
    shutil.rmtree(folder / "dcase2024t2" / "eval_data")
    prepare(folder)
    return folder


def call(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def machines(run, edition="dcase2025"):
    return set(read_scores(run, edition)["machine"])


def test_a_subset_runs_through_the_whole_chain(data, tmp_path, contents):
    whole = run_recipe(SPECTRAL, Setup(data, tmp_path / "whole"))
    setup = Setup(data, tmp_path / "runs", subset=FAN)
    done = run_recipe(SPECTRAL, setup)
    assert machines(done.run) == {"fan"}
    (report,) = done.evaluations
    assert report.subset == FAN
    assert report.evaluation.machines["fan"] == whole.evaluations[0].evaluation.machines["fan"]
    assert "fan alone: not the official score" in report.summary()
    before = contents(tmp_path)
    assert not run_recipe(SPECTRAL, setup).changed
    assert contents(tmp_path) == before


def test_a_subset_of_blind_machines_is_evaluated_by_its_ground_truth(data, tmp_path):
    done = run_recipe(SPECTRAL, Setup(data, tmp_path / "runs", subset=Subset(("Polisher",))))
    (report,) = done.evaluations
    assert report.labels == "ground truth dcase2025"
    assert list(report.evaluation.machines) == ["Polisher"]


def test_the_rest_may_be_run_later_but_nothing_less(data, tmp_path):
    runs = tmp_path / "runs"
    run_recipe(SPECTRAL, Setup(data, runs, subset=FAN))
    plan = plan_recipes([SPECTRAL], Setup(data, runs), tmp_path)
    assert (plan.systems[0].stand.embeddings, plan.systems[0].stand.scores) == ("to do", "to do")
    plan = plan_recipes([SPECTRAL], Setup(data, runs, subset=FAN), tmp_path)
    assert (plan.systems[0].stand.embeddings, plan.systems[0].stand.scores) == ("done", "done")
    done = run_recipe(SPECTRAL, Setup(data, runs))
    assert len(machines(done.run)) == 15
    assert not done.evaluations[0].subset
    with pytest.raises(ArtifactError, match="all of dcase2025 is embedded, more than machine fan"):
        run_recipe(SPECTRAL, Setup(data, runs, subset=FAN))
    assert len(machines(done.run)) == 15


def test_editions_that_have_nothing_of_it_are_left_out_and_said(years, tmp_path):
    progress = Silent()
    setup = Setup(years, tmp_path / "runs", subset=FAN)
    (report,) = run_recipe(SPECTRAL, setup, progress).evaluations
    assert report.edition == "dcase2025"
    assert "spectral: of dcase2024 nothing is taken" in progress.notes
    setup = Setup(years, tmp_path / "gearbox", subset=Subset(("gearbox",)))
    found = run_recipe(SPECTRAL, setup).evaluations
    assert [each.edition for each in found] == ["dcase2024", "dcase2025"]
    setup = Setup(years, tmp_path / "old", subset=Subset(exclude_editions=("2025",)))
    (report,) = run_recipe(SPECTRAL, setup).evaluations
    assert (report.edition, bool(report.subset)) == ("dcase2024", False)


def test_an_edition_that_the_recipe_names_must_have_it(years, tmp_path):
    recipe = tmp_path / "pinned.toml"
    text = SPECTRAL.read_text().replace("\neditions = []", '\neditions = ["dcase2024"]')
    recipe.write_text(text.replace("machines = []", 'machines = ["fan"]'))
    with pytest.raises(RecipeError, match="dcase2024: no clip of machine fan; there are machines"):
        run_recipe(recipe, Setup(years, tmp_path / "runs"))
    with pytest.raises(RecipeError, match=r"editions names dcase2024, which data\.exclude"):
        run_recipe(recipe, Setup(years, tmp_path / "runs", subset=Subset((), (), ("2024",))))


def test_names_that_nothing_has_are_told_before_anything_runs(data, tmp_path):
    subset = Subset(("fann", "gearbox"), ("4",), ("2019",))
    with pytest.raises(RecipeError) as error:
        run_recipe(SPECTRAL, Setup(data, tmp_path / "runs", subset=subset))
    for part in ("'fann' (did you mean 'fan'?)", "no section '04' (choose", "no edition '2019'"):
        assert str(error.value).count(part) == 1
    assert not (tmp_path / "runs").exists()


def test_recipes_overlays_and_single_values_give_it_and_flags_come_last(data, tmp_path):
    recipe, overlay = tmp_path / "fan.toml", tmp_path / "overlay.toml"
    text = SPECTRAL.read_text().replace("machines = []", 'machines = ["fan"]')
    recipe.write_text(text.replace("sections = []", 'sections = ["0"]'))
    overlay.write_text('[data]\nmachines = ["valve"]\n')

    def read(**given):
        (node,) = read_nodes([recipe], Setup(data, tmp_path, **given).changes())
        return node.subset

    assert read() == Subset(("fan",), ("00",))
    assert read(overlay=overlay) == Subset(("valve",), ("00",))
    assert read(overlay=overlay, values=('data.machines=["slider"]',)).machines == ("slider",)
    assert read(values=('data.machines=["slider"]',), subset=FAN) == Subset(("fan",), ("00",))
    with pytest.raises(RecipeError, match=r"unknown name 'data.machine' \(did you mean 'machines'"):
        read(values=("data.machine=fan",))


def test_processes_and_jobs_of_a_system_get_its_flags(data, tmp_path):
    flags = command_flags(Setup(data, tmp_path, subset=Subset(("fan", "valve"), ("0",))))
    at = flags.index("--machine")
    assert flags[at : at + 4] == ["--machine", "fan,valve", "--section", "00"]


def test_a_package_is_refused_before_and_after(data, tmp_path):
    setup = Setup(data, tmp_path / "runs", subset=FAN)
    with pytest.raises(RecipeError) as error:
        run_submissions([EXAMPLES / "submission.toml"], setup, tmp_path / "dist")
    assert "takes machine fan alone, and a package needs every machine" in str(error.value)
    assert f"`dcase-asd run {SPECTRAL} --machine fan`" in str(error.value)
    assert "no evaluation clip" not in str(error.value)
    run = run_recipe(SPECTRAL, Setup(data, tmp_path / "runs", subset=Subset(("Polisher",)))).run
    with pytest.raises(SubmissionError, match="Polisher alone, and a package needs every machine"):
        submit(run, "2025", "Last_INST_task2_1", tmp_path / "dist")
    assert not (tmp_path / "dist").exists()
    without_2020 = Setup(data, tmp_path / "all", subset=Subset(exclude_editions=("2020",)))
    run = run_recipe(SPECTRAL, without_2020).run  # a whole year is left out, and no machine
    assert submit(run, "2025", "Last_INST_task2_1", tmp_path / "dist").changed


def test_a_fusion_is_of_what_its_systems_are_of(data, tmp_path, monkeypatch):
    runs = []
    for name, subset in (("a", FAN), ("b", FAN), ("c", Subset(("fan", "valve")))):
        recipe = tmp_path / f"{name}.toml"
        recipe.write_text(SPECTRAL.read_text().replace('name = "spectral"', f'name = "{name}"'))
        setup = Setup(data, tmp_path / "runs", subset=subset)
        runs.append(run_recipe(recipe, setup).run)
    progress, fused = Silent(), tmp_path / "runs" / "fused"
    fusion = Fusion(("a", "b"), method="mean")
    fuse(runs[:2], fused, "dcase2025", fusion, progress=progress)
    assert scored_subset(fused, "dcase2025") == FAN
    assert any("machine fan alone: no figure here" in note for note in progress.notes)
    with pytest.raises(SubmissionError, match="scores of machine fan alone"):
        submit(fused, "2025", "Last_INST_task2_1", tmp_path / "dist")
    with pytest.raises(ScoresError, match=r"a scored machine fan alone; .*c scored machines"):
        fuse([runs[0], runs[2]], tmp_path / "no", "dcase2025", Fusion(("a", "c"), method="mean"))
    monkeypatch.setenv("COLUMNS", "400")
    said = call("score", fused, "--edition", 2025, "--machine", "fan")
    assert said.exit_code == 2
    assert "Invalid value for --machine" in said.output
    assert "is a fusion of what its systems are scored on; score these so" in said.output


def test_the_commands_take_flags_one_by_one_or_with_commas(data, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    run = tmp_path / "runs" / "spectral"
    where = ("--data", data, "--run", run, "--edition", 2025)
    prepare(data)
    taken = call(
        "embed", "--plugin", "spectral", *where, "--machine", "fan,valve", "--machine", "slider"
    )
    assert "3 machine(s) embedded" in taken.output
    assert read_system(run).subset.machines == ("fan", "valve", "slider")
    call("score", run, "--edition", 2025, "--machine", "fan", "--machine", "valve")
    assert machines(run) == {"fan", "valve"}
    shown = call("evaluate", run, "--edition", 2025, "--machine", "fan", "--resamples", 0)
    assert "labels from file names; machine fan alone" in shown.output
    told = call("evaluate", run, "--edition", 2025, "--section", "0", "--resamples", 0, "--json")
    assert json.loads(told.stdout)["subset"] == {"machines": ["fan", "valve"]}
    wrong = call("evaluate", run, "--edition", 2025, "--machine", "slider,fun")
    assert isinstance(wrong.exception, DataError)
    assert "no machine 'slider'" in str(wrong.exception)
    assert "no machine 'fun' (did you mean 'fan'?)" in str(wrong.exception)
    call("embed", *where, "--machine", "")
    assert not read_system(run).subset
    page = call("report", run, "--edition", 2025, "--section", 0, "--out", tmp_path / "page")
    assert page.exit_code == 0
    assert "Machines fan, valve alone: no" in (tmp_path / "page/report.html").read_text()
    again = call(
        "run", SPECTRAL, "--data", data, "--runs", tmp_path / "x", "--machine", "fan", "--brief"
    )
    assert "machine fan alone: not the official score" in again.output
    assert machines(tmp_path / "x/spectral") == {"fan"}
