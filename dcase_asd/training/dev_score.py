"""The official score on a development set while training goes on."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dcase_asd.backbone import Backbone
from dcase_asd.clips.manifest import manifest_path, read_manifest
from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.embeddings.findings import no_far_channel
from dcase_asd.embeddings.reading import Recording, read_batches
from dcase_asd.embeddings.represent import represent
from dcase_asd.errors import DataError
from dcase_asd.metrics.official import evaluate
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.subset import EVERYTHING, Subset
from dcase_asd.recipe.system import Embedding
from dcase_asd.recipe.training import Training
from dcase_asd.scores.detector import score_section

READERS = 4
"""Threads that read audio while the network computes."""

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class DevelopmentSet:
    """Train and test clips of a development set whose conditions are known.

    Attributes:
        data: Data folder.
        edition: Which edition's rules decide the score.
        clips: Rows of the manifest.
        recipe: How they are embedded: the far channel, the pooling and the bands count.
    """

    data: Path
    edition: Edition
    clips: pd.DataFrame
    recipe: Embedding


def read_development_set(
    data: str | Path,
    settings: Training,
    recipe: Embedding | None = None,
    subset: Subset = EVERYTHING,
) -> DevelopmentSet | None:
    """The development set that chooses checkpoints.

    Args:
        data: Data folder with a manifest.
        settings: Which edition; by default the newest with normal and anomalous dev test clips.
        recipe: How clips are embedded; by default as the backbone does.
        subset: Which machine types, sections and editions; all by default.

    Returns:
        None where there is none and the recipe scores the last checkpoints anyway.

    Raises:
        DataError: There is no such edition, or none with labels, and checkpoints must be compared;
            or a far channel is to be taken out of clips without one.
    """
    data, recipe = Path(data), recipe or Embedding("")
    clips = read_manifest(data)
    clips = clips[(clips["stage"] == "dev") & (clips["role"] == "machine") & subset.mask(clips)]
    of_subset = f" of {subset}" if subset.narrows else ""
    tests = clips[clips["split"] == "test"]
    kinds = tests[tests["condition"] != ""].groupby("edition")["condition"].nunique()
    labelled = sorted(kinds[kinds == 2].index)  # noqa: PLR2004 - normal and anomaly
    name = load_edition(settings.dev_edition).name if settings.dev_edition else ""
    if name and name not in labelled:
        raise DataError(
            f"{manifest_path(data)}: no labelled dev test clips of {name}{of_subset} to compare "
            f"checkpoints with; there are those of {', '.join(labelled) or 'no edition'}"
        )
    if not labelled:
        if settings.ensemble == "last":
            return None
        raise DataError(
            f"{manifest_path(data)}: no dev test set with normal and anomalous clips{of_subset} to "
            "compare checkpoints with; set ensemble to last to do without"
        )
    name = name or labelled[-1]
    clips = clips[(clips["edition"] == name) & clips["split"].isin(["train", "test"])]
    clips = clips[(clips["split"] == "train") | (clips["condition"] != "")]
    if objection := no_far_channel(clips, recipe, "compare checkpoints by"):
        raise DataError(f"{manifest_path(data)}: dev set of {name}: {objection}")
    # Equal lengths together, so that batches are padded as little as can be.
    clips = clips.sort_values(["sample_rate", "frames", "path"], ignore_index=True)
    return DevelopmentSet(data, load_edition(name), clips, recipe)


def embed_share(
    model: Backbone, dev: DevelopmentSet, settings: Training, rank: int, processes: int
) -> tuple[Rows, Vectors]:
    """Embed one process's share of the clips.

    Returns:
        Which rows of the development set, (n,), and their embeddings, (n, d) or (n, f, d).

    Raises:
        AudioError: A clip cannot be read.
    """
    rows = np.arange(rank, len(dev.clips), processes)
    device = next(model.parameters()).device
    columns = dev.clips.loc[rows, ["path", "frames", "sample_rate"]].itertuples(index=False)
    recordings = (Recording(dev.data / path, frames, rate) for path, frames, rate in columns)
    rate = model.sample_rate or settings.sample_rate
    vectors = []
    with ThreadPoolExecutor(READERS) as readers, torch.inference_mode():
        for batch in read_batches(
            recordings, settings.batch_size, readers, dev.recipe.channel, rate,
            both=dev.recipe.far != "none",
        ):  # fmt: skip
            if batch.problems:
                raise batch.problems[0]
            waveforms = torch.from_numpy(batch.waveforms).to(device)
            lengths = torch.from_numpy(batch.lengths).to(device)
            found = represent(model, dev.recipe, waveforms, lengths, rate)
            vectors.append(found.vectors.cpu().numpy())
    return rows, np.concatenate(vectors) if vectors else np.empty((0, model.dimension), np.float32)


def dev_score(
    dev: DevelopmentSet, shares: Iterable[tuple[Rows, Vectors]], detector: Detector
) -> float:
    """The score of embeddings of the whole development set, in [0, 1]; see `Evaluation.score`.

    Args:
        dev: The clips.
        shares: What `embed_share` gave for each process.
        detector: How embeddings become anomaly scores.

    Raises:
        DataError: No section has train and test clips.
        GroundTruthError: A section lacks normal or anomalous clips that the metric needs.
    """
    # A process without clips cannot say of which shape embeddings are.
    rows, parts = zip(*(share for share in shares if len(share[0])), strict=True)
    vectors = np.concatenate(parts)[np.argsort(np.concatenate(rows))]
    tables = []
    for _, clips in dev.clips.groupby(["machine", "section"], sort=True):
        train, test = (clips[clips["split"] == split] for split in ("train", "test"))
        if train.empty or test.empty:
            continue
        domains = train["domain"].to_numpy(dtype=str)
        found = score_section(vectors[train.index], domains, vectors[test.index], detector)
        files = test["path"].str.rpartition("/")[2]
        tables.append(test.assign(file=files, score=found.test))
    if not tables:
        raise DataError(f"{dev.data}: no section of {dev.edition.name} has train and test clips")
    labelled = pd.concat(tables, ignore_index=True)
    labelled = labelled.sort_values(["machine", "section", "file"], ignore_index=True)
    return evaluate(labelled, dev.edition.metric, strict=dev.edition.official).score
