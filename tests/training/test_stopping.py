"""A training that is asked to stop saves, ends, and goes on as if nothing had been."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import load_file

from dcase_asd.embeddings.kept import checkpoints_folder, read_kept
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.training.checkpoints import state_path
from dcase_asd.training.engine import BUFFERS, Engine
from dcase_asd.training.finetune import finetune
from dcase_asd.training.stopping import SIGNALS, StopSignals

PROGRAM = """
import os
import signal
import sys
from pathlib import Path

from dcase_asd.recipe.system import read_system
from dcase_asd.training.engine import Engine
from dcase_asd.training.finetune import finetune

update, calls = Engine.update, []

def signalled(*arguments):
    calls.append(None)
    if len(calls) == int(os.environ["STOPPED_IN"]) and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGUSR1)
    return update(*arguments)

Engine.update = signalled
try:
    finetune(Path(sys.argv[1]), Path(sys.argv[2]), read_system(Path(sys.argv[3])),
             device="cpu", workers=0)
except KeyboardInterrupt:
    print("stopped")
"""


def weights(run):
    """All tensors of the checkpoint of the last step."""
    return load_file(max(checkpoints_folder(run).glob("step_*.safetensors")))


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.fixture
def tune(data, tmp_path, plugin_path, short):
    """Fine-tune in this process; a signal may come in the middle of an update, from 1."""
    system = System("run", Embedding("tiny"), train=short)
    update = Engine.update

    def run(folder, stopped_in=0, by=signal.SIGTERM):
        calls = []

        def signalled(*arguments):
            calls.append(None)
            if len(calls) == stopped_in:
                os.kill(os.getpid(), by)
            return update(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Engine, "update", signalled)
            finetune(data, tmp_path / folder, system, device="cpu", workers=0)
        return tmp_path / folder

    return run


@pytest.mark.parametrize("by", SIGNALS)
def test_a_signal_saves_where_it_is_and_the_run_ends_as_an_undisturbed_one(tune, tmp_path, by):
    before = signal.getsignal(by)
    with pytest.raises(KeyboardInterrupt):
        tune("stopped", stopped_in=3, by=by)  # a state is due after updates 2 and 4
    assert signal.getsignal(by) == before
    state = torch.load(state_path(tmp_path / "stopped"), weights_only=True)
    assert state["updates"] == 3
    assert_same(weights(tune("stopped")), weights(tune("whole")))
    assert read_kept(tmp_path / "stopped").finished


def test_a_signal_in_the_last_update_changes_nothing(tune):
    run = tune("last", stopped_in=8)
    assert read_kept(run).finished


def test_a_second_signal_ends_the_process_as_ever_and_other_threads_may_train():
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert stop.asked
        assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
    noticed = []

    def train():
        with StopSignals() as stop:
            noticed.append(stop.asked)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert noticed == [False]


@pytest.mark.slow
def test_of_several_processes_one_signal_stops_all_and_each_gets_its_own_statistics_back(
    tmp_path, data, plugin_path, short
):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "recipe.toml").write_text(
        recipe_text(System("run", Embedding("tiny"), train=short))
    )

    def launch(run, stopped_in=0):
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
        command += ["--standalone", str(tmp_path / "program.py"), str(data), str(tmp_path / run)]
        done = subprocess.run(
            [*command, str(tmp_path / "recipe.toml")], check=True, capture_output=True, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "STOPPED_IN": str(stopped_in)},
        )  # fmt: skip
        return done.stdout

    assert launch("stopped", stopped_in=3).count("stopped") == 2
    state = torch.load(state_path(tmp_path / "stopped"), weights_only=True)
    first, second = state["engine"][BUFFERS]
    assert any(not torch.equal(first[name], second[name]) for name in first)
    launch("stopped")
    launch("whole")
    assert_same(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))
