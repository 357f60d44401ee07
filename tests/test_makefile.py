"""`make submission` and `make systems`: which commands they run, on which GPUs, in which order."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SINGLE = ["baseline/beats", "baseline/eat", "baseline/fisher"] + [
    f"beats_{number:02d}" for number in range(1, 13)
]
STUB = """#!/bin/bash
echo "${CUDA_VISIBLE_DEVICES:--} ${OMP_NUM_THREADS:--} $(basename "$0") $*" >> "$CALLS"
case "$*" in *"${FAIL:-nothing at all}"*) echo "error: it failed" >&2; exit 1;; esac
"""


@pytest.fixture
def make(tmp_path):
    """Run make with programs that only write down how they were called; returns the calls."""
    if shutil.which("make") is None:
        pytest.skip("there is no make on this machine")
    for name in ("Makefile", "submissions", "pyproject.toml", "constraints.txt", "plugins"):
        (tmp_path / name).symlink_to(ROOT / name)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("dcase-asd", "accelerate"):
        (programs / name).write_text(STUB)
        (programs / name).chmod(0o755)
    (programs.parent / "ready").touch()

    def run(*arguments, fail="", expected=0):
        calls = tmp_path / "calls"
        calls.write_text("")
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("MAKEFLAGS", "MAKELEVEL", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
        }
        environment |= {"CALLS": str(calls), **({"FAIL": fail} if fail else {})}
        done = subprocess.run(
            ["make", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == expected, done.stdout + done.stderr
        run.output = done.stdout + done.stderr
        return [tuple(line.split(" ", 3)) for line in calls.read_text().splitlines()]

    return run


def recipes_of(calls):
    """The systems that were run by themselves, in order."""
    return [
        arguments.split()[1].removeprefix("submissions/systems/").removesuffix(".toml")
        for _, _, program, arguments in calls
        if program == "dcase-asd" and "--brief" in arguments
    ]


def test_a_submission_checks_everything_then_runs_each_system_then_packages(make):
    calls = make("submission", "DATA=d", "RUNS=r", "OUT=o")
    first, *systems, last = [arguments for *_, arguments in calls]
    forms = " ".join(f"submissions/submission_{number}.toml" for number in range(1, 5))
    assert first == f"run {forms} --data d --runs r --check"
    assert recipes_of(calls) == SINGLE
    assert all(each.endswith("--data d --runs r --prepared --brief") for each in systems)
    assert last == f"run {forms} --data d --runs r --out o --prepared"


def test_systems_run_side_by_side_on_gpus_in_turn(make):
    calls = make("-j4", "submission", "DEVICES=0 1 2,3")
    devices = {
        recipe: device for (device, *_), recipe in zip(calls[1:-1], recipes_of(calls), strict=True)
    }
    assert devices == {name: ("0", "1", "2,3")[place % 3] for place, name in enumerate(SINGLE)}
    assert calls[0][0] == calls[-1][0] == "-"


def test_a_launcher_trains_before_the_rest_is_run(make):
    calls = make("systems", "SYSTEMS=beats_03", "LAUNCH=accelerate launch --num_processes 8")
    assert [(program, arguments) for _, _, program, arguments in calls] == [
        ("dcase-asd", "run submissions/systems/beats_03.toml --data data --runs runs --check"),
        (
            "accelerate",
            "launch --num_processes 8 -m dcase_asd run submissions/systems/beats_03.toml "
            "--data data --runs runs --train-only",
        ),
        (
            "dcase-asd",
            "run submissions/systems/beats_03.toml --data data --runs runs --prepared --brief",
        ),
    ]


def test_chosen_systems_are_checked_and_run_alone_the_baseline_as_its_parts(make):
    calls = make("systems", "SYSTEMS=beats_02 baseline")
    assert recipes_of(calls) == ["beats_02", "baseline/beats", "baseline/eat", "baseline/fisher"]
    assert calls[0][3].count(".toml") == 4


def test_the_miniature_has_data_and_folders_of_its_own_and_one_thread(make):
    calls = make("submission", "SCALE=mini")
    arguments = [each for *_, each in calls]
    assert arguments[0] == "demo --data-only mini/data"
    assert {threads for _, threads, *_ in calls} == {"1"}
    for each in arguments[1:]:
        assert "--data mini/data --runs mini/runs --overlay submissions/mini.toml" in each
    assert "--out mini/dist" in arguments[-1]


def test_a_dry_run_runs_nothing_but_the_plan(make):
    ((_, _, _, arguments),) = make("submission", "DRY_RUN=1", "TFLOPS=120")
    assert arguments.endswith("--out submissions/dist --dry-run --tflops 120")


def test_a_system_that_fails_stops_what_is_made_of_it(make):
    calls = make("submission", fail="beats_04.toml", expected=2)
    assert recipes_of(calls)[-1] == "beats_04"
    assert "error: it failed" in make.output
    calls = make("systems", "SYSTEMS=beats_03", "LAUNCH=accelerate launch",
                 fail="--train-only", expected=2)  # fmt: skip
    assert calls[-1][2] == "accelerate"
    calls = make("submission", fail="--check", expected=2)
    assert len(calls) == 1


def test_a_scale_that_does_not_exist_is_told(make):
    make("submission", "SCALE=tiny", expected=2)
    assert "choose full or mini" in make.output
