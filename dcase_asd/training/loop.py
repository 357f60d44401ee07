"""Fine-tuning from the first update, or from where it was killed, to the last checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from accelerate.utils import gather_object

from dcase_asd.embeddings.kept import KeptCheckpoint, KeptCheckpoints
from dcase_asd.progress import Progress
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.training import Training
from dcase_asd.training.batches import (
    TrainingBatch,
    TrainingBatches,
    load_batches,
)
from dcase_asd.training.checkpoints import CheckpointFiles, SavedState
from dcase_asd.training.dev_score import DevelopmentSet, dev_score, embed_share
from dcase_asd.training.engine import BUFFERS, Engine, UpdateReport, training
from dcase_asd.training.history import History
from dcase_asd.training.stopping import StopSignals

SMOOTHING = 0.9
"""How much of the shown loss and accuracy is that of the updates before."""


@dataclass
class Loop:
    """All parts of a training, and where it stands.

    Attributes:
        engine: Makes the updates.
        batches: What it is fed with.
        dev: What checkpoints are compared on; None where they are not.
        detector: How embeddings of `dev` become anomaly scores.
        files: Where checkpoints go.
        history: Where the training history goes; None in all but the main process.
        settings: The recipe.
        progress: Where to tell how far it is.
        workers: Threads that read audio.
        kept: Checkpoints so far.
    """

    engine: Engine
    batches: TrainingBatches
    dev: DevelopmentSet | None
    detector: Detector
    files: CheckpointFiles
    history: History | None
    settings: Training
    progress: Progress
    workers: int
    kept: tuple[KeptCheckpoint, ...] = field(default=())

    def run(self, state: SavedState | None) -> KeptCheckpoints | None:
        """Train to the end.

        Args:
            state: Where to go on; None for the beginning.

        Returns:
            The checkpoints; None in all but the main process.

        Raises:
            TrainingError: As `Engine.update`.
            AudioError: A clip cannot be read.
            KeyboardInterrupt: A signal asked to stop; the state is saved (see `StopSignals`).
        """
        first = 0
        if state is not None:
            self.engine.restore(state.engine)
            first, self.kept = state.updates, state.kept
        total = self.settings.updates
        with (
            StopSignals() as stop,
            training(self.engine.network, self.settings),
            self.progress.bar("Fine-tuning", total - first, "updates") as advance,
        ):
            smoothed = _Smoothed()
            batches = self._load(first)
            for update in range(first, total):
                report = self.engine.update(update, batches)
                self._after(update + 1, report, self.engine.any_process(stop.asked))
                self.progress.status(smoothed.describe(report))
                advance(1)
        if self.history is None:
            return None
        return self.files.finish(self.kept, self.engine.network)

    def _load(self, first: int) -> Iterator[TrainingBatch]:
        pin = self.engine.device.type == "cuda"
        return load_batches(self.batches, self.engine.numbers(first), self.workers, pin)

    def _after(self, updates: int, report: UpdateReport, stopped: bool) -> None:
        """Evaluate, keep and save where it is time to, or where a signal asked to stop."""
        settings = self.settings
        last = updates == settings.updates
        evaluated = last or _is_due(updates, settings.in_updates(settings.eval_every))
        saved = evaluated or _is_due(updates, settings.in_updates(settings.save_every))
        values = {
            "loss": report.loss,
            "accuracy": report.accuracy,
            "learning_rate": report.learning_rate,
            "clips_per_second": report.clips / report.seconds,
            "waited": report.waited / report.seconds,
        }
        step = updates * settings.accumulation if settings.step_unit == "batch" else updates
        if saved:
            self.engine.share_buffers()
        # Where no mean is due, each process gets its own back, as if nothing had been saved.
        buffers = self.engine.buffers_of_all() if stopped and not saved else []
        if evaluated:
            score = self._dev_score()
            values |= {} if score is None else {"dev_score": score}
            if self.history is not None:
                name = self.files.save_model(self.engine.network, step)
                self.kept = self.files.keep(self.kept, KeptCheckpoint(name, step, score))
                if score is not None:
                    self.progress.note(f"step {step}: dev score {100 * score:.2f} %")
        if self.history is not None:
            self.history.add(updates, step, values)
            if saved or stopped:
                state = self.engine.state() | ({} if saved else {BUFFERS: buffers})
                self.files.save_state(SavedState(updates, state, self.kept))
        if stopped and not last:
            raise KeyboardInterrupt

    def _dev_score(self) -> float | None:
        """The official score of the model as it is, computed by all processes together."""
        if self.dev is None:
            return None
        accelerator, network = self.engine.accelerator, self.engine.network
        network.eval()
        place = accelerator.process_index, accelerator.num_processes
        share = embed_share(network.model, self.dev, self.settings, *place)
        network.train()
        shares = gather_object([share])
        return dev_score(self.dev, shares, self.detector) if self.history is not None else None


class _Smoothed:
    """Loss and accuracy as they are shown: smoothed, so that a trend can be seen."""

    def __init__(self) -> None:
        self.loss = self.accuracy = self.weight = 0.0

    def describe(self, report: UpdateReport) -> str:
        old = SMOOTHING
        self.loss = old * self.loss + (1 - old) * report.loss
        self.accuracy = old * self.accuracy + (1 - old) * report.accuracy
        self.weight = old * self.weight + (1 - old)
        loss, percent = self.loss / self.weight, 100 * self.accuracy / self.weight
        speed = report.clips / report.seconds
        return f"loss {loss:.3f}, accuracy {percent:.1f} %, {speed:.1f} clips/s"


def _is_due(updates: int, every: int) -> bool:
    return every > 0 and updates % every == 0
