from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from loopback import Loopback

from dcase_asd.clips.manifest import manifest_path, write_manifest
from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.embeddings.kept import (
    KeptCheckpoint,
    KeptCheckpoints,
    checkpoints_folder,
    write_kept,
)
from dcase_asd.recipe.system import Embedding, System, recipe_path
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.recipe.training import Training
from dcase_asd.scores.table import write_scores

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """Folder of real recordings in the official tree, which lies beside the repository."""
    folder = SHARED / "audio"
    if not folder.is_dir():
        pytest.skip("the real recordings (../shared/audio) are not on this machine")
    return folder


@pytest.fixture
def server(monkeypatch) -> Iterator[Loopback]:
    """A server of this machine, which no proxy stands before."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def write_clip():
    """Write a short recording: a hum with noise, its own for each seed."""

    def write(
        path: Path, seed: int = 0, seconds: float = 0.5, rate: int = 16000, **options
    ) -> Path:
        generator = np.random.default_rng(seed)
        time = np.arange(int(seconds * rate)) / rate
        hum = 0.3 * np.sin(2 * np.pi * (100 + seed % 50) * time)
        sound = hum + 0.05 * generator.standard_normal(len(time))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sound, rate, **options)
        return path

    return write


@pytest.fixture
def small_tree(tmp_path, write_clip) -> Path:
    """A data folder with one development machine of 2025, two domains, a noise clip."""
    machine = tmp_path / "data" / "dcase2025t2" / "dev_data" / "raw" / "fan"
    names = [
        *(f"train/section_00_source_train_normal_{i:04d}_m-n_W.wav" for i in range(4)),
        *(f"train/section_00_target_train_normal_{i:04d}_m-n_X.wav" for i in range(2)),
        *(f"test/section_00_source_test_normal_{i:04d}_m-n_W.wav" for i in range(2)),
        *(f"test/section_00_target_test_normal_{i:04d}_m-n_X.wav" for i in range(2)),
        *(f"test/section_00_source_test_anomaly_{i:04d}_m-n_W.wav" for i in range(2)),
        *(f"test/section_00_target_test_anomaly_{i:04d}_m-n_X.wav" for i in range(2)),
        "supplemental/section_00_noise_0000_noAttribute.wav",
    ]
    for seed, name in enumerate(names):
        write_clip(machine / name, seed)
    return tmp_path / "data"


ENTRY_TRAIN, ENTRY_TEST = 20, 6
"""Train clips of each section of an entry; test clips of each section, domain and condition."""


@dataclass(frozen=True)
class Entry:
    """A run with scores of two development and two evaluation machines, and their manifest."""

    edition: Edition
    run: Path
    data: Path
    scores: pd.DataFrame
    clips: pd.DataFrame

    def write(self, scores: pd.DataFrame) -> None:
        """Put other scores into the run."""
        provenance = {"backbone": "spectral", "parameters": 1234, "sample_rate": 16000}
        write_scores(self.run, self.edition.name, scores, {**provenance, "fingerprint": "x"})


def _entry_clips(edition: Edition, stage: str, section: str) -> Iterator[tuple[str, str, str]]:
    """Split, domain and file name of each clip of a section, by the grammar of the year."""
    ids = edition.name == "dcase2020"
    ending = "" if edition.year < 2022 else "_noAttribute"
    for index in range(ENTRY_TRAIN):
        name = f"section_{section}_source_train_normal_{index:04}{ending}.wav"
        yield (
            ("train", "", f"normal_id_{section}_{index:08}.wav")
            if ids
            else ("train", "source", name)
        )
    hidden = [""] if stage == "eval" else ["normal_", "anomaly_"]
    domains = ["source", "target"] if stage == "dev" or edition.name == "dcase2021" else [""]
    for domain, condition, index in product([""] if ids else domains, hidden, range(ENTRY_TEST)):
        tail = ending if condition else ""
        if ids:
            name = f"{condition}id_{section}_{index:08}.wav"
        elif domain:
            name = f"section_{section}_{domain}_test_{condition}{index:04}{tail}.wav"
        else:
            name = f"section_{section}_{index:04}.wav"
        yield "test", domain, name


@pytest.fixture
def trained_with() -> Callable[..., None]:
    """Make a run look fine-tuned with the recordings of some editions."""

    def train(run: Path, *editions: str, checkpoints: int = 1) -> None:
        from dcase_asd.backbone import write_tensors

        recipe = recipe_text(System(run.name, Embedding("tiny"), train=Training()))
        run.mkdir(parents=True, exist_ok=True)
        recipe_path(run).write_text(recipe, encoding="utf-8")
        files = tuple(f"step_{number}.safetensors" for number in range(checkpoints))
        kept = tuple(KeptCheckpoint(file, number) for number, file in enumerate(files))
        write_kept(run, KeptCheckpoints("x", kept, files, finished=True))
        about = {"editions": json.dumps({"train": editions, "noise": [], "dev": []})}
        for file in files:
            write_tensors(checkpoints_folder(run) / file, {}, about)

    return train


@pytest.fixture
def make_entry(tmp_path: Path) -> Callable[[str], Entry]:
    """Write a small run and manifest of an edition and return them."""

    def make(name: str) -> Entry:
        edition = load_edition(name)
        rows = [
            (stage, machine, section, split, domain, file)
            for stage in ("dev", "eval")
            for machine in list(edition.machines[stage])[:2]
            for section in edition.machines[stage][machine]
            for split, domain, file in _entry_clips(edition, stage, section)
        ]
        columns = ["stage", "machine", "section", "split", "domain", "file"]
        table = pd.DataFrame(rows, columns=columns).astype("str")
        random = np.random.default_rng(edition.year)
        anomalous = table["file"].str.contains("anomaly").to_numpy()
        scores = table.assign(score=random.gamma(4.0, 0.1, len(table)) + 0.2 * anomalous)
        folders = table["stage"] + "_data/raw/" + table["machine"] + "/" + table["split"] + "/"
        clips = table.assign(
            **dict.fromkeys(("condition", "attributes", "label"), ""),
            edition=edition.name,
            role="machine",
            frames=160000,
            sample_rate=16000,
            channels=1,
            path=f"{edition.folder}/" + folders + table["file"],
        )
        entry = Entry(edition, tmp_path / "runs/small", tmp_path / "data", scores, clips)
        entry.write(scores)
        write_manifest(manifest_path(entry.data), clips)
        return entry

    return make
