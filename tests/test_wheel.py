"""The wheel by itself: `fit`, `check` and the presets work without the repository."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import soundfile
from located_faults import RATE, Machine

HOUSE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=HOUSE, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


def run(unpacked, place, *words):
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=place, env=environment, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_fits_and_checks_in_another_folder(unpacked, tmp_path):
    machine = Machine(3, 3.0, "noisy")
    (tmp_path / "normal").mkdir()
    for number in range(20):
        soundfile.write(tmp_path / f"normal/{number}.wav", machine.normal(), RATE)
    soundfile.write(tmp_path / "today.wav", machine.faulty("leak", 25).samples, RATE)
    where = run(unpacked, tmp_path, "-c", "import dcase_asd; print(dcase_asd.__file__)")
    assert Path(where.strip()) == unpacked / "dcase_asd/__init__.py"
    run(unpacked, tmp_path, "-m", "dcase_asd", "fit", "normal", "--out", "fan.asd")
    shown = run(unpacked, tmp_path, "-m", "dcase_asd", "check", "fan.asd", "today.wav", "--json")
    (verdict,) = json.loads(shown)
    assert (verdict["file"], verdict["verdict"]) == ("today.wav", "anomalous")
    run(unpacked, tmp_path, "-m", "dcase_asd", "export", "fan.asd", "--onnx", "fan.onnx")
    assert (tmp_path / "fan.onnx").is_file()


@pytest.mark.slow
def test_the_wheel_holds_the_presets(unpacked, tmp_path):
    listed = json.loads(run(unpacked, tmp_path, "-m", "dcase_asd", "presets", "--json"))
    assert len(listed) > 4
    for each in listed:
        held = Path(each["recipe"])
        original = HOUSE / held.relative_to(unpacked / "dcase_asd")
        assert held.read_bytes() == original.read_bytes()
    presets = {path.name for path in HOUSE.glob("submissions/presets/*.toml")}
    assert {path.name for path in unpacked.glob("dcase_asd/submissions/presets/*")} >= presets
    shown = run(unpacked, tmp_path, "-m", "dcase_asd", "presets", "spectral")
    assert shown == (HOUSE / "submissions/presets/spectral.toml").read_text(encoding="utf-8")
