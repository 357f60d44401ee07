import pandas as pd

from dcase_asd.clips.manifest import COLUMNS, take_inventory


def clip(machine, section, domain, split, attributes="", role="machine", frames=16000, **others):
    values = dict.fromkeys(COLUMNS, "") | {
        "edition": "dcase2025", "stage": "dev", "machine": machine, "section": section,
        "domain": domain, "split": split, "attributes": attributes, "role": role,
        "frames": frames, "sample_rate": 16000, "channels": 1,
    }  # fmt: skip
    return values | others


def test_clips_and_problems_are_counted_for_each_machine():
    clips = pd.DataFrame(
        [
            clip("fan", "00", "source", "train", "v_1"),
            clip("fan", "00", "source", "train", "v_2", frames=32000),
            clip("fan", "01", "target", "train", "v_2"),
            clip("fan", "01", "target", "test", condition="anomaly"),
            clip("fan", "01", "", "test"),
            clip("fan", "00", "", "supplemental"),
            clip("fan", "00", "", "supplemental", role="noise", sample_rate=8000, channels=2),
            clip("pump", "00", "", "train"),
        ]
    )
    problems = [
        "dcase2025t2/dev_data/raw/fan/train/x.wav",
        "dcase2025t2/eval_data/raw/ToyPet/test/y.wav",
    ]
    fan, pump, toy_pet = take_inventory(clips, problems)
    assert (fan.sections, fan.train, fan.domains, fan.test, fan.labelled) == (
        "00 01",
        3,
        "2/1",
        2,
        1,
    )
    assert (fan.attributes, fan.clean, fan.noise, fan.problems) == ("2", 1, 1, 1)
    assert (fan.seconds, fan.rates, fan.channels) == ("1-2", "8000/16000", "1/2")
    assert (pump.domains, pump.attributes, pump.seconds, pump.problems) == ("-", "none", "1", 0)
    assert (toy_pet.stage, toy_pet.machine, toy_pet.train, toy_pet.problems) == (
        "eval",
        "ToyPet",
        0,
        1,
    )
