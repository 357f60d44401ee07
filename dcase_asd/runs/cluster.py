"""Systems as jobs of a cluster, through submitit: trainings, embeddings, then fusions and packages.

Each system is a job that trains it and one that embeds and scores it; a last job fuses, evaluates
and packages. A job waits for those that it needs. One that is preempted or out of time is told by a
signal: its training saves and ends, the job is queued again and goes on where it was.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from dcase_asd.embeddings.kept import read_kept
from dcase_asd.errors import JobError, LaunchError
from dcase_asd.files import read_json, write_json
from dcase_asd.recipe.fusion import FusedSystem
from dcase_asd.runs.recipes import Node, is_submission
from dcase_asd.runs.runner import Setup
from dcase_asd.runs.side_by_side import Fleet, choose_systems, command_flags

Launcher = Literal["slurm", "local"]

FOLDER = ".jobs"
"""Folder of what jobs say and are made of, below that of the runs."""
REST = "fusions-and-packages"
"""Name of the job that comes after all systems."""
GRACE = 120
"""Seconds before its end that a job is told of it: an update, and writing its state."""
REQUEUED = 20
"""How often a job may run out of time, or be preempted, and is queued again."""
STOPPED = (128 + signal.SIGINT, -signal.SIGTERM, -signal.SIGUSR1, -signal.SIGUSR2)
"""Exit status of a command that a signal has stopped, with what it did saved."""
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d\d))?(?::(\d\d))?")


@dataclass(frozen=True)
class Cluster:
    """Where jobs go and what each of them gets.

    Attributes:
        launcher: ``slurm``, or ``local`` for processes of this machine.
        partition: Of Slurm; empty for its default.
        gpus: GPUs of a training, on each of its nodes.
        nodes: Machines of a training.
        minutes: After which a job is ended, and queued again.
        options: Further ones of sbatch, such as ``account``.
    """

    launcher: Launcher
    partition: str = ""
    gpus: int = 1
    nodes: int = 1
    minutes: int = 1440
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A job: its name, its command, what it gets on each node, and which jobs it comes after."""

    name: str
    words: tuple[str, ...]
    gpus: int
    nodes: int
    after: tuple[str, ...] = ()
    cpus: int = 1


@dataclass(frozen=True)
class Queued:
    """A job that is queued, or was before; `script` is what would be sent in a dry run."""

    job: Job
    identity: str
    new: bool
    script: str = ""


