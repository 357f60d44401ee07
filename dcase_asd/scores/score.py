"""Embeddings -> anomaly scores of an edition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dcase_asd.editions.edition import load_edition
from dcase_asd.embeddings.kept import detector_of, embedding_folders, keep_recipe
from dcase_asd.embeddings.store import (
    MachineEmbeddings,
    planned_subset,
    read_embeddings,
    rows_of,
)
from dcase_asd.errors import (
    ArtifactError,
    RecipeError,
    ScoresError,
    TooFewClipsError,
    command,
    nearest_name,
)
from dcase_asd.files import fingerprint, only_writer, read_json
from dcase_asd.folders import check_run
from dcase_asd.progress import Advance, Progress, Silent, telling
from dcase_asd.recipe.detector import NEAREST, Detector, Domains, Normalization
from dcase_asd.recipe.subset import EVERYTHING, Names, Subset
from dcase_asd.recipe.system import read_system, recipe_path
from dcase_asd.scores.changes import tell_changes, tell_lost
from dcase_asd.scores.detector import make_detector, score_section
from dcase_asd.scores.kept import KeptNeighborhoods
from dcase_asd.scores.standardize import mean_and_deviation
from dcase_asd.scores.table import Sections, scores_path, sections_of, write_scores

ROWS_CHECKED = 4096
"""Embeddings looked at at once, so that a large bank is never copied as a whole."""
OF_NEAREST = ("neighbors", "density_neighbors")
"""Values of a recipe that stay with the detector that they were given of."""
SCORES_ABOVE_0 = ("nearest", "density", "mahalanobis", "subspace", "clusters")
"""Detectors whose scores of a domain may be divided by their median."""
SAME = 1e-6
"""Relative difference of float32 embeddings of equal clips that came in other batches."""


@dataclass(frozen=True)
class Scored:
    """What `score` did: where the scores are, how many of each split, whether anew, and how."""

    path: Path
    train: int
    test: int
    changed: bool
    detector: Detector


def score(
    run: str | Path,
    edition: str,
    detector: Detector | None = None,
    progress: Progress | None = None,
    *,
    machines: Names | None = None,
    sections: Names | None = None,
    exclude_editions: Names | None = None,
) -> Scored:
    """Score every train (leave-one-out) and test clip that a run has embedded.

    A fine-tuned run that scores several checkpoints averages their standardised scores. Where the
    recordings are not any more those that were embedded, that is told, and what was embedded is
    scored.

    Args:
        run: Run folder with embeddings.
        edition: Which edition.
        detector: How to score; None takes the run's recipe.
        progress: Where to tell how far it is.
        machines: Machine types to score, of those that are embedded; by default all. The scores
            are then of these alone: others that were there are left out, and that is told.
        sections: Sections to score; likewise.
        exclude_editions: Editions that are not to be scored.

    Returns:
        Where the scores are. Scores that were made of the same embeddings in the same way are
        left as they are.

    Raises:
        DataError: It is no run folder, or nothing is embedded of a subset.
        ArtifactError: There are no embeddings, or not of the recipe's representation, or another
            process writes this run.
        ScoresError: Embeddings are not finite, or no section can be scored.
    """
    run, progress = check_run(run), progress or Silent()
    name = load_edition(edition).name
    asked = EVERYTHING.changed(machines, sections, exclude_editions)
    system = read_system(run)
    detector = detector or detector_of(run, system)
    system = replace(system, score=detector)
    make_detector(detector)  # what is wrong with it is told before anything is read
    with only_writer(run):
        parts = [read_embeddings(folder, name) for folder in embedding_folders(run)]
        embedded = [machine for part in parts for machine in part]
        if system.train is not None:
            _check_representation(run, name, embedded, system.train.representation)
        tell_changes(run, name, embedding_folders(run)[0], parts[0], progress)
        held = planned_subset(embedding_folders(run)[0], name)
        wanted, subset, part_of = _wanted(parts[0], asked, held, name, run)
        parts = [[each for each in part if each.machine in dict(wanted)] for part in parts]
        chosen = [machine for part in parts for machine in part]
        for note in dict.fromkeys(
            note for machine in chosen for note in machine.provenance.get("notes", [])
        ):
            progress.note(note)
        made_of = fingerprint(
            [machine.provenance["fingerprint"] for machine in chosen], _values(detector), *part_of
        )
        path = scores_path(run, name)
        before = read_json(path.with_suffix(".json"))
        keep_recipe(run, system)
        if before is not None and before.get("fingerprint") == made_of and path.exists():
            for caveat in before.get("caveats", []):
                progress.note(caveat)
            return Scored(path, before["train"], before["test"], changed=False, detector=detector)
        tell_lost(run, name, subset, wanted, progress)
        shifted: dict[str, str] = {}
        tables: list[list[pd.DataFrame]] = [[] for _ in parts]
        with progress.bar("Scoring", len(chosen), "machines") as advance:
            for part, of_part in zip(parts, tables, strict=True):
                for machine in part:
                    with telling(_beside_bar(machine, progress, advance)):
                        found = _score_machine(machine, wanted, detector, shifted, progress)
                        of_part.extend(found)
                    advance(1)
        if not tables[0]:
            raise ScoresError(f"{run}: no section of {name} has both train and test clips to score")
        scores = _average([pd.concat(part, ignore_index=True) for part in tables], run, progress)
        splits = scores["split"].value_counts()
        counts = {split: int(splits.get(split, 0)) for split in ("train", "test")}
        provenance = {
            "backbone": chosen[0].provenance["backbone"],
            "parameters": sum(part[0].provenance["parameters"] for part in parts),
            "sample_rate": chosen[0].provenance["sample_rate"],
            "fingerprint": made_of,
            **counts,
            **({"subset": subset.given()} if subset else {}),
        }
        if shifted:
            caveat = _inverted_targets(shifted, run, name, detector)
            provenance["caveats"] = [caveat]
            progress.note(caveat)
        write_scores(run, name, scores, provenance)
    return Scored(path, **counts, changed=True, detector=detector)


def _wanted(
    machines: list[MachineEmbeddings], asked: Subset, held: Subset, edition: str, run: Path
) -> tuple[Sections, Subset, list[Any]]:
    """Which sections to score, of what of the edition these are, and their part in a fingerprint.

    Scores of all that is embedded keep the fingerprint that they had before there were subsets.
    """
    rows = pd.concat(each.clips[["section"]].assign(machine=each.machine) for each in machines)
    wanted = sections_of(asked.of_edition(rows, edition, run))
    part_of = [sorted(wanted)] if wanted < sections_of(rows) else []
    return wanted, held.narrowed(asked, rows), part_of


def _values(detector: Detector) -> dict[str, Any]:
    """What scores are made with; what was not known before counts where it is used."""
    new, usual = ("detector", "options", "standardize", "references"), asdict(Detector())
    return {
        name: value
        for name, value in asdict(detector).items()
        if name not in new or value != usual[name]
    }


def _inverted_targets(shifted: dict[str, str], run: Path, edition: str, detector: Detector) -> str:
    """That target clips score far higher: of the first section how much, then where else.

    What helps is told where it is not done yet.
    """
    (where, told), *others = shifted.items()
    likewise = f"; likewise {', '.join(each for each, _ in others)}" if others else ""
    if detector.normalize in ("domain", "median"):
        return f"{where}: {told}{likewise}"
    scale = ("--normalize", "median" if detector.detector in SCORES_ABOVE_0 else "domain")
    again = command("score", run, "--edition", edition, "--domains", "minimum", *scale)
    return f"{where}: {told}{likewise}; {again} puts each domain on a scale of its own"


def _check_representation(
    run: Path, edition: str, machines: list[MachineEmbeddings], wanted: str
) -> None:
    """Refuse embeddings that were made before another edition's with another representation."""
    for machine in machines:
        found = machine.provenance.get("representation", "dense")
        if found != wanted:
            again = command("embed", "--data", "data", "--edition", edition, "--run", run)
            raise ArtifactError(
                f"{run}: {edition} is embedded with the representation {found}, not its recipe's "
                f"{wanted}; embed it again with {again}"
            )


