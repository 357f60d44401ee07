"""What a command prints, wherever that goes and whatever it holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

OLD_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale of ASCII alone, as Python took it before its UTF-8 mode."""
FULL = Path("/dev/full")


@pytest.fixture
def data(tmp_path, write_clip):
    """One's own machine called Lüfter, with a clip and another machine of names in Latin-1."""
    raw = tmp_path / "data" / "own" / "dev_data" / "raw"
    train = raw / "Lüfter" / "train"
    for seed, name in enumerate(("a.wav", "b.wav")):
        write_clip(train / name, seed)
    clip = (train / "a.wav").read_bytes()
    for name in (b"L\xc3\xbcfter/train/M\xe4rz.wav", b"S\xe4ge/train/c.wav"):
        path = raw / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip)
    return tmp_path / "data"


def run(*arguments, unbuffered=False, **options):
    """Run the program; standard output and error as bytes where they are not given."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1" if unbuffered else ""}
    environment |= options.pop("env", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    command = [sys.executable, "-m", "dcase_asd", *arguments]
    return subprocess.run(command, check=False, env=environment, **pipes)


@pytest.mark.parametrize(
    ("settings", "machine"),
    [
        ({"PYTHONIOENCODING": "ascii"}, rb"L\xfcfter"),
        ({"PYTHONIOENCODING": "latin-1"}, "Lüfter".encode("latin-1")),
        (OLD_LOCALE, rb"L\xfcfter"),
        (OLD_LOCALE | {"PYTHONIOENCODING": "utf-8"}, "Lüfter".encode()),
    ],
)
def test_any_encoding_shows_every_name_and_keeps_it_on_disk(data, settings, machine):
    done = run("prepare", "--data", data, env=settings)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"own      dev    " + machine in done.stdout
    assert set(pd.read_csv(data / "clips.csv")["machine"]) == {"Lüfter"}


def test_who_turns_utf_8_mode_off_gets_it_off():
    command = [sys.executable, "-X", "utf8=0", "-m", "dcase_asd", "plugins"]
    done = subprocess.run(command, check=False, env=os.environ | OLD_LOCALE, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_json_is_json_in_any_encoding(data, encoding):
    settings = {"PYTHONIOENCODING": encoding}
    found = json.loads(run("prepare", "--data", data, "--json", env=settings).stdout)
    assert {each["machine"] for each in found["machines"]} == {"Lüfter", r"S\xe4ge"}


def test_names_that_are_not_utf_8_are_problems_under_a_name_that_can_be_shown(data):
    done = run("prepare", "--data", data)
    assert (done.returncode, done.stderr) == (0, b"")
    problems = pd.read_csv(data / "clips.problems.csv", index_col="path")["reason"]
    assert sorted(problems.index) == [
        r"own/dev_data/raw/Lüfter/train/M\xe4rz.wav", r"own/dev_data/raw/S\xe4ge/train/c.wav",
    ]  # fmt: skip
    assert set(problems) == {"its name, or that of its folder, is not UTF-8; rename it"}


def test_help_has_dots_for_an_ellipsis_where_there_is_none():
    done = run("prepare", "--help", env={"PYTHONIOENCODING": "ascii", "COLUMNS": "120"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"raw/<machine>/..." in done.stdout


def test_an_argument_that_is_not_utf_8_is_told():
    done = run("prepare", "--data", b"Ger\xe4te")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == rb"error: Ger\xe4te: not UTF-8; rename it, or give a link to it" + b"\n"


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("arguments", [["plugins"], ["plugins", "--json"], ["--help"]])
def test_a_full_standard_output_is_told_in_one_line(arguments, unbuffered):
    with FULL.open("w") as full:
        done = run(*arguments, stdout=full, unbuffered=unbuffered)
    assert done.returncode == 1
    assert done.stderr == b"error: standard output: No space left on device\n"


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("arguments", [["plugins"], ["plugins", "--json"], ["--help"]])
def test_a_pipe_that_nobody_reads_ends_a_command_without_a_word(arguments, unbuffered):
    read, write = os.pipe()
    os.close(read)
    done = run(*arguments, stdout=write, unbuffered=unbuffered)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_error_is_told_also_where_nothing_can_be_printed(tmp_path):
    with FULL.open("w") as full:
        done = run("prepare", "--data", tmp_path / "no", stdout=full)
    assert done.returncode == 1
    assert done.stderr.endswith(b"no such data folder; say which with --data\n")


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_full_standard_error_stops_no_work(data, unbuffered):
    with FULL.open("w") as full:
        done = run("prepare", "--data", data, stderr=full, unbuffered=unbuffered)
        assert (done.returncode, b"2 clips" in done.stdout) == (0, True)
        wrong = run("prepare", "--data", data / "no", stderr=full, unbuffered=unbuffered)
        assert (wrong.returncode, run("prepare", "--no-such-flag", stderr=full).returncode) == (
            1,
            2,
        )


@pytest.mark.parametrize("closed", [[1], [0, 1, 2]])
def test_closed_streams_change_nothing(data, closed):
    assert run("prepare", "--data", data).returncode == 0
    tables = {path: path.read_bytes() for path in sorted(data.glob("clips*.csv"))}
    for path in tables:
        path.unlink()
    program = (
        f"import os, sys\nfor each in {closed}: os.close(each)\nos.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-m", "dcase_asd", "prepare", "--data", data]
    done = subprocess.run([sys.executable, "-c", program, *command], check=False)
    assert done.returncode == 0
    assert {path: path.read_bytes() for path in sorted(data.glob("clips*.csv"))} == tables
