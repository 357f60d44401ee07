"""Fine-tuning learns: the loss falls and the classes are told apart."""

import json

import pytest

from dcase_asd.challenge.miniature import write_miniature
from dcase_asd.challenge.miniature_plan import ClipCounts
from dcase_asd.steps.finetune import finetune
from dcase_asd.steps.prepare import prepare


@pytest.mark.slow
def test_a_random_network_learns_the_miniature_s_classes(tmp_path, make_system):
    data = tmp_path / "data"
    write_miniature(data, editions=["dcase2025"], counts=ClipCounts(12, 4, 1, 2))
    prepare(data)
    system = make_system(
        options={"width": 64}, steps=800, batch_size=24, accumulation=1, warmup=30,
        learning_rate=5e-3, seconds=2.0, embedding=64, time_mask=10, frequency_mask=3,
        eval_every=0, save_every=0, keep=1,
    )  # fmt: skip
    finetune(data, tmp_path / "run", system, device="cpu", workers=0)
    journal = (tmp_path / "run" / "train.jsonl").read_text()
    lines = [json.loads(line) for line in journal.splitlines()]
    losses = [line["loss"] for line in lines]
    accuracy = [line["accuracy"] for line in lines]
    for i in range(0,800,100): print(i, sum(accuracy[i:i+100])/100, sum(losses[i:i+100])/100, sum(l["clips_per_second"] for l in lines[i:i+100])/100, sum(l["waited"] for l in lines[i:i+100])/100)
    print(sum(accuracy[-100:])/100, sum(losses[:20])/20, sum(losses[-100:])/100)
    assert sum(losses[-100:]) / 100 < 0.2 * sum(losses[:20]) / 20
    assert sum(accuracy[-100:]) / 100 > 0.9
