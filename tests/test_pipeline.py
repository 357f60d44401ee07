import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dcase_asd.challenge.miniature import write_miniature
from dcase_asd.challenge.miniature_plan import ClipCounts
from dcase_asd.errors import ArtifactError, DataError, RecipeError
from dcase_asd.pipeline import make_demo_data, run_demo, run_recipe, run_submission
from dcase_asd.progress import Silent

SUBMISSIONS = Path(__file__).parents[1] / "submissions"


@pytest.fixture(scope="session")
def small_miniature(tmp_path_factory):
    """All machines of 2025 with a handful of clips each."""
    data = tmp_path_factory.mktemp("miniature")
    counts = ClipCounts(source_train=6, target_train=2, test=3, supplemental=1)
    write_miniature(data, editions=("dcase2025",), counts=counts)
    return data


@pytest.fixture
def data(small_miniature, tmp_path):
    return Path(shutil.copytree(small_miniature, tmp_path / "data"))


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_a_recipe_runs_from_recordings_to_results(data, tmp_path):
    done = run_recipe(SUBMISSIONS / "systems" / "spectral.toml", data, tmp_path / "runs")
    assert done.run == tmp_path / "runs" / "spectral"
    dev, evaluation = done.evaluations
    assert (dev.labels, evaluation.labels) == ("file names", "ground truth dcase2025")
    assert len(dev.evaluation.machines) == 7
    assert len(evaluation.evaluation.machines) == 8
    assert min(dev.evaluation.official_score, evaluation.evaluation.official_score) > 0.6


def test_a_second_run_changes_no_byte(data, tmp_path):
    recipe = SUBMISSIONS / "systems" / "spectral.toml"
    first = run_recipe(recipe, data, tmp_path / "runs")
    before = contents(tmp_path)
    again = run_recipe(recipe, data, tmp_path / "runs")
    assert contents(tmp_path) == before
    assert [each.to_json() for each in again.evaluations] == [
        each.to_json() for each in first.evaluations
    ]


def test_a_submission_is_packaged_and_valid(data, tmp_path):
    form = SUBMISSIONS / "submission_1.toml"
    done = run_submission(form, data, tmp_path / "runs", tmp_path / "dist")
    assert done.submitted.archive == tmp_path / "dist" / "Lastname_INST_task2.zip"
    assert done.validation.errors == 0
    assert done.validation.accepted()
    # What is left to the authors: the report, their names.
    assert {problem.level for problem in done.validation.problems} == {"warning"}
    whole = done.submitted.archive.read_bytes()
    again = run_submission(form, data, tmp_path / "runs", tmp_path / "dist")
    assert not again.submitted.changed
    assert again.submitted.archive.read_bytes() == whole


def test_a_form_that_does_not_say_what_to_run_is_told(data, tmp_path):
    form = tmp_path / "form.toml"
    form.write_text('label = "A_B_task2_1"\nsystem = ""\n')
    with pytest.raises(RecipeError, match=r"its form must say edition, system"):
        run_submission(form, data, tmp_path / "runs", tmp_path / "dist")


def test_a_recipe_with_mistakes_is_told_all_of_them(data, tmp_path):
    recipe = tmp_path / "x.toml"
    recipe.write_text(
        'nam = "x"\n[embed]\nplugin = "spectral"\nchanel = 1\n[score]\nneighbors = 0\n'
    )
    with pytest.raises(RecipeError) as error:
        run_recipe(recipe, data, tmp_path / "runs")
    for part in (
        "did you mean 'name'",
        "did you mean 'channel'",
        "at least 1",
        "'name' is missing",
    ):
        assert part in str(error.value)


@pytest.mark.slow
def test_the_demo_ends_with_results_above_chance_and_a_valid_package(tmp_path):
    progress = Silent()
    done = run_demo(tmp_path / "demo", progress)
    assert done.validation.accepted()
    results = {
        each.edition: each.evaluation
        for each in done.system.evaluations
        if each.labels == "file names"
    }
    assert set(results) == {"dcase2020", "dcase2024", "dcase2025"}
    assert 0.7 < results["dcase2025"].official_score < 0.95
    assert (tmp_path / "demo" / "dist" / "Miniature_DEMO_task2.zip").is_file()
    before = contents(tmp_path / "demo")
    run_demo(tmp_path / "demo")
    assert contents(tmp_path / "demo") == before


def test_the_demo_touches_no_folder_of_somebody_else(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"thesis|another folder|other"):
        run_demo(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises((DataError, ArtifactError), match="file"):
        make_demo_data(tmp_path / "file")
    assert (tmp_path / "data" / "thesis.txt").read_text() == "mine"


@pytest.mark.shared
def test_real_recordings_give_the_expected_results(tmp_path, shared_audio):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("dcase2020t2", "dcase2024t2", "dcase2025t2", "ground_truth"):
        (data / name).symlink_to(shared_audio / name)
    done = run_recipe(SUBMISSIONS / "systems" / "spectral.toml", data, tmp_path / "runs")
    results = {(each.edition, each.labels): each.evaluation for each in done.evaluations}
    assert results["dcase2020", "file names"].machines["fan"]["auc"] >= 0.90
    robotic_arm = results["dcase2025", "file names"]
    # Its train clips cover one condition of one domain: near chance is honest.
    assert 0.3 < robotic_arm.official_score < 0.7
    # The blind clips of 2024 are the same recordings, so that the labels must give the same result.
    blind = results["dcase2024", "ground truth dcase2024"]
    assert blind.machines["RoboticArm"] == pytest.approx(robotic_arm.machines["RoboticArm"])


@pytest.mark.slow
def test_a_run_that_is_killed_anywhere_goes_on_and_ends_with_the_same_bytes(data, tmp_path):
    """kill -9 at moments spread over a whole run, each time followed by the same command."""
    form = SUBMISSIONS / "submission_1.toml"
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(data, undisturbed / "data")
    command = [sys.executable, "-m", "dcase_asd", "run", str(form), "--data", "data"]
    started = time.monotonic()
    subprocess.run(command, cwd=undisturbed, check=True, capture_output=True)
    whole = time.monotonic() - started
    killed = tmp_path / "killed"
    shutil.copytree(data, killed / "data")
    for part in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
        child = subprocess.Popen(
            command, cwd=killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(part * whole)
        child.kill()
        child.wait()
    subprocess.run(command, cwd=killed, check=True, capture_output=True)
    for folder in ("runs", "submissions"):
        assert contents(killed / folder) == contents(undisturbed / folder)
    assert (killed / "data" / "clips.csv").read_bytes() == (
        undisturbed / "data" / "clips.csv"
    ).read_bytes()
