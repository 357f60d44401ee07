"""Systems as jobs: scripts, dependencies, what is queued again, what a queue refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit

from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.kept import KeptCheckpoint, KeptCheckpoints, write_kept
from dcase_asd.errors import LaunchError
from dcase_asd.runs import cluster as module
from dcase_asd.runs.cluster import (
    FOLDER,
    REST,
    Cluster,
    Command,
    Job,
    plan_jobs,
    queue_jobs,
    read_minutes,
    torchrun_words,
)
from dcase_asd.runs.runner import Setup
from dcase_asd.runs.side_by_side import Fleet

ROOT = Path(__file__).parents[2]
SUBMISSIONS = ROOT / "submissions"
BEATS = SUBMISSIONS / "systems/beats_01.toml"
SPECTRAL = SUBMISSIONS / "examples/spectral.toml"
FORM = SUBMISSIONS / "examples/submission.toml"
SLURM = Cluster("slurm", "gpu", gpus=4, minutes=90, options={"account": "lab"})


@pytest.fixture
def setup(tmp_path):
    return Setup(tmp_path / "data", tmp_path / "runs", "cpu", 3)


def plan(recipes, setup, cluster=SLURM, only=(), launch=""):
    return plan_jobs(recipes, setup, Fleet(only=only, launch=launch), cluster, Path("dist"))


def test_a_system_is_trained_then_embedded_and_what_fuses_comes_last(setup):
    recipes = [SUBMISSIONS / "submission_1.toml"]
    jobs = {job.name: job for job in plan(recipes, replace(setup, values=("train.steps=8000",)))}
    assert jobs["beats_01-train"].words[:4] == ("torchrun", "-m", "dcase_asd", "--")
    assert jobs["beats_01-train"].words[-1] == "--train-only"
    assert "train.steps=8000" in jobs["beats_01-train"].words
    assert (jobs["beats_01-train"].gpus, jobs["beats_01"].gpus) == (4, 1)
    assert jobs["beats_01"].after == ("beats_01-train",)
    (*_, last) = jobs
    assert last == REST
    assert set(jobs[REST].after) == {name for name in jobs if "-" not in name}
    assert str(recipes[0]) in jobs[REST].words
    assert jobs[REST].gpus == 0


def test_what_is_trained_is_not_trained_again_and_chosen_systems_are_not_fused(setup):
    names = [
        job.name for job in plan([SUBMISSIONS / "submission_1.toml"], setup, only=("beats_01",))
    ]
    assert names == ["beats_01-train", "beats_01"]
    kept = KeptCheckpoints("x", (KeptCheckpoint("a", 1),), ("a",), finished=True)
    write_kept(setup.runs / "beats_01", kept)
    assert [job.name for job in plan([BEATS], setup)] == ["beats_01"]
    assert [job.name for job in plan([SPECTRAL], setup)] == ["spectral"]


def test_one_gpu_needs_no_launcher_and_another_one_is_taken(setup):
    (train, _) = plan([BEATS], setup, replace(SLURM, gpus=1))
    assert train.words[:3] == (sys.executable, "-m", "dcase_asd")
    (train, _) = plan([BEATS], setup, launch="accelerate launch --num_processes 4")
    assert train.words[:6] == ("accelerate", "launch", "--num_processes", "4", "-m", "dcase_asd")


def test_several_nodes_meet_at_the_first():
    assert torchrun_words(4, 1, 0, "here", "77")[-1] == "--standalone"
    words = torchrun_words(4, 2, 1, "node3", "77")
    assert words[words.index("--node-rank") + 1] == "1"
    assert words[words.index("--master-addr") + 1] == "node3"
    assert words[words.index("--master-port") + 1] == "20077"


def test_scripts_say_partition_time_gpus_and_what_they_wait_for(setup, tmp_path):
    jobs = plan([BEATS], setup)
    train, embed = queue_jobs(jobs, setup.runs, SLURM, dry_run=True)
    for line in ("partition=gpu", "time=90", "gpus-per-node=4", "account=lab", "requeue"):
        assert f"#SBATCH --{line}\n" in train.script
    assert "#SBATCH --signal=USR2@120" in train.script
    assert "#SBATCH --cpus-per-task=16\n" in train.script  # four processes with three readers each
    assert " --cpus-per-task 16 " in train.script.partition("\nsrun ")[2]
    assert "#SBATCH --cpus-per-task=4\n" in embed.script
    assert "dependency" not in train.script
    assert "#SBATCH --dependency='afterok:<beats_01-train>'" in embed.script
    assert "#SBATCH --kill-on-invalid-dep=yes" in embed.script
    assert "# runs: torchrun -m dcase_asd -- run" in train.script
    assert not setup.runs.exists()


def test_further_options_of_sbatch_stand_in_the_scripts_once(setup):
    cluster = replace(SLURM, options={"cpus-per-task": "40", "mem": "64G"})
    (script, _) = (each.script for each in queue_jobs(
        plan([BEATS], setup), setup.runs, cluster, dry_run=True
    ))  # fmt: skip
    assert re.findall("cpus-per-task[= ]([0-9]+)", script) == ["40", "40"]
    assert "#SBATCH --mem=64G\n" in script


def test_jobs_wait_for_the_numbers_of_others_and_are_not_queued_twice(setup, slurm):
    jobs = plan([BEATS, FORM], setup)
    queued = queue_jobs(jobs, setup.runs, SLURM)
    assert [each.identity for each in queued] == ["101", "102", "103", "104"]
    assert "--dependency=afterok:102\n" in (slurm / "103.sh").read_text()
    assert "--dependency=afterok:101:103\n" in (slurm / "104.sh").read_text()
    (slurm / "state").write_text("PENDING\n")
    again = queue_jobs(jobs, setup.runs, SLURM)
    assert [(each.identity, each.new) for each in again] == [
        (each.identity, False) for each in queued
    ]
    (slurm / "state").unlink()  # they have ended
    assert queue_jobs(jobs, setup.runs, SLURM)[0].identity == "105"


def test_a_queue_that_is_killed_half_way_goes_on_with_the_rest(setup, slurm, monkeypatch):
    jobs = plan([BEATS, FORM], setup)
    queue_jobs(jobs[:2], setup.runs, SLURM)
    (slurm / "state").write_text("RUNNING\n")
    assert [each.new for each in queue_jobs(jobs, setup.runs, SLURM)] == [False, False, True, True]


def test_a_partition_that_does_not_exist_is_told_in_one_line(setup, slurm):
    with pytest.raises(LaunchError) as raised:
        queue_jobs(plan([BEATS], setup), setup.runs, replace(SLURM, partition="nope"))
    assert str(raised.value) == (
        "beats_01-train: Slurm refuses it: invalid partition specified: nope; Batch job "
        "submission failed: Invalid partition; `sinfo -s` lists the partitions"
    )


def test_a_machine_without_slurm_or_submitit_says_what_to_do(setup, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LaunchError, match="there is no sbatch on this machine; run this on a logi"):
        queue_jobs(plan([BEATS], setup), setup.runs, SLURM)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(LaunchError, match="submitit is not installed; run `pip install submitit`"):
        queue_jobs(plan([BEATS], setup), setup.runs, Cluster("local"))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("10:30", 11), ("24:00:00", 1440), ("2-00:00:00", 2880), ("1-12", 2160)],
)
def test_times_are_read_as_slurm_reads_them(text, minutes):
    assert read_minutes(text) == minutes


@pytest.mark.parametrize("text", ["24h", "", "0", "1:2:3:4", "-5", "00:00:00"])
def test_a_time_that_is_none_is_told(text):
    with pytest.raises(LaunchError, match="--time: "):
        read_minutes(text)


def test_local_jobs_run_one_after_another_and_a_failure_names_its_log(data, tmp_path):
    prepare(data)
    setup = Setup(data, tmp_path / "runs", "cpu", 0)
    local = Cluster("local", gpus=0, minutes=5)
    (done,) = queue_jobs(plan([SPECTRAL], setup, local), setup.runs, local)
    assert (setup.runs / "spectral/scores/dcase2025.csv").is_file()
    log = setup.runs / FOLDER / f"{done.identity}_0_log.out"
    assert "official score" in log.read_text()
    fails = Job("bad", (sys.executable, "-c", "raise SystemExit(3)"), 0, 1)
    with pytest.raises(LaunchError, match=r"bad: failed; \S+_0_log.err says why; the same command"):
        queue_jobs([fails], setup.runs, local)


SAVES = """
import pathlib, signal, sys, time
state = pathlib.Path("state")
if state.exists():
    state.write_text("went on")
    sys.exit(0)
