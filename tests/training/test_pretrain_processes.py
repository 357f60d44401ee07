"""Pre-training by several processes, started as the manual says."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from pretraining_settings import SHORT

from dcase_asd.recipe.toml import recipe_text
from dcase_asd.registry import PRETRAINING_RECIPE, load_backbone
from dcase_asd.training.pretrain import pretrain
from dcase_asd.training.pretraining_student import student
from dcase_asd.training.updates import Updates

RECIPE = dataclasses.replace(SHORT, updates=6, save_every=2)
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
"""Without a GPU `--multi_gpu` starts as many processes all the same, connected by gloo."""
KILLED = """
import os, sys
from dcase_asd.cli.app import app
from dcase_asd.training.pretraining_engine import PretrainingEngine

update, forward = PretrainingEngine.update, PretrainingEngine._forward
rank = int(os.environ["RANK"])

def killed(engine, number, batches):
    if number == 3:
        os._exit(9)
    return update(engine, number, batches)

def telling(engine, batch):
    with open(os.path.join(os.environ["TOLD"], f"{rank}.txt"), "a") as file:
        print(batch.number, *batch.files, sep="|", file=file)
    return forward(engine, batch)

PretrainingEngine.update, PretrainingEngine._forward = killed, telling
import dcase_asd.cli
app(sys.argv[1:])
"""


def launch(program, audio, run, **environment):
    """Pre-train in two processes; returns their exit status and what they said."""
    run.mkdir(exist_ok=True)
    (run / PRETRAINING_RECIPE).write_text(recipe_text(RECIPE))
    flags = ["pretrain", "--audio", audio, "--run", run, "--device", "cpu", "--workers", "0"]
    done = subprocess.run(
        [*LAUNCH, *program, *map(str, flags)],
        check=False, capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_two_processes_share_the_clips_and_end_where_one_does_also_when_killed(audio, tmp_path):
    one, two, killed = (tmp_path / name for name in ("one", "two", "killed"))
    pretrain([audio], one, RECIPE, device="cpu", workers=0)
    documented = ["-m", "dcase_asd"]
    status, said = launch(documented, audio, two)
    assert status == 0, said
    assert said.count(f"{two}: pre-trained; embed with") == 1  # only one of them speaks
    assert "find_unused_parameters" not in said
    (tmp_path / "program.py").write_text(KILLED)
    status, _ = launch([str(tmp_path / "program.py")], audio, killed, TOLD=str(tmp_path))
    assert status
    assert not (killed / "pretrained.safetensors").exists()
    status, said = launch(documented, audio, killed)
    assert status == 0, said
    again, undisturbed = (each / "pretrained.safetensors" for each in (killed, two))
    assert again.read_bytes() == undisturbed.read_bytes()

    told = [(tmp_path / f"{rank}.txt").read_text().splitlines() for rank in (0, 1)]
    numbers = [[int(line.split("|")[0]) for line in lines] for lines in told]
    assert numbers == [[0, 2, 4], [1, 3, 5]]
    first, second = (set(lines[0].split("|")[1:]) for lines in told)
    assert (len(first), len(second), first & second) == (3, 3, set())

    start = student(RECIPE)[0].state_dict()
    alone, together = (load_backbone("fisher", run).state_dict() for run in (one, two))
    for name, value in alone.items():
        moved = float((value - start[name]).norm())
        if moved and not name.endswith("qkv.bias"):  # keys' biases have gradients of rounding only
            assert float((together[name] - value).norm()) < 0.02 * moved, name
    losses = [
        [json.loads(line)["loss"] for line in (run / "train.jsonl").read_text().splitlines()]
        for run in (one, two)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_see_every_batch_once(processes):
    def numbers(process, first):
        engine = SimpleNamespace(
            settings=dataclasses.replace(SHORT, accumulation=4, updates=5),
            batches_of_update=4 // processes,
            accelerator=SimpleNamespace(process_index=process),
        )
        return Updates.numbers(engine, first)

    shares = [numbers(process, 0) for process in range(processes)]
    assert sorted(itertools.chain(*shares)) == list(range(20))
    for update in range(5):
        own = 4 // processes
        of_update = [each[update * own : (update + 1) * own] for each in shares]
        assert sorted(itertools.chain(*of_update)) == list(range(4 * update, 4 * update + 4))
    assert [numbers(process, 3) for process in range(processes)] == [
        each[3 * 4 // processes :] for each in shares
    ]
