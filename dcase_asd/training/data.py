"""Which clips are trained on, in which classes, and which noise is mixed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dcase_asd.audio import MICROPHONES
from dcase_asd.clips.classes import TrainingClass, training_classes
from dcase_asd.clips.manifest import manifest_path, read_manifest
from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.findings import no_far_channel
from dcase_asd.embeddings.pseudo_labels import Clustering, with_pseudo_labels
from dcase_asd.errors import DataError, command, nearest_name
from dcase_asd.files import fingerprint, read_table
from dcase_asd.recipe.subset import EVERYTHING, Subset
from dcase_asd.recipe.system import Embedding
from dcase_asd.recipe.training import Training


@dataclass(frozen=True)
class TrainingSet:
    """Clips, classes and noise.

    Attributes:
        clips: Rows of the manifest with the column ``target``: position of the class.
        classes: The classes, sorted by label.
        noise: Rows of the manifest; empty where none is mixed in.
        notes: What was left out, in words.
    """

    clips: pd.DataFrame
    classes: list[TrainingClass]
    noise: pd.DataFrame
    notes: list[str]

    def fingerprint(self) -> str:
        """A short hash of which clips are trained on, as what, with which noise."""
        columns = [self.clips[name].tolist() for name in ("path", "frames", "label")]
        return fingerprint(columns, self.noise["path"].tolist())

    def sub_centers(self, settings: Training) -> list[int]:
        """Sub-centers of each class by the recipe."""
        if settings.sub_centered == "rule":
            return [settings.sub_centers if each.sub_centers > 1 else 1 for each in self.classes]
        return [settings.sub_centers if settings.sub_centered == "all" else 1] * len(self.classes)


def read_training_set(
    data: str | Path,
    settings: Training,
    recipe: Embedding | None = None,
    subset: Subset = EVERYTHING,
) -> TrainingSet:
    """Choose the training set from what `prepare` found.

    Train clips of machines only. Audio that also stands in a test set is left out. Of audio that
    stands in several places the copy is kept whose class says most: by most attributes, then with a
    known domain, then of the newest edition.

    Args:
        data: Data folder with a manifest.
        settings: Which editions and which noise.
        recipe: Whether the far channel is taken out, for which every clip must have one.
        subset: Which machine types and sections, and what to leave out; all by default. Noise is
            of every machine type, but of no edition that is left out.

    Raises:
        DataError: There are fewer than two classes, or no such edition, noise or subset; clips have
            no far channel; or clusters cannot be made.
        ArtifactError: `prepare` has not been run.
    """
    data = Path(data)
    manifest = read_manifest(data)
    taken = manifest[~manifest["edition"].isin(subset.exclude_editions)]
    duplicates = read_table(
        data / "clips.duplicates.csv",
        {"group": str, "path": str},
        command("prepare", "--data", data),
    )
    trained = (taken["split"] == "train") & (taken["role"] == "machine")
    clips = taken[trained & taken["edition"].isin(_editions(taken, settings.editions, data))]
    clips = subset.select(clips, manifest_path(data), known=manifest)
    clips, notes = _without_duplicates(clips, manifest, duplicates)
    if recipe is not None and (objection := no_far_channel(clips, recipe, "train on")):
        raise DataError(f"{manifest_path(data)}: {objection}{_two_channels(clips)}")
    if settings.pseudo_recipe:
        raise DataError(
            f"pseudo_run is the recipe {settings.pseudo_run}, which only the command `run` runs "
            "first; give the run folder with its embeddings by --pseudo-run"
        )
    if subset.narrows:
        notes.append(f"trained on {subset} alone")
    if settings.pseudo != "none":
        clustering = Clustering(
            settings.pseudo,
            settings.pseudo_share,
            settings.pseudo_clusters,
            settings.pseudo_threshold,
        )
        clips = with_pseudo_labels(clips, settings.pseudo_run, clustering)
    if settings.with_domain:
        known = clips["domain"] != ""
        clips = clips.assign(label=clips["label"] + ("/" + clips["domain"]).where(known, ""))
    classes = training_classes(clips)
    if len(classes) < 2:  # noqa: PLR2004
        raise DataError(
            f"{manifest_path(data)}: {len(classes)} class(es) of train clips; fine-tuning tells "
            "classes apart and needs two at least: add machines, sections or editions"
        )
    position = {each.label: index for index, each in enumerate(classes)}
    clips = clips.assign(target=clips["label"].map(position)).reset_index(drop=True)
    return TrainingSet(clips, classes, _noise(taken, settings, data), notes)


def _editions(manifest: pd.DataFrame, wanted: Iterable[str], data: Path) -> list[str]:
    present = sorted(manifest["edition"].unique())
    names = [load_edition(name).name for name in wanted]
    missing = [name for name in names if name not in present]
    if missing:
        raise DataError(
            f"{manifest_path(data)}: no clip of edition {', '.join(missing)}; "
            f"{nearest_name(missing[0], present)} Download what is missing, or train on what is "
            "there by --editions, or editions in [train] of the recipe or an overlay"
        )
    return names or present


def _two_channels(clips: pd.DataFrame) -> str:
    """The editions all of whose clips have a far channel, as another way out; else empty."""
    others = set(clips.loc[clips["channels"] != MICROPHONES, "edition"])
    names = sorted(set(clips["edition"]) - others)
    return f", or {' '.join(f'--editions {name}' for name in names)}" if names else ""


def _without_duplicates(
    clips: pd.DataFrame, manifest: pd.DataFrame, duplicates: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    groups = dict(zip(duplicates["path"], duplicates["group"], strict=True))
    tests = manifest.loc[manifest["split"] == "test", "path"]
    of_tests = {groups[path] for path in tests if path in groups}
    of_clips = [groups.get(path, "") for path in clips["path"]]
    group = pd.Series(of_clips, index=clips.index, dtype="str")
    leaked = group.isin(of_tests)
    # A class is machine/section[/attributes]/edition; attributes are name_value_name_value.
    by_attributes = clips["label"].str.count("/") > 2  # noqa: PLR2004
    said = (clips["attributes"].str.count("_") + 1).where(by_attributes, 0)
    order = pd.DataFrame({"said": said, "domain": clips["domain"] != ""})
    # Stable, as the manifest goes from the oldest edition to the newest.
    ranked = group[order.sort_values(["said", "domain"], kind="stable").index]
    again = (group != "") & ranked.duplicated(keep="last") & ~leaked
    notes = []
    if leaked.any():
        notes.append(f"{leaked.sum()} train clip(s) also stand in a test set and are left out")
    if again.any():
        notes.append(f"{again.sum()} train clip(s) stand in several places and are used once")
    return clips[~leaked & ~again], notes


def _noise(manifest: pd.DataFrame, settings: Training, data: Path) -> pd.DataFrame:
    noise = manifest[manifest["role"] == "noise"]
    if settings.noise_probability == 0:
        return noise.iloc[:0]
    if settings.noise_editions:
        names = [load_edition(name).name for name in settings.noise_editions]
        noise = noise[noise["edition"].isin(names)]
    if noise.empty:
        of = ", ".join(settings.noise_editions) or "any edition"
        raise DataError(
            f"{manifest_path(data)}: no noise clip of {of} to mix in; download its supplemental "
            "clips, or set noise_probability to 0"
        )
    return noise.reset_index(drop=True)
