import json
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "data" / "metrics" / "2022"
SCORES = str(GOLDEN / "scores")


@pytest.fixture
def dcase_asd(tmp_path):
    """Run the program in an empty folder as a user does."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "dcase_asd", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_evaluate_prints_the_reports_table_and_writes_each_format(dcase_asd, tmp_path):
    files = {name: f"result.{name}" for name in ("json", "csv", "markdown", "latex")}
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    done = dcase_asd(
        *("evaluate", SCORES, "--edition", "dcase2022", "--ground-truth", str(GOLDEN)), *options
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "dcase2022, percent; labels from ground truth 2022",
        "Machine   Metric  scores",
        "bearing   AUC_s    83.68",
    ]
    assert "hmean     hmean    74.23" in lines
    assert "official score 74.23 % (95 % interval 7" in done.stdout
    assert lines[-4:] == [f"wrote {path}" for path in files.values()]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["official_score"] == 0.7422855503768834
    assert all((tmp_path / path).is_file() for path in files.values())


def test_a_dash_prints_json_alone_and_the_same_bytes_each_time(dcase_asd, tmp_path):
    arguments = ("evaluate", SCORES, "--edition", "2022", "--ground-truth", str(GOLDEN))
    options = ("--machine", "fan", "--resamples", "10", "--seed", "1", "--json", "-")
    first, second = (dcase_asd(*arguments, *options) for _ in range(2))
    result = json.loads(first.stdout)
    assert list(result["machines"]) == ["fan"]
    assert result["confidence_interval"]["resamples"] == 10
    assert first.stdout == second.stdout
    assert (result["official_score"], result["subset"]) == (None, {"machines": ["fan"]})
    assert first.stderr == ""  # that the rest is missing was asked for
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [(SCORES, "--json"), ("--json", SCORES), (SCORES, "--json", "--edition", "2022")]
)
def test_json_without_a_file_prints(dcase_asd, tmp_path, arguments):
    options = ("--ground-truth", str(GOLDEN), "--resamples", "0", "--machine", "fan")
    edition = () if "--edition" in arguments else ("--edition", "2022")
    done = dcase_asd("evaluate", *options, *edition, *arguments)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["machines"]) == ["fan"]
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_ends_in_one_line_and_status_1(dcase_asd):
    done = dcase_asd("evaluate", SCORES, "--edition", "dcase2022")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "--ground-truth" in done.stderr
    assert done.stderr.count("\n") == 1


def test_evaluate_never_imports_torch(tmp_path):
    program = f"""
import sys
sys.argv = ["dcase-asd", "evaluate", {SCORES!r}, "--edition", "2022", "--ground-truth",
            {str(GOLDEN)!r}, "--resamples", "10", "--json", {str(tmp_path / "result.json")!r}]
from dcase_asd.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = {{"torch", "torchaudio", "sklearn", "scipy"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "result.json").is_file()
