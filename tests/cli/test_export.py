"""Command export, and the example that runs what it writes with onnxruntime alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from located_faults import RATE, Machine
from typer.testing import CliRunner

from dcase_asd.cli import app
from dcase_asd.errors import DcaseAsdError
from dcase_asd.monitor.monitor import Monitor

EXAMPLE = Path(__file__).parents[2] / "docs/onnx_example.py"
ALONE = """
import runpy, sys
for name in ("torch", "dcase_asd", "soxr", "scipy", "onnx"):
    sys.modules[name] = None  # importing it fails
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(done.exception, DcaseAsdError):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    machine = Machine(3, 3.0, "noisy")
    (folder / "normal").mkdir()
    for number in range(25):
        soundfile.write(folder / f"normal/{number}.wav", machine.normal(), RATE)
    soundfile.write(folder / "fine.wav", machine.normal(), RATE)
    both = np.stack([machine.faulty("leak", 25).samples, machine.normal()], axis=1)
    soundfile.write(folder / "leak.flac", both, RATE)
    Monitor.fit(folder / "normal").save(folder / "fan.asd")
    return folder


@pytest.fixture(scope="module")
def exported(place):
    return run("export", place / "fan.asd", "--onnx", place / "fan.onnx")


def test_export_tells_what_it_wrote_and_compared(place, exported):
    assert exported.exit_code == 0
    assert exported.stdout.startswith(f"{place}/fan.onnx: opset 18, 1.2")
    assert "scores of 12 recording(s) differ from those of `check` by " in exported.stdout


def test_export_as_json_has_all_figures(place, tmp_path):
    words = ["export", place / "fan.asd", "--onnx", tmp_path / "a.onnx", "--clips", place]
    found = json.loads(run(*words, "--precision", "fp16", "--json").stdout)
    assert (found["precision"], found["clips"], found["left_out"]) == ("fp16", 20, [])
    assert found["difference"] < 1e-4 < found["change"] < 0.1
    assert found["bytes"] == (tmp_path / "a.onnx").stat().st_size
    assert "stored as fp16: they differ by " in run(*words, "--precision", "fp16", "--force").stdout


def test_recordings_that_were_not_compared_are_told_of(place, tmp_path):
    (tmp_path / "clips").mkdir()
    sound, _ = soundfile.read(place / "fine.wav")
    spectrum = np.fft.rfft(sound)
    spectrum[len(spectrum) // 2 :] = 0
    soundfile.write(tmp_path / "clips/narrow.wav", np.fft.irfft(spectrum), RATE)
    soundfile.write(tmp_path / "clips/whole.wav", sound, RATE)
    words = ["export", place / "fan.asd", "--onnx", tmp_path / "a.onnx", "--clips"]
    assert "1 recording(s), such as narrow.wav, were not" in run(*words, tmp_path / "clips").stdout


def test_export_never_replaces_a_file_unasked(place, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"mine")
    words = ["export", place / "fan.asd", "--onnx", tmp_path / "a.onnx"]
    with pytest.raises(DcaseAsdError, match=r"a.onnx: exists already; .* --force"):
        run(*words)
    assert (tmp_path / "a.onnx").read_bytes() == b"mine"
    run(*words, "--force")
    assert (tmp_path / "a.onnx").stat().st_size > 1_000_000


def test_no_model_and_no_clips_are_told_of(place, tmp_path):
    with pytest.raises(DcaseAsdError, match=r"none.asd: no such model"):
        run("export", tmp_path / "none.asd", "--onnx", tmp_path / "a.onnx")
    with pytest.raises(DcaseAsdError, match=r"none: no such file or folder"):
        run(
            "export", place / "fan.asd", "--onnx", tmp_path / "a.onnx", "--clips", tmp_path / "none"
        )
    assert list(tmp_path.iterdir()) == []


def example(*words):
    return subprocess.run(
        [sys.executable, "-c", ALONE, EXAMPLE, *map(str, words)], check=False,
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.usefixtures("exported")
def test_the_example_judges_as_check_does_without_the_toolkit(place):
    files = place / "fine.wav", place / "leak.flac"
    done = example(place / "fan.onnx", *files)
    assert done.stderr == ""
    monitor = Monitor.load(place / "fan.asd")
    for line, file, word in zip(
        done.stdout.splitlines(), files, ("normal", "anomalous"), strict=True
    ):
        name, _, rest = line.partition(": ")
        assert (name, rest.partition(",")[0]) == (str(file), word)
        verdict = monitor.check(file)
        assert verdict.verdict == word
        score = float(rest.partition("score ")[2].split()[0])
        assert score == pytest.approx(verdict.score, rel=1e-4)
        assert rest.endswith(f"p {verdict.p_value:.2g}")


@pytest.mark.usefixtures("exported")
def test_the_example_refuses_what_it_cannot_judge(place, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    soundfile.write(tmp_path / "b.wav", np.zeros(100), RATE)
    for name, message in (("a.wav", "8000 Hz; resample it"), ("b.wav", "shorter than 0.5 s")):
        done = example(place / "fan.onnx", tmp_path / name)
        assert (done.returncode, done.stdout) == (1, "")
        assert message in done.stderr
    assert "usage: " in example().stderr


def test_the_example_is_of_forty_lines():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) == 40
