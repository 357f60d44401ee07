import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from loopback import Fault
from published import machine_clips, machines_of, publish_edition, tree_below, zipped
from typer.testing import CliRunner

from dcase_asd.cli.app import app
from dcase_asd.cli.display import Display
from dcase_asd.editions.edition import load_edition

DEV = "/records/15097779/files/dev_ToyCar.zip"


@pytest.fixture
def dcase_asd(tmp_path):
    """Run the program in a folder of its own."""

    def run(*arguments, answer="", **options):
        return subprocess.run(
            [sys.executable, "-m", "dcase_asd", *arguments],
            input=answer, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120,
            **options,
        )  # fmt: skip

    return run


def choose(server, edition="2025"):
    machines = [f"--machine={machine}" for machine in machines_of(load_edition(edition).name)]
    return ["download", edition, "--mirror", server.url, *machines]


def test_an_edition_is_downloaded_and_can_be_prepared(server, dcase_asd, tmp_path):
    tree = publish_edition(server)
    done = dcase_asd(*choose(server))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["edition", "split", "machine", "file", "size", "state"]
    assert sum("to fetch" in line for line in lines) == 6
    assert (
        "licence of dcase2025 eval: cc-by-nc-sa-4.0, https://zenodo.org/records/15519362" in lines
    )
    assert "The recordings are for non-commercial use; read the licence before any other." in lines
    assert lines[-1] == "6 of 6 archives are in place; next: `dcase-asd prepare --data data`"
    assert "dev_ToyCar.zip: " in done.stderr
    assert tree_below(tmp_path / "data") == tree
    assert dcase_asd("prepare", "--data", "data").returncode == 0


def test_a_dry_run_shows_sizes_and_disk_and_writes_nothing(server, dcase_asd, tmp_path):
    publish_edition(server)
    done = dcase_asd(*choose(server), "--dry-run")
    assert done.returncode == 0
    assert "unpacked, " in done.stdout
    assert "free" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_without_a_network_says_that_sizes_are_unknown(dcase_asd):
    done = dcase_asd("download", "2025", "--dry-run", "--mirror", "http://127.0.0.1:9")
    assert done.returncode == 0
    assert done.stdout.count(" ?  to fetch") == 23
    assert "note: sizes and checksums could not be read: http://127.0.0.1:9/api" in done.stdout
    assert "free; without 23 archives of unknown size" in done.stdout


def test_without_a_network_a_download_ends_with_one_line(dcase_asd):
    done = dcase_asd("download", "2025", "--quiet", "--mirror", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(
        "error: http://127.0.0.1:9/api/records/15097779: cannot be reached"
    )


def test_quiet_says_nothing_when_all_is_well(server, dcase_asd):
    publish_edition(server)
    done = dcase_asd(*choose(server), "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_exit_status_says_whether_all_is_there(server, dcase_asd):
    publish_edition(server)
    server.faults[DEV] = [Fault(status=404)]
    done = dcase_asd(*choose(server), "--quiet")
    assert done.returncode == 1
    assert "answers 404" in done.stderr.splitlines()[0]
    assert done.stderr.splitlines()[1].startswith("1 of 6 archives are missing; the same command")
    assert dcase_asd(*choose(server)).returncode == 0


def test_splits_can_be_chosen(server, dcase_asd, tmp_path):
    tree = publish_edition(server)
    done = dcase_asd(*choose(server), "--split=add", "--split", "eval", "--machine", "AutoTrash")
    assert done.returncode == 1
    assert "has no machine" in done.stderr
    names = ["--machine=AutoTrash", "--machine=BandSealer"]
    options = ["--mirror", server.url, "--split", "add", "--split", "eval"]
    assert dcase_asd("download", "2025", *names, *options).returncode == 0
    expected = {path: content for path, content in tree.items() if "eval_data" in path}
    assert tree_below(tmp_path / "data") == expected


def test_all_editions_are_planned_by_one_word(dcase_asd):
    done = dcase_asd("download", "--all", "--dry-run", "--from", ".")
    assert done.returncode == 0
    assert done.stdout.count("cannot be had") == 146


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["2025", "--all"],
        ["2025", "--jobs", "0"],
        ["2025", "--split", "train"],
        ["2025", "--ground-truth", "--noise-only"],
    ],
)
def test_usage_that_makes_no_sense_ends_with_status_two(dcase_asd, arguments):
    assert dcase_asd("download", *arguments).returncode == 2


