import numpy as np
import pytest

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import EditionError, ScoresError
from dcase_asd.metrics.official_files import (
    decision_file_name,
    find_official_files,
    official_clip_name,
    official_text,
    read_official_file,
    score_file_name,
)


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("section_00_0000.wav,0.5\n")


def keys(folder, edition):
    return [(file.kind, *file.key) for file in find_official_files(folder, load_edition(edition))]


@pytest.mark.parametrize(
    ("edition", "clip", "score", "decision"),
    [
        (
            "2021",
            ("fan", "03", "source"),
            "anomaly_score_fan_section_03_source_test.csv",
            "decision_result_fan_section_03_source_test.csv",
        ),
        (
            "2024",
            ("3DPrinter", "00", ""),
            "anomaly_score_3DPrinter_section_00_test.csv",
            "decision_result_3DPrinter_section_00_test.csv",
        ),
        (
            "my_plant",
            ("big_fan_2", "00", ""),
            "anomaly_score_big_fan_2_section_00_test.csv",
            "decision_result_big_fan_2_section_00_test.csv",
        ),
    ],
)
def test_names_follow_the_edition_and_are_found_again(tmp_path, edition, clip, score, decision):
    machine, section, domain = clip
    rules = load_edition(edition)
    assert score_file_name(rules, machine, section, domain) == score
    assert decision_file_name(rules, machine, section, domain) == decision
    put(tmp_path, score, f"deep/below/{decision}")
    assert keys(tmp_path, edition) == [
        ("decision", machine, section, domain),
        ("score", machine, section, domain),
    ]


def test_2020_names_machine_ids_and_has_no_decisions(tmp_path):
    rules = load_edition("2020")
    assert score_file_name(rules, "ToyCar", "05") == "anomaly_score_ToyCar_id_05.csv"
    put(tmp_path, "anomaly_score_ToyCar_id_05.csv")
    assert keys(tmp_path, "2020") == [("score", "ToyCar", "05", "")]
    with pytest.raises(EditionError, match="dcase2020 asks for no decision files"):
        decision_file_name(rules, "ToyCar", "05")


@pytest.mark.parametrize(
    ("edition", "name", "machine"),
    [
        ("2022", "anomaly_score_fan_section_03.csv", "fan"),
        (
            "2023",
            "anomaly_score_DCASE2023T2ToyDrone_section_00_test_seed13711_x_Eval.csv",
            "ToyDrone",
        ),
        ("2024", "anomaly_score_DCASE2024T23DPrinter_section_00_test_seed1_Eval.csv", "3DPrinter"),
    ],
)
def test_variants_that_official_evaluators_accept_are_found(tmp_path, edition, name, machine):
    put(tmp_path, name)
    assert [file.machine for file in find_official_files(tmp_path, load_edition(edition))] == [
        machine
    ]


def test_litter_is_no_score_file(tmp_path):
    name = "anomaly_score_fan_section_03_test.csv"
    put(tmp_path, name, f"._{name}", f"__MACOSX/{name}", f".ipynb_checkpoints/{name}", f".{name}")
    assert keys(tmp_path, "2022") == [("score", "fan", "03", "")]
    # A hidden folder above the one that is given does not hide what is in it.
    put(tmp_path / ".cache/system", name)
    assert keys(tmp_path / ".cache/system", "2022") == [("score", "fan", "03", "")]


def test_other_csv_files_are_passed_over(tmp_path):
    put(tmp_path, "anomaly_score_fan_section_03_test.csv", "result.csv", "notes.txt")
    assert keys(tmp_path, "2022") == [("score", "fan", "03", "")]


def test_machines_of_ones_own_in_a_challenge_year_are_found(tmp_path):
    put(tmp_path, "anomaly_score_my_fan_section_00_test.csv")
    assert keys(tmp_path, "2025") == [("score", "my_fan", "00", "")]


def test_two_files_for_one_section_are_an_error_that_names_both(tmp_path):
    put(tmp_path, *(f"system_{n}/anomaly_score_fan_section_03_test.csv" for n in (1, 2)))
    with pytest.raises(ScoresError, match=r"system_1/.* and .*system_2/.* score file of fan 03"):
        keys(tmp_path, "2022")


@pytest.mark.parametrize(
    ("edition", "name"),
    [
        ("2022", "anomaly_score_fan_section_03_source_test.csv"),
        ("2021", "anomaly_score_fan_section_03_test.csv"),
        ("2025", "anomaly_score_fan_section_0_test.csv"),
        ("2025", "anomaly_scores_fan_section_00_test.csv"),
        ("2025", "Anomaly_score_fan_section_00_test.csv"),
        ("2025", "decision_result_fan_00.csv"),
    ],
)
def test_a_misnamed_file_is_named_with_the_right_pattern(tmp_path, edition, name):
    put(tmp_path, name)
    with pytest.raises(
        ScoresError, match=rf"{name}: not the name of a (score|decision) file of dcase"
    ):
        keys(tmp_path, edition)


def test_a_folder_without_score_files_is_an_error(tmp_path):
    with pytest.raises(ScoresError, match=r"named anomaly_score_<machine>_section_<section>_test"):
        keys(tmp_path, "2025")
    put(tmp_path, "decision_result_fan_section_00_test.csv")
    with pytest.raises(ScoresError, match="score file"):
        keys(tmp_path, "2025")
    with pytest.raises(ScoresError, match="no such folder"):
        keys(tmp_path / "missing", "2025")


