"""What training was like, update by update: `train.jsonl`, and TensorBoard where asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from dcase_asd.errors import ArtifactError, TrainingError
from dcase_asd.files import write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class History:
    """Appends lines to a run's `train.jsonl`; lines beyond a resumed update are taken back.

    Args:
        run: Run folder.
        updates: Updates that were made before.
        tensorboard: Whether to write the values for TensorBoard too.

    Raises:
        TrainingError: TensorBoard is asked for and not installed.
    """

    def __init__(self, run: Path, updates: int, tensorboard: bool = False) -> None:
        self.path = run / "train.jsonl"
        kept = [line for line in _lines(self.path) if json.loads(line)["update"] <= updates]
        write_text(self.path, "".join(f"{line}\n" for line in kept))
        self._board = _board(run / "tensorboard", updates) if tensorboard else None

    def add(self, update: int, step: int, values: dict[str, float]) -> None:
        """Write the values of an update (the number of updates made, from 1)."""
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"update": update, "step": step, **rounded}) + "\n")
        if self._board is not None:
            for name, value in rounded.items():
                self._board.add_scalar(name, value, update)

    def close(self) -> None:
        """Finish TensorBoard's file."""
        if self._board is not None:
            self._board.close()


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
