import pytest

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import GroundTruthError
from dcase_asd.metrics.labels import read_ground_truth

DATA = "ground_truth_data/ground_truth_fan_section_00_test.csv"
DOMAIN = "ground_truth_domain/ground_truth_fan_section_00_test.csv"


def put(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def read(folder, files, edition="2024"):
    return read_ground_truth(put(folder, files), load_edition(edition))


def test_conditions_and_domains_are_joined_by_name(tmp_path):
    files = {
        DATA: "section_00_0001.wav,1\nsection_00_0000.wav,0\n",
        DOMAIN: "section_00_0000.wav,1\nsection_00_0001.wav,0\n",
    }
    assert read(tmp_path, files).to_numpy().tolist() == [
        ["fan", "00", "section_00_0000.wav", "target", "normal"],
        ["fan", "00", "section_00_0001.wav", "source", "anomaly"],
    ]


@pytest.mark.parametrize(
    "lines",
    [
        '"section_00_0001.wav","1"\n"section_00_0000.wav","0"\n',
        '\ufeff"section_00_0001.wav", 1 \r\nsection_00_0000.wav,"0"\r\n',
        'section_00_0001.wav, "1" \r\r"section_00_0000.wav" ,0\r',
    ],
)
def test_quoted_fields_byte_order_marks_and_any_line_ends_are_read(tmp_path, lines):
    domains = "section_00_0000.wav,1\nsection_00_0001.wav,0\n"
    (tmp_path / DATA).parent.mkdir()
    (tmp_path / DATA).write_bytes(lines.encode())
    assert read(tmp_path, {DOMAIN: domains}).to_numpy().tolist() == [
        ["fan", "00", "section_00_0000.wav", "target", "normal"],
        ["fan", "00", "section_00_0001.wav", "source", "anomaly"],
    ]


def test_litter_beside_the_labels_is_passed_over(tmp_path):
    apple = "\0\5\x16\7"
    files = {DATA: "section_00_0000.wav,1\n", DOMAIN: "section_00_0000.wav,0\n"}
    litter = {
        f"__MACOSX/{DATA}": apple,
        f".ipynb_checkpoints/{DATA}": "section_00_0009.wav,1\n",
        f"ground_truth_data/._{DATA.partition('/')[2]}": apple,
        "ground_truth_domain/.ipynb_checkpoints/x.csv": apple,
        "ground_truth_data/desktop.ini": apple,
    }
    expected = [["fan", "00", "section_00_0000.wav", "source", "anomaly"]]
    assert read(tmp_path / "whole", files | litter).to_numpy().tolist() == expected
    # One level above the checkout, where __MACOSX looks like a second one.
    beside = {f"evaluator/{name}": text for name, text in files.items()}
    beside |= {name: text for name, text in litter.items() if not name.startswith("ground")}
    assert read(tmp_path / "above", beside).to_numpy().tolist() == expected
    row = '"section_00_0000.wav","section_00_source_test_anomaly_0003_x_1.wav","1"'
    lists = {
        "eval_data_list_2024.csv": f'"fan",,\n{row}\n',
        "._eval_data_list_2024.csv": apple,
    }
    assert read(tmp_path / "list", lists).to_numpy().tolist() == expected


@pytest.mark.parametrize(
    ("files", "edition", "words"),
    [
        ({DATA: "a.wav;0\n"}, "2024", "line 1: the fields are separated by ';'; separate them by"),
        ({DATA: "a.wav,0\nb.wav\t0\n"}, "2024", "line 2: the fields are separated by '\\t'"),
        ({DATA: "section_00_0000;0\n"}, "2024", "line 1: the fields are separated by ';'"),
        ({DATA: '"a.wav"|"0"\n'}, "2024", "line 1: the fields are separated by '|'"),
        ({DATA: "a.wav,2\n"}, "2024", "line 1: '2' is neither 0 nor 1"),
        ({DATA: "a.wav\n"}, "2024", "line 1: 'a.wav' is not <clip>.wav,<value>"),
        ({DATA: ""}, "2024", "the file is empty"),
        ({DATA: "a.wav,0\na.wav,0\n"}, "2024", "1 clip(s) are named more than once"),
        ({DATA: "a.wav,0\n"}, "2024", "holds no ground_truth_domain/"),
        ({DATA: "a.wav,0\n", DOMAIN: "b.wav,0\n"}, "2024", "name different clips"),
        ({DATA: "a.wav,0\n"}, "2021", "file names without source or target"),
        ({"ground_truth_data/fan.csv": "a.wav,0\n"}, "2024", "not the name of a ground-truth file"),
        ({"ground_truth_data/README.md": ""}, "2024", "holds no labels"),
    ],
)
def test_damaged_ground_truth_is_an_error(tmp_path, files, edition, words):
    with pytest.raises(GroundTruthError) as caught:
        read(tmp_path, files, edition)
    assert words in str(caught.value)


def test_a_list_of_renamed_clips_gives_domains_and_conditions(tmp_path):
    text = (
        "HairDryer\n"
        "section_00_0000.wav,section_00_source_test_normal_0003_x_1.wav,0\n"
        "RoboticArm,,\n"
        # The list of 2024 lacks `_test` for this machine; copies of lists lack the suffix.
        "section_00_0000.wav,section_00_target_anomaly_0001_noAttribute,1\n"
    )
    assert read(tmp_path, {"eval_data_list_2024.csv": text}).to_numpy().tolist() == [
        ["HairDryer", "00", "section_00_0000.wav", "source", "normal"],
        ["RoboticArm", "00", "section_00_0000.wav", "target", "anomaly"],
    ]


def test_the_list_of_2020_names_machine_ids(tmp_path):
    text = "ToyConveyor\nid_04_00000000.wav,anomaly_id_04_00000098.wav,1\n"
    folder = put(tmp_path, {"eval_data_list.csv": text})
    truth = read_ground_truth(folder / "eval_data_list.csv", load_edition("2020"))
    assert truth.to_numpy().tolist() == [["ToyConveyor", "04", "id_04_00000000.wav", "", "anomaly"]]


def test_the_list_of_the_edition_is_chosen_among_those_of_other_years(tmp_path):
    line = "section_00_0000.wav,section_00_source_test_normal_0003_x_1.wav,0\n"
    files = {f"eval_data_list_{year}.csv": f"from{year}\n{line}" for year in (2023, 2024, 2025)}
    assert read(tmp_path, files, "2024")["machine"].tolist() == ["from2024"]
    with pytest.raises(GroundTruthError, match=r"which of .* is the list of dcase2021"):
        read(tmp_path, {}, "2021")


def test_the_list_of_2022_is_refused_with_the_reason(tmp_path):
    files = {"eval_data_list_2022.csv": "ToyCar\n"}
    with pytest.raises(GroundTruthError, match="contradict the official ground truth of ToyCar"):
        read(tmp_path, files, "2022")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no labels"),
        ("section_00_0000.wav,section_00_source_test_normal_0003.wav,0\n", "line 1"),
        ("fan\nsection_00_0000.wav,section_00_source_test_normal_0003.wav\n", "line 2"),
        ("fan\nsection_00_0000.wav,section_00_source_test_normal_0003.wav,2\n", "line 2"),
        ("fan\nx.wav;section_00_source_test_normal_0003.wav;0\n", "line 2: the fields are separ"),
        ("fan;;\n", "line 1: the fields are separated by ';'"),
        ("fan\nx.wav,section_00_source_test_normal_0003.wav,0\n", "line 2: x.wav"),
        ("fan\nsection_00_0000.wav,section_00_source_test_normal_0003.wav,1\n", "contradicts"),
        ("fan\nsection_00_0000.wav,section_01_source_test_normal_0003.wav,0\n", "contradicts"),
        (
            "fan\nsection_00_0000.wav,section_00_source_test_normal_0003.wav,0\n"
            "fan\nsection_00_0000.wav,section_00_source_test_normal_0004.wav,0\n",
            "named more than once",
        ),
    ],
)
def test_a_damaged_list_is_an_error(tmp_path, text, words):
    with pytest.raises(GroundTruthError, match=r"eval_data_list\.csv") as caught:
        read(tmp_path, {"eval_data_list.csv": text})
    assert words in str(caught.value)
