import threading
import time
from pathlib import Path

import pytest

from dcase_asd.clips.prepare import prepare
from dcase_asd.errors import RecipeError
from dcase_asd.files import only_writer
from dcase_asd.progress import Silent
from dcase_asd.runs.runner import Setup, finetune_recipe, run_recipe

SPECTRAL = Path(__file__).parents[2] / "submissions" / "examples" / "spectral.toml"


def test_a_recipe_runs_from_recordings_to_results(data, tmp_path):
    done = run_recipe(SPECTRAL, Setup(data, tmp_path / "runs"))
    assert done.run == tmp_path / "runs" / "spectral"
    assert done.changed
    dev, evaluation = done.evaluations
    assert (dev.labels, evaluation.labels) == ("file names", "ground truth dcase2025")
    assert len(dev.evaluation.machines) == 7
    assert len(evaluation.evaluation.machines) == 8
    assert min(dev.evaluation.official_score, evaluation.evaluation.official_score) > 0.5


def test_a_second_run_changes_no_byte_and_says_so(data, tmp_path, contents):
    setup = Setup(data, tmp_path / "runs")
    first = run_recipe(SPECTRAL, setup)
    before = contents(tmp_path)
    again = run_recipe(SPECTRAL, setup)
    assert contents(tmp_path) == before
    assert not again.changed
    assert [each.to_json() for each in again.evaluations] == [
        each.to_json() for each in first.evaluations
    ]


def test_a_recipe_with_mistakes_is_told_all_of_them(data, tmp_path):
    recipe = tmp_path / "x.toml"
    recipe.write_text(
        'nam = "x"\n[embed]\nplugin = "spectral"\nchanel = 1\n[score]\nneighbors = 0\n'
    )
    with pytest.raises(RecipeError) as error:
        run_recipe(recipe, Setup(data, tmp_path / "runs"))
    for part in (
        "did you mean 'name'",
        "did you mean 'channel'",
        "at least 1",
        "'name' is missing",
    ):
        assert part in str(error.value)


def test_a_data_folder_that_another_process_prepares_is_waited_for(data, tmp_path):
    entered = threading.Event()

    def hold():
        with only_writer(data):
            entered.set()
            time.sleep(0.3)

    other = threading.Thread(target=hold)
    other.start()
    entered.wait()
    progress = Silent()
    done = run_recipe(SPECTRAL, Setup(data, tmp_path / "runs"), progress)
    other.join()
    assert done.evaluations
    assert any("waiting for it" in note for note in progress.notes)


def test_training_only_leaves_the_rest_to_the_whole_run(data, cut, tmp_path):
    prepare(data)
    recipe = cut / "systems" / "beats_01.toml"
    setup = Setup(data, tmp_path / "runs", "cpu", 0, cut / "mini.toml")
    assert finetune_recipe(recipe, setup)
    run = tmp_path / "runs" / "beats_01"
    assert len(list((run / "checkpoints").glob("step_*.safetensors"))) >= 3
    assert not (run / "scores").exists()
    assert not finetune_recipe(recipe, setup)
    done = run_recipe(recipe, setup)
    assert done.changed
    assert (run / "scores" / "dcase2025.csv").is_file()


@pytest.mark.shared
def test_real_recordings_give_the_expected_results(tmp_path, shared_audio):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("dcase2020t2", "dcase2024t2", "dcase2025t2", "ground_truth"):
        (data / name).symlink_to(shared_audio / name)
    done = run_recipe(SPECTRAL, Setup(data, tmp_path / "runs"))
    results = {(each.edition, each.labels): each.evaluation for each in done.evaluations}
    assert results["dcase2020", "file names"].machines["fan"]["auc"] >= 0.90
    robotic_arm = results["dcase2025", "file names"]
    # Its train clips cover one condition of one domain: near chance is honest.
    assert 0.3 < robotic_arm.official_score < 0.7
    # The blind clips of 2024 are the same recordings, so that the labels must give the same result.
    blind = results["dcase2024", "ground truth dcase2024"]
    assert blind.machines["RoboticArm"] == pytest.approx(robotic_arm.machines["RoboticArm"])
