"""Which sub-center of its class a train clip is nearest to: the clusters that fine-tuning makes.

A machine whose attributes are withheld is one class with several sub-centers (report, section 2.4).
Whether these part its clips as their true attributes do can be told afterwards.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcase_asd.embeddings.kept import (
    checkpoint_metadata,
    checkpoints_folder,
    embedding_folders,
    scored_checkpoints,
)
from dcase_asd.embeddings.pseudo_labels import (
    COLUMNS,
    Agreement,
    Clustering,
    agreements,
    pseudo_labels,
)
from dcase_asd.embeddings.store import MEMBERS, read_embeddings
from dcase_asd.errors import ArtifactError, some
from dcase_asd.recipe.system import read_system, recipe_path

WEIGHT = "classifier.weight"
"""Name of the sub-centers in a fine-tuned checkpoint, of all classes in their order."""


@dataclass(frozen=True)
class SubCenters:
    """The sub-centers of a fine-tuned checkpoint.

    Attributes:
        checkpoint: Where they are from.
        vectors: (sum of counts, d).
        owners: Label of the class of each.
    """

    checkpoint: Path
    vectors: NDArray[np.float32]
    owners: list[str]

    def of_section(self, machine: str, section: str, edition: str) -> NDArray[np.intp]:
        """Those of the classes of a machine and section, whatever else the classes say."""
        chosen = []
        for index, label in enumerate(self.owners):
            first, second, *others = label.split("/")  # machine/section[/attributes]/edition[/…]
            if (first, second) == (machine, section) and edition in others:
                chosen.append(index)
        return np.array(chosen, dtype=np.intp)


def folder_to_cluster(run: str | Path) -> Path:
    """The folder of a run whose embeddings are clustered: of several checkpoints the last one's.

    Raises:
        ArtifactError: Fine-tuning has not come to its end, or a checkpoint is gone.
    """
    return embedding_folders(run)[-1]


def read_sub_centers(run: str | Path) -> SubCenters:
    """The sub-centers of the checkpoint that a run's embeddings are made with.

    Args:
        run: Run folder, or that of one of its checkpoints (see `folder_to_cluster`).

    Raises:
        ArtifactError: The run is not fine-tuned, its loss has no sub-centers, or its embeddings are
            not those that the sub-centers are compared with.
    """
    from safetensors import SafetensorError, safe_open

    run = Path(run)
    whole = run.parents[1] if run.parent.name == MEMBERS else run
    if not recipe_path(whole).is_file():
        raise ArtifactError(f"{whole}: has no recipe that names a fine-tuned checkpoint")
    system = read_system(whole)
    represented = system.embed.options.get("embedding", "dense")
    path = Path(system.embed.checkpoint or "").expanduser()
    if system.train is not None:
        represented = system.train.representation
        within = checkpoints_folder(whole) / f"{run.name}.safetensors"
        path = scored_checkpoints(run)[0] if run == whole else within
    counts = json.loads(checkpoint_metadata(path).get("classes", "{}"))
    if not counts:
        raise ArtifactError(f"{whole}: not embedded with a fine-tuned checkpoint")
    if represented != "dense" or system.embed.pooling is not None:
        how = f"pooling {system.embed.pooling}" if system.embed.pooling else represented
        raise ArtifactError(
            f"{whole}: embedded as {how}, and sub-centers are near what the dense layer gives; "
            "embed without --pooling and with --representation dense"
        )
    try:
        with safe_open(path, framework="np") as file:
            vectors = file.get_tensor(WEIGHT)
    except SafetensorError as error:
        raise ArtifactError(f"{path}: the loss of this training has no sub-centers") from error
    owners = [label for label, count in counts.items() for _ in range(count)]
    return SubCenters(path, vectors, owners)


def sub_center_labels(run: str | Path, edition: str) -> pd.DataFrame:
    """The sub-center that each embedded train clip is nearest to by its cosine.

    Those of all classes of the clip's machine, section and edition are compared.

    Args:
        run: As of `read_sub_centers`, with embeddings of the edition.
        edition: Which edition.

    Returns:
        As `pseudo_labels.pseudo_labels`, with both domains in one; machines that were not trained
        on are left out.

    Raises:
        ArtifactError: As `read_sub_centers`; or there are no embeddings, or of no machine that was
            trained on.
    """
    centers = read_sub_centers(run)
    unit = centers.vectors / np.linalg.norm(centers.vectors, axis=1, keepdims=True)
    parts, machines = [], read_embeddings(run, edition)
    for machine in machines:
        clips = machine.clips.assign(stage=machine.stage, machine=machine.machine)
        for section, rows in clips[clips["split"] == "train"].groupby("section", sort=True):
            own = centers.of_section(machine.machine, str(section), edition)
            if len(own):  # the length of a vector changes no order of its cosines
                near = np.asarray(machine.vectors)[rows.index.to_numpy()] @ unit[own].T
                parts.append(rows.assign(domain="", cluster=own[near.argmax(1)]))
    if not parts:
        names = some(sorted({machine.machine for machine in machines}))
        raise ArtifactError(f"{centers.checkpoint}: trained on no class of {names} of {edition}")
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def compare_with_attributes(
    run: str | Path, edition: str, clustering: Clustering, truth: str | Path
) -> tuple[list[Agreement], str]:
    """One class for each section, k-means, Ward and sub-centers beside the published attributes.

    Args:
        run: Run folder with embeddings of the edition.
        edition: Which edition.
        clustering: How many clusters k-means and Ward make; a threshold is Ward's alone.
        truth: Folder of published attributes (see `pseudo_labels.agreements`).

    Returns:
        For each machine one agreement by each way; and why there are no sub-centers, empty where
        there are.

    Raises:
        ArtifactError: There are no embeddings.
        DataError: The folder holds no attributes, or more clusters are asked for than clips.
    """
    numbered = Clustering("kmeans", clustering.share, clustering.clusters)
    ward = Clustering("ward", clustering.share, clustering.clusters, clustering.threshold)
    of_kmeans = pseudo_labels(run, edition, numbered)
    ways = {
        "one class": of_kmeans.assign(domain="", cluster=0),
        "k-means": of_kmeans,
        "Ward": pseudo_labels(run, edition, ward),
    }
    missing = ""
    try:
        ways["sub-centers"] = sub_center_labels(run, edition)
    except ArtifactError as error:
        missing = str(error)
    found = [each for way, of in ways.items() for each in agreements(of, truth, way)]
    return sorted(found, key=lambda each: (each.stage, each.machine)), missing
