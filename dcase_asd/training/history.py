"""What training was like by update: `train.jsonl`; TensorBoard and MLflow where asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dcase_asd.errors import ArtifactError, TrainingError
from dcase_asd.files import write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from dcase_asd.training.tracking import Tracking


class History:
    """Appends lines to a run's `train.jsonl`; lines beyond a resumed update are taken back.

    Args:
        run: Run folder.
        updates: Updates that were made before.
        tensorboard: Whether to write the values for TensorBoard too.
        tracking: Where else the values go.

    Raises:
        TrainingError: TensorBoard is asked for and not installed.
    """

    def __init__(
        self,
        run: Path,
        updates: int,
        tensorboard: bool = False,
        tracking: Tracking | None = None,
    ) -> None:
        self.path = run / "train.jsonl"
        kept = [line for line in _lines(self.path) if json.loads(line)["update"] <= updates]
        write_text(self.path, "".join(f"{line}\n" for line in kept))
        self._board = _board(run / "tensorboard", updates) if tensorboard else None
        self._tracking = tracking
        if tracking is not None:
            tracking.add(*map(json.loads, kept))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish what is written beside; MLflow is told how the training ended."""
        if self._board is not None:
            self._board.close()
        if self._tracking is not None:
            failed = "FAILED" if kind is not None and issubclass(kind, Exception) else "KILLED"
            self._tracking.close("FINISHED" if kind is None else failed)

    def add(self, update: int, step: int, values: dict[str, float]) -> None:
        """Write the values of an update (the number of updates made, from 1)."""
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        line = {"update": update, "step": step, **rounded}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name, value in rounded.items():
                self._board.add_scalar(name, value, update)
        if self._tracking is not None:
            self._tracking.add(line)


def read_history(run: str | Path) -> tuple[dict[str, float], ...]:
    """The values of each update of a run, in order; none where it was not fine-tuned.

    Raises:
        ArtifactError: A line is damaged.
    """
    path = Path(run) / "train.jsonl"
    try:
        return tuple(json.loads(line) for line in _lines(path))
    except ValueError as error:
        raise ArtifactError(f"{path}: a line is damaged ({error}); remove that line") from error


def _lines(path: Path) -> list[str]:
    """The complete lines; a killed run may have left half a line at the end."""
    if not path.is_file():
        return []
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line.endswith("}")]


def _board(folder: Path, updates: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            "TensorBoard is not installed; `pip install tensorboard`, or leave out --tensorboard"
        ) from error
    return SummaryWriter(str(folder), purge_step=updates + 1)
