"""Official score files of an entry, as a participant of each year has them."""

from __future__ import annotations


def write_official(folder, entry, *, test="_test", train=True, nested=False, names=None):
    """A run's scores as official files, by the plain rules of each year."""
    year = entry.edition.year
    rows = entry.clips.assign(score=entry.scores["score"])
    by_domain = ["domain"] if year == 2021 else []
    keys = ["stage", "machine", "section", "split", *by_domain]
    for (stage, machine, section, split, *domain), clips in rows.groupby(keys):
        if split == "train" and not train:
            continue
        middle = f"id_{section}" if year == 2020 else "_".join(["section", section, *domain])
        ending = "_train" if split == "train" else test
        path = folder / (f"{stage}_data/{machine}" if nested else "")
        path.mkdir(parents=True, exist_ok=True)
        values = zip(clips["file"], clips["score"], strict=True)
        lines = [f"{file},{score!r}\n" for file, score in values]
        (path / f"anomaly_score_{machine}_{middle}{ending}.csv").write_text("".join(lines))
    return folder
