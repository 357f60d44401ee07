import shutil

import numpy as np
import pytest

from dcase_asd.clips.prepare import prepare
from dcase_asd.errors import AudioError, DataError
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.training import Training
from dcase_asd.registry import load_backbone
from dcase_asd.training.dev_score import dev_score, embed_share, read_development_set

RAW = "dcase2025t2/dev_data/raw"


@pytest.fixture
def copy(data, tmp_path):
    return shutil.copytree(data, tmp_path / "data", dirs_exist_ok=True)


def test_the_score_is_that_of_the_embeddings_whatever_process_made_them(data):
    dev = read_development_set(data, Training())
    assert dev.edition.name == "dcase2025"
    assert len(dev.clips) == 48
    anomalous = (dev.clips["condition"] == "anomaly").to_numpy()
    vectors = np.random.default_rng(0).normal(0, 0.01, (48, 4)).astype(np.float32)
    vectors[:, 0] += 1
    vectors[anomalous, 1] += 1
    rows = np.arange(48)
    assert dev_score(dev, [(rows, vectors)], Detector()) == pytest.approx(1.0)
    shares = [(rows[start::3], vectors[start::3]) for start in (1, 0, 2)]
    assert dev_score(dev, shares, Detector()) == pytest.approx(1.0)
    vectors[anomalous, 1] -= 1
    assert dev_score(dev, [(rows, vectors)], Detector()) < 0.8


def test_editions_without_labels_are_told(copy):
    with pytest.raises(DataError, match=r"no labelled dev test clips of dcase2024.*dcase2025"):
        read_development_set(copy, Training(dev_edition="2024"))
    for path in copy.rglob("*test_anomaly*"):
        path.unlink()
    prepare(copy)
    with pytest.raises(DataError, match="set ensemble to last to do without"):
        read_development_set(copy, Training())
    assert read_development_set(copy, Training(ensemble="last")) is None


def test_a_development_set_without_train_clips_is_told(copy):
    for path in copy.rglob("*_train_*"):
        path.unlink()
    prepare(copy)
    dev = read_development_set(copy, Training())
    shares = [(np.arange(24), np.ones((24, 2), dtype=np.float32))]
    with pytest.raises(DataError, match="no section of dcase2025 has train and test clips"):
        dev_score(dev, shares, Detector())


def test_a_clip_that_became_unreadable_is_told(copy, plugin_path):
    dev = read_development_set(copy, Training())
    path = copy / dev.clips["path"].iloc[5]
    path.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=path.name):
        embed_share(load_backbone("tiny"), dev, Training(), 0, 1)
