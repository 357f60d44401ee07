"""What a fusion found out is read back as it was written."""

import dataclasses
import json

import pytest

from dcase_asd.fusion.result import (
    FusionResult,
    LeaveOneMachineOut,
    LeftOutMachine,
    Robustness,
    WeightSpread,
    fusion_path,
    read_fusion,
    write_fusion,
)

LEFT_OUT = LeaveOneMachineOut(
    0.6,
    0.61,
    {
        "fan": LeftOutMachine(("a", "b"), (0.9, 0.1), 0.5),
        "valve": LeftOutMachine(("a",), None, 0.7),
    },
)
WHOLE = FusionResult(
    edition="dcase2025",
    fingerprint="0123",
    metric="2022",
    method="grid",
    searched="exhaustive lattice, step 0.1, 11 points",
    step=0.1,
    seed=0,
    standardisation="train",
    labels="file names of the development set",
    ground_truth=None,
    machines=("fan", "valve"),
    systems=("a", "b"),
    weights=(0.7, 0.3),
    selected_from=("a", "b", "c"),
    dev_score=0.65,
    leave_one_machine_out=LEFT_OUT,
    equal_weights=0.62,
    alone=(0.6, 0.5),
    alone_before=(0.6, 0.5, 0.4),
    bootstrap=WeightSpread(9, "exhaustive lattice", (0.6, 0.4), (0.1, 0.1), (0.5, 0.3), (0.7, 0.5)),
    robustness=Robustness(("a", "b", "c"), ("drill",), ((0.1,), (0.2,), (0.3,)), (0.1, 0.2, 0.3)),
    notes=("something to know",),
)
BARE = dataclasses.replace(
    WHOLE,
    **dict.fromkeys(
        (
            "step", "labels", "weights", "selected_from", "dev_score", "leave_one_machine_out",
            "equal_weights", "alone", "alone_before", "bootstrap", "robustness",
        )
    ),
    machines=(),
    notes=(),
)  # fmt: skip


FLOATS = dataclasses.replace(
    WHOLE,
    leave_one_machine_out=dataclasses.replace(
        LEFT_OUT, score=0.1 + 0.2, chosen=("a",), last_checkpoints=5e-324
    ),
    weights=(1 / 3, 2 / 3),
    dev_score=1.0,
    select="best:2",
)


@pytest.mark.parametrize("result", [WHOLE, BARE, FLOATS])
def test_a_result_is_read_back_as_it_was_written(tmp_path, result):
    write_fusion(tmp_path, result)
    assert read_fusion(tmp_path, "dcase2025") == result
    before = fusion_path(tmp_path, "dcase2025").read_bytes()
    write_fusion(tmp_path, read_fusion(tmp_path, "dcase2025"))
    assert fusion_path(tmp_path, "dcase2025").read_bytes() == before
    assert read_fusion(tmp_path, "dcase2024") is None


def test_a_result_of_before_selections_and_chosen_checkpoints_is_read(tmp_path):
    write_fusion(tmp_path, WHOLE)
    path = fusion_path(tmp_path, "dcase2025")
    content = json.loads(path.read_text())
    del content["select"]
    del content["leave_one_machine_out"]["chosen"]
    del content["leave_one_machine_out"]["last_checkpoints"]
    path.write_text(json.dumps(content))
    assert read_fusion(tmp_path, "dcase2025") == WHOLE


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("weights"),
        lambda content: content.update(unknown=1),
        lambda content: content.update(bootstrap=[1]),
        lambda content: content.update(leave_one_machine_out={"score": 1}),
        lambda content: content["robustness"].pop("mean"),
        lambda content: content.update(systems=None),
        lambda content: content.update(weights=["much", "little"]),
        lambda content: content["leave_one_machine_out"]["machines"].update(fan=0.5),
    ],
)
def test_a_result_of_another_form_is_none(tmp_path, change):
    write_fusion(tmp_path, WHOLE)
    path = fusion_path(tmp_path, "dcase2025")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    assert read_fusion(tmp_path, "dcase2025") is None
