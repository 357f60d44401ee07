"""Small data folders and small systems, for whole runs in seconds."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from dcase_asd.miniature.machines import ClipCounts
from dcase_asd.miniature.miniature import write_miniature
from dcase_asd.runs.runner import Setup
from dcase_asd.runs.submissions import Submissions, run_submissions

ROOT = Path(__file__).parents[2]
SUBMISSIONS = ROOT / "submissions"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny networks are slower on several threads, most of all beside other programs."""
    before, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    torch.set_num_threads(before)
    if variable is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = variable


@pytest.fixture(scope="session")
def small_miniature(tmp_path_factory):
    """All machines of 2025 with a handful of clips each."""
    data = tmp_path_factory.mktemp("miniature")
    counts = ClipCounts(source_train=4, target_train=2, test=2, supplemental=1)
    write_miniature(data, editions=("dcase2025",), counts=counts)
    return data


@pytest.fixture
def data(small_miniature, tmp_path):
    return Path(shutil.copytree(small_miniature, tmp_path / "data"))


@pytest.fixture
def contents():
    """Content of each file below a folder, locks and times aside."""

    def read(folder):
        return {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name not in (".lock", "train.jsonl")
        }

    return read


@pytest.fixture
def cut(tmp_path):
    """As `make_cut` makes it."""
    return make_cut(tmp_path / "submissions")


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Programs of Slurm that keep what they are sent; returns their folder."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    programs = {
        "srun": "exit 0",
        "sbatch": f"""
            if grep -q partition=nope "$1"; then
                echo 'sbatch: error: invalid partition specified: nope' >&2
                echo 'sbatch: error: Batch job submission failed: Invalid partition' >&2
                exit 1
            fi
            number=$(( $(cat {folder}/count 2>/dev/null || echo 100) + 1 ))
            echo $number > {folder}/count
            cp "$1" {folder}/$number.sh
            echo "Submitted batch job $number"
        """,
        "squeue": f"cat {folder}/state 2>/dev/null",
        "scontrol": f'echo "$@" >> {folder}/requeued',
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@dataclass(frozen=True)
class Finished:
    """A cut of the report's submission that was run: its folders, and what running it gave."""

    folder: Path
    forms: list[Path]
    setup: Setup
    out: Path
    done: Submissions


@pytest.fixture(scope="session")
def finished(small_miniature, tmp_path_factory):
    """A cut of the report's submission, run once."""
    folder = tmp_path_factory.mktemp("finished")
    cut = make_cut(folder / "submissions")
    data = Path(shutil.copytree(small_miniature, folder / "data"))
    setup = Setup(data, folder / "runs", "cpu", 0, cut / "mini.toml")
    forms, out = [cut / "submission_1.toml", cut / "submission_2.toml"], folder / "dist"
    return Finished(folder, forms, setup, out, run_submissions(forms, setup, out))


def make_cut(folder):
    """A cut of the report's recipes: three single systems, three fusions, two forms, an overlay."""
    (folder / "systems").mkdir(parents=True)
    for name in ("beats_01", "beats_07"):
        shutil.copy(SUBMISSIONS / "systems" / f"{name}.toml", folder / "systems")
    shutil.copytree(SUBMISSIONS / "systems" / "baseline", folder / "systems" / "baseline")
    (folder / "systems" / "baseline.toml").write_text(
        'name = "baseline"\n[fusion]\nsystems = ["baseline/fisher", "beats_01"]\nmethod = "mean"\n'
    )
    (folder / "fusions").mkdir()
    systems = '["../systems/baseline", "../systems/beats_01", "../systems/beats_07"]'
    for name, choice in (("best", '"best:1"'), ("robust", '"robust:1"')):
        (folder / "fusions" / f"{name}.toml").write_text(
            f'name = "{name}"\n[fusion]\nsystems = {systems}\nalways = ["baseline"]\n'
            f'select = {choice}\nmethod = "grid"\n'
        )
    for number, fusion in ((1, "best"), (2, "robust")):
        form = (SUBMISSIONS / f"submission_{number}.toml").read_text()
        start = form.index('system = "')
        end = form.index("\n", start)
        text = form[:start] + f'system = "fusions/{fusion}.toml"' + form[end:]
        (folder / f"submission_{number}.toml").write_text(text)
    mini = (SUBMISSIONS / "mini.toml").read_text()
    for before, after in (
        ('["dcase2020", "dcase2024", "dcase2025"]', '["dcase2025"]'),
        ("steps = 120", "steps = 8"),
        ("eval_every = 30", "eval_every = 2"),
        ("save_every = 30", "save_every = 2"),
        ("warmup = 20", "warmup = 2\nbatch_size = 8"),
        ("encoder_layers = 2", "encoder_layers = 1"),
        ("resamples = 20", "resamples = 2"),
    ):
        assert before in mini
        mini = mini.replace(before, after)
    (folder / "mini.toml").write_text(mini)
    return folder
