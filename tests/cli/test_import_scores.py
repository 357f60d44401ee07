"""import-scores, and what a fusion of its runs says, as a user runs them."""

import json

import pytest
from typer.testing import CliRunner

from dcase_asd.cli.app import app

CLIP = "section_00_source_test_{}_{:04}_noAttribute.wav"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, factor in (("a", 1.0), ("b", -0.3)):
        for machine in ("ToyCar", "gearbox"):
            rows = [
                f"{CLIP.format(condition, number)},{high + factor * (number % 7)}\n"
                for condition, high in (("normal", 0), ("anomaly", 3))
                for number in range(12)
            ]
            path = tmp_path / name / f"anomaly_score_{machine}_section_00.csv"
            path.parent.mkdir(exist_ok=True)
            rows += [row.replace("source", "target") for row in rows]
            path.write_text("".join(rows))

    def invoke(*arguments):
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0
        return done

    return invoke


def test_score_files_become_runs_whose_fusion_is_marked(run):
    done = run("import-scores", "a", "--run", "runs/a", "--edition", "2025")
    assert done.stdout == (
        "runs/a/scores/dcase2025.csv: scores of 96 test and 0 train clips imported\n"
    )
    assert "note: without train scores of ToyCar section 00, gearbox section 00" in done.stderr
    run("import-scores", "b", "--run", "runs/b", "--edition", "2025")
    again = run("import-scores", "b", "--run", "runs/b", "--edition", "2025", "--json")
    assert json.loads(again.stdout) == {
        "scores": "runs/b/scores/dcase2025.csv", "train": 0, "test": 96, "changed": False
    }  # fmt: skip
    wanted = ("runs/a", "runs/b", "--method", "calibrated", "--standardize", "test", "--analysis")
    done = run("fuse", *wanted)
    assert done.stdout.splitlines()[0].endswith(
        "standardised by test scores (transductive), for analysis alone"
    )
    assert "note: the fusion is for analysis alone, and may not be submitted" in done.stderr
    found = json.loads(run("fuse", *wanted, "--json").stdout)
    assert (found["analysis"], found["standardisation"]) == (True, "test (transductive)")
    assert found["label_free"]["calibrated"]["dev_score"] == found["dev_score"]
