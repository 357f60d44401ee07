import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest


@pytest.fixture
def dcase_asd(tmp_path):
    """Run the program in an empty folder as a user does."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "dcase_asd", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_report_says_where_it_is_and_whether_it_changed(dcase_asd, make_entry, tmp_path):
    run = make_entry("dcase2025").run.relative_to(tmp_path)
    done = dcase_asd("report", run, "--edition", "2025", "--resamples", "10")
    assert (done.returncode, done.stderr) == (0, "")
    page = run / "report/dcase2025/report.html"
    assert done.stdout == f"{page}: written, with 9 SVG pictures beside it\n"
    again = dcase_asd("report", run, "--edition", "2025", "--resamples", "10")
    assert again.stdout == f"{page}: unchanged, with 9 SVG pictures beside it\n"


def test_json_names_every_file_and_options_reach_the_step(dcase_asd, make_entry, tmp_path):
    run = make_entry("dcase2025").run
    done = dcase_asd(
        *("report", run, "--edition", "dcase2025", "--out", "out", "--format", "png", "--json"),
        *("--machine", "ToyCar", "--quantile", "0.5", "--threshold-rule", "gamma"),
        *("--resamples", "0"),
    )
    result = json.loads(done.stdout)
    assert result["page"] == "out/report.html"
    assert result["changed"] is True
    assert len(result["pictures"]) == 4
    assert all((tmp_path / path).read_bytes().startswith(b"\x89PNG") for path in result["pictures"])


def test_clips_and_details_are_shown_where_they_are_asked_for(
    dcase_asd, make_entry, write_clip, tmp_path
):
    entry = make_entry("dcase2025")
    for path in entry.clips[entry.clips["split"] == "test"]["path"]:
        write_clip(entry.data / path, seconds=0.1)
    run = ("report", entry.run, "--edition", "2025", "--out", "out", "--resamples", "0")
    done = dcase_asd(*run, "--clips", "--most", "2", "--data", entry.data)
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / "out/report.html").read_text()
    assert text.count("<audio ") == 4 * 2
    missing = dcase_asd(*run, "--clips", "--data", "nowhere")
    assert missing.returncode == 1
    assert missing.stderr == "error: nowhere: no such data folder; say which with --data\n"
    assert dcase_asd(*run, "--clips", "--most", "-1").returncode == 2
    several = [entry.run.with_name(f"copy_{number}") for number in range(5)]
    for copy in several:
        shutil.copytree(entry.run, copy)
    many = ("report", *several, *run[2:])
    assert "with 4 SVG pictures beside it" in dcase_asd(*many).stdout
    assert "with 44 SVG pictures beside it" in dcase_asd(*many, "--details").stdout


def test_wrong_input_ends_in_one_line_and_status_1(dcase_asd, make_entry, tmp_path):
    run = make_entry("dcase2025").run
    (tmp_path / "out").mkdir()
    (tmp_path / "out/report.html").write_text("mine")
    for arguments in (
        ("nowhere", "--edition", "2025"),
        (run, "--edition", "dcase2019"),
        (run, "--edition", "2025", "--ground-truth", "nowhere"),
        (run, "--edition", "2025", "--out", "out", "--resamples", "0"),
    ):
        done = dcase_asd("report", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    assert (tmp_path / "out/report.html").read_text() == "mine"
    assert dcase_asd("report", "--edition", "2025").returncode == 2
    assert dcase_asd("report", run, "--edition", "2025", "--format", "gif").returncode == 2


def test_a_report_never_imports_torch_or_a_window_system(make_entry, tmp_path):
    run = make_entry("dcase2025").run
    program = f"""
import sys
sys.argv = ["dcase-asd", "report", {str(run)!r}, "--edition", "2025", "--resamples", "5"]
from dcase_asd.cli import main
assert "matplotlib" not in sys.modules
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = {{"torch", "torchaudio", "sklearn", "matplotlib.pyplot", "tkinter"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["--help", "evaluate", "score"])
def test_no_other_command_imports_matplotlib(command, tmp_path):
    arguments = ["dcase-asd", command] + (["--help"] if command != "--help" else [])
    program = (
        f"import sys; sys.argv = {arguments!r}\n"
        "from dcase_asd.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'matplotlib' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_pictures_are_files_of_their_own(dcase_asd, make_entry, tmp_path):
    run = make_entry("dcase2025").run
    dcase_asd("report", run, "--edition", "2025", "--out", "out", "--resamples", "0")
    files = sorted((tmp_path / "out/pictures").rglob("*.svg"))
    assert len(files) == 9
    for file in files:
        assert ET.parse(file).getroot().get("viewBox")  # noqa: S314 - made here