def test_official_names_end_in_wav_and_keep_other_dots():
    assert official_clip_name("section_00_0000.flac") == "section_00_0000.wav"
    assert official_clip_name("section_00_ac_0.03.WAV") == "section_00_ac_0.03.wav"
    assert official_clip_name("section_00_ac_0.03") == "section_00_ac_0.03.wav"


def test_values_are_written_in_the_shortest_form_that_reads_back_the_same(tmp_path):
    values = {"a.wav": 0.1, "b.flac": np.float64(1 / 3), "c.wav": np.int64(1), "d.wav": 1e-300}
    text = official_text(values, "x.csv")
    assert text == "a.wav,0.1\nb.wav,0.3333333333333333\nc.wav,1\nd.wav,1e-300\n"
    path = tmp_path / "x.csv"
    path.write_text(text)
    table = read_official_file(path)
    assert table["file"].tolist() == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert table["value"].tolist() == [float(value) for value in values.values()]


def test_values_that_cannot_be_submitted_are_refused():
    with pytest.raises(ScoresError, match=r"x\.csv: the score of a\.wav is nan"):
        official_text({"a.wav": float("nan")}, "x.csv")
    with pytest.raises(ScoresError, match=r"two clips would be named a\.wav"):
        official_text({"a.wav": 1.0, "a.flac": 2.0}, "x.csv")


def test_foreign_line_ends_byte_order_marks_and_blank_lines_are_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("\ufeffa.wav, 0.5\r\n\r\nb.wav,-1e-3\r\n".encode())
    table = read_official_file(path)
    assert table["file"].tolist() == ["a.wav", "b.wav"]
    assert table["value"].tolist() == [0.5, -0.001]


def test_quoted_fields_are_read_as_rfc_4180_says(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(
        '"a.wav","0.5"\r\n"b, left.wav",-1e-3\r\n "say ""hi"".wav" , "2" \r\n', newline=""
    )
    table = read_official_file(path)
    assert table["file"].tolist() == ["a.wav", "b, left.wav", 'say "hi".wav']
    assert table["value"].tolist() == [0.5, -0.001, 2.0]


def test_names_with_commas_quotes_and_semicolons_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "x.csv"
    values = {"1,5.wav": 0.5, "a,b.wav": 2.0, 'say "hi".wav': 3.0, '"x".wav': 4.0, "a;b.wav": 5.0}
    path.write_text(official_text(values, "x.csv"))
    table = read_official_file(path)
    assert dict(zip(table["file"], table["value"], strict=True)) == values


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a.wav,1\nb.wav,0,5\n", "line 2: '0,5' has a decimal comma; write it with a point"),
        (b"a.wav,-1,25e-3\n", "line 1: '-1,25e-3' has a decimal comma"),
        (b'a.wav,"0,5"\n', "line 1: '0,5' has a decimal comma"),
        (b"a.wav,1.234,5\n", "line 1: '1.234,5' has a decimal comma"),
        (b"section_00_0000,0,5\n", "line 1: '0,5' has a decimal comma"),
        (b"a.wav;0,5\n", "line 1: the fields are separated by ';'; separate them by commas"),
        (b'"a.wav";"0,5"\n', "line 1: the fields are separated by ';'"),
        (b"a.wav;0.5\n", "line 1: the fields are separated by ';'"),
        (b"a.wav\t0.5\n", "line 1: the fields are separated by '\\t'"),
        (b"a.wav\t0,5\n", "line 1: the fields are separated by '\\t'"),
        (b"a.wav,0.5,1\n", "line 1: 'a.wav,0.5,1' is not <clip>.wav,<value>"),
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (b"a.wav,1\nb.wav\n", "line 2: 'b.wav' is not <clip>.wav,<value>"),
        (b"a.wav,1\n,2\n", "line 2: ',2' is not"),
        (b"file,score\na.wav,1\n", "line 1: 'score' is no finite number"),
        (b"a.wav,nan\n", "line 1: 'nan' is no finite number"),
        (b"a.wav,1\nb.wav,-inf\n", "line 2: '-inf' is no finite number"),
        (b"a.wav,\n", "line 1: '' is no finite number"),
        (b"a.wav,1\nb.wav,2\na.wav,1\n", "line 3: a.wav is named a second time"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_damaged_file_is_an_error_with_file_and_line(tmp_path, content, words):
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    with pytest.raises(ScoresError, match=r"scores\.csv") as caught:
        read_official_file(path)
    assert words in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ScoresError, match=r"x\.csv: cannot be read \(No such file"):
        read_official_file(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("name", "year", "right"),
    [
        ("anomaly_score_ToyCar_section_03_source_test.csv", "dcase2022", "dcase2021"),
        ("anomaly_score_fan_id_00.csv", "dcase2024", "dcase2020"),
        ("anomaly_score_fan_section_00_test.csv", "dcase2021", "dcase2022"),
    ],
)
def test_files_named_as_another_year_has_them_are_told_which(tmp_path, name, year, right):
    (tmp_path / name).write_text("a.wav,0.5\n")
    with pytest.raises(ScoresError, match=f"files of {right} are named so: give --edition {right}"):
        find_official_files(tmp_path, load_edition(year))