def save(*_):
    state.write_text("saved")
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
pathlib.Path("begun").write_text("")
time.sleep(60)
"""


def test_a_job_that_is_preempted_saves_and_goes_on_where_it_was(tmp_path):
    executor = submitit.LocalExecutor(tmp_path / "jobs", max_num_timeout=3)
    executor.update_parameters(timeout_min=5)
    command = Command(Job("a", (sys.executable, "-c", SAVES), 0, 1), str(tmp_path))
    job = executor.submit(command)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    controller = Path(f"/proc/{job.job_id}/task/{job.job_id}/children")
    os.kill(int(controller.read_text()), signal.SIGUSR2)  # as Slurm signals what a job runs
    job.result()
    assert (tmp_path / "state").read_text() == "went on"


PREEMPTED = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as torchrun ends
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""


def test_a_job_that_may_not_be_queued_again_fails_and_says_how_it_goes_on(
    tmp_path, slurm, monkeypatch, capsys
):
    here = SimpleNamespace(cluster="slurm", job_id="77", node=0, hostnames=["here"])
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: here)
    (slurm / "state").write_text("RUNNING\n")
    (slurm / "scontrol").write_text("#!/bin/bash\nexit 1\n")
    stopped = Job("a", (sys.executable, "-c", "raise SystemExit(130)"), 0, 1)
    with pytest.raises(subprocess.CalledProcessError):
        Command(stopped, str(tmp_path))()
    assert "it was not queued again; the command that queued it goes on" in capsys.readouterr().out


@pytest.mark.parametrize("program", ["raise SystemExit(130)", PREEMPTED])
@pytest.mark.parametrize(("state", "queued"), [("RUNNING", True), ("COMPLETING", False)])
def test_a_command_that_was_stopped_is_queued_again_unless_it_was_cancelled(
    tmp_path, slurm, monkeypatch, state, queued, program
):
    here = SimpleNamespace(cluster="slurm", job_id="77", node=0, hostnames=["here"])
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: here)
    (slurm / "state").write_text(f"{state}\n")
    stopped = Job("a", (sys.executable, "-c", program), 0, 1)
    kind = SystemExit if queued else subprocess.CalledProcessError
    with pytest.raises(kind):
        Command(stopped, str(tmp_path))()
    assert (slurm / "requeued").exists() == queued


def test_a_command_for_several_gpus_becomes_torchrun_where_it_runs(tmp_path, monkeypatch):
    here = SimpleNamespace(cluster="local", job_id="77", node=0, hostnames=["here"])
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: here)
    monkeypatch.setattr(module, "torchrun_words", lambda *of: [sys.executable, "-c", SHOWS])
    Command(Job("a", ("torchrun", "-m", "x"), 2, 1), str(tmp_path))()
    assert json.loads((tmp_path / "words").read_text()) == ["-m", "x"]
    assert Command(Job("a", ("x",), 2, 1), "here").checkpoint().function == Command(
        Job("a", ("x",), 2, 1), "here"
    )


SHOWS = "import json, pathlib, sys; pathlib.Path('words').write_text(json.dumps(sys.argv[1:]))"


@pytest.mark.parametrize(("by", "queued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_the_script_by_hand_passes_signals_on_and_queues_itself_again(tmp_path, slurm, by, queued):
    text = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```bash\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    for name in ("torchrun", "dcase-asd"):
        (slurm / name).write_text(f'#!/bin/bash\nexec {sys.executable} -c "$SAVES"\n')
        (slurm / name).chmod(0o755)
    (tmp_path / "script").write_text(script)
    environment = os.environ | {"SAVES": SAVES, "SLURM_JOB_ID": "77"}
    with subprocess.Popen(["bash", "script"], cwd=tmp_path, env=environment) as job:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        job.send_signal(by)
        assert job.wait(60) == (0 if queued else 143)
    assert (tmp_path / "state").read_text() == "saved"
    told = slurm / "requeued"
    assert (told.read_text() if told.exists() else "") == ("requeue 77\n" if queued else "")
    done = subprocess.run(["bash", "script"], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0
    assert (tmp_path / "state").read_text() == "went on"
