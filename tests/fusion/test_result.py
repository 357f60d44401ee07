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


@pytest.mark.parametrize("result", [WHOLE, BARE])
def test_a_result_is_read_back_as_it_was_written(tmp_path, result):
    write_fusion(tmp_path, result)
    assert read_fusion(tmp_path, "dcase2025") == result
    assert read_fusion(tmp_path, "dcase2024") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("weights"),
        lambda content: content.update(unknown=1),
        lambda content: content.update(bootstrap=[1]),
        lambda content: content.update(leave_one_machine_out={"score": 1}),
        lambda content: content["robustness"].pop("mean"),
    ],
)
def test_a_result_of_another_form_is_none(tmp_path, change):
    write_fusion(tmp_path, WHOLE)
    path = fusion_path(tmp_path, "dcase2025")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    assert read_fusion(tmp_path, "dcase2025") is None
