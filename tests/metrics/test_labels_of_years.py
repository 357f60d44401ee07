import shutil
from pathlib import Path

import pandas as pd
import pytest

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import ClipNameError, GroundTruthError, ScoresError
from dcase_asd.metrics.labels import join_ground_truth, labels_from_names, read_ground_truth

GOLDENS = Path(__file__).parents[1] / "data" / "metrics"


def table(*files, machine="fan", section="00", **columns):
    return pd.DataFrame({"machine": machine, "section": section, "file": list(files), **columns})


@pytest.mark.parametrize(
    ("edition", "section", "file", "domain", "condition"),
    [
        ("2020", "04", "anomaly_id_04_00000264.wav", "", "anomaly"),
        ("2020", "05", "id_05_00000000.wav", "", ""),
        ("2021", "03", "section_03_target_test_0000.wav", "target", ""),
        ("2021", "00", "section_00_source_test_anomaly_0000.wav", "source", "anomaly"),
        ("2025", "00", "section_00_target_test_normal_0001_noAttribute.wav", "target", "normal"),
        ("2025", "00", "section_00_0001.wav", "", ""),
        ("my_plant", "00", "anomaly-bearing 3.flac", "source", "anomaly"),
        ("my_plant", "00", "monday.flac", "", ""),
    ],
)
def test_labels_are_read_from_names(edition, section, file, domain, condition):
    labelled = labels_from_names(table(file, section=section, score=1.0), load_edition(edition))
    assert labelled[["domain", "condition", "score"]].to_numpy().tolist() == [
        [domain, condition, 1.0]
    ]


def test_names_outside_the_grammar_are_refused_in_a_challenge_year():
    with pytest.raises(ClipNameError, match=r"monday\.wav"):
        labels_from_names(table("monday.wav"), load_edition("2025"))


def test_a_clip_of_another_section_is_refused():
    with pytest.raises(
        ScoresError, match=r"fan section 00: section_01_0000\.wav is a clip of .* 01"
    ):
        labels_from_names(table("section_01_0000.wav"), load_edition("2022"))


def test_labels_join_by_name_whatever_the_order_and_the_suffix():
    truth = table("a.wav", "b.wav", domain=["source", "target"], condition=["normal", "anomaly"])
    scores = table("b.flac", "a.wav", score=[2.0, 1.0]).set_axis([7, 3])
    joined = join_ground_truth(scores, truth)
    assert joined.index.tolist() == [7, 3]
    assert joined[["file", "score", "domain", "condition"]].to_numpy().tolist() == [
        ["b.flac", 2.0, "target", "anomaly"],
        ["a.wav", 1.0, "source", "normal"],
    ]


def test_both_differences_are_told_with_their_numbers_and_first_clips():
    truth = table("a.wav", "b.wav", "c.wav", domain="source", condition="normal")
    scores = table("x.wav", "a.wav", "w.wav", score=1.0)
    with pytest.raises(GroundTruthError) as caught:
        join_ground_truth(scores, truth, "runs/x")
    message = str(caught.value)
    assert message.startswith("runs/x and the ground truth do not match: ")
    assert "2 clip(s) scored but not in the ground truth, the first fan section 00 w.wav" in message
    assert "2 clip(s) in the ground truth but not scored, the first fan section 00 b.wav" in message


def test_a_clip_scored_twice_is_refused():
    truth = table("a.wav", domain="source", condition="normal")
    with pytest.raises(ScoresError, match=r"a\.wav is scored more than once"):
        join_ground_truth(table("a.wav", "a.flac", score=1.0), truth)


@pytest.mark.parametrize("part", ["", "ground_truth_data"])
def test_ground_truth_is_found_in_a_checkout_and_in_its_data_folder(part):
    truth = read_ground_truth(GOLDENS / "2022" / part, load_edition("2022"))
    assert len(truth) == 4200
    counts = truth.groupby(["machine", "section", "domain", "condition"]).size()
    assert len(counts) == 7 * 3 * 4
    assert (counts == 50).all()


def test_ground_truth_is_found_in_the_folder_that_holds_one_checkout(tmp_path):
    shutil.copytree(GOLDENS / "2021" / "ground_truth_data", tmp_path / "eval/ground_truth_data")
    truth = read_ground_truth(tmp_path, load_edition("2021"))
    assert len(truth) == 8635
    assert set(truth["domain"]) == {"source", "target"}


def test_a_folder_with_two_checkouts_is_refused():
    with pytest.raises(GroundTruthError, match=r"2 folders hold ground truth \(2021, 2022\)"):
        read_ground_truth(GOLDENS, load_edition("2022"))


def test_missing_ground_truth_is_an_error(tmp_path):
    with pytest.raises(GroundTruthError, match="no such ground truth"):
        read_ground_truth(tmp_path / "missing", load_edition("2022"))
    with pytest.raises(GroundTruthError, match="holds neither ground_truth_data/ nor"):
        read_ground_truth(tmp_path, load_edition("2022"))


@pytest.mark.shared
def test_labels_of_a_published_machine_are_read(shared_audio):
    truth = read_ground_truth(shared_audio / "ground_truth/dcase2024", load_edition("2024"))
    assert truth["machine"].unique().tolist() == ["RoboticArm"]
    assert truth["condition"].value_counts().to_dict() == {"normal": 29, "anomaly": 28}
