"""What the table of all submitted systems says beside its figures."""

import dataclasses

import pytest
from report_runs import fusion_result

from dcase_asd.runs.tables import Result, _summary


@pytest.mark.parametrize(
    ("last", "told"), [(None, "of a, b."), (0.7125, "of a, b; with last checkpoints it is 71.25.")]
)
def test_labels_that_chose_checkpoints_are_told_beside_what_is_left_out(last, told):
    fusion = fusion_result(("a", "b"))
    left_out = fusion.leave_one_machine_out
    assert "chose checkpoints" not in _summary([Result("X", [], fusion)], [])
    left_out = dataclasses.replace(left_out, chosen=("a", "b"), last_checkpoints=last)
    fusion = dataclasses.replace(fusion, leave_one_machine_out=left_out)
    summary = _summary([Result("X", [], fusion)], [])
    assert f"X: labels of left-out machines, too, chose checkpoints or weights {told}" in summary
