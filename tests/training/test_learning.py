"""Fine-tuning learns: the loss falls and the classes are told apart."""

import json

import pytest
import torch

from dcase_asd.backbone.saved import read_tensors
from dcase_asd.clips.prepare import prepare
from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.store import read_embeddings
from dcase_asd.embeddings.sub_centers import sub_center_labels
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


def test_train_clips_of_a_fine_tuned_run_are_parted_by_its_own_sub_centers(
    data, tmp_path, make_system
):
    run = tmp_path / "run"
    system = make_system(sub_centered="all", sub_centers=2, keep=1)
    done = finetune(data, run, system, device="cpu", workers=0)
    embed(data, run, "dcase2025", system, "cpu")
    tensors, about = read_tensors(done.scored[0])
    centers = tensors["classifier.weight"].double()
    labels = list(json.loads(about["classes"]))
    found = sub_center_labels(run, "dcase2025").set_index(["machine", "file"])["cluster"]
    for machine in read_embeddings(run, "dcase2025"):
        rows = machine.clips[machine.clips["split"] == "train"]
        own = [i for i, label in enumerate(labels) if label.startswith(f"{machine.machine}/")]
        for index, file in rows["file"].items():
            vector = torch.from_numpy(machine.vectors[index].copy()).double()
            cosines = torch.cosine_similarity(vector, centers)
            rank = [cosines[at].item() for i in own for at in (2 * i, 2 * i + 1)]
            assert cosines[found[machine.machine, file]].item() == max(rank)