def read_minutes(text: str) -> int:
    """Minutes of a time as Slurm takes it: ``90``, ``12:30``, ``24:00:00``, ``2-00:00:00``.

    Raises:
        LaunchError: It is no such time.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise LaunchError(
            f"--time: {text!r} is no time; give minutes, hours:minutes:seconds such as 24:00:00, "
            "or days-hours:minutes:seconds"
        )
    days, *parts = found.groups()
    first, second, third = (int(part or 0) for part in parts)
    if days is None and parts[2] is None:  # minutes, or minutes:seconds
        minutes = first + (second > 0)
    else:
        minutes = (int(days or 0) * 24 + first) * 60 + second + (third > 0)
    if not minutes:
        raise LaunchError(f"--time: {text!r} leaves a job no minute; give more")
    return minutes


def plan_jobs(
    recipes: Sequence[Path], setup: Setup, fleet: Fleet, cluster: Cluster, out: Path
) -> list[Job]:
    """The jobs of recipes and forms, each after those that it needs.

    Raises:
        RecipeError: A recipe is wrong, or there is no such system.
    """
    systems = choose_systems(recipes, setup, fleet.only)
    jobs = [job for node in systems for job in _jobs_of(node, setup, fleet, cluster)]
    tops = [each for each in recipes if is_submission(each) or _fuses(each, systems)]
    if tops and not fleet.only:
        words = ["run", *map(str, tops), *command_flags(setup), "--out", str(out), "--prepared"]
        words += ["--overwrite"] if setup.overwrite else []
        after = tuple(node.name for node in systems)
        jobs.append(Job(REST, (*PROGRAM, *words), 0, 1, after, 1 + setup.workers))
    return jobs


PROGRAM = (sys.executable, "-m", "dcase_asd")


def _fuses(recipe: Path, systems: Sequence[Node]) -> bool:
    return all(recipe.resolve() != node.path.resolve() for node in systems)


def _jobs_of(node: Node, setup: Setup, fleet: Fleet, cluster: Cluster) -> list[Job]:
    flags = command_flags(setup, node)
    train = None if isinstance(node.recipe, FusedSystem) else node.recipe.train
    kept = read_kept(setup.runs / node.name)
    one, cpus = min(cluster.gpus, 1), 1 + setup.workers  # a process, and those that read for it
    words = (*PROGRAM, "run", str(node.path), *flags, "--prepared", "--brief")
    before = tuple(member.name for member in node.members)
    if train is None or (kept is not None and kept.finished):
        return [Job(node.name, words, one, 1, before, cpus)]
    training = ("run", str(node.path), *flags, "--train-only")
    name = f"{node.name}-train"
    if fleet.launch:
        launched = (*shlex.split(fleet.launch), "-m", "dcase_asd", *training)
    elif cluster.gpus * cluster.nodes > 1:
        launched = (TORCHRUN, "-m", "dcase_asd", "--", *training)
    else:
        launched = (*PROGRAM, *training)
    return [
        Job(name, launched, cluster.gpus, cluster.nodes, before, cpus * max(cluster.gpus, 1)),
        Job(node.name, words, one, 1, (name,), cpus),
    ]


OWN = {
    "partition": "--partition", "time": "--time", "nodes": "--nodes", "gpus": "--gpus",
    "gpus-per-node": "--gpus", "gpus-per-task": "--gpus", "job-name": "", "dependency": "",
    "kill-on-invalid-dep": "", "signal": "", "requeue": "", "no-requeue": "", "open-mode": "",
    "output": "", "error": "", "array": "", "ntasks": "", "ntasks-per-node": "",
}  # fmt: skip
"""Options of sbatch that jobs have already -> the flag that sets them, where there is one."""

TORCHRUN = "torchrun"
"""First word of a command for several GPUs; where it runs it becomes `torchrun_words`."""


def torchrun_words(gpus: int, nodes: int, node: int, host: str, job: str) -> list[str]:
    """The words that start a process for each GPU of a node.

    Args:
        gpus: Of each node.
        nodes: How many.
        node: Which of them this is, from 0.
        host: Name of the first.
        job: Number of the job, which chooses a port that no other job on the host has.
    """
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(max(gpus, 1))]
    if nodes == 1:
        return [*words, "--standalone"]
    port = 20_000 + int(re.sub(r"\D", "", job) or 0) % 20_000
    return [
        *words, "--nnodes", str(nodes), "--node-rank", str(node),
        "--master-addr", host, "--master-port", str(port),
    ]  # fmt: skip


@dataclass
class Command:
    """What a job does: a command, stopped in time, and queued again to go on."""

    job: Job
    folder: str

    def __call__(self) -> None:
        """Run the command.

        Raises:
            CalledProcessError: It failed.
        """
        from submitit import JobEnvironment

        here, words = JobEnvironment(), list(self.job.words)
        if words[0] == TORCHRUN:
            words[:1] = torchrun_words(
                self.job.gpus, self.job.nodes, here.node, here.hostnames[0], here.job_id
            )
        print(shlex.join(words), flush=True)
        process = subprocess.Popen(words, cwd=self.folder)
        self._process, signalled = process.pid, list[int]()

        def pass_on(number: int, _frame: FrameType | None) -> None:
            signalled.append(number)
            self._ask_to_stop()

        before = signal.signal(signal.SIGTERM, pass_on)  # submitit would do nothing
        try:
            status = process.wait()
        finally:
            signal.signal(signal.SIGTERM, before)
        stopped = bool(signalled) or status in STOPPED
        # A job that was cancelled gets the same signal as one that is preempted; it is not RUNNING.
        if stopped and here.cluster == "slurm" and _state(here.job_id) == "RUNNING":
            requeue = ["scontrol", "requeue", here.job_id]
            if subprocess.run(requeue, check=False).returncode == 0:
                sys.exit(0)
            print("it was not queued again; the command that queued it goes on where it was")
        if status:
            raise subprocess.CalledProcessError(status, words)

    def _ask_to_stop(self) -> int:
        """Ask the command to save and end; returns its process, 0 where there is none yet."""
        process: int = getattr(self, "_process", 0)
        if process:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        return process

    def checkpoint(self) -> Any:
        """Stop the command, which saves; what is queued again is the same job."""
        from submitit.helpers import DelayedSubmission

        process = self._ask_to_stop()
        with suppress(ChildProcessError):
            # The wait above is interrupted, and holds a lock that another one would wait for.
            for _ in range(9 * GRACE):
                if not process or os.waitpid(process, os.WNOHANG)[0]:
                    break
                time.sleep(0.1)
        return DelayedSubmission(Command(self.job, self.folder))


def queue_jobs(
    jobs: Sequence[Job], runs: Path, cluster: Cluster, *, dry_run: bool = False
) -> list[Queued]:
    """Queue jobs; one that is queued already is not queued again.

    Jobs of ``local`` run one after another, and have ended when this returns.

    Args:
        jobs: Each after those that it needs.
        runs: Folder of the run folders; what the jobs say goes to `FOLDER` below it.
        cluster: Where they go.
        dry_run: Queue nothing, only make the scripts that would be sent.

    Raises:
        LaunchError: There is no submitit or no Slurm, or Slurm refuses a job.
        JobError: A local one failed.
    """
    folder = runs / FOLDER
    if cluster.launcher == "slurm" and shutil.which("sbatch") is None and not dry_run:
        raise LaunchError(
            "--launcher slurm: there is no sbatch on this machine; run this on a login node of "
            "the cluster, see the scripts with --dry-run, or take --launcher local"
        )
    known = read_json(folder / "jobs.json") or {}
    queued: dict[str, Queued] = {}
    for job in jobs:
        earlier = known.get(job.name, {}).get("job", "")
        if earlier and not dry_run and cluster.launcher == "slurm" and _is_queued(earlier):
            queued[job.name] = Queued(job, earlier, new=False)
            continue
        executor = _executor(job, folder, cluster, queued, dry_run)
        if dry_run:
            script = _script(executor, job, cluster)
            queued[job.name] = Queued(job, f"<{job.name}>", new=True, script=script)
            continue
        identity = _submit(executor, job, cluster)
        queued[job.name] = Queued(job, identity, new=True)
        known[job.name] = {"job": identity, "command": list(job.words)}
        write_json(folder / "jobs.json", known)
    return list(queued.values())


def _executor(
    job: Job, folder: Path, cluster: Cluster, queued: dict[str, Queued], dry_run: bool
) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise LaunchError(
            "--launcher: submitit is not installed; run `pip install submitit`"
        ) from error
    executor: Any
    if cluster.launcher == "local":
        executor = submitit.LocalExecutor(folder, max_num_timeout=REQUEUED)
        executor.update_parameters(
            timeout_min=cluster.minutes, gpus_per_node=job.gpus, signal_delay_s=GRACE
        )
        return executor

    class Slurm(submitit.SlurmExecutor):
        """Makes scripts on machines without Slurm, too."""

        @classmethod
        def affinity(cls) -> int:
            return 2 if dry_run else int(super().affinity())

    executor = Slurm(folder, max_num_timeout=REQUEUED)
    after = ":".join(queued[name].identity for name in job.after if name in queued)
    further: dict[str, Any] = {"requeue": True, **cluster.options}
    cpus = str(further.pop("cpus-per-task", job.cpus))
    if after:
        further["kill-on-invalid-dep"] = "yes"
    executor.update_parameters(
        job_name=job.name,
        time=cluster.minutes,
        nodes=job.nodes,
        ntasks_per_node=1,
        cpus_per_task=cpus,
        srun_args=["--cpus-per-task", cpus],  # which srun does not take from the job any more
        signal_delay_s=GRACE,
        additional_parameters=further,
        **({"partition": cluster.partition} if cluster.partition else {}),
        **({"gpus_per_node": job.gpus} if job.gpus else {}),
        **({"dependency": f"afterok:{after}"} if after else {}),
    )
    return executor


def _script(executor: Any, job: Job, cluster: Cluster) -> str:
    """What would be sent to the queue, and the command that the job runs."""
    ran = f"# runs: {shlex.join(job.words)}\n"
    if cluster.launcher == "local":
        return ran
    made = executor._make_submission_file_text(executor._submitit_command_str, "")  # noqa: SLF001
    return f"{made}{ran}"


def _submit(executor: Any, job: Job, cluster: Cluster) -> str:
    """Queue a job; returns its number.

    Raises:
        LaunchError: The queue refuses it, in the queue's words.
        JobError: It ran here and failed.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError

    try:
        queued = executor.submit(Command(job, str(Path.cwd())))
    except (FailedJobError, FailedSubmissionError) as error:
        lines = [line.removeprefix("sbatch: error: ") for line in str(error).splitlines() if line]
        hint = "; `sinfo -s` lists the partitions" if "partition" in str(error) else ""
        raise LaunchError(f"{job.name}: Slurm refuses it: {'; '.join(lines)}{hint}") from error
    identity = str(queued.job_id)
    if cluster.launcher == "local":
        try:
            queued.result()
        except UncompletedJobError as error:
            raise JobError(
                f"{job.name}: failed; {queued.paths.stderr} says why; the same command goes on "
                "where it was"
            ) from error
        finally:
            queued._process.communicate()  # noqa: SLF001 - ends after the result is there
    return identity


def _is_queued(identity: str) -> bool:
    """Whether Slurm has a job that waits, runs or is about to be queued again."""
    return _state(identity) not in ("", "COMPLETING")


def _state(identity: str) -> str:
    """What Slurm says that a job does; empty where it knows no such job."""
    done = subprocess.run(
        ["squeue", "-h", "-j", identity, "-o", "%T"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""
