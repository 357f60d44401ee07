"""What an evaluation tells its user, as JSON values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from dcase_asd.challenge.bootstrap import Interval, Intervals
from dcase_asd.challenge.curves import CONDITIONS, Stratum
from dcase_asd.challenge.edition import load_edition
from dcase_asd.challenge.metrics import Evaluation
from dcase_asd.challenge.official_means import official_means


@dataclass(frozen=True)
class EvaluationReport:
    """What `evaluate` found out about one system.

    Attributes:
        edition: Name of the edition.
        target: Name of the run or of the folder with official files.
        labels: Where the labels are from: ``file names``, or the ground truth by its name.
        evaluation: The official result.
        interval: Bootstrap interval of the official score (2020, and one's own machines: of the
            mean of AUC and pAUC).
        clips: Per machine, section, domain and condition how many clips were evaluated.
        complete: Whether all machines and sections of the stage were evaluated.
        notes: What the user should know of.
        intervals: Of one's own machines, intervals of AUC and pAUC (see `own_intervals`).
    """

    edition: str
    target: str
    labels: str
    evaluation: Evaluation
    interval: Interval | None
    clips: dict[Stratum, int]
    complete: bool
    notes: tuple[str, ...]
    intervals: Intervals = field(default_factory=dict)

    @property
    def official(self) -> bool:
        """Whether this is a result of a year of the challenge."""
        return load_edition(self.edition).official

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values, in full precision; scores in [0, 1]."""
        evaluation = self.evaluation
        return {
            "edition": self.edition,
            "target": self.target,
            "official_score": evaluation.official_score,
            "confidence_interval": self._interval(),
            **self._intervals(),
            "metric": evaluation.metric,
            "labels": self.labels,
            "complete": self.complete,
            "clips": self._count(),
            "means": evaluation.means,
            "machines": evaluation.machines,
            "sections": [
                {
                    "machine": section.machine,
                    "section": section.section,
                    "domain": section.domain,
                    "clips": self._count(section.machine, section.section, section.domain),
                    **section.result,
                }
                for section in evaluation.sections
            ],
            "official_means": official_means(evaluation) if self.official else None,
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """The result in one line, in percent."""
        evaluation, interval = self.evaluation, self.interval
        if not self.official:
            return self._own_summary()
        if evaluation.official_score is None:
            text = f"mean of AUC and pAUC {100 * evaluation.means['mean']:.2f} %"
        else:
            text = f"official score {100 * evaluation.official_score:.2f} %"
        if interval is None:
            return text
        return (
            f"{text} ({100 * interval.level:.0f} % interval {interval.percent}, "
            f"{interval.resamples} resamples)"
        )

    def _interval(self) -> dict[str, Any] | None:
        if self.interval is None:
            return None
        of = "means.mean" if self.evaluation.official_score is None else "official_score"
        return {"of": of, **asdict(self.interval)}

    def _intervals(self) -> dict[str, Any]:
        if not self.intervals:
            return {}
        shown = {
            name: {key: asdict(interval) for key, interval in of.items()}
            for name, of in self.intervals.items()
        }
        return {"confidence_intervals": {"means": shown.pop(""), "machines": shown}}

    def _own_summary(self) -> str:
        """AUC and pAUC over all machines, each with its interval."""
        intervals, parts = self.intervals.get("", {}), []
        for key, name in (("auc", "AUC"), ("pauc", "pAUC")):
            text = f"{name} {100 * self.evaluation.means[key]:.2f} %"
            if key in intervals:
                text += f" ({100 * intervals[key].level:.0f} % interval {intervals[key].percent})"
            parts.append(text)
        resamples = f", {self.interval.resamples} resamples" if self.interval else ""
        return f"{' and '.join(parts)}{resamples}"

    def _count(self, machine: str = "", section: str = "", domain: str = "") -> dict[str, int]:
        """How many clips of each condition; an empty name stands for all."""
        counts = dict.fromkeys(CONDITIONS, 0)
        wanted = (machine, section, domain)
        for (*names, condition), count in self.clips.items():
            if all(name in ("", found) for name, found in zip(wanted, names, strict=True)):
                counts[condition] += count
        return counts
