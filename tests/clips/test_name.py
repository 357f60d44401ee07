import pytest

from dcase_asd.clips.name import ClipName, parse_clip_name, parse_listed_name, parse_own_name
from dcase_asd.errors import ClipNameError


def clip(section, domain, split, condition, attributes="", role="machine"):
    return ClipName(section, domain, split, condition, attributes, role)


@pytest.mark.parametrize(
    ("folder", "name", "expected"),
    [
        # 2020: the section is the machine ID; split from the folder
        ("train", "normal_id_01_00000000.wav", clip("01", "", "train", "normal")),
        ("test", "normal_id_01_00000000.wav", clip("01", "", "test", "normal")),
        ("test", "anomaly_id_04_00000264.wav", clip("04", "", "test", "anomaly")),
        ("test", "id_05_00000000.wav", clip("05", "", "test", "")),
        # 2021
        (
            "train",
            "section_00_source_train_normal_0000_strength_1_ambient.wav",
            clip("00", "source", "train", "normal", "strength_1_ambient"),
        ),
        (
            "source_test",
            "section_00_source_test_anomaly_0000.wav",
            clip("00", "source", "test", "anomaly"),
        ),
        ("target_test", "section_05_target_test_0199.wav", clip("05", "target", "test", "")),
        # 2022 and later
        (
            "train",
            "section_02_target_train_normal_0007_car_A1_spd_28V_mic_1_noise_1.wav",
            clip("02", "target", "train", "normal", "car_A1_spd_28V_mic_1_noise_1"),
        ),
        (
            "train",
            "section_00_source_train_normal_0007_noAttribute.wav",
            clip("00", "source", "train", "normal"),
        ),
        ("test", "section_00_0000.wav", clip("00", "", "test", "")),
        # attribute strings that are no key and value pairs
        (
            "test",
            "section_00_source_test_normal_0012_vel_300_ac_0.03_.wav",
            clip("00", "source", "test", "normal", "vel_300_ac_0.03"),
        ),
        (
            "train",
            "section_00_source_train_normal_0000_pat_04_panel_bs-c.wav",
            clip("00", "source", "train", "normal", "pat_04_panel_bs-c"),
        ),
        (
            "train",
            "section_00_source_train_normal_0001_car_B1_spd_2_mic_2_mic_1.wav",
            clip("00", "source", "train", "normal", "car_B1_spd_2_mic_2_mic_1"),
        ),
        (
            "train",
            "section_00_target_train_normal_0990_weight00_BckgA.wav",
            clip("00", "target", "train", "normal", "weight00_BckgA"),
        ),
        (
            "test",
            "section_00_target_test_anomaly_0003_spd_1_damage1.wav",
            clip("00", "target", "test", "anomaly", "spd_1_damage1"),
        ),
        # 2025 supplements: every form that was seen
        (
            "supplemental",
            "section_00_machine_source_0000_noAttribute.wav",
            clip("00", "source", "supplemental", "normal"),
        ),
        ("supplemental", "section_00_machine_0001_.wav", clip("00", "", "supplemental", "normal")),
        (
            "supplemental",
            "section_00_noise_supplemental_normal_0000.wav",
            clip("00", "", "supplemental", "", role="noise"),
        ),
        (
            "supplemental",
            "section_00_source_supplemental_machine_0000.wav",
            clip("00", "source", "supplemental", "normal"),
        ),
        (
            "supplemental",
            "section_00_noise_0001_noAttribute.wav",
            clip("00", "", "supplemental", "", role="noise"),
        ),
    ],
)
def test_every_grammar_of_the_challenge_is_parsed(folder, name, expected):
    assert parse_clip_name(name, folder) == expected
    assert parse_clip_name(name.replace(".wav", ".FLAC"), folder) == expected


@pytest.mark.parametrize(
    ("folder", "name", "message"),
    [
        ("train", "recording1.wav", "no file-name grammar of the challenge fits"),
        ("train", "section_0_source_train_normal_0000.wav", "no file-name grammar"),
        ("train", "section_00_source_train_normal_000.wav", "no file-name grammar"),
        ("test", "section_00_test_0000.wav", "no file-name grammar"),
        (
            "train",
            "section_00_source_test_normal_0000.wav",
            "a test clip stands in the folder train/",
        ),
        (
            "test",
            "section_00_source_train_normal_0000.wav",
            "a train clip stands in the folder test/",
        ),
        (
            "source_test",
            "section_00_target_test_0000.wav",
            "a target clip stands in the folder source_test/",
        ),
        ("train", "anomaly_id_00_00000000.wav", "an anomaly stands in train/"),
        ("train", "section_00_source_train_anomaly_0000.wav", "an anomaly stands in train/"),
        ("train", "section_00_0000.wav", "a clip without a condition stands in train/"),
        (
            "supplemental",
            "section_00_source_train_normal_0000.wav",
            "must say 'noise' or 'machine'",
        ),
        ("supplemental", "section_00_machine_noise_0000.wav", "must say 'noise' or 'machine'"),
        ("train", "section_00_source_train_normal_0000.mp3", "not a .wav or .flac file"),
        ("train", "README", "not a .wav or .flac file"),
        ("validation", "section_00_0000.wav", "validation/: not one of the folders train"),
    ],
)
def test_names_outside_the_grammar_are_refused_with_a_reason(folder, name, message):
    with pytest.raises(ClipNameError) as error:
        parse_clip_name(name, folder)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


