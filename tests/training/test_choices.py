"""What the recipe's values change about a fine-tuning."""

import json
import sys
import types
from typing import ClassVar

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.utils import deterministic

from dcase_asd.backbone import Backbone, saved
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.kept import checkpoints_folder
from dcase_asd.errors import TrainingError
from dcase_asd.metrics.evaluate import evaluate_run_or_folder
from dcase_asd.recipe.training import Training
from dcase_asd.registry import load_backbone
from dcase_asd.scores.score import score
from dcase_asd.training import loop
from dcase_asd.training.engine import Engine, make_accelerator
from dcase_asd.training.finetune import finetune
from dcase_asd.training.model import TrainingModel, choose_parameters


def tune(data, run, system, **options):
    return finetune(data, run, system, device="cpu", workers=0, **options)


class Stopped(BaseException):
    """Ends a run at once, as a kill does."""


def test_fp16_without_a_gpu_is_told(data, tmp_path, make_system):
    with pytest.raises(TrainingError, match="fp16 needs a GPU; on a CPU choose bf16 or fp32"):
        tune(data, tmp_path / "run", make_system(precision="fp16"))


def test_frozen_parameters_stay_and_all_others_are_trained(data, tmp_path, make_system):
    done = tune(data, tmp_path / "run", make_system(freeze=("patch.*", "q_proj.weight")))
    start, found = load_backbone("tiny").state_dict(), load_file(done.scored[-1])
    stayed = {name for name in start if torch.equal(start[name], found[f"backbone.{name}"])}
    trained = {name for name, _ in load_backbone("tiny").named_parameters()}
    assert stayed & trained == {"patch.weight", "patch.bias", "q_proj.weight"}


def test_the_last_checkpoints_need_no_labels_and_the_mean_of_weights_is_one(
    data, tmp_path, make_system
):
    last = tune(data, tmp_path / "last", make_system(ensemble="last", keep=2, eval_every=4))
    assert [path.name for path in last.scored] == [
        "step_0000012.safetensors", "step_0000016.safetensors",
    ]  # fmt: skip
    run = tmp_path / "weights"
    mean = tune(data, run, make_system(ensemble="weights", keep=2, eval_every=8))
    (path,) = mean.scored
    assert path.name == "average.safetensors"
    parts = [load_file(checkpoints_folder(run) / each.file) for each in mean.checkpoints]
    for name, value in load_file(path).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (parts[0][name] + parts[1][name]) / 2)
    assert embed(data, run, "dcase2025", make_system(ensemble="weights", keep=2), "cpu").made == 3


def test_only_the_best_and_the_last_are_kept(data, tmp_path, make_system, monkeypatch):
    scores = iter([0.5, 0.9, 0.6, 0.4])
    monkeypatch.setattr(loop, "dev_score", lambda *_: next(scores))
    done = tune(data, tmp_path / "run", make_system(eval_every=4, keep=2))
    assert [each.step for each in done.checkpoints] == [8, 12, 16]
    assert [path.name for path in done.scored] == [
        "step_0000008.safetensors", "step_0000012.safetensors",
    ]  # fmt: skip
    on_disk = sorted(path.name for path in checkpoints_folder(tmp_path / "run").glob("step_*"))
    assert on_disk == [each.file for each in done.checkpoints]


def test_lora_trains_its_matrices_alone_and_is_merged_into_the_checkpoint(
    data, tmp_path, make_system
):
    run = tmp_path / "run"
    system = make_system(tune="lora", lora_rank=4, lora_targets=("q_proj", "v_proj"), eval_every=0)
    done = tune(data, run, system)
    start = load_backbone("tiny").state_dict()
    found = load_file(done.scored[0])
    assert {name.removeprefix("backbone.") for name in found if name.startswith("backbone.")} == {
        *start
    }
    changed = {name for name in start if not torch.equal(start[name], found[f"backbone.{name}"])}
    assert changed == {"q_proj.weight", "v_proj.weight"}
    embed(data, run, "dcase2025", system, "cpu")
    score(run, "dcase2025")
    report = evaluate_run_or_folder(run, "dcase2025", resamples=0)
    assert report.evaluation.official_score == pytest.approx(done.checkpoints[-1].score, abs=1e-6)
    with pytest.raises(TrainingError, match=r"called 'q_prj'; did you mean 'q_proj'"):
        tune(data, tmp_path / "x", make_system(tune="lora", lora_targets=("q_prj",)))


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "adacos", "mixup": 0.3, "noise_probability": 0.0},
        {"pooling": "mean", "sub_centered": "all", "balanced": True, "clip_norm": 1.0},
        {"tune": "lora", "lora_rank": 4, "lora_dropout": 0.1, "with_domain": True},
        {"precision": "bf16", "freeze": ("patch.*",), "head_multiplier": 3.0, "cycles": 2},
        {"plugin": "tiny-cls", "step_unit": "update", "steps": 4, "schedule": "constant"},
    ],
)
def test_other_settings_train_and_resume_as_well(data, tmp_path, make_system, monkeypatch, changes):
    system = make_system(**{"save_every": 2, "eval_every": 0} | changes)
    undisturbed = tune(data, tmp_path / "undisturbed", system)
    whole, calls = Engine.update, []

    def stopping(self, *arguments):
        calls.append(None)
        if len(calls) == 3:
            raise Stopped
        return whole(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "update", stopping)
        with pytest.raises(Stopped):
            tune(data, tmp_path / "run", system)
    done = tune(data, tmp_path / "run", system)
    assert done.scored[-1].read_bytes() == undisturbed.scored[-1].read_bytes()