def _beside_bar(
    machine: MachineEmbeddings, progress: Progress, advance: Advance
) -> Callable[[str], None]:
    """Shows how far a computation of a machine is."""

    def tell(share: str) -> None:
        progress.status(share and f"{machine.stage} {machine.machine}: {share}")
        advance(0)

    return tell


def _average(parts: list[pd.DataFrame], run: Path, progress: Progress) -> pd.DataFrame:
    """Scores of several checkpoints -> their mean, each standardised first.

    Standardised by the mean and standard deviation of a section's leave-one-out train scores, since
    the distances of two networks are on scales of their own. One part stays as it is.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    section = ["stage", "machine", "section"]
    clips = [*section, "split", "file"]
    if not all(part[clips].equals(first[clips]) for part in parts):
        raise ScoresError(f"{run}: its checkpoints embedded different clips; embed again")
    scores = np.stack([part["score"].to_numpy(dtype=np.float64) for part in parts])
    groups = first.groupby(section, sort=False).ngroup().to_numpy()
    mean, deviation = mean_and_deviation(scores, groups, (first["split"] == "train").to_numpy())
    plain = ~(deviation > 0)
    for group in np.flatnonzero(plain.any(axis=0)):
        row = first.iloc[int(np.argmax(groups == group))]
        progress.note(
            f"{row['stage']} {row['machine']} section {row['section']}: train scores "
            "have no spread; the checkpoints' scores are averaged as they are"
        )
    mean, deviation = np.where(plain, 0.0, mean), np.where(plain, 1.0, deviation)
    standard = (scores - mean[:, groups]) / deviation[:, groups]
    return first.assign(score=standard.mean(axis=0))


def changed_detector(
    run: str | Path, changes: dict[str, Any], progress: Progress | None = None
) -> Detector:
    """The detector of a run's recipe with some of its values replaced.

    What belongs to the nearest train clips alone, given of a run that another detector scores,
    takes the place of that detector, which is told.

    Args:
        run: Run folder.
        changes: Values of `Detector`; options are put into those of the same detector.
        progress: Where to tell.

    Raises:
        RecipeError: Values are not those that a detector knows; all are told.
        ScoresError: There is no such detector, or it does not take what is set; all mistakes.
    """
    before = detector_of(run, read_system(run))
    values = asdict(before)
    for name, kind in (("domains", Domains), ("normalize", Normalization)):
        if changes.get(name, values[name]) not in get_args(kind):
            hint = nearest_name(str(changes[name]), get_args(kind))
            raise RecipeError(f"--{name} cannot be {changes[name]!r}; {hint}")
    of_nearest = {"neighbors", "density_neighbors"} & changes.keys()
    if changes.get("normalize") == "density":
        of_nearest.add("normalize")
    if of_nearest and "detector" not in changes and before.detector != NEAREST:
        values = asdict(Detector())
        if progress is not None:
            flags = " and ".join(f"--{name.replace('_', '-')}" for name in sorted(of_nearest))
            progress.note(
                f"{flags}: scored by the nearest train clips, not by {before.detector} as "
                f"{recipe_path(run)} says; name it with --detector to keep it"
            )
    elif changes.get("detector", before.detector) != before.detector:
        values |= {name: asdict(Detector())[name] for name in ("options", *OF_NEAREST)}
        if before.normalize == "density":
            values["normalize"] = "none"
    options = values["options"] | changes.get("options", {})
    try:
        detector = Detector(**values | changes | {"options": options})
    except ValueError as error:
        raise RecipeError(str(error)) from error
    make_detector(detector)
    return detector


def _score_machine(
    machine: MachineEmbeddings,
    wanted: Sections,
    detector: Detector,
    shifted: dict[str, str],
    progress: Progress,
) -> list[pd.DataFrame]:
    tables: list[pd.DataFrame] = []
    kept = KeptNeighborhoods(machine.marker, machine.provenance["fingerprint"], machine.vectors)
    for section in sorted(machine.clips["section"].unique()):
        if (machine.machine, section) not in wanted:
            continue
        where = f"{machine.stage} {machine.machine} section {section}"
        train = rows_of(machine.clips, section, "train")
        test = rows_of(machine.clips, section, "test")
        bank, queries = machine.vectors[train], machine.vectors[test]
        if not len(bank):
            progress.note(f"{where}: {len(queries)} test clip(s) but no train clip; left out")
            continue
        files = machine.clips["file"].to_numpy(dtype=str)
        for vectors, of_vectors in ((bank, files[train]), (queries, files[test])):
            _check_finite(vectors, of_vectors, where, machine.marker)
        domains = machine.clips["domain"].to_numpy(dtype=str)[train]
        try:
            found = score_section(bank, domains, queries, detector, kept.find)
        except TooFewClipsError as error:
            raise TooFewClipsError(f"{where}: {error}") from error
        for note in found.notes:
            progress.note(f"{where}: {note}")
        if found.shifted:
            shifted.setdefault(where, found.shifted)
        if _all_same(bank, queries):
            progress.note(f"{where}: all embeddings are the same, so that its scores say nothing")
        known = ~np.isnan(found.train)
        for split, names, values in (
            ("train", files[train][known], found.train[known]),
            ("test", files[test], found.test),
        ):
            table = pd.DataFrame({"file": names, "score": values})
            table = table.sort_values("file", kind="stable").assign(
                stage=machine.stage, machine=machine.machine, section=section, split=split
            )
            tables.append(table)
    kept.save()
    return tables


def _check_finite(
    vectors: NDArray[np.float32], files: NDArray[np.str_], where: str, marker: Path
) -> None:
    for start in range(0, len(vectors), ROWS_CHECKED):
        rows = vectors[start : start + ROWS_CHECKED]
        finite = np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))
        if not finite.all():
            first = files[start + int(np.argmin(finite))]
            raise ScoresError(
                f"{where}: the embedding of {first} is not finite; remove {marker} and embed again"
            )


def _all_same(bank: NDArray[np.float32], queries: NDArray[np.float32]) -> bool:
    parts = [part for part in (bank, queries) if len(part)]
    low = np.min([part.min(axis=0) for part in parts], axis=0)
    high = np.max([part.max(axis=0) for part in parts], axis=0)
    return bool((high - low).max() <= SAME * np.maximum(-low, high).max())
