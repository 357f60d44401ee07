"""`make submission` and `make systems` call `dcase-asd run` with the flags of the variables."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORMS = " ".join(f"submissions/submission_{number}.toml" for number in range(1, 5))


@pytest.fixture
def make(tmp_path):
    """Run make with a program that only writes down how it was called; returns the calls."""
    if shutil.which("make") is None:
        pytest.skip("there is no make on this machine")
    for name in ("Makefile", "submissions", "pyproject.toml", "constraints.txt", "plugins"):
        (tmp_path / name).symlink_to(ROOT / name)
    program = tmp_path / ".venv/bin/dcase-asd"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/bash\nprintf "%s|" "$@" >> calls; echo >> calls; exit ${FAIL:-0}\n')
    program.chmod(0o755)
    (tmp_path / ".venv/ready").touch()

    def run(*arguments, expected=0, **variables):
        (tmp_path / "calls").write_text("")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        done = subprocess.run(
            ["make", *arguments],
            cwd=tmp_path, env=inherited | variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == expected, done.stdout + done.stderr
        run.output = done.stdout + done.stderr
        calls = (tmp_path / "calls").read_text().splitlines()
        return [call.rstrip("|").split("|") for call in calls]

    return run


def test_a_submission_is_one_call(make):
    assert make("submission") == [["run", *FORMS.split()]]


def test_every_variable_becomes_its_flag(make):
    (call,) = make(
        "-j4", "submission", "SCALE=mini", "DATA=d", "RUNS=r", "OUT=o", "DEVICES=0 1 2,3",
        "LAUNCH=accelerate launch --num_processes 8", "OVERWRITE=1", "DRY_RUN=1",
    )  # fmt: skip
    assert call[5:] == [
        "--mini", "--data", "d", "--runs", "r", "--out", "o", "--devices", "0 1 2,3 ",
        "--launch", "accelerate launch --num_processes 8", "--jobs", "4", "--overwrite",
        "--dry-run",
    ]  # fmt: skip


def test_systems_are_run_alone(make):
    assert make("systems", "SYSTEMS=beats_02 baseline")[0][-2:] == ["--only", "beats_02 baseline"]
    assert make("systems")[0][-2:] == ["--only", "all"]


def test_a_failure_is_that_of_make_and_an_unknown_scale_is_told(make):
    make("submission", FAIL="1", expected=2)
    assert make("submission", "SCALE=tiny", expected=2) == []
    assert "choose full or mini" in make.output
