"""A plugin small enough to be fine-tuned in seconds, and a small data folder."""

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dcase_asd.clips.prepare import prepare
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.recipe.training import Training

TINY = Path(__file__).parents[1] / "support" / "tiny_backbone.py"
MACHINES = {"fan": (300, 450), "gearbox": (800, 1200), "valve": (2000, 3000)}
"""Frequencies in Hz of each machine's two attributes."""


SHORT = Training(
    steps=16, batch_size=8, accumulation=2, warmup=2, learning_rate=1e-3, seconds=0.8,
    time_mask=8, frequency_mask=8, embedding=16, bottleneck=8, eval_every=8, save_every=4,
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny networks are slower on several threads, most of all beside other programs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    torch.set_num_threads(before)
    del os.environ["OMP_NUM_THREADS"]


@pytest.fixture(scope="session")
def plugin_path(tmp_path_factory):
    """A folder on the import path, of this process and its children, with the plugin ``tiny``."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "tiny_backbone.py").write_text(TINY.read_text())
    metadata = folder / "tiny-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[dcase_asd.backbones]\ntiny = tiny_backbone:Tiny\ntiny-cls = tiny_backbone:TinyCls\n"
    )
    sys.path.insert(0, str(folder))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *([before] if before else [])])
    yield folder
    sys.path.remove(str(folder))
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def hum(frequency, seed, seconds=1.0, rate=16000):
    """A machine of one pitch, with harmonics and noise."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitch = frequency * (1 + 0.02 * random.standard_normal())
    sound = sum(np.sin(2 * np.pi * pitch * k * time + random.uniform(0, 6)) / k for k in (1, 2, 3))
    return 0.1 * sound + 0.02 * random.standard_normal(len(time))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Three machines of dcase2025 with two attributes each, noise clips, a labelled dev test."""
    folder = tmp_path_factory.mktemp("data")
    raw = folder / "dcase2025t2" / "dev_data" / "raw"
    for machine, pitches in MACHINES.items():
        for kind in ("train", "test", "supplemental"):
            (raw / machine / kind).mkdir(parents=True)
        for index in range(8):
            attribute, domain = index % 2, "target" if index >= 6 else "source"
            name = f"section_00_{domain}_train_normal_{index:04d}_v_{attribute}.wav"
            sound = hum(pitches[attribute], index)
            soundfile.write(raw / machine / "train" / name, sound, 16000)
        for index in range(8):
            condition, domain = ("normal", "anomaly")[index % 2], ("source", "target")[index // 4]
            name = f"section_00_{domain}_test_{condition}_{index:04d}_v_{index % 2}.wav"
            pitch = pitches[index // 2 % 2] * (1.3 if index % 2 else 1.0)
            soundfile.write(raw / machine / "test" / name, hum(pitch, 100 + index), 16000)
        noise = np.random.default_rng(7).standard_normal(8000) * 0.05
        name = "section_00_noise_0000_noAttribute.wav"
        soundfile.write(raw / machine / "supplemental" / name, noise, 16000)
    prepare(folder)
    return folder


@pytest.fixture
def make_system(plugin_path):
    """A system of the plugin ``tiny`` with a short training; arguments change its settings."""

    def make(name="run", plugin="tiny", options=None, checkpoint=None, **settings):
        embedding = Embedding(plugin, checkpoint, options or {})
        return System(name, embedding, train=dataclasses.replace(SHORT, **settings))

    return make


@pytest.fixture(scope="session")
def short():
    """The settings of `make_system`."""
    return SHORT


@pytest.fixture(scope="session")
def audio(tmp_path_factory):
    """Two machines at 16 kHz and one at 48 kHz."""
    folder = tmp_path_factory.mktemp("audio")
    for index in range(9):
        random, rate = np.random.default_rng(index), 48000 if index % 3 == 2 else 16000
        pitch = (300, 900, 5000)[index % 3] * (1 + 0.05 * random.standard_normal())
        moment = np.arange(rate) / rate
        sound = 0.1 * np.sin(2 * np.pi * pitch * moment) + 0.02 * random.standard_normal(rate)
        soundfile.write(folder / f"{index}.wav", sound, rate)
    return folder
