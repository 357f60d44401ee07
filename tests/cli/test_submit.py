"""The commands `submit` and `validate`: tables, JSON and exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dcase_asd.cli.app import app

LABEL = "Lastname_INST_task2_1"
FORM = str(Path(__file__).parents[2] / "submissions/examples/submission.toml")


def call(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def entry(make_entry):
    return make_entry("dcase2024")


@pytest.fixture
def packed(entry, tmp_path):
    arguments = ("--edition", "dcase2024", "--label", LABEL, "--out", tmp_path / "dist")
    result = call("submit", entry.run, *arguments, "--form", FORM)
    assert result.exit_code == 0, result.output
    return tmp_path / "dist/Lastname_INST_task2.zip"


def test_submit_shows_what_it_wrote(entry, tmp_path):
    arguments = ("--edition", "dcase2024", "--label", LABEL, "--out", tmp_path / "dist")
    result = call("submit", entry.run, *arguments)
    lines = result.stdout.splitlines()
    assert lines[1].split() == [
        "machine",
        "section",
        "domain",
        "clips",
        "threshold",
        "anomalous",
    ]
    assert lines[2].split()[:4] == ["3DPrinter", "00", "-", "6"]
    assert lines[-1].endswith(f"Lastname_INST_task2.zip: written, 1 system(s): {LABEL}")
    assert "note: the run covers 2 of 9 evaluation machines" in result.stderr
    again = call("submit", entry.run, *arguments, "--json")
    shown = json.loads(again.stdout)
    assert shown["changed"] is False
    assert shown["systems"] == [LABEL]
    assert shown["files"][0]["machine"] == "3DPrinter"


def test_packages_go_to_submissions_dist(entry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("submit", entry.run, "--edition", "dcase2024", "--label", LABEL).exit_code == 0
    assert (tmp_path / "submissions/dist/Lastname_INST_task2.zip").is_file()


def test_submit_without_decisions_shows_dashes(make_entry, tmp_path):
    entry = make_entry("dcase2020")
    arguments = ("--edition", "dcase2020", "--label", LABEL, "--out", tmp_path / "dist")
    result = call("submit", entry.run, *arguments)
    assert result.stdout.splitlines()[2].split() == ["ToyCar", "05", "-", "6", "-", "-"]


def test_validate_ends_with_its_verdict(entry, packed):
    arguments = ("validate", packed, "--edition", "dcase2024", "--data", entry.data)
    result = call(*arguments, "--run", entry.run)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["level", "where", "what"]
    assert "the technical report is missing" in result.stdout
    assert (
        "valid for dcase2024: 1 system(s), 12 evaluation clips, 0 error(s)"
        in (result.stdout.splitlines()[-1])
    )
    strict = call(*arguments, "--run", entry.run, "--strict")
    assert strict.exit_code == 1
    assert "NOT valid for dcase2024" in strict.stdout.splitlines()[-1]
    assert "warning  " not in strict.stdout
    shown = json.loads(call(*arguments, "--json").stdout)
    assert shown["accepted"] is True
    assert shown["errors"] == 0
    assert {"level", "where", "what"} == set(shown["problems"][0])


def test_validate_exits_with_one_where_something_is_wrong(entry, packed):
    content = packed.read_bytes()
    packed.write_bytes(content[:100])
    result = call("validate", packed, "--edition", "dcase2024", "--data", entry.data)
    assert result.exit_code == 1
    assert "not a readable zip" in result.stdout


@pytest.mark.parametrize("command", ["submit", "validate"])
def test_help_shows_an_example(command):
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"Example: dcase-asd {command}" in " ".join(result.stdout.split())


def test_a_mistake_is_one_line_without_torch(tmp_path):
    code = (
        "import sys; sys.argv = ['dcase-asd', 'submit', 'none', '--edition', 'dcase2024', "
        f"'--label', '{LABEL}', '--out', r'{tmp_path}/dist']\n"
        "from dcase_asd.cli import main\n"
        "import dcase_asd.submission.validate\n"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: none: no such run folder")
    assert done.stderr.count("\n") == 1
