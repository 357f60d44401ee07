"""MLflow gets the recipe and every update of a training once, also of one that was stopped."""

import dataclasses
import json
import os
import sys
import types

import pytest

from dcase_asd.errors import TrainingError
from dcase_asd.training import tracking
from dcase_asd.training.engine import Engine
from dcase_asd.training.finetune import finetune


def tune(data, run, system, **options):
    return finetune(data, run, system, device="cpu", workers=0, **options)


def history(run):
    """(update, name, value) of all values of a run's history."""
    lines = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    return [
        (line["update"], name, value)
        for line in lines
        for name, value in line.items()
        if name not in ("update", "step")
    ]


@dataclasses.dataclass
class Store:
    """Stands for MLflow, which need not be installed: what its client was given."""

    address: str = ""
    runs: dict = dataclasses.field(default_factory=dict)
    experiments: dict = dataclasses.field(default_factory=dict)
    broken: str = ""

    def client(self, tracking_uri):
        self.address = tracking_uri
        return self

    def answer(self):
        if self.broken:
            raise ConnectionError(self.broken)

    def get_experiment_by_name(self, name):
        self.answer()
        return self.experiments.get(name)

    def create_experiment(self, name):
        self.experiments[name] = types.SimpleNamespace(experiment_id="0")
        return "0"

    def create_run(self, experiment, tags, run_name):
        identity = f"run-{len(self.runs)}"
        self.runs[identity] = types.SimpleNamespace(
            name=run_name,
            tags=tags,
            values=[],
            parameters={},
            files=[],
            status="RUNNING",
            stage="active",
        )
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=identity))

    def get_run(self, identity):
        stage = self.runs[identity].stage
        return types.SimpleNamespace(info=types.SimpleNamespace(lifecycle_stage=stage))

    def update_run(self, identity, status):
        self.runs[identity].status = status

    set_terminated = update_run

    def log_artifact(self, identity, path):
        self.runs[identity].files.append(path)

    def log_batch(self, identity, metrics=(), params=()):
        self.answer()
        assert len(metrics) <= 1000
        assert len(params) <= 100
        self.runs[identity].values += [(each[3], *each[:2]) for each in metrics]
        self.runs[identity].parameters |= dict(params)


