"""Many runs side by side: order, what differs, what is not known."""

import csv
import io
import json

import pytest
from ground_truth_files import evaluation_clips, write_ground_truth
from report_runs import PROVENANCE, another_run, make_fusion

from dcase_asd.errors import DataError
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.subset import Subset
from dcase_asd.recipe.system import Embedding, System, recipe_path
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.recipe.training import Training
from dcase_asd.reports.leaderboard import differences, read_leaderboard, training_seconds
from dcase_asd.reports.report import report
from dcase_asd.scores.table import write_scores


def keep(run, **values):
    """Write a run's recipe."""
    run.mkdir(parents=True, exist_ok=True)
    system = System(run.name, **{"embed": Embedding("beats"), **values})
    recipe_path(run).write_text(recipe_text(system), encoding="utf-8")


@pytest.fixture
def entry(make_entry):
    entry = make_entry("dcase2025")
    keep(entry.run, train=Training(learning_rate=1e-4))
    keep(another_run(entry, "noisy", 0.9), train=Training(learning_rate=1e-3))
    return entry


def test_the_best_is_first_with_the_official_score_and_its_interval(entry):
    board = read_leaderboard(entry.run.parent, resamples=20)
    found = {row.name: row for row in board.rows}
    for name in ("small", "noisy"):
        report = evaluate_run_or_folder(entry.run.with_name(name), "dcase2025", resamples=20)
        assert found[name].score("dev") == report.evaluation.score
        assert found[name].intervals["dev"] == report.interval
    assert [row.name for row in board.rows] == ["small", "noisy"]
    assert [row.differs for row in board.rows] == [
        "train.learning_rate=0.0001",
        "train.learning_rate=0.001",
    ]
    columns, rows = board.table()
    assert columns == [
        "run", "dev score", "left out", "95 % interval", "parameters", "differs in"
    ]  # fmt: skip
    assert rows[0][2] == f"{100 * board.choice.left_out:.2f}"
    assert rows[1][2] == "-"
    assert rows[0][4] == "1,234"
    assert list(csv.reader(io.StringIO(board.as_csv()))) == [columns, *rows]
    assert json.loads(json.dumps(board.to_json()))["choice"]["run"] == str(entry.run)


def test_labels_of_the_data_folder_give_eval_scores(entry):
    truth = write_ground_truth(
        entry.data / "ground_truth" / "dcase2025", evaluation_clips(entry.scores)
    )
    board = read_leaderboard(entry.run.parent, data=entry.data, resamples=0)
    told = evaluate_run_or_folder(entry.run, "dcase2025", truth, resamples=0)
    row = next(row for row in board.rows if row.name == "small")
    assert row.score("eval") == told.evaluation.score
    assert read_leaderboard(entry.run.parent, resamples=0).rows[0].score("eval") is None


def test_a_run_without_scores_is_last_and_a_damaged_one_is_told(entry):
    keep(entry.run.with_name("begun"), train=Training())
    (entry.run.with_name("noisy") / "scores/dcase2025.csv").write_text("nothing\n")
    board = read_leaderboard(entry.run.parent, resamples=0)
    assert [row.name for row in board.rows] == ["small", "begun", "noisy"]
    assert board.table()[1][1][-1] == "no scores of dcase2025"
    assert board.choice is None


def test_a_fusion_is_told_by_its_systems_and_a_run_without_training_by_that(entry):
    make_fusion(entry)
    keep(entry.run.with_name("other"))
    board = read_leaderboard(entry.run.parent, resamples=0)
    words = {row.name: row.differs for row in board.rows}
    assert words["fused"] == "fusion=grid of small, other"
    assert words["other"] == "train=none"
    assert words["noisy"] == "train.learning_rate=0.001"


def test_what_labels_chose_before_is_said_beside_the_estimate(entry):
    board = read_leaderboard(entry.run.parent, resamples=0)
    assert board.chosen == ("small", "noisy")  # the three best of thirty checkpoints
    assert "all labels chose checkpoints or weights of noisy, small before" in board.explanation
    for name in ("small", "noisy"):
        keep(entry.run.with_name(name), train=Training(ensemble="last"))
    assert read_leaderboard(entry.run.parent, resamples=0).explanation.endswith("chose it")


def test_only_what_differs_is_told_in_the_shortest_words():
    values = {
        "a": {"score.neighbors": 1, "embed.options.layers": [3, 4], "train.margin": 0.25},
        "b": {"score.neighbors": 1, "embed.options.layers": [3], "train.margin": 0.25},
    }
    assert differences(values) == {
        "a": "embed.options.layers=[3 4]",
        "b": "embed.options.layers=[3]",
    }


def test_training_takes_the_time_of_its_updates(tmp_path):
    run = tmp_path / "run"
    keep(run, train=Training(batch_size=16, accumulation=4, steps=8, eval_every=4, save_every=4))
    lines = [{"update": 1, "clips_per_second": 64.0}, {"update": 2, "clips_per_second": 32.0}]
    (run / "train.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert training_seconds(run) == 1 + 2  # 64 clips in each update
    keep(tmp_path / "other", score=Detector(2))
    assert training_seconds(tmp_path / "other") is None


def test_a_folder_without_runs_says_where_they_are(entry, tmp_path):
    with pytest.raises(DataError, match=r"is a run folder; give the one above it, \S+runs"):
        read_leaderboard(entry.run)
    with pytest.raises(DataError, match=r"has no run folders, but \S+/runs has"):
        read_leaderboard(entry.run.parents[1])
    with pytest.raises(DataError, match="no such folder"):
        read_leaderboard(tmp_path / "none")
    keep(tmp_path / "begun/one")
    with pytest.raises(DataError, match=r"none of its 1 run\(s\) has scores yet"):
        read_leaderboard(tmp_path / "begun")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no run folders; make one with `dcase-asd demo`"):
        read_leaderboard(tmp_path / "empty")


def test_a_run_of_a_subset_is_not_ranked_among_whole_ones(entry):
    part = another_run(entry, "part", 0.0)  # the best of all, on one machine
    scores = entry.scores[entry.scores["machine"] == "ToyCar"]
    about = {**PROVENANCE, "fingerprint": "part", "subset": {"machines": ["ToyCar"]}}
    write_scores(part, "dcase2025", scores, about)
    keep(part, train=Training(), data=Subset(exclude_editions=("dcase2020",)))
    board = read_leaderboard(entry.run.parent, resamples=0)
    assert [row.name for row in board.rows] == ["small", "noisy", "part"]
    assert set(board.choice.chosen.values()) <= {0, 1}
    told = board.table()[1][-1][-1]
    assert told.startswith("machine ToyCar alone, ")
    assert "data.exclude_editions=[dcase2020]" in told
    assert [row.get("subset", "") for row in board.to_json()["runs"]] == [
        "", "", "machine ToyCar"
    ]  # fmt: skip
    page = report([entry.run, part], "2025", out=entry.run.parent / "page", resamples=0).page
    assert "Machine ToyCar alone: no score here is the official one." in page.read_text()
