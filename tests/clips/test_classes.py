import pandas as pd
import pytest

from dcase_asd.clips.classes import TrainingClass, class_label, sub_centers, training_classes
from dcase_asd.editions.edition import load_edition


@pytest.mark.parametrize(
    ("edition", "attributes", "label", "centers"),
    [
        ("dcase2020", "", "fan/02/dcase2020", 16),
        ("dcase2021", "strength_1", "fan/02/dcase2021", 16),
        ("dcase2022", "m-n_W", "fan/02/m-n_W/dcase2022", 1),
        ("dcase2023", "m-n_W", "fan/02/m-n_W/dcase2023", 1),
        ("dcase2024", "m-n_W", "fan/02/m-n_W/dcase2024", 1),
        ("dcase2024", "", "fan/02/dcase2024", 16),
        ("dcase2025", "", "fan/02/dcase2025", 16),
        ("dcase2026", "", "fan/02/dcase2026", 16),
        ("my_fans", "", "fan/02/my_fans", 16),
    ],
)
def test_classes_and_sub_centers_follow_the_reports_rule(edition, attributes, label, centers):
    facts = load_edition(edition)
    assert class_label(facts, "fan", "02", attributes) == label
    assert sub_centers(facts, attributes) == centers


def test_classes_come_from_train_clips_only():
    rows = [
        ("dcase2025", "train", "machine", "vel_1", "fan/00/vel_1/dcase2025"),
        ("dcase2025", "train", "machine", "vel_1", "fan/00/vel_1/dcase2025"),
        ("dcase2025", "test", "machine", "damage1", ""),
        ("dcase2025", "supplemental", "noise", "", ""),
        ("dcase2020", "train", "machine", "", "fan/00/dcase2020"),
    ]
    clips = pd.DataFrame(rows, columns=["edition", "split", "role", "attributes", "label"])
    assert training_classes(clips) == [
        TrainingClass("fan/00/dcase2020", 16, 1),
        TrainingClass("fan/00/vel_1/dcase2025", 1, 2),
    ]
