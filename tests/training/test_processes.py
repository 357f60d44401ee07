"""Several processes share the batches of an update."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import launch_command_parser as accelerate_parser
from safetensors.torch import load_file
from torch.distributed.run import get_args_parser as torchrun_parser

from dcase_asd import cli
from dcase_asd.embeddings.kept import checkpoints_folder, read_kept
from dcase_asd.errors import TrainingError
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.registry import load_backbone
from dcase_asd.training.data import read_training_set
from dcase_asd.training.faults import names_lost_processes
from dcase_asd.training.finetune import finetune
from dcase_asd.training.model import TrainingModel

ROOT = Path(__file__).parents[2]

ONLY_ROUNDING = (
    "backbone.k_proj.bias", "head.pool.expand.bias", "head.pool.norm.bias",
)  # fmt: skip
"""What moves all scores before a softmax alike has a gradient that is (almost) 0 but for rounding,
which AdamW makes as large as any other."""

PROGRAM = """
import atexit
import os
import sys
from pathlib import Path

def tell_threads():
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    print("threads at the end:", sorted(names))

atexit.register(tell_threads)  # what is registered later runs before
from dcase_asd.errors import TrainingError
from dcase_asd.training.finetune import finetune
from dcase_asd.recipe.system import read_system
from dcase_asd.training.engine import Engine

update, calls = Engine.update, []

def killed(*arguments):
    calls.append(None)
    if len(calls) == int(os.environ["KILLED_IN"]):
        os._exit(9)
    return update(*arguments)

Engine.update = killed
try:
    finetune(Path(sys.argv[1]), Path(sys.argv[2]), read_system(Path(sys.argv[3])),
             device="cpu", workers=0)
except TrainingError as error:
    print(f"error: {error}")
"""


def launch(folder, *arguments, killed_in=0):
    """Run the program in two processes, killed in an update from 1; returns what they print."""
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*command, str(folder / "program.py"), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "KILLED_IN": str(killed_in)},
        timeout=300,
    )
    assert (done.returncode != 0) == bool(killed_in), done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_processes_end_where_one_does_also_when_they_were_killed(data, tmp_path, make_system):
    system = make_system(accumulation=4, steps=24, eval_every=12, save_every=12, mixup=0.2)
    finetune(data, tmp_path / "one", system, device="cpu", workers=0)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_text(system))
    said = launch(tmp_path, data, tmp_path / "two", recipe)
    # A thread that still talks to the other process could abort this one at its end.
    assert "threads at the end" in said
    assert "gloo" not in said
    launch(tmp_path, data, tmp_path / "killed", recipe, killed_in=5)
    launch(tmp_path, data, tmp_path / "killed", recipe)
    for path in sorted(checkpoints_folder(tmp_path / "two").glob("step_*")):
        again = checkpoints_folder(tmp_path / "killed") / path.name
        assert again.read_bytes() == path.read_bytes()
    one, two = (read_kept(tmp_path / name) for name in ("one", "two"))
    assert [each.file for each in two.checkpoints] == [each.file for each in one.checkpoints]
    trained = make_trainee(data, system).named_parameters()
    start = {name.removeprefix("model."): value.detach() for name, value in trained}
    files = [
        checkpoints_folder(tmp_path / name) / one.checkpoints[-1].file for name in ("one", "two")
    ]
    first, second = (load_file(file) for file in files)
    for name, value in start.items():
        if name not in ONLY_ROUNDING:
            change, difference = first[name] - value, second[name] - first[name]
            assert float(difference.norm() / change.norm()) < 0.01, name


def make_trainee(data, system):
    """The model before its first update."""
    chosen = read_training_set(data, system.train)
    return TrainingModel(load_backbone("tiny"), chosen.sub_centers(system.train), system.train)


@pytest.mark.slow
def test_batches_that_cannot_be_shared_out_evenly_are_told(data, tmp_path, make_system):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_text(make_system(accumulation=1)))
    said = launch(tmp_path, data, tmp_path / "run", recipe)
    assert "accumulation: 1 batches cannot be shared out evenly to 2 processes" in said


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Read error"),
        torch.distributed.DistBackendError("NCCL communicator was aborted"),
    ],
)
def test_another_process_that_ended_is_told(error):
    said = r"^another of the 2 processes has ended[^\n]*was$"
    with pytest.raises(TrainingError, match=said), names_lost_processes(2):
        raise error
    with pytest.raises(RuntimeError) as raised, names_lost_processes(1):
        raise error
    assert raised.value is error
    with pytest.raises(RuntimeError, match="shapes"), names_lost_processes(2):
        raise RuntimeError("shapes")


def documented():
    """The lines of the README and of `finetune --help` that start several processes."""
    text = (ROOT / "README.md").read_text(encoding="utf-8") + (cli.finetune.finetune.__doc__ or "")
    return [
        each.split() for each in re.findall(r"`((?:torchrun|accelerate) [^`]*) finetune …`", text)
    ]


def test_documented_launchers_hand_every_flag_of_finetune_on():
    flags = ["finetune", "--data", "d", "--run", "r", "--plugin", "p", "--no-with-domain"]
    programs = set()
    for program, *arguments in documented():
        programs.add(program)
        if program == "torchrun":
            given = torchrun_parser().parse_args([*arguments, *flags])
        else:
            given = accelerate_parser().parse_args([*arguments[1:], *flags])
        assert (given.training_script, given.training_script_args) == ("dcase_asd", flags)
    assert programs == {"torchrun", "accelerate"}


@pytest.mark.slow
def test_the_documented_torchrun_trains(data, tmp_path, make_system):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_text(make_system(steps=2, eval_every=0)))
    ((_, *arguments),) = {tuple(each) for each in documented() if each[0] == "torchrun"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    flags = ["--data", data, "--recipe", recipe, "--run", tmp_path / "run", "--device", "cpu"]
    done = subprocess.run(
        [*torchrun, *arguments, "finetune", *flags],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = f"{tmp_path / 'run'}: fine-tuned; scored with step_0000002.safetensors\n"
    assert (done.returncode, done.stdout) == (0, said), done.stderr
