"""Classes for machines whose attributes are withheld: clusters of their clips' embeddings.

Every machine, section and domain is clustered by itself, from train clips alone. Source clips fall
into as many clusters as their number says, target clips, of which there are few, into one: the
published counts of the best single system on 2026 (kasahart/asd-experiments, after MERL).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcase_asd.clips.name import parse_clip_name
from dcase_asd.embeddings.store import MachineEmbeddings, read_embeddings
from dcase_asd.errors import ArtifactError, DataError, DcaseAsdError, command, some
from dcase_asd.files import fingerprint, read_json, read_table, write_json, write_table

Method = Literal["kmeans", "ward"]
SEED = 42
"""Of the first means, as published."""
COLUMNS: dict[str, type] = {
    "stage": str, "machine": str, "section": str, "domain": str, "file": str, "cluster": int
}  # fmt: skip
KEYS = ["stage", "machine", "section", "file"]


@dataclass(frozen=True)
class Clustering:
    """How train clips are clustered.

    Attributes:
        method: k-means, or Ward's agglomeration (Fang et al., arXiv 2509.12845).
        share: Clusters for each source clip, at least one: 990 clips and 0.008 give 7.
        clusters: Clusters of the source clips in place of `share`; 0 takes `share`.
        threshold: Ward's merging distance at which it stops, in place of a number; 0 takes that.
    """

    method: Method = "kmeans"
    share: float = 0.008
    clusters: int = 0
    threshold: float = 0.0

    def count(self, clips: int, domain: str) -> int:
        """How many clusters clips of one domain get."""
        if domain == "target":
            return 1
        return self.clusters or max(1, int(clips * self.share))


def pseudo_labels(run: str | Path, edition: str, clustering: Clustering) -> pd.DataFrame:
    """Cluster the train clips of a run's embeddings.

    The result is kept beside the embeddings with what it was made of, so that every training and
    every machine that goes on with one takes the same classes.

    Args:
        run: Run folder with embeddings of the edition, of any backbone.
        edition: Which edition.
        clustering: How.

    Returns:
        One row per train clip with the columns of `COLUMNS`; clusters count from 0 within a
        machine, section and domain.

    Raises:
        ArtifactError: There are no such embeddings.
        DataError: More clusters are asked for than a machine has clips.
    """
    machines = read_embeddings(run, edition)
    made_of = fingerprint([each.provenance["fingerprint"] for each in machines], asdict(clustering))
    path = Path(run) / "pseudo_labels" / f"{edition}-{clustering.method}-{made_of[:12]}.csv"
    marker = path.with_suffix(".json")
    if (read_json(marker) or {}).get("fingerprint") == made_of:
        with suppress(ArtifactError):  # damaged or gone: made again below
            return read_table(path, COLUMNS, "")
    parts = [part for each in machines for part in _cluster_machine(each, clustering)]
    table = pd.concat(parts, ignore_index=True)[list(COLUMNS)]
    write_table(path, table, list(COLUMNS))
    write_json(marker, {"fingerprint": made_of, "embeddings": str(run), **asdict(clustering)})
    return table


def _cluster_machine(machine: MachineEmbeddings, clustering: Clustering) -> Iterator[pd.DataFrame]:
    clips = machine.clips.assign(stage=machine.stage, machine=machine.machine)
    train = clips[clips["split"] == "train"]
    for (section, domain), rows in train.groupby(["section", "domain"], sort=True):
        vectors = machine.vectors[rows.index.to_numpy()].reshape(len(rows), -1)
        count = clustering.count(len(rows), str(domain))
        by_threshold = clustering.threshold > 0 and domain != "target"
        if count > len(rows) and not by_threshold:
            raise DataError(
                f"{machine.stage} {machine.machine} section {section} {domain}: {len(rows)} train "
                f"clip(s) cannot make {count} clusters; ask for fewer"
            )
        found = _clusters(vectors, count, clustering, by_threshold=by_threshold)
        yield rows.assign(cluster=found)


def _clusters(
    vectors: NDArray[np.float32], count: int, clustering: Clustering, *, by_threshold: bool
) -> NDArray[np.intp]:
    """Cluster of each clip, numbered by first appearance, (n, d) -> (n,)."""
    if len(vectors) == 1 or (count == 1 and not by_threshold):
        return np.zeros(len(vectors), dtype=np.intp)
    from sklearn.cluster import AgglomerativeClustering, KMeans

    count = min(count, len(np.unique(vectors, axis=0)))
    if clustering.method == "kmeans":
        found = KMeans(count, random_state=SEED, n_init=10).fit_predict(vectors)
    elif by_threshold:
        ward = AgglomerativeClustering(None, distance_threshold=clustering.threshold)
        found = ward.fit_predict(vectors)
    else:
        found = AgglomerativeClustering(count).fit_predict(vectors)
    return np.asarray(pd.factorize(found)[0], dtype=np.intp)


def with_pseudo_labels(
    clips: pd.DataFrame, run: str | Path, clustering: Clustering
) -> pd.DataFrame:
    """Train clips of machines without attributes get the class of their cluster.

    Args:
        clips: Train clips of the manifest; those with attributes stay as they are.
        run: Run folder with embeddings of their editions.
        clustering: How.

    Raises:
        ArtifactError: The run holds no embeddings of an edition.
        DataError: Clips are not embedded.
    """
    unnamed = clips[clips["attributes"] == ""]
    found = pd.concat(
        [
            pseudo_labels(run, str(edition), clustering).assign(edition=edition)
            for edition in unnamed["edition"].unique()
        ]
        or [pd.DataFrame(columns=[*COLUMNS, "edition"])]
    ).set_index(["edition", *KEYS])
    files = unnamed["path"].str.rpartition("/")[2]
    keys = list(zip(*(unnamed[key] for key in ("edition", *KEYS[:-1])), files, strict=True))
    missing = [key for key in keys if key not in found.index]
    if missing:
        edition, _, machine, _, file = missing[0]
        again = command("embed", "--data", "data", "--edition", edition, "--run", run)
        raise DataError(
            f"{run}: {len(missing)} of {len(keys)} train clips without attributes have no "
            f"embedding ({machine} {file}, …); embed them with {again}"
        )
    chosen = found[["domain", "cluster"]].reindex(pd.MultiIndex.from_tuples(keys))
    names = [
        f"cluster_{domain or 'all'}_{number}" for domain, number in chosen.itertuples(index=False)
    ]
    parts = unnamed["label"].str.rpartition("/")
    labels = parts[0] + "/" + pd.Series(names, index=unnamed.index) + "/" + parts[2]
    clips = clips.copy()
    clips.loc[unnamed.index, "label"] = labels
    clips.loc[unnamed.index, "attributes"] = names
    return clips


@dataclass(frozen=True)
class Agreement:
    """How well clusters of one machine agree with its true attributes.

    Attributes:
        stage: ``dev`` or ``eval``.
        machine: Machine type.
        way: How its clips were parted.
        clips: Train clips whose attributes are known.
        attributes: Different attribute strings of these.
        clusters: Clusters, both domains together.
        rand: Adjusted Rand index; 0 by chance and for a single cluster, 1 where both are the same.
        information: Normalized mutual information, in [0, 1].
    """

    stage: str
    machine: str
    way: str
    clips: int
    attributes: int
    clusters: int
    rand: float
    information: float


def agreements(labels: pd.DataFrame, truth: str | Path, way: str = "") -> list[Agreement]:
    """Compare clusters with published attributes.

    Args:
        labels: Of `pseudo_labels`.
        truth: Folder with a CSV of true names for each machine, ``<machine>/*.csv``: any two of a
            row's cells are the published file name and the true one, which holds the attributes.
        way: What to call how the clusters were made.

    Raises:
        DataError: The folder holds no attributes of any of the machines.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    found = []
    for (stage, machine), rows in labels.groupby(["stage", "machine"], sort=True):
        known = _true_attributes(Path(truth) / str(machine))
        rows = rows[rows["file"].isin(known)]  # noqa: PLW2901
        if rows.empty:
            continue
        true = [known[file] for file in rows["file"]]
        clusters = rows["section"] + rows["domain"] + rows["cluster"].astype(str)
        found.append(
            Agreement(
                str(stage), str(machine), way, len(rows), len(set(true)), clusters.nunique(),
                float(adjusted_rand_score(true, clusters)),
                float(normalized_mutual_info_score(true, clusters)),
            )
        )  # fmt: skip
    if not found:
        machines = some(sorted(set(labels["machine"])))
        raise DataError(
            f"{truth}: no attributes of any train clip of {machines}; give the folder with "
            "<machine>/*.csv in it, such as ground_truth_attributes of an official evaluator"
        )
    return found


def _true_attributes(folder: Path) -> dict[str, str]:
    """Published file name -> attribute string, of all CSV files of a machine's folder."""
    known: dict[str, str] = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.reader(file):
                names = [cell.rpartition("/")[2] for cell in row if cell.endswith(".wav")]
                attributes = next(filter(None, map(_attributes_in, names)), "")
                known |= {name: attributes for name in names if attributes}
                pairs = [cell for cell in row if not cell.endswith(".wav")]
                if not attributes and names and len(pairs) > 1:
                    known[names[0]] = "_".join(pairs)
    return known


def _attributes_in(name: str) -> str:
    try:
        return parse_clip_name(name, "train" if "_train_" in name else "test").attributes
    except DcaseAsdError:
        return ""
