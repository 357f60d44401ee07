"""Files of a run that is being fine-tuned: checkpoints for use, and the state to resume from.

The order in which they are written makes a run that is killed at any moment go on: a checkpoint,
then the state that knows of it, then the marker; what the state does not know of is removed.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from dcase_asd.backbone import read_tensors
from dcase_asd.backbone.finetuned import write_finetuned
from dcase_asd.clips.classes import TrainingClass
from dcase_asd.embeddings.kept import (
    AVERAGE,
    KeptCheckpoint,
    KeptCheckpoints,
    checkpoints_folder,
    choose,
    write_kept,
)
from dcase_asd.errors import TrainingError
from dcase_asd.files import replacing
from dcase_asd.recipe.system import Far
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.recipe.training import Training
from dcase_asd.training.model import TrainingModel
from dcase_asd.training.named import write_record


@dataclasses.dataclass(frozen=True)
class SavedState:
    """What is needed to resume: updates made, the engine's state, the checkpoints so far."""

    updates: int
    engine: dict[str, Any]
    kept: tuple[KeptCheckpoint, ...]


class CheckpointFiles:
    """The checkpoints and the state of one run.

    Args:
        run: Run folder.
        settings: The recipe; it travels in the checkpoints.
        classes: What the classifier's classes are called.
        sub_centers: Sub-centers of each class.
        inputs: Fingerprint of what is trained on.
        uses: Whose recordings are used, and how (see `embeddings.rules`).
        record: Which packages gave third parties' parts (see `named.record_of`).
        far: How the far channel was taken out of them.
    """

    def __init__(
        self,
        run: Path,
        settings: Training,
        classes: Sequence[TrainingClass],
        sub_centers: Sequence[int],
        inputs: str,
        uses: Mapping[str, Sequence[str]],
        *,
        record: list[dict[str, str]],
        far: Far = "none",
    ) -> None:
        self.run, self.settings, self.inputs = run, settings, inputs
        self.record, self.far = record, far
        self.folder = checkpoints_folder(run)
        labels = {each.label: count for each, count in zip(classes, sub_centers, strict=True)}
        self.about = {
            "classes": json.dumps(labels, ensure_ascii=False),
            "recipe": recipe_text(settings),
            "editions": json.dumps(uses),
            **({} if far == "none" else {"far": far}),
        }
        if record:
            self.about["plugins"] = json.dumps(record, ensure_ascii=False)

    def save_model(self, network: TrainingModel, step: int) -> str:
        """Write a checkpoint; returns its name."""
        name = f"step_{step:07d}.safetensors"
        with _writing(self.folder / name) as temporary:
            about = {**self.about, "step": str(step)}
            write_finetuned(temporary, network.checkpoint_state(), network.model, about)
        return name

    def save_state(self, state: SavedState) -> None:
        """Write the state, then the marker, and remove checkpoints that are not kept."""
        content = {
            "inputs": self.inputs,
            "far": self.far,
            "updates": state.updates,
            "engine": state.engine,
            "kept": [dataclasses.asdict(each) for each in state.kept],
        }
        write_record(self.run, self.record)
        with _writing(state_path(self.run)) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
        self.tidy(state.kept)
        if state.kept:
            write_kept(self.run, KeptCheckpoints(self.inputs, state.kept))

    def tidy(self, kept: tuple[KeptCheckpoint, ...]) -> None:
        """Remove checkpoints that are not kept."""
        names = {each.file for each in kept}
        for path in self.folder.glob("step_*.safetensors"):
            if path.name not in names:
                path.unlink()

    def keep(
        self, kept: tuple[KeptCheckpoint, ...], new: KeptCheckpoint
    ) -> tuple[KeptCheckpoint, ...]:
        """The checkpoints that stay when one is added: those to be scored, and the last."""
        everything = (*kept, new)
        chosen = choose(everything, self.settings.ensemble, self.settings.keep)
        return chosen if new in chosen else (*chosen, new)

    def load_state(self) -> SavedState | None:
        """Read the state to resume from, into memory of the CPU; None where there is none.

        Raises:
            TrainingError: It is damaged, or of other training data.
        """
        path = state_path(self.run)
        if not path.is_file():
            return None
        content = read_state(path, "remove this run's checkpoints and start again")
        if not self.inputs.startswith(content["inputs"]):
            raise TrainingError(
                f"{self.run}: this run was begun with other clips than the data folder holds now; "
                "give another --run, or put the data back as it was and prepare it again"
            )
        if (far := content.get("far", "none")) != self.far:
            raise TrainingError(
                f"{self.run}: begun with far = {far}, as earlier versions did, and its recipe says "
                f"{self.far}; give another --run"
            )
        kept = tuple(KeptCheckpoint(**each) for each in content["kept"])
        return SavedState(content["updates"], content["engine"], kept)

    def finish(self, kept: tuple[KeptCheckpoint, ...], network: TrainingModel) -> KeptCheckpoints:
        """Mark the run as finished, with the checkpoints that are scored."""
        chosen = choose(kept, self.settings.ensemble, self.settings.keep)
        scored = tuple(each.file for each in chosen)
        if self.settings.ensemble == "weights":
            self._write_average(scored, network)
            scored = (AVERAGE,)
        finished = KeptCheckpoints(self.inputs, kept, scored, finished=True)
        write_kept(self.run, finished)
        state_path(self.run).unlink(missing_ok=True)
        return finished

    def _write_average(self, files: tuple[str, ...], network: TrainingModel) -> None:
        means: dict[str, torch.Tensor] = {}
        for index, file in enumerate(files):
            tensors, _ = read_tensors(self.folder / file)
            for name, value in tensors.items():
                if index and value.is_floating_point():
                    means[name] += (value - means[name]) / (index + 1)
                else:
                    means[name] = value  # of counters that of the last
        with _writing(self.folder / AVERAGE) as temporary:
            about = {**self.about, "averaged": json.dumps(files)}
            write_finetuned(temporary, means, network.model, about)


def state_path(run: Path) -> Path:
    """Where the state to resume from lies."""
    return checkpoints_folder(run) / "state.pt"


def read_state(path: Path, way_out: str) -> dict[str, Any]:
    """Read what `torch.save` wrote, into memory of the CPU; no code in it is executed.

    Raises:
        TrainingError: It is damaged; says the way out.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(f"{path}: damaged ({reason}); {way_out}") from error
    return content


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """As `replacing`; torch and safetensors have errors of their own for a full disk."""
    with replacing(path) as temporary:
        try:
            yield temporary
        except (RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(
                f"{path}: cannot be written ({reason}); mend that and run the same command again"
            ) from error