NEAR_GRAMMAR = [
    ("train", "section_0_source_train_normal_0000.wav"),
    ("train", "section_000_source_train_normal_0000_speed_1.wav"),
    ("train", "section_100_source_train_normal_0000_noAttribute.wav"),
    ("train", "section_\u0660\u0661_source_train_normal_0000.wav"),  # Arabic digits
    ("train", "section_00_source_train_normal_00000_speed_1.wav"),
    ("train", "section_00_train_normal_0000.wav"),
    ("train", "section_00_source_train_nomal_0000.wav"),
    ("test", "section_00_source_test_anomoly_0000.wav"),
    ("train", "Section_00_source_train_normal_0000.wav"),
    ("train", "section_00_Source_Train_Normal_0000.wav"),
    ("train", "section-00-source-train-normal-0000.wav"),
    ("train", "section 00 source train normal 0000.wav"),
    ("train", "section00_source_train_normal_0000.wav"),
    ("train", "sektion_00_source_train_normal_0000.wav"),
    ("test", "section_1_0000.wav"),
    ("test", "section_00_000.wav"),
    ("test", "id_1_00000000.wav"),
    ("test", "id_01_0000.wav"),
    ("test", "ID_01_00000000.wav"),
    ("train", "normal_id_1_00000000.wav"),
    ("train", "normal_id_01_0000.wav"),
    ("train", "normal-id-01-00000000.wav"),
    ("train", "Normal_id_01_00000000.wav"),
    ("train", "nomal_id_01_00000000.wav"),
    ("test", "anomoly_id_01_00000000.wav"),
    ("supplemental", "section_100_noise_0000.wav"),
]


@pytest.mark.parametrize("parse", [parse_clip_name, parse_own_name])
@pytest.mark.parametrize(("folder", "name"), NEAR_GRAMMAR)
def test_a_name_near_the_grammar_never_becomes_section_00(parse, folder, name):
    with pytest.raises(ClipNameError, match=r"file-name grammar|a supplemental name|begins with"):
        parse(name, folder)


@pytest.mark.parametrize("folder", ["train", "test"])
@pytest.mark.parametrize(
    "word", ["nomal", "norml", "Nornal", "nomral", "anomoly", "anamoly", "ANOMLY", "anomalous",
             "anomalies", "abnormal"]
)  # fmt: skip
def test_a_misspelt_condition_is_no_recording_of_another_name(folder, word):
    with pytest.raises(ClipNameError, match=f"begins with '{word.lower()}'; begin it with 'nor"):
        parse_own_name(f"{word}_3.wav", folder)


@pytest.mark.parametrize(
    "name",
    ["section.wav", "section 3 left side.wav", "sectional view.wav", "id.wav", "ID 5.wav",
     "idle_1.wav", "nominal_1.wav", "animal.wav", "norm_1.wav", "no.wav", "0001.wav",
     "\u00fcber.wav", "pump_id_3.wav", "source.wav", "training_1.wav", "test_0000.wav",
     "section_1.wav"],
)  # fmt: skip
def test_other_names_of_ones_own_stay_free(name):
    assert parse_own_name(name, "train") == clip("00", "source", "train", "normal")
    assert parse_own_name(name, "test") == clip("00", "", "test", "")


@pytest.mark.parametrize(
    ("folder", "name", "expected"),
    [
        ("train", "monday 1.wav", clip("00", "source", "train", "normal")),
        ("test", "normal_3.wav", clip("00", "source", "test", "normal")),
        ("test", "Normal 3.wav", clip("00", "source", "test", "normal")),
        ("test", "ANOMALY_3.WAV", clip("00", "source", "test", "anomaly")),
        ("test", "anomalyB.wav", clip("00", "source", "test", "anomaly")),
        ("test", "anomaly-bearing.flac", clip("00", "source", "test", "anomaly")),
        ("test", "tuesday.wav", clip("00", "", "test", "")),
        ("test", "normality.wav", clip("00", "", "test", "")),
        (
            "supplemental",
            "Noise of the hall.wav",
            clip("00", "source", "supplemental", "", role="noise"),
        ),
        (
            "train",
            "section_01_target_train_normal_0000_speed_2.wav",
            clip("01", "target", "train", "normal", "speed_2"),
        ),
    ],
)
def test_recordings_of_ones_own_may_be_called_anything(folder, name, expected):
    assert parse_own_name(name, folder) == expected


@pytest.mark.parametrize(
    ("folder", "name", "message"),
    [
        ("train", "anomaly 1.wav", "an anomaly stands in train/"),
        ("train", "Anomaly_1.wav", "an anomaly stands in train/"),
        ("train", "notes.txt", "not a .wav or .flac file"),
        (
            "test",
            "section_00_source_train_normal_0000.wav",
            "a train clip stands in the folder test/",
        ),
        ("other", "a.wav", "not one of the folders"),
    ],
)
def test_own_names_that_contradict_their_folder_are_refused(folder, name, message):
    with pytest.raises(ClipNameError, match=message):
        parse_own_name(name, folder)


def test_a_listed_name_without_its_test_token_is_understood():
    name = "section_00_source_normal_0003_weight00_BckgA.wav"
    assert parse_listed_name(name) == clip("00", "source", "test", "normal", "weight00_BckgA")