def test_a_plan_and_its_outcome_are_told_as_json(server, dcase_asd):
    publish_edition(server)
    plan = json.loads(dcase_asd(*choose(server), "--dry-run", "--json").stdout)
    assert len(plan["files"]) == 6
    assert {each["state"] for each in plan["files"]} == {"absent"}
    assert plan["needed"] > sum(each["size"] for each in plan["files"]) > 0
    assert {each["edition"] for each in plan["licences"]} == {"dcase2025"}
    server.faults[DEV] = [Fault(status=404)]
    done = dcase_asd(*choose(server), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["complete"], len(told["problems"])) == (1, 5, 1)
    assert "1 of 6 archives are missing" in done.stderr
    assert json.loads(dcase_asd(*choose(server), "--json").stdout)["complete"] == 6


def test_a_disk_that_is_too_small_is_refused_after_the_table(server, dcase_asd):
    publish_edition(server)
    record = "/api/records/15097779"
    server.files[record] = server.files[record].replace(b'"size": ', b'"size": 9999999999')
    done = dcase_asd(*choose(server), "--dry-run")
    assert done.returncode == 1
    assert "dev_ToyCar.zip" in done.stdout
    assert "are needed and" in done.stderr
    assert done.stderr.count("\n") == 1


def test_ctrl_c_says_how_to_go_on_and_the_next_run_does(server, dcase_asd, tmp_path):
    tree = publish_edition(server, clips=40)
    server.pause = 1.0  # of 4 KiB each: so many seconds in all that it is still at work
    process = subprocess.Popen(
        [sys.executable, "-m", "dcase_asd", *choose(server)],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(tmp_path.rglob("*.part.json")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert error.splitlines()[-1] == "stopped; the same command goes on where it was"
    assert "Traceback" not in error
    server.pause = 0
    assert dcase_asd(*choose(server)).returncode == 0
    assert any(header for _, header in server.requests)
    assert tree_below(tmp_path / "data") == tree


def test_zips_are_taken_from_a_folder_and_kept(dcase_asd, tmp_path):
    (tmp_path / "usb").mkdir()
    path = tmp_path / "usb" / "dev_ToyCar.zip"
    path.write_bytes(zipped(machine_clips("ToyCar", "dev"), "ToyCar"))
    options = ["--split", "dev", "--machine", "ToyCar", "--from", "usb"]
    done = dcase_asd("download", "dcase2025", *options)
    assert done.returncode == 0, done.stderr
    assert "zip here" in done.stdout
    assert path.exists()
    assert "in place" in dcase_asd("download", "2025", *options, "--dry-run").stdout


# Labels.


@pytest.fixture
def evaluator(tmp_path):
    for folder in ("ground_truth_data", "ground_truth_domain"):
        (tmp_path / "checkout" / folder).mkdir(parents=True)
        (tmp_path / "checkout" / folder / "ground_truth_Scanner_section_00_test.csv").write_text(
            "section_00_0000.wav,0\n", encoding="utf-8"
        )
    return ["download", "2024", "--ground-truth", "--from", "checkout"]


def test_the_labels_licence_is_shown_and_asked_for(dcase_asd, evaluator, tmp_path):
    done = dcase_asd(*evaluator, answer="y\n")
    assert done.returncode == 0, done.stderr
    assert "NTT Software License Agreement for Evaluation" in done.stdout
    assert "Do you accept these licences?" in done.stdout
    assert "evaluate with --ground-truth data/ground_truth/dcase2024" in done.stdout
    assert (tmp_path / "data" / "ground_truth" / "dcase2024" / "ground_truth_data").is_dir()
    again = dcase_asd(*evaluator)
    assert again.returncode == 0
    assert "Do you accept" not in again.stdout


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_without_acceptance_no_labels_are_fetched(dcase_asd, evaluator, tmp_path, answer):
    done = dcase_asd(*evaluator, answer=answer)
    assert done.returncode == 1
    assert "their licence was not accepted" in done.stderr
    assert not (tmp_path / "data").exists()


def test_the_licence_can_be_accepted_beforehand(dcase_asd, evaluator):
    done = dcase_asd(*evaluator, "--accept-licence", "--quiet")
    assert (done.returncode, done.stdout) == (0, "")


def test_labels_are_told_as_json_and_the_question_stands_apart(dcase_asd, evaluator):
    folder = "data/ground_truth/dcase2024"
    planned = json.loads(dcase_asd(*evaluator, "--dry-run", "--json").stdout)
    assert [(each["folder"], each["in_place"]) for each in planned] == [(folder, False)]
    done = dcase_asd(*evaluator, "--json", "-q", answer="y\n")
    assert "Do you accept these licences?" in done.stderr
    assert [each["in_place"] for each in json.loads(done.stdout)] == [True]


def test_a_dry_run_of_labels_asks_nothing(dcase_asd, evaluator, tmp_path):
    done = dcase_asd(*evaluator, "--dry-run")
    assert done.returncode == 0
    assert "to fetch" in done.stdout
    assert not (tmp_path / "data").exists()


# Weights.


def test_weights_are_listed_or_there_are_none(dcase_asd):
    done = dcase_asd("weights")
    assert done.returncode == 0
    assert done.stdout.startswith(("plugin", "no installed plugin names published weights"))


def test_a_plugin_without_weights_is_told(dcase_asd):
    done = dcase_asd("weights", "spectral")
    assert done.returncode == 1
    assert done.stderr == (
        "error: the plugin 'spectral' names no published weights, and may need none\n"
    )
    assert "no plugin is called 'spektral'; did you mean 'spectral'" in (
        dcase_asd("weights", "spektral").stderr
    )


def test_weights_are_fetched_and_their_path_printed(server, dcase_asd, tmp_path):
    package = tmp_path / "dcase_asd_loud"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "checkpoints.toml").write_text(
        '[[checkpoints]]\nname = "loud_base"\ndescription = "small"\nlicence = "MIT"\n'
        'files = [{ name = "loud.pt", url = "https://example.org/loud.pt" }]\n',
        encoding="utf-8",
    )
    metadata = tmp_path / "dcase_asd_loud-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: dcase-asd-loud\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[dcase_asd.backbones]\nloud = dcase_asd_loud:Loud\n"
    )
    server.serve("/loud.pt", b"weights")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "DCASE_ASD_CACHE": str(tmp_path / "c")}
    listed = dcase_asd("weights", env=environment).stdout.splitlines()
    assert any(line.split()[:3] == ["loud", "loud_base", "no"] for line in listed)
    rows = json.loads(dcase_asd("weights", "--json", env=environment).stdout)
    (loud,) = [row for row in rows if row["plugin"] == "loud"]
    assert (loud["checkpoint"], loud["here"], loud["licence"]) == ("loud_base", False, "MIT")
    done = dcase_asd("weights", "loud", "--mirror", server.url, env=environment)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == b"weights"
    again = dcase_asd("weights", "loud", "--json", env=environment)
    assert json.loads(again.stdout) == {"plugin": "loud", "path": done.stdout.strip()}


