"""Fine-tuning learns: the loss falls and the classes are told apart."""

import json

import pytest

from dcase_asd.clips.prepare import prepare
from dcase_asd.miniature.machines import ClipCounts
from dcase_asd.miniature.miniature import write_miniature
from dcase_asd.training.finetune import finetune

UPDATES, SHOWN = 500, 50


@pytest.mark.slow
def test_a_random_network_learns_the_classes_of_the_miniature(tmp_path, make_system):
    data = tmp_path / "data"
    write_miniature(data, editions=["dcase2025"], counts=ClipCounts(12, 4, 1, 2))
    prepare(data)
    system = make_system(
        options={"width": 64, "dropout": 0.0}, steps=UPDATES, batch_size=24, accumulation=1,
        warmup=30, learning_rate=5e-3, seconds=2.0, embedding=64, time_mask=10, frequency_mask=3,
        eval_every=0, save_every=0, keep=1,
    )  # fmt: skip
    finetune(data, tmp_path / "run", system, device="cpu", workers=0)
    history = (tmp_path / "run" / "train.jsonl").read_text()
    lines = [json.loads(line) for line in history.splitlines()]
    loss = [line["loss"] for line in lines]
    accuracy = [line["accuracy"] for line in lines]
    assert sum(loss[-SHOWN:]) < 0.2 * sum(loss[:SHOWN])
    assert sum(accuracy[-SHOWN:]) / SHOWN > 0.9