class Convolutional(Backbone):
    """Has no linear layer."""

    name = "convolutional"

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv1d(3, 3, 1)


def test_lora_needs_linear_layers():
    with pytest.raises(TrainingError, match="'convolutional' has no linear layer for LoRA"):
        choose_parameters(Convolutional(), Training(tune="lora"))


@pytest.mark.parametrize("error", [RuntimeError, SafetensorError])
@pytest.mark.parametrize(("name", "file"), [("save_file", "step_"), ("save", "state")])
def test_a_full_disk_is_told_with_the_file_and_nothing_half_written_stays(
    data, tmp_path, make_system, monkeypatch, error, name, file
):
    def full(*_, **__):
        raise error("No space left on device\nmore")

    monkeypatch.setattr(saved if name == "save_file" else torch, name, full)
    run = tmp_path / "run"
    said = rf"{file}.*: cannot be written \(No space left on device\); mend that and run the same"
    with pytest.raises(TrainingError, match=said):
        tune(data, run, make_system(steps=2, eval_every=0))
    names = [path.name for path in checkpoints_folder(run).iterdir()]
    assert not [each for each in names if each.startswith(file)]


def test_the_scale_of_half_precision_gradients_is_resumed_where_it_was(data, make_system):
    system = make_system()
    settings = system.train
    cpu = torch.device("cpu")

    def engine():
        made = Engine(
            TrainingModel(load_backbone("tiny"), [1] * 6, settings), settings,
            make_accelerator(settings, "cpu"), cpu, 16000,
        )  # fmt: skip
        made.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        return made

    first, second = engine(), engine()
    first.accelerator.scaler.load_state_dict(
        first.accelerator.scaler.state_dict() | {"scale": 2.0, "_growth_tracker": 5}
    )
    second.restore(first.state())
    found = second.accelerator.scaler.state_dict()
    assert (found["scale"], found["_growth_tracker"]) == (2.0, 5)


class Board:
    """Stands for TensorBoard's writer, which need not be installed."""

    made: ClassVar[list] = []

    def __init__(self, folder, purge_step):
        self.folder, self.purge_step, self.values, self.closed = folder, purge_step, [], False
        self.made.append(self)

    def add_scalar(self, name, value, step):
        self.values.append((step, name, value))

    def close(self):
        self.closed = True


def test_tensorboard_gets_what_the_history_gets(data, tmp_path, make_system, monkeypatch):
    board = types.SimpleNamespace(SummaryWriter=Board)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    run = tmp_path / "run"
    tune(data, run, make_system(), tensorboard=True)
    (writer,) = Board.made
    assert (writer.folder, writer.purge_step) == (str(run / "tensorboard"), 1)
    assert writer.closed
    lines = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    assert writer.values == [
        (line["update"], name, value)
        for line in lines
        for name, value in line.items()
        if name not in ("update", "step")
    ]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="pip install tensorboard"):
        tune(data, tmp_path / "other", make_system(), tensorboard=True)
    assert not (tmp_path / "other" / "checkpoints").exists()


def test_tensorboard_itself_takes_it(data, tmp_path, make_system):
    pytest.importorskip("tensorboard", reason="TensorBoard is an option and not installed")
    run = tmp_path / "run"
    tune(data, run, make_system(steps=2, eval_every=0), tensorboard=True)
    assert list((run / "tensorboard").iterdir())


def test_training_leaves_torchs_global_state_alone(data, tmp_path, make_system):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    tune(data, tmp_path / "run", make_system(steps=2, eval_every=0))
    assert torch.equal(torch.rand(1), expected)
    assert not torch.are_deterministic_algorithms_enabled()
    assert deterministic.fill_uninitialized_memory


def test_the_center_loss_is_added_with_its_weight(make_system):
    settings = make_system(center_weight=0.5).train
    model = TrainingModel(load_backbone("tiny"), [1, 2], settings)
    embeddings, targets = torch.randn(3, settings.embedding), torch.tensor([0, 1, 1])
    together, _ = model._loss(embeddings, targets)
    alone, _ = model.classifier(embeddings, targets)
    torch.testing.assert_close(together, alone + 0.5 * model.centers(embeddings, targets))


def test_the_aggregating_head_normalizes_and_has_two_layers(data, tmp_path, make_system):
    run = tmp_path / "run"
    done = tune(data, run, make_system(head="aggregate", center_weight=0.1))
    found = {key: value.double() for key, value in load_file(done.scored[-1]).items()}
    opened = load_backbone("tiny", done.scored[-1])
    pooled = torch.randn(2, opened.head.dimension, dtype=torch.float64)
    centered = pooled - pooled.mean(1, keepdim=True)
    normal = centered / (centered.square().mean(1, keepdim=True) + 1e-5).sqrt()
    normal = normal * found["head.dense.0.weight"] + found["head.dense.0.bias"]
    hidden = normal @ found["head.dense.1.weight"].T + found["head.dense.1.bias"]
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    expected = hidden @ found["head.dense.3.weight"].T + found["head.dense.3.bias"]
    torch.testing.assert_close(opened.head.double().dense(pooled), expected)
    assert opened.dimension == expected.shape[1]
