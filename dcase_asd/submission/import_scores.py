"""Official score files of somebody else's system -> a run: the way back from `submit`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pandas as pd

from dcase_asd.clips.manifest import clips_of_edition, read_manifest
from dcase_asd.editions.edition import Edition, load_edition
from dcase_asd.errors import ArtifactError, ClipNameError, ScoresError, some
from dcase_asd.files import find_below, fingerprint, only_writer, read_json, write_text
from dcase_asd.metrics.evaluate import read_official_tables
from dcase_asd.metrics.ground_truth import KEY
from dcase_asd.metrics.labels import clip_differences, join_by_name, labels_from_names
from dcase_asd.metrics.official_files import Kind, find_official_files, official_clip_name
from dcase_asd.progress import Progress, Silent
from dcase_asd.recipe.imported import (
    IMPORTED,
    ImportedScores,
    ImportedSystem,
    is_imported,
    read_imported_system,
)
from dcase_asd.recipe.system import recipe_path
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.scores.table import (
    COLUMNS,
    Sections,
    check_scores,
    scores_path,
    sections_of,
    write_scores,
)

SPLITS: dict[Kind, str] = {"score": "test", "train": "train"}
"""Kind of official file -> split of its clips."""


@dataclass(frozen=True)
class Imported:
    """What `import_scores` did: where the scores are, how many clips, whether they changed."""

    path: Path
    train: int
    test: int
    changed: bool


def import_scores(
    folder: str | Path,
    run: str | Path,
    edition: str,
    data: str | Path | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """Make a run of official score files, to be evaluated, reported and fused as any other.

    Files lie anywhere below the folder. Those of test clips have the edition's own names, with or
    without ``_test``; those of train clips end in ``_train``. Whether a train score is of a model
    that did not see its clip (leave-one-out) is up to who made it.

    Args:
        folder: Folder with the score files of one system.
        run: Run folder to write to.
        edition: Which edition they are of.
        data: Data folder that was prepared; the clips of each scored section must be its test
            clips, and are called as its recordings. Without it names are taken as they stand.
        overwrite: Whether other scores of the edition that were imported before are replaced.
        progress: Where to tell what the user should know of.

    Returns:
        Where the scores are. The same scores are not written again.

    Raises:
        ScoresError: There is no score file, a file is malformed, a score is not finite, or a clip
            is scored twice, is none of the data folder's or is missing.
        ClipNameError: A clip's name follows no grammar of the edition.
        DataError: `data` was not prepared, or holds no clip of the edition.
        ArtifactError: The run folder holds something else, or other scores.
    """
    folder, run, progress = Path(folder), Path(run), progress or Silent()
    rules = load_edition(edition)
    scores = _read(folder, rules, None if data is None else Path(data), progress)
    made_of = fingerprint(rules.name, scores.to_csv(index=False))
    path = scores_path(run, rules.name)
    before = (read_json(path.with_suffix(".json")) or {}).get("fingerprint")
    _check_folder(run)
    counts = {split: int((scores["split"] == split).sum()) for split in ("train", "test")}
    if before == made_of and path.is_file():
        return Imported(path, **counts, changed=False)
    if before is not None and not overwrite:
        raise ArtifactError(
            f"{run}: holds other scores of {rules.name} than {folder}; give another --run, or "
            "replace them with --overwrite"
        )
    earlier = read_imported_system(run).imported if is_imported(run) else ()
    today = datetime.now(UTC).date().isoformat()
    entry = ImportedScores(rules.name, str(folder.resolve()), today, made_of)
    entries = (*(each for each in earlier if each.edition != rules.name), entry)
    provenance = {"backbone": IMPORTED, "parameters": None, "sample_rate": None}
    with only_writer(run):
        write_text(recipe_path(run), recipe_text(ImportedSystem(run.resolve().name, entries)))
        write_scores(run, rules.name, scores, {**provenance, "fingerprint": made_of, **counts})
    return Imported(path, **counts, changed=True)


def _check_folder(run: Path) -> None:
    if run.exists() and not run.is_dir():
        raise ArtifactError(f"{run}: a file; give another --run")
    others = [] if is_imported(run) else [path.name for path in find_below(run, "*")]
    if others:
        raise ArtifactError(
            f"{run}: holds something else than imported scores ({some(others)}); give another --run"
        )


def _read(folder: Path, edition: Edition, data: Path | None, progress: Progress) -> pd.DataFrame:
    """All scores below a folder, with the columns of `scores.table.COLUMNS`; says what lacks."""
    tables = read_official_tables(folder, edition, SPLITS.keys())
    if any(file.kind == "decision" for file in find_official_files(folder, edition)):
        progress.note("decisions are not imported: a run has thresholds of its own")
    try:
        found = [
            labels_from_names(tables[kind], edition, split).assign(split=split)
            for kind, split in SPLITS.items()
            if kind in tables
        ]
    except ClipNameError as error:
        raise ClipNameError(f"{folder}: {error}") from error
    labelled = sections_of(found[0][found[0]["condition"] != ""])
    found = [table.assign(stage=_stages(table, edition, labelled)) for table in found]
    if data is not None:
        found = [_join_recordings(each, edition, folder, data, progress) for each in found]
    scores = pd.concat(found, ignore_index=True)[list(COLUMNS)]
    check_scores(scores, str(folder))
    tests = sections_of(scores[scores["split"] == "test"])
    train = sections_of(scores[scores["split"] == "train"])
    if unscored := train - tests:
        raise ScoresError(
            f"{folder}: train scores of {_in_words(unscored)}, but no test scores; give both"
        )
    if lacking := tests - train:
        progress.note(
            f"without train scores of {_in_words(lacking)}: `submit` sets no threshold by them, "
            "and `fuse` takes them with --standardize test --analysis alone"
        )
    return scores.sort_values(list(COLUMNS)[:-1], ignore_index=True)


def _stages(table: pd.DataFrame, edition: Edition, labelled: Sections) -> list[str]:
    """Stage of each clip: its section's in the edition, else ``dev`` where test clips are labelled.

    Args:
        table: Columns ``machine`` and ``section``.
        edition: Whose sections are known.
        labelled: Those that have test clips which tell their condition.
    """
    known = {
        (machine, section): stage
        for stage, machines in edition.machines.items()
        for machine, sections in machines.items()
        for section in sections
    }
    keys = zip(table["machine"], table["section"], strict=True)
    return [known.get(key) or ("dev" if key in labelled else "eval") for key in keys]


def _join_recordings(
    table: pd.DataFrame, edition: Edition, folder: Path, data: Path, progress: Progress
) -> pd.DataFrame:
    """The same clips, of the stages and by the names that the data folder has.

    Raises:
        ScoresError: Clips are not the data folder's, or test clips of a scored section lack.
    """
    split = table["split"].iloc[0]
    clips = clips_of_edition(read_manifest(data), edition.name, data)
    clips = clips[(clips["role"] == "machine") & (clips["split"] == split)]
    recordings = [PurePosixPath(path).name for path in clips["path"]]
    clips = clips[["stage", "machine", "section"]].assign(
        recording=recordings, file=list(map(official_clip_name, recordings))
    )
    scored = sections_of(table)
    keys = zip(clips["machine"], clips["section"], strict=True)
    clips = clips[[key in scored for key in keys]]
    right = clips
    if split == "train":  # some systems hold out a part of them
        given = table.assign(file=list(map(official_clip_name, table["file"])))
        right = clips.merge(given[KEY].drop_duplicates(), on=KEY)
        if len(clips) > len(right):
            progress.note(
                f"{len(clips) - len(right)} train clip(s) of {data} have no score in {folder}"
            )
    if right.duplicated(KEY).any():
        first = right[right.duplicated(KEY)].iloc[0]
        raise ScoresError(
            f"{data}: {first['machine']} {first['file']} is a {split} clip of both stages, so that "
            "official files cannot tell which; leave --data out"
        )
    different = clip_differences(
        table, right, f"scored in {folder} but not in {data}", f"in {data} but not scored"
    )
    if different:
        raise ScoresError(
            f"{split} clips do not match: {different}; give the data folder that was scored, "
            "or leave --data out"
        )
    joined = join_by_name(table.drop(columns="stage"), right)
    return joined.assign(file=joined["recording"])


def _in_words(sections: Sections) -> str:
    return some(f"{machine} section {section}" for machine, section in sorted(sections))
