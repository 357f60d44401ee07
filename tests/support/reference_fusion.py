"""Runs that can be fused, with plain references for what a fusion makes of them."""

from __future__ import annotations

import itertools

import numpy as np

from dcase_asd.editions.edition import load_edition
from dcase_asd.fusion.fuse import fuse
from dcase_asd.metrics.labels import labels_from_names
from dcase_asd.metrics.official import aggregate, evaluate
from dcase_asd.recipe.fusion import Fusion
from dcase_asd.scores.table import read_scores, write_scores

CLIP = ["stage", "machine", "section", "split", "file"]
"""What names a clip in a table of scores."""


class Systems:
    """Runs with scores of the same clips, and plain references for what a fusion makes of them."""

    def __init__(self, folder, edition, clips, gains, seed=0):
        self.folder, self.edition = folder, load_edition(edition)
        self.random = np.random.default_rng(seed)
        anomalous = clips["file"].str.contains("anomaly").to_numpy()
        self.tables = {}
        for name, gain in gains.items():
            gain_of = gain if isinstance(gain, dict) else dict.fromkeys(clips["machine"], gain)
            shift = clips["machine"].map(gain_of).fillna(0.0).to_numpy() * anomalous
            scale = self.random.uniform(0.1, 10)
            noise = self.random.standard_normal(len(clips))
            self.tables[name] = clips.assign(score=scale * (shift + noise))
            self.write(name)

    def run(self, name):
        return self.folder / name

    @property
    def runs(self):
        return [self.run(name) for name in self.tables]

    def write(self, name, **provenance):
        made = {"backbone": "beats", "parameters": 100, "sample_rate": 16000, "fingerprint": name}
        write_scores(self.run(name), self.edition.name, self.tables[name], made | provenance)

    def change(self, name, change):
        self.tables[name] = change(self.tables[name].copy())
        self.write(name)

    def change_each(self, change):
        for name in self.tables:
            self.change(name, change)

    def fuse(self, run="fused", ground_truth=None, overwrite=False, progress=None, **settings):
        fusion = Fusion(tuple(self.tables), **({"resamples": 0, "step": 0.25} | settings))
        return fuse(
            self.runs, self.run(run), self.edition.name, fusion, ground_truth,
            overwrite=overwrite, progress=progress,
        )  # fmt: skip

    def scores(self, run="fused"):
        """Scores that a fusion wrote, in the order of the references."""
        return read_scores(self.run(run), self.edition.name).set_index(CLIP)["score"].sort_index()

    def standardized(self, name, split="train"):
        table = self.tables[name].set_index(CLIP)["score"].sort_index()
        groups = ["stage", "machine", "section"]
        of_split = table[table.index.get_level_values("split") == split].groupby(level=groups)
        keys = table.index.droplevel(["split", "file"])
        mean, deviation = (
            values.reindex(keys).to_numpy() for values in (of_split.mean(), of_split.std(ddof=0))
        )
        return (table - mean) / deviation

    def fused(self, weights):
        return sum(
            weight * self.standardized(name)
            for name, weight in zip(self.tables, weights, strict=True)
        )

    def evaluation(self, fused, machines=None):
        """The official result of fused scores on development clips."""
        table = fused.rename("score").reset_index()
        table = table[(table["stage"] == "dev") & (table["split"] == "test")]
        if machines is not None:
            table = table[table["machine"].isin(machines)]
        labelled = labels_from_names(table, self.edition)
        return evaluate(labelled.reset_index(drop=True), self.edition.metric)

    def score(self, weights, machines=None):
        return official(self.evaluation(self.fused(weights), machines))

    def best(self, machines=None, parts=4):
        """The best of all weights in steps of 1 / parts, by the definition."""
        points = [
            np.array(point) / parts
            for point in itertools.product(range(parts + 1), repeat=len(self.tables))
            if sum(point) == parts
        ]
        ranked = sorted(points, key=lambda point: (-self.score(point, machines), sum(point**2)))
        return ranked[0]

    def left_out(self, weights_of):
        """The official score of all machine types, each with weights of its own."""
        sections = [
            section
            for machine, weights in sorted(weights_of.items())
            for section in self.evaluation(self.fused(weights), [machine]).sections
        ]
        return official(aggregate(sections, self.edition.metric))


def official(evaluation):
    """The official score; of 2020 the mean of AUC and pAUC."""
    if evaluation.official_score is None:
        return evaluation.means["mean"]
    return evaluation.official_score
