"""Clusters of embeddings as classes of machines without attributes."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score
from typer.testing import CliRunner

from dcase_asd.cli import app
from dcase_asd.embeddings.pseudo_labels import (
    Clustering,
    agreements,
    pseudo_labels,
    with_pseudo_labels,
)
from dcase_asd.embeddings.store import finish, machine_marker, write_plan, writing_vectors
from dcase_asd.errors import ArtifactError, DataError, DcaseAsdError
from dcase_asd.recipe.training import Training

SOURCE, TARGET = 30, 4


@pytest.fixture
def run(tmp_path):
    """Embeddings of a slider whose source clips are of three conditions, far from each other."""
    random = np.random.default_rng(0)
    kinds = np.arange(SOURCE) % 3
    source = random.normal(size=(3, 8))[kinds] * 5 + random.normal(size=(SOURCE, 8)) * 0.1
    vectors = np.concatenate([source, random.normal(size=(TARGET + 2, 8))]).astype("<f4")
    names = [f"section_00_source_train_normal_{i:04}_noAttribute.wav" for i in range(SOURCE)]
    names += [f"section_00_target_train_normal_{i:04}_noAttribute.wav" for i in range(TARGET)]
    names += [f"section_00_source_test_normal_{i:04}_noAttribute.wav" for i in range(2)]
    clips = pd.DataFrame(
        {
            "file": names,
            "section": "00",
            "domain": [name.split("_")[2] for name in names],
            "split": [name.split("_")[3] for name in names],
        }
    )
    folder = tmp_path / "runs/bands"
    marker = machine_marker(folder, "dcase2025", "dev", "slider")
    write_plan(folder, "dcase2025", [("dev", "slider")])
    with writing_vectors(marker, len(vectors), 8) as file:
        file.write(vectors.tobytes())
    finish(marker, clips, {"fingerprint": "a"})
    return folder


def manifest(machine="slider"):
    domains = ["source"] * SOURCE + ["target"] * TARGET
    return pd.DataFrame(
        {
            "edition": "dcase2025",
            "stage": "dev",
            "machine": machine,
            "section": "00",
            "domain": domains,
            "attributes": "",
            "label": f"{machine}/00/dcase2025",
            "path": [
                f"dcase2025t2/x/section_00_{domain}_train_normal_"
                f"{i if domain == 'source' else i - SOURCE:04}_noAttribute.wav"
                for i, domain in enumerate(domains)
            ],
        }
    )


def test_990_source_clips_make_seven_clusters_and_target_clips_one():
    assert Clustering().count(990, "source") == 7
    assert Clustering().count(20, "source") == 1
    assert Clustering(clusters=5).count(990, "target") == 1


@pytest.mark.parametrize("how", [{"method": "kmeans"}, {"method": "ward"}])
def test_conditions_far_from_each_other_are_found(run, how):
    found = pseudo_labels(run, "dcase2025", Clustering(**how, clusters=3))
    assert len(found) == SOURCE + TARGET
    source = found[found["domain"] == "source"]
    assert adjusted_rand_score(np.arange(SOURCE) % 3, source["cluster"]) == 1
    assert set(found.loc[found["domain"] == "target", "cluster"]) == {0}


def test_ward_stops_at_a_distance(run):
    found = pseudo_labels(run, "dcase2025", Clustering("ward", threshold=10.0))
    assert found.loc[found["domain"] == "source", "cluster"].nunique() == 3


def test_clusters_are_kept_and_made_anew_of_other_embeddings(run):
    clustering = Clustering(clusters=3)
    first = pseudo_labels(run, "dcase2025", clustering)
    (path,) = (run / "pseudo_labels").glob("*.csv")
    path.write_text(path.read_text().replace(",2\n", ",1\n"))
    assert pseudo_labels(run, "dcase2025", clustering)["cluster"].nunique() == 2  # as kept
    marker = machine_marker(run, "dcase2025", "dev", "slider")
    marker.write_text(json.dumps({"fingerprint": "b"}))
    assert pseudo_labels(run, "dcase2025", clustering).equals(first)


def test_each_cluster_is_a_class_and_clips_with_attributes_keep_theirs(run):
    clips = manifest()
    named = clips.assign(machine="fan", attributes="m-n_W", label="fan/00/m-n_W/dcase2025")
    found = with_pseudo_labels(pd.concat([clips, named], ignore_index=True), run, Clustering())
    assert set(found["label"]) == {
        "slider/00/cluster_source_0/dcase2025",
        "slider/00/cluster_target_0/dcase2025",
        "fan/00/m-n_W/dcase2025",
    }


def test_clips_without_an_embedding_are_refused(run):
    with pytest.raises(DataError, match=r"34 of 34 train clips without attributes .*embed"):
        with_pseudo_labels(manifest("bearing"), run, Clustering())


def test_an_edition_that_is_not_embedded_is_refused(run):
    with pytest.raises(ArtifactError, match="no embeddings of dcase2024"):
        pseudo_labels(run, "dcase2024", Clustering())


def test_more_clusters_than_clips_are_refused(run):
    with pytest.raises(DataError, match=r"slider section 00 source: 30 .* cannot make 31 clusters"):
        pseudo_labels(run, "dcase2025", Clustering(clusters=31))


def test_clusters_are_compared_with_published_attributes(run, tmp_path):
    truth = tmp_path / "truth/slider"
    truth.mkdir(parents=True)
    rows = ["source_file_name,target_file_name"]
    for i in range(SOURCE):
        released = f"section_00_source_train_normal_{i:04}_noAttribute.wav"
        rows.append(f"section_00_source_train_normal_{i:04}_vel_{i % 3}.wav,{released}")
    (truth / "attributes_00_train_correspondence.csv").write_text("\n".join(rows))
    (found,) = agreements(
        pseudo_labels(run, "dcase2025", Clustering(clusters=3)), tmp_path / "truth"
    )
    assert (found.clips, found.attributes, found.clusters) == (30, 3, 3)
    assert found.rand == pytest.approx(1)
    (one,) = agreements(pseudo_labels(run, "dcase2025", Clustering()), tmp_path / "truth")
    assert (one.clusters, one.rand, one.information) == (1, 0, 0)


def test_attributes_in_columns_are_read_as_well(run, tmp_path):
    truth = tmp_path / "truth/slider"
    truth.mkdir(parents=True)
    rows = [
        f"slider/train/section_00_source_train_normal_{i:04}_noAttribute.wav,vel,{i % 3}"
        for i in range(SOURCE)
    ]
    (truth / "attributes_00.csv").write_text("\n".join(rows))
    (found,) = agreements(
        pseudo_labels(run, "dcase2025", Clustering(clusters=3)), tmp_path / "truth"
    )
    assert found.rand == pytest.approx(1)


def test_a_folder_without_attributes_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="no attributes of any train clip of slider"):
        agreements(pseudo_labels(run, "dcase2025", Clustering()), tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pseudo": "kmeans"}, "pseudo needs pseudo_run"),
        ({"pseudo_run": "runs/a"}, "pseudo_run is given, but pseudo is none"),
        (
            {"pseudo": "kmeans", "pseudo_run": "a", "pseudo_threshold": 2.0},
            "pseudo_threshold belongs to ward",
        ),
        (
            {"pseudo": "ward", "pseudo_run": "a", "pseudo_threshold": 2.0, "pseudo_clusters": 2},
            "exclude each other",
        ),
    ],
)
def test_values_of_a_recipe_that_contradict_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Training(**values)


def test_the_command_prints_clusters_as_classes(small_tree, tmp_path):
    def told(*arguments):
        done = CliRunner().invoke(app, [str(each) for each in arguments])
        if isinstance(done.exception, DcaseAsdError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    fan = small_tree / "dcase2025t2/dev_data/raw/fan"
    for path in fan.rglob("*.wav"):
        path.rename(path.with_name(path.name.replace("m-n_W", "noAttribute")))
    told("prepare", "--data", small_tree)
    run = tmp_path / "runs/spectral"
    told("embed", "--plugin", "spectral", "--data", small_tree, "--edition", "2025", "--run", run)
    shown = told("labels", "--data", small_tree, "--pseudo", "kmeans", "--embeddings", run,
                 "--clusters", "2")  # fmt: skip
    assert "fan/00/cluster_source_1/dcase2025" in shown
    assert shown.splitlines()[-1].startswith("3 classes of 6 train clips")