@pytest.fixture
def store(monkeypatch):
    """MLflow, replaced; every update is sent by itself."""
    found = Store()
    entities = types.SimpleNamespace(Metric=lambda *of: of, Param=lambda *of: of)
    modules = {
        "mlflow": types.SimpleNamespace(entities=entities),
        "mlflow.entities": entities,
        "mlflow.tracking": types.SimpleNamespace(MlflowClient=found.client),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in tracking.SETTINGS:
        monkeypatch.setitem(os.environ, name, "true")
    monkeypatch.setattr(tracking, "SECONDS", -1.0)
    return found


def test_it_gets_parameters_values_the_recipe_and_that_the_run_has_ended(
    data, tmp_path, make_system, store
):
    run = tmp_path / "run"
    tune(data, run, make_system(), mlflow=str(tmp_path / "mlruns"))
    assert store.address == (tmp_path / "mlruns").as_uri()
    (found,) = store.runs.values()
    assert (found.name, found.status) == ("run", "FINISHED")
    assert found.values == history(run)
    assert {"loss", "dev_score"} <= {name for _, name, _ in found.values}
    assert found.parameters["train.noise_snrs"] == "5.0, 10.0, 15.0, 20.0"
    assert found.parameters["embed.plugin"] == "tiny"
    assert found.files == [str(run / "recipe.toml")]
    assert not tune(data, run, make_system(), mlflow="http://localhost:1").changed


@pytest.mark.parametrize("at", [3, 6])
def test_a_stopped_run_goes_on_in_the_same_one_without_sending_anything_twice(
    data, tmp_path, make_system, store, monkeypatch, at
):
    whole, calls, run = Engine.update, [], tmp_path / "run"

    def stopping(self, *arguments):
        calls.append(None)
        if len(calls) == at:
            raise (KeyboardInterrupt if at == 3 else TrainingError("no"))
        return whole(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "update", stopping)
        with pytest.raises((KeyboardInterrupt, TrainingError)):
            tune(data, run, make_system(), mlflow="http://here:5000")
    (found,) = store.runs.values()
    assert found.status == ("KILLED" if at == 3 else "FAILED")
    tune(data, run, make_system(), mlflow="http://here:5000")
    (found,) = store.runs.values()
    assert found.status == "FINISHED"
    names = [(update, name) for update, name, _ in found.values]
    assert names == [(update, name) for update, name, _ in history(run)]
    losses = [each for each in found.values if each[1] == "loss"]
    assert losses == [each for each in history(run) if each[1] == "loss"]


@pytest.mark.parametrize("deleted", [True, False])
def test_a_run_that_mlflow_has_not_or_no_more_is_begun_with_all_values_so_far(
    data, tmp_path, make_system, store, monkeypatch, deleted
):
    whole, calls, run = Engine.update, [], tmp_path / "run"

    def stopping(self, *arguments):
        calls.append(None)
        if len(calls) in (4, 8):
            raise KeyboardInterrupt
        return whole(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "update", stopping)
        for options in ({}, {"mlflow": "http://here:5000"}):
            with pytest.raises(KeyboardInterrupt):
                tune(data, run, make_system(), **options)
    store.runs["run-0"].stage = "deleted"
    if not deleted:  # of another server at the same address
        store.runs["other"] = store.runs.pop("run-0")
    tune(data, run, make_system(), mlflow="http://here:5000")
    assert store.runs["run-1"].values == history(run)


def test_a_server_that_does_not_answer_is_told_before_and_stops_no_training_afterwards(
    data, tmp_path, make_system, store, monkeypatch
):
    store.broken = "refused\nby the peer"
    with pytest.raises(TrainingError) as raised:
        tune(data, tmp_path / "run", make_system(), mlflow="http://here:5000")
    assert str(raised.value).startswith(
        "--mlflow http://here:5000: cannot be written to (refused); give a folder or an address"
    )
    store.broken = ""
    whole, notes = Engine.update, []

    def breaks(self, number, *arguments):
        store.broken = "gone" if number == 3 else store.broken
        return whole(self, number, *arguments)

    monkeypatch.setattr(Engine, "update", breaks)
    monkeypatch.setattr("dcase_asd.progress.Silent.note", lambda self, text: notes.append(text))
    assert tune(data, tmp_path / "run", make_system(), mlflow="http://here:5000").changed
    told = [note for note in notes if "mlflow" in note]
    assert len(told) == 1
    assert "cannot be written to any more (gone); the training goes on, and" in told[0]


def test_what_is_missing_is_told_with_the_command_that_installs_it(
    data, tmp_path, make_system, monkeypatch
):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for name in tracking.SETTINGS:
        monkeypatch.setitem(os.environ, name, "true")
    with pytest.raises(TrainingError, match=r"pip install 'dcase-asd\[mlflow\]'`, or leave out"):
        tune(data, tmp_path / "run", make_system(), mlflow="mlruns")
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow and of what it is made of
def test_mlflow_itself_takes_it(data, tmp_path, make_system, monkeypatch):
    pytest.importorskip("mlflow", reason="MLflow is an extra and not installed")
    from mlflow.tracking import MlflowClient

    for name in tracking.SETTINGS:
        monkeypatch.setitem(os.environ, name, "true")
    folder, run = tmp_path / "ml runs", tmp_path / "run"
    tune(data, run, make_system(steps=4, eval_every=0), mlflow=str(folder))
    client = MlflowClient(folder.as_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'dcase-asd'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.params["train.steps"] == "4"
    for name in {name for _, name, _ in history(run)}:
        sent = [(each.step, name, each.value)
                for each in client.get_metric_history(found.info.run_id, name)]  # fmt: skip
        assert sent == [each for each in history(run) if each[1] == name]
    (artifact,) = client.list_artifacts(found.info.run_id)
    assert artifact.path == "recipe.toml"
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="file: cannot be written to"):
        tune(data, tmp_path / "other", make_system(), mlflow=str(tmp_path / "file"))
