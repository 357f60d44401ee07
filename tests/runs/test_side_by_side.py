"""Systems in processes of their own: which commands, on which devices, what a failure stops."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dcase_asd.errors import RecipeError, TrainingError
from dcase_asd.runs import side_by_side
from dcase_asd.runs.runner import Setup
from dcase_asd.runs.side_by_side import (
    Fleet,
    choose_systems,
    device_groups,
    run_side_by_side,
)

SUBMISSIONS = Path(__file__).parents[2] / "submissions"
FORMS = sorted(SUBMISSIONS.glob("submission_*.toml"))
SINGLE = [f"beats_{number:02d}" for number in range(1, 13)]
SINGLE += ["baseline_beats", "baseline_eat", "baseline_fisher"]


@pytest.fixture
def calls(monkeypatch):
    """Devices and arguments of every command, which is not run."""
    made = []

    def follow(arguments, devices, say):
        made.append((devices, arguments))
        say("one line")
        return "fails" not in arguments[0]

    monkeypatch.setattr(side_by_side, "_follow", follow)
    return made


@pytest.fixture
def setup(tmp_path):
    return Setup(tmp_path / "data", tmp_path / "runs", "cpu", 3)


def test_every_single_system_of_the_forms_runs_once(calls, setup):
    lines = []
    assert run_side_by_side(FORMS, setup, Fleet(jobs=1), lines.append) == SINGLE
    assert lines == ["one line"] * 15
    (_, first), *_ = calls
    recipe = first[4]
    assert Path(recipe).resolve() == (SUBMISSIONS / "systems/beats_01.toml").resolve()
    assert first == [
        sys.executable, "-m", "dcase_asd", "run", recipe, "--data", str(setup.data),
        "--runs", str(setup.runs), "--workers", "3", "--device", "cpu", "--prepared", "--brief",
    ]  # fmt: skip


def test_as_many_run_at_once_as_there_are_devices_and_each_has_one(calls, setup):
    fleet = Fleet(("0", "1", "2,3"))
    run_side_by_side(FORMS, setup, fleet, lambda _: None)
    assert {devices for devices, _ in calls} == {"0", "1", "2,3"}
    assert Fleet(("0", "1"), jobs=4).places == ["0", "1", "0", "1"]
    assert Fleet(jobs=2).places == ["", ""]
    assert not Fleet()


def test_devices_are_single_between_commas_and_groups_between_spaces():
    assert device_groups("0,1,2") == ("0", "1", "2")
    assert device_groups("0,1 2,3") == ("0,1", "2,3")
    assert device_groups("0,1 ") == ("0,1",)  # as make hands one group on
    assert device_groups("") == ()


def test_a_launcher_trains_before_the_rest_is_run(calls, setup):
    launcher = f"{sys.executable} -X dev"
    run_side_by_side([SUBMISSIONS / "systems/beats_03.toml"], setup, Fleet(launch=launcher))
    training, rest = (arguments for _, arguments in calls)
    assert training[:6] == [sys.executable, "-X", "dev", "-m", "dcase_asd", "run"]
    assert training[-1] == "--train-only"
    assert rest[-2:] == ["--prepared", "--brief"]


def test_each_system_is_given_the_values_that_its_recipe_has_a_table_of(calls, setup):
    values = ("train.steps=8000", "fusion.step=0.5")
    run_side_by_side([FORMS[0]], replace(setup, values=values), Fleet(only=("beats_01",)))
    ((_, arguments),) = calls
    assert [*itertools.pairwise(arguments)].count(("--set", "train.steps=8000")) == 1
    assert "fusion.step=0.5" not in arguments


def test_chosen_systems_run_alone_a_fusion_as_its_parts(setup):
    chosen = choose_systems(FORMS, setup, ("beats_02", "baseline"))
    assert [each.name for each in chosen] == ["beats_02", *SINGLE[12:]]
    assert len(choose_systems(FORMS, setup, ("all",))) == 15
    with pytest.raises(RecipeError, match="no system is called 'beats_2', did you mean 'beats_"):
        choose_systems(FORMS, setup, ("beats_2",))


def test_a_system_that_fails_is_named_and_no_other_is_begun(calls, setup, monkeypatch):
    monkeypatch.setattr(side_by_side.sys, "executable", "fails")
    with pytest.raises(TrainingError, match="beats_01: failed, as it says above"):
        run_side_by_side(FORMS, setup, Fleet(jobs=1), lambda _: None)
    assert len(calls) == 1


def test_a_launcher_that_is_not_there_is_told_first(calls, setup):
    with pytest.raises(RecipeError, match="--launch: there is no program 'accelerat'"):
        run_side_by_side(FORMS, setup, Fleet(launch="accelerat launch"))
    assert calls == []


def test_a_command_sees_its_devices_and_its_lines_are_passed_on():
    program = (
        "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); "
        "sys.exit('it failed')"
    )
    lines = []
    assert not side_by_side._follow([sys.executable, "-c", program], "2,3", lines.append)
    assert lines == ["2,3", "it failed"]
    assert side_by_side._follow([sys.executable, "-c", "print(1)"], "", lines.append)


def test_an_overlay_goes_to_every_process(calls, tmp_path):
    overlay = SUBMISSIONS / "mini.toml"
    setup = Setup(tmp_path / "data", tmp_path / "runs", "cpu", overlay=overlay)
    run_side_by_side([SUBMISSIONS / "systems/beats_03.toml"], setup, Fleet(jobs=1), lambda _: None)
    ((_, arguments),) = calls
    assert arguments[arguments.index("--overlay") + 1] == str(overlay)
