"""Train clips parted by their nearest sub-centers, beside k-means, Ward and one class."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from typer.testing import CliRunner

from dcase_asd.backbone.saved import write_tensors
from dcase_asd.cli.app import app
from dcase_asd.embeddings.pseudo_labels import Clustering
from dcase_asd.embeddings.store import finish, machine_marker, write_plan, writing_vectors
from dcase_asd.embeddings.sub_centers import (
    compare_with_attributes,
    folder_to_cluster,
    read_sub_centers,
    sub_center_labels,
)
from dcase_asd.errors import ArtifactError
from dcase_asd.recipe.system import Embedding, System, recipe_path
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.recipe.training import Training

CLASSES = {
    "fan/00/dcase2025": 3,
    "slider/00/dcase2024": 2,
    "slider/00/dcase2025": 4,
    "slider/01/dcase2025": 1,
}
CLIPS, DIMENSION = 24, 6
WEIGHT = np.random.default_rng(5).normal(size=(10, DIMENSION)).astype(np.float32)
WEIGHT *= np.arange(1, 11, dtype=np.float32)[:, None]  # cosines know no length
TRAIN = Training(steps=8, accumulation=1, eval_every=8, save_every=8)


def checkpoint(path, weight=WEIGHT, classes=CLASSES, name="classifier.weight"):
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"format": "x", "classes": json.dumps(classes)}
    write_tensors(path, {name: torch.from_numpy(weight)}, about)
    return path


def embeddings(folder, seed=0):
    """A slider's clips with eight of both domains and two test clips; its vectors."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(CLIPS + 2, DIMENSION)).astype("<f4")
    names = [
        f"section_00_{'target' if i % 3 == 2 else 'source'}_train_normal_{i:04}_noAttribute.wav"
        for i in range(CLIPS)
    ]
    names += [f"section_00_source_test_normal_{i:04}_noAttribute.wav" for i in range(2)]
    clips = pd.DataFrame(
        {
            "file": names,
            "section": "00",
            "domain": [name.split("_")[2] for name in names],
            "split": [name.split("_")[3] for name in names],
        }
    )
    marker = machine_marker(folder, "dcase2025", "dev", "slider")
    write_plan(folder, "dcase2025", [("dev", "slider")])
    with writing_vectors(marker, len(vectors), DIMENSION) as file:
        file.write(vectors.tobytes())
    finish(marker, clips, {"fingerprint": str(seed)})
    return vectors


def fine_tuned(folder, scored=("step_0000008",), train=TRAIN, **of):
    """A run folder as fine-tuning leaves it."""
    for name in scored:
        checkpoint(folder / "checkpoints" / f"{name}.safetensors", **of)
    files = [f"{name}.safetensors" for name in scored]
    kept = [{"file": file, "step": 8, "score": None} for file in files]
    marker = {"inputs": "x", "checkpoints": kept, "scored": files, "finished": True}
    (folder / "checkpoints/kept.json").write_text(json.dumps(marker))
    recipe_path(folder).write_text(recipe_text(System("run", Embedding("spectral"), train=train)))
    return folder


@pytest.fixture
def run(tmp_path):
    return fine_tuned(tmp_path / "runs/tuned")


@pytest.fixture
def truth(tmp_path):
    """Published attributes of the slider's train clips: three speeds; and names of test clips."""
    folder = tmp_path / "truth/slider"
    folder.mkdir(parents=True)
    rows = []
    for i in range(CLIPS):
        start = f"section_00_{'target' if i % 3 == 2 else 'source'}_train_normal_{i:04}"
        rows.append(f"{start}_vel_{i % 3}.wav,{start}_noAttribute.wav")
    start = "section_00_source_test_normal_0000"
    rows.append(f"{start}_vel_77.wav,{start}_noAttribute.wav")
    (folder / "attributes_00.csv").write_text("\n".join(rows))
    return folder.parent


def by_hand(vectors, first, last):
    """The sub-center with the largest cosine, clip by clip."""
    found = []
    for vector in vectors[:CLIPS].astype(np.float64):
        cosines = [
            vector @ center / np.linalg.norm(vector) / np.linalg.norm(center)
            for center in WEIGHT[first:last].astype(np.float64)
        ]
        found.append(first + int(np.argmax(cosines)))
    return found


def test_each_train_clip_goes_to_the_nearest_sub_center_of_its_own_class(run):
    vectors = embeddings(run)
    found = sub_center_labels(run, "dcase2025")
    assert found["cluster"].tolist() == by_hand(vectors, 5, 9)
    assert found["file"].str.contains("_train_").all()
    assert len(found) == CLIPS


def test_classes_of_both_domains_and_of_pseudo_labels_are_those_of_the_section(tmp_path):
    classes = {"slider/00/dcase2025/source": 5, "slider/00/cluster_target_0/dcase2025/target": 5}
    run = fine_tuned(tmp_path / "run", classes=classes)
    vectors = embeddings(run)
    assert sub_center_labels(run, "dcase2025")["cluster"].tolist() == by_hand(vectors, 0, 10)


