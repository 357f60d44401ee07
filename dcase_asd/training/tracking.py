"""MLflow beside the history: a run's recipe, values and small files, in a folder or on a server."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dcase_asd import __version__
from dcase_asd.errors import TrainingError
from dcase_asd.files import read_json, write_json
from dcase_asd.folders import RECIPE
from dcase_asd.progress import Progress
from dcase_asd.registry import PRETRAINING_RECIPE

EXPERIMENT = "dcase-asd"
"""Of MLflow, where its own variable MLFLOW_EXPERIMENT_NAME names none."""
SECONDS = 5.0
"""Between two messages to MLflow, which may take longer than an update does."""
PARAMETERS, LINES = 100, 50
"""Of a message: MLflow takes 100 parameters and 1,000 values at once."""
LONGEST = 6000
"""Characters of a parameter that MLflow takes."""
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nobody asked for a word to its makers
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # else a wrong address is told after minutes
    "MLFLOW_ALLOW_FILE_STORE": "true",  # a folder is what was asked for
}
"""MLflow's variables where the user has not set them."""


class Tracking:
    """A run of MLflow that a training writes to; resumed, it goes on with the same one.

    Args:
        where: A folder, or an address as MLflow takes it: ``http://host:5000``.
        run: Run folder, whose name is that of MLflow's run.
        recipe: The dataclass whose values are its parameters.
        progress: Is told where MLflow does not answer any more; the training goes on.

    Raises:
        TrainingError: MLflow is not installed, or cannot be written to.
    """

    def __init__(self, where: str, run: Path, recipe: Any, progress: Progress) -> None:
        self.where, self.folder, self.progress = where, run, progress
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        self._waiting: list[dict[str, float]] = []
        self._sent_at, self._lost = 0.0, False
        with self._told_at_once():
            self._client, self._entities = _mlflow(where)
            before = read_json(self._marker) or {}
            self.updates = 0
            if before.get("where") == where and self._is_there(before["run"]):
                self.identity, self.updates = str(before["run"]), int(before["updates"])
                self._client.update_run(self.identity, status="RUNNING")
            else:
                self.identity = self._begin(recipe)
            self._keep()

    @property
    def _marker(self) -> Path:
        return self.folder / "mlflow.json"

    def add(self, *lines: dict[str, float]) -> None:
        """Send lines of the history, some of them later; those that MLflow has are left out."""
        self._waiting += [line for line in lines if line["update"] > self.updates]
        if time.monotonic() - self._sent_at > SECONDS:
            self._send()

    def close(self, status: str) -> None:
        """Send what is left.

        Args:
            status: How the run ended in MLflow's words: ``FINISHED``, ``KILLED``, ``FAILED``.
        """
        self._send()
        self._attempt(lambda: self._client.set_terminated(self.identity, status))

    def _is_there(self, identity: str) -> bool:
        try:
            return bool(self._client.get_run(identity).info.lifecycle_stage == "active")
        except Exception:  # noqa: BLE001 - was deleted, or is of another folder: a new one is begun
            return False

    def _begin(self, recipe: Any) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if experiment is None else (
            experiment.experiment_id)  # fmt: skip
        tags = {"dcase_asd": __version__, "folder": str(self.folder.resolve())}
        made = self._client.create_run(number, tags=tags, run_name=self.folder.name)
        identity = str(made.info.run_id)
        parameters = [self._entities.Param(key, value) for key, value in _flat(recipe)]
        for first in range(0, len(parameters), PARAMETERS):
            self._client.log_batch(identity, params=parameters[first : first + PARAMETERS])
        for name in (RECIPE, PRETRAINING_RECIPE):
            if (self.folder / name).is_file():
                self._client.log_artifact(identity, str(self.folder / name))
        return identity

    def _send(self) -> None:
        now = int(time.time() * 1000)
        for first in range(0, len(self._waiting), LINES):
            lines = self._waiting[first : first + LINES]
            values = [
                self._entities.Metric(name, value, now, int(line["update"]))
                for line in lines
                for name, value in line.items()
                if name not in ("update", "step")
            ]
            self._attempt(partial(self._send_values, values, int(lines[-1]["update"])))
        self._waiting, self._sent_at = [], time.monotonic()

    def _send_values(self, values: list[Any], last: int) -> None:
        self._client.log_batch(self.identity, metrics=values)
        self.updates = last
        self._keep()

    def _keep(self) -> None:
        content = {"where": self.where, "run": self.identity, "updates": self.updates}
        write_json(self._marker, content)

    @contextmanager
    def _told_at_once(self) -> Iterator[None]:
        try:
            yield
        except TrainingError:
            raise
        except Exception as error:  # a server, a disk, a proxy: MLflow has no class for all
            raise TrainingError(
                f"--mlflow {self.where}: cannot be written to ({_reason(error)}); give a folder or "
                "an address such as http://localhost:5000, or leave it out"
            ) from error

    def _attempt(self, message: Callable[[], None]) -> None:
        """Send something; that MLflow does not answer is told once, and stops no training."""
        if self._lost:
            return
        try:
            message()
        except Exception as error:  # noqa: BLE001 - as above
            self._lost = True
            self.progress.note(
                f"--mlflow {self.where}: cannot be written to any more ({_reason(error)}); the "
                f"training goes on, and {self.folder / 'train.jsonl'} has all values"
            )


def _mlflow(where: str) -> tuple[Any, Any]:
    """MLflow's client and what it is given."""
    try:
        from mlflow import entities
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise TrainingError(
            "MLflow is not installed; `pip install 'dcase-asd[mlflow]'`, or leave out --mlflow"
        ) from error
    address = where if ":" in where else Path(where).expanduser().resolve().as_uri()
    return MlflowClient(tracking_uri=address), entities


def _flat(recipe: Any) -> Iterator[tuple[str, str]]:
    """A recipe's values by name, those of a table as ``table.name``."""

    def walk(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        for name, value in values.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{name}.")
            elif isinstance(value, (tuple, list)):
                yield f"{prefix}{name}", ", ".join(map(str, value))[:LONGEST]
            elif value is not None:
                yield f"{prefix}{name}", str(value)[:LONGEST]

    yield from walk(dataclasses.asdict(recipe), "")


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
