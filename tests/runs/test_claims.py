"""Two machines that share a folder of runs never run the same system at once."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from dcase_asd.errors import ArtifactError
from dcase_asd.progress import Silent
from dcase_asd.recipe.fusion import FusedSystem, Fusion
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.runs import claims
from dcase_asd.runs.claims import FOLDER, Owner, claimed, owner_of
from dcase_asd.runs.recipes import Node
from dcase_asd.runs.runner import Runner, Setup


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(claims, "POLL", 0.02)
    monkeypatch.setattr(claims, "BEAT", 0.02)


def put_claim(runs, name, host="elsewhere", process=1, age=0.0):
    """A claim as another machine puts it there."""
    path = runs / FOLDER / f"{name}@{host}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"host": host, "space": "other", "process": process}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_claim_is_seen_while_it_lasts_and_leaves_nothing(tmp_path):
    with claimed(tmp_path, "a/b", Silent()):
        assert owner_of(tmp_path, "a/b").process == os.getpid()
        assert owner_of(tmp_path, "a") is None
        time.sleep(0.1)  # some beats
    assert owner_of(tmp_path, "a/b") is None
    assert list(tmp_path.iterdir()) == []


def test_another_machines_claim_is_waited_for_and_told_once(tmp_path):
    theirs = put_claim(tmp_path, "a", process=7)
    assert owner_of(tmp_path, "a") == Owner("elsewhere", 7)
    progress, looks = Silent(), []
    before = claims.time.sleep

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            theirs.unlink()

    claims.time.sleep = sleep
    try:
        with claimed(tmp_path, "a", progress):
            assert len(looks) == 3
    finally:
        claims.time.sleep = before
    assert progress.notes == ["process 7 on elsewhere runs a; waiting until that ends"]


@pytest.mark.parametrize("of", ["another machine that is silent", "a process that is gone", "junk"])
def test_a_claim_of_nobody_is_taken_away(tmp_path, of):
    if of.startswith("another"):
        theirs = put_claim(tmp_path, "a", age=claims.STALE + 1)
    else:
        theirs = put_claim(tmp_path, "a")
        content = {"host": claims.socket.gethostname(), "space": claims._space(), "process": 2**22}
        theirs.write_text(json.dumps(content) if of.startswith("a process") else "{")
    with claimed(tmp_path, "a", Silent()):
        assert not theirs.exists()


@pytest.fixture
def hears_interrupts():
    """What is started in the background ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_interrupts")
def test_a_process_whose_claim_was_taken_away_stops(tmp_path):
    progress = Silent()

    def lose_it():
        with claimed(tmp_path, "a", progress):
            (path,) = (tmp_path / FOLDER).iterdir()
            path.unlink()
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        lose_it()
    assert "was taken away" in progress.notes[0]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / FOLDER).write_text("a file is in the way")
    with pytest.raises(ArtifactError, match="cannot be written"), claimed(tmp_path, "a", Silent()):
        pass


def _work(folder, barrier):
    """Run a system as several machines would: each thinks that it is another one."""
    claims.socket.gethostname = lambda: f"machine {os.getpid()}"
    claims.POLL = 0.01
    barrier.wait()
    for _ in range(5):
        with claimed(folder, "a", Silent()):
            inside = folder / "inside"
            with inside.open("x"):  # fails where another one is inside
                time.sleep(0.002)
            inside.unlink()
            with (folder / "log").open("a") as log:
                log.write("x")


def test_machines_that_want_the_same_at_the_same_time_have_it_one_after_another(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    workers = [context.Process(target=_work, args=(tmp_path, barrier)) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
    assert [each.exitcode for each in workers] == [0] * 4
    assert (tmp_path / "log").read_text() == "x" * 20


def test_a_runner_does_first_what_nobody_else_runs(tmp_path, monkeypatch):
    made = []
    theirs = put_claim(tmp_path, "first")

    def single(self, node, editions):
        made.append(node.name)
        theirs.unlink(missing_ok=True)
        return True

    monkeypatch.setattr(Runner, "_run_single", single)
    monkeypatch.setattr(Runner, "_fuse", single)
    monkeypatch.setattr(claims, "POLL", 0.01)
    members = tuple(
        Node(Path(name), System(name, Embedding("spectral"))) for name in ("first", "second")
    )
    top = Node(Path("top"), FusedSystem("top", Fusion(("first", "second"))), members)
    Runner(Setup(tmp_path, tmp_path), Silent()).run(top, ("dcase2025",))
    assert made == ["second", "first", "top"]