# The display.


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("dcase_asd.cli", {"httpx", "pandas", "torch", "rich.progress"}),
        ("dcase_asd.downloads.download, dcase_asd.downloads.weights", {"numpy", "pandas", "torch"}),
    ],
)
def test_what_is_not_needed_is_not_imported(modules, heavy):
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_on_a_terminal_bars_of_all_files_are_shown_at_once(server, tmp_path):
    publish_edition(server, clips=20)
    server.pause = 0.01
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dcase_asd", *choose(server)],
        cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(terminal)
    seen = bytearray()

    def read():
        with contextlib.suppress(OSError):  # the terminal goes with its process
            while piece := os.read(controller, 4096):
                seen.extend(piece)
        os.close(controller)

    reader = threading.Thread(target=read)
    reader.start()
    process.communicate(timeout=60)
    reader.join()
    assert process.returncode == 0
    for text in (b"All files", b"dev_ToyCar.zip", b"eval_data_AutoTrash_train.zip", b"B/s"):
        assert text in seen


def test_notes_and_lines_go_to_standard_error(capsys, monkeypatch):
    monkeypatch.setattr("dcase_asd.cli.display.SECONDS_BETWEEN_LINES", 0)
    display = Display()
    with display.bar("fan.zip", 4000, "bytes") as advance:
        advance(1000)
        display.note("careful")
        advance(3000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "fan.zip: 1 kB of 4 kB", "note: careful", "fan.zip: 4 kB of 4 kB", "fan.zip: 4 kB in 0 s"
    ]  # fmt: skip


def test_a_quiet_display_says_nothing(capsys):
    display = Display(quiet=True)
    with display.bar("fan.zip", 4000, "bytes") as advance:
        advance(4000)
    display.note("careful")
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_told_in_one_line(server, dcase_asd, tmp_path):
    small = tmp_path / "data"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("a small file system can only be mounted by root")
    publish_edition(server, clips=200)
    assert len(server.files[DEV]) > 200_000
    # Without the record's word on the size, the disk fills up on the way.
    record = "/api/records/15097779"
    server.files[record] = re.sub(rb'"size": \d+', b'"size": 1000', server.files[record])
    server.faults[DEV] = [Fault(chunked=True)] * 20
    options = ["--split", "dev", "--machine", "ToyCar", "--mirror", server.url]
    try:
        done = dcase_asd("download", "2025", *options)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def test_where_no_plugin_names_weights_that_is_said(monkeypatch):
    monkeypatch.setattr("dcase_asd.downloads.weights.list_weights", list)
    done = CliRunner().invoke(app, ["weights"])
    assert (done.exit_code, done.stdout) == (0, "no installed plugin names published weights\n")
    assert json.loads(CliRunner().invoke(app, ["weights", "--json"]).stdout) == []