def test_a_run_embedded_with_somebody_elses_checkpoint_has_its_sub_centers(tmp_path):
    path = checkpoint(tmp_path / "theirs.safetensors")
    run = tmp_path / "run"
    vectors = embeddings(run)
    recipe_path(run).write_text(recipe_text(System("run", Embedding("spectral", str(path)))))
    assert sub_center_labels(run, "dcase2025")["cluster"].tolist() == by_hand(vectors, 5, 9)


def test_of_several_checkpoints_the_last_is_taken_with_its_own_sub_centers(tmp_path):
    run = fine_tuned(tmp_path / "run", scored=("step_0000004", "step_0000008"))
    folder = folder_to_cluster(run)
    assert folder.name == "step_0000008"
    vectors = embeddings(folder)
    other = WEIGHT[::-1].copy()
    checkpoint(run / "checkpoints/step_0000004.safetensors", weight=other)
    assert sub_center_labels(folder, "dcase2025")["cluster"].tolist() == by_hand(vectors, 5, 9)


def test_four_ways_stand_beside_each_other(run, truth):
    vectors = embeddings(run)
    found, missing = compare_with_attributes(run, "dcase2025", Clustering(clusters=3), truth)
    ways = {each.way: each for each in found}
    assert list(ways) == ["one class", "k-means", "Ward", "sub-centers"]
    assert missing == ""
    one = ways["one class"]
    assert (one.clips, one.attributes, one.clusters) == (CLIPS, 3, 1)
    assert (one.rand, one.information) == (0, 0)
    assert ways["k-means"].clusters == 4  # three of source clips, one of target clips
    true, own = [i % 3 for i in range(CLIPS)], by_hand(vectors, 5, 9)
    assert ways["sub-centers"].rand == pytest.approx(adjusted_rand_score(true, own))
    assert ways["sub-centers"].information == pytest.approx(normalized_mutual_info_score(true, own))
    assert ways["sub-centers"].clusters == len(set(own))


def test_a_run_without_sub_centers_is_compared_without_them_and_says_why(tmp_path, truth):
    run = tmp_path / "plain"
    embeddings(run)
    found, missing = compare_with_attributes(run, "dcase2025", Clustering(clusters=3), truth)
    assert [each.way for each in found] == ["one class", "k-means", "Ward"]
    assert missing == f"{run}: has no recipe that names a fine-tuned checkpoint"
    recipe_path(run).write_text(recipe_text(System("plain", Embedding("spectral"))))
    with pytest.raises(ArtifactError, match="plain: not embedded with a fine-tuned checkpoint"):
        read_sub_centers(run)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"train": Training(representation="pooled")}, "embedded as pooled, and sub-centers are"),
        ({"name": "classifier.made.centers"}, "the loss of this training has no sub-centers"),
        ({"classes": {"fan/00/dcase2025": 10}}, "trained on no class of slider of dcase2025"),
        ({"classes": {"slider/00/dcase2024": 10}}, "trained on no class of slider of dcase2025"),
    ],
)
def test_sub_centers_that_are_not_near_these_embeddings_are_refused(tmp_path, of, message):
    run = fine_tuned(tmp_path / "run", **of)
    embeddings(run)
    with pytest.raises(ArtifactError, match=message):
        sub_center_labels(run, "dcase2025")


def test_a_training_that_has_not_ended_is_refused(run):
    embeddings(run)
    marker = run / "checkpoints/kept.json"
    marker.write_text(marker.read_text().replace('"finished": true', '"finished": false'))
    with pytest.raises(ArtifactError, match="fine-tuning is not finished; finish it with"):
        folder_to_cluster(run)


def test_the_command_prints_them_and_needs_a_run(small_tree, truth, tmp_path):
    def told(*arguments, status=0):
        done = CliRunner().invoke(app, [str(each) for each in arguments])
        assert done.exit_code == status, done.output
        return done.output

    (truth / "slider").rename(truth / "fan")
    folder = small_tree / "dcase2025t2/dev_data/raw/fan"
    rows = [
        f"{path.name},{path.name.replace('m-n_W', 'vel_3')}" for path in folder.rglob("*_train_*")
    ]
    (truth / "fan/attributes_00.csv").write_text("\n".join(rows))
    told("prepare", "--data", small_tree)
    run = tmp_path / "runs/spectral"
    told("embed", "--plugin", "spectral", "--data", small_tree, "--edition", "2025", "--run", run)
    against = ("labels", "--data", small_tree, "--edition", "2025", "--against", truth)
    shown = told(*against, "--embeddings", run)
    for way in ("one class", "k-means", "Ward"):
        assert way in shown
    assert "no sub-centers are compared: " in shown
    assert "--embeddings" in told(*against, status=2)
    assert "--pseudo" in told("labels", "--data", small_tree, "--embeddings", run, status=2)
