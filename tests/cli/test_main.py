"""The console script: what a user sees of mistakes, and what is not imported."""

import subprocess
import sys

import pytest

from dcase_asd import cli
from dcase_asd.errors import DataError


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "dcase_asd", *arguments], capture_output=True, text=True, check=False
    )


def test_a_mistake_is_one_line_on_standard_error_and_status_1(tmp_path):
    done = run("prepare", "--data", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"error: {tmp_path}/nowhere: no such data folder; say which with --data\n"


@pytest.mark.parametrize(
    "arguments", [["embed"], ["prepaer"], ["score", "run"], ["prepare", "--dta", "x"]]
)
def test_wrong_usage_is_status_2(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("data: empty"), 1, "error: data: empty\n"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "error: /x/y: Permission denied\n"),
        (OSError(28, "No space left on device"), 1, "error: a file: No space left on device\n"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on where it was\n"),
    ],
)
def test_every_expected_failure_ends_without_a_traceback(monkeypatch, capsys, error, status, line):
    def fail():
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == status
    assert capsys.readouterr().err == line


def test_help_lists_the_commands_in_the_order_of_the_pipeline():
    text = run("--help").stdout
    places = [
        text.index(f" {command} ")
        for command in ("demo", "prepare", "embed", "score", "evaluate", "submit", "validate")
    ]
    assert places == sorted(places)


LIGHT = [
    ["--help"],
    ["plugins"],
    ["evaluate", "--help"],
    ["submit", "--help"],
    ["validate", "--help"],
    ["prepare", "--data", "nowhere"],
    ["evaluate", "nowhere", "--edition", "dcase2025"],
    ["submit", "nowhere", "--edition", "dcase2025", "--label", "A_B_task2_1", "--out", "x"],
    ["validate", "nowhere", "--edition", "dcase2025", "--data", "nowhere"],
]


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_commands_without_a_network_never_import_torch(arguments, tmp_path):
    program = (
        "import sys; from dcase_asd.cli import main\n"
        f"sys.argv = ['dcase-asd', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'torchaudio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "if '--help' in sys.argv: assert not {'numpy', 'pandas', 'scipy'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
