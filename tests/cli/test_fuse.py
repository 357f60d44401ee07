"""fuse, and score on a fusion, as a user runs them."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from dcase_asd.cli.app import app
from dcase_asd.errors import DcaseAsdError, RecipeError, ScoresError
from dcase_asd.recipe.fusion import read_fused_system
from dcase_asd.scores.table import write_scores


@pytest.fixture
def runs(make_entry, monkeypatch, tmp_path):
    """Four systems below runs/ of the working directory."""
    entry = make_entry("dcase2025")
    shutil.rmtree(entry.run)
    random = np.random.default_rng(0)
    anomalous = entry.scores["file"].str.contains("anomaly").to_numpy()
    for name, gain in zip("abcd", (0.5, 1.0, 1.5, 0.0), strict=True):
        scores = gain * anomalous + random.standard_normal(len(anomalous))
        made = {"backbone": "beats", "parameters": 1, "sample_rate": 16000, "fingerprint": name}
        table = entry.scores.assign(score=scores)
        write_scores(entry.run.parent / name, "dcase2025", table, made)
    monkeypatch.chdir(tmp_path)
    return entry.run.parent


@pytest.fixture
def run(runs):
    def invoke(*arguments):
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if isinstance(done.exception, DcaseAsdError):
            raise done.exception
        return done

    return invoke


WAYS = [
    ("--systems", "runs/b", "runs/a", "runs/c"),
    ("--systems", "runs/b,runs/a,runs/c"),
    ("--systems", "runs/b", "--systems", "runs/a", "--systems", "runs/c"),
    ("--systems=runs/b", "runs/a", "--systems", "runs/c/"),
    ("--systems", "runs/b,", "runs/a,runs/c"),
    ("runs/b", "runs/a", "runs/c/"),
    ("runs/b,runs/a", "runs/c"),
    ("runs/b", "--systems", "runs/a", "runs/c"),
]


@pytest.mark.parametrize("way", WAYS)
def test_systems_are_given_with_spaces_commas_or_one_by_one_in_their_order(run, runs, way):
    done = run("fuse", *way, "--run", "runs/x", "--weights", "0.5,0.3,0.2")
    assert done.exit_code == 0
    fusion = read_fused_system(runs / "x").fusion
    assert (fusion.systems, fusion.method) == (("b", "a", "c"), "weights")
    assert fusion.weights == (0.5, 0.3, 0.2)


def test_weights_may_stand_apart_too_and_other_options_between_the_lists(run, runs):
    run("fuse", "--weights", "0.5", "0.25", "0.25", "--run", "runs/x", *WAYS[0], "--json")
    assert read_fused_system(runs / "x").fusion.weights == (0.5, 0.25, 0.25)


def test_a_comma_in_a_folders_name_is_its_own(run, runs):
    shutil.copytree(runs / "a", runs / "a,b")
    run("fuse", "--systems", "runs/a,b", "runs/c", "--run", "runs/x", "--method", "mean")
    assert read_fused_system(runs / "x").fusion.systems == ("a,b", "c")


def test_the_run_folder_is_called_by_its_systems_and_the_edition_is_found(run, runs):
    done = run("fuse", "--systems", "runs/a", "runs/b", "--method", "mean")
    assert "runs/a+b/scores/dcase2025.csv: 60 test and 80 train clips fused" in done.stdout
    run("fuse", "--systems", "runs/a", "runs/b", "runs/c", "runs/d", "--method", "mean")
    assert (runs / "fusion" / "scores" / "dcase2025.csv").is_file()


def test_the_table_shows_the_fitted_score_beside_the_honest_ones(run):
    done = run("fuse", "--systems", "runs/a", "runs/b", "runs/c", "--resamples", "5")
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "dcase2025: exhaustive lattice, step 0.1, 66 points; "
        "standardised by leave-one-out train scores"
    )
    assert lines[1].split() == ["system", "weight", "95", "%", "of", "resamples", "alone,", "%"]
    assert [line.split()[0] for line in lines[2:5]] == ["a", "b", "c"]
    assert all(" to " in line for line in lines[2:5])
    assert lines[5] == (
        "official score over 2 machine types; labels from file names of the development set"
    )
    assert [line.rpartition("  ")[0].strip() for line in lines[7:12]] == [
        "fused, fitted to these labels",
        "fused, leave-one-machine-out estimate",
        "equal weights",
        "minimum",
        "calibrated",
    ]
    assert lines[12] == (
        "equal weights, minimum and calibrated use no label: their figures are out of sample, "
        "unless labels chose checkpoints"
    )
    assert lines[13].startswith("robustness: how far normal clips have moved from train scores")
    # As few columns as can be: two machine types, three systems.
    assert lines[14].split() == ["system", "AutoTrash", "BandSealer", "mean"]
    again = run("fuse", "--systems", "runs/a", "runs/b", "runs/c", "--resamples", "5")
    assert again.stdout.splitlines()[:-1] == lines[:-1]
    assert again.stdout.splitlines()[-1] == lines[-1].replace("fused", "were fused already")


def test_a_selection_lists_what_was_not_taken(run):
    arguments = ("--select", "best:1", "--always", "runs/d", "--method", "mean", "--run", "runs/x")
    done = run("fuse", "--systems", "runs/a", "runs/c", "runs/d", *arguments)
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[2:5]}
    assert rows["a"][:2] == ["-", "-"]
    assert (rows["c"][0], rows["d"][0]) == ("0.5", "0.5")


def test_machines_are_rows_where_systems_are_no_more(run, runs):
    done = run("fuse", "--systems", "runs/a", "runs/b", "--method", "minimum")
    assert "\nmachine        a     b\n" in done.stdout
    assert "fused" in done.stdout
    assert "leave-one-machine-out" not in done.stdout


def test_json_holds_the_result_and_nothing_else(run, runs):
    done = run("fuse", "--systems", "runs/a", "runs/b", "--json", "--resamples", "0")
    told = json.loads(done.stdout)
    stored = json.loads((runs / "a+b/fusion/dcase2025.json").read_text())
    assert {name: told[name] for name in stored} == stored
    assert set(told) - set(stored) == {"scores", "train", "test", "changed"}


def test_scoring_a_fusion_applies_it_again(run, runs):
    made = run("fuse", "--systems", "runs/a", "runs/b", "--resamples", "0").stdout
    again = run("score", "runs/a+b", "--edition", "2025")
    assert again.stdout.splitlines()[:-1] == made.splitlines()[:-1]
    refused = run("score", "runs/a+b", "--edition", "2025", "--density-neighbors", "2")
    assert refused.exit_code == 2
    assert "--density-neighbors" in refused.output
    assert "is a fusion" in refused.output


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("--systems", "runs/a"), RecipeError, "only 'runs/a' is given"),
        (("--systems", ","), RecipeError, "no system is given"),
        (("--systems", "runs/a", "runs/a/"), RecipeError, "'runs/a' is given twice"),
        (
            ("--systems", "runs/a", "runs/b", "--weights", "-0.5", "1.5"),
            RecipeError,
            "weights must be zero or more: -0.5, 1.5",
        ),
        (
            ("--systems", "runs/a", "runs/b", "--weights", "0.5", "--step", "0.3"),
            RecipeError,
            r"a step of 0.3 does not divide 1; .*; 1 weight\(s\) for 2 system\(s\)",
        ),
        (
            ("--systems", "runs/a", "runs/b", "--edition", "2024"),
            ScoresError,
            "no finished scores of dcase2024",
        ),
    ],
)
def test_wrong_input_is_told(run, runs, arguments, error, message):
    with pytest.raises(error, match=message):
        run("fuse", *arguments)
    assert sorted(path.name for path in runs.iterdir()) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--systems"),
        (("--systems", "runs/a", "runs/b", "--weights", "half"), "are not numbers"),
        (("--systems", "runs/a", "runs/b", "--method", "median"), "median"),
    ],
)
def test_wrong_usage_exits_with_two(run, arguments, words):
    done = run("fuse", *arguments)
    assert done.exit_code == 2
    assert words in done.output


def test_the_program_ends_in_one_line_and_never_imports_torch(runs, tmp_path):
    program = (
        "import sys; sys.argv = ['dcase-asd', *sys.argv[1:]]\n"
        "from dcase_asd.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('torch' in sys.modules)"
    )

    def start(*arguments):
        return subprocess.run(
            [sys.executable, "-c", program, "fuse", *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = start("--systems", "runs/a", "runs/b", "--resamples", "3")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "False"
    wrong = start("--systems", "runs/a", "runs/nowhere")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert wrong.stderr.startswith("error: runs/nowhere: no such run folder")
