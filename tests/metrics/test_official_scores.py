import pytest

from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import ScoresError
from dcase_asd.metrics.evaluate import read_official_scores

SCORES = "anomaly_score_fan_section_00_test.csv"
DECISIONS = "decision_result_fan_section_00_test.csv"


def read(folder, **files):
    for name, text in files.items():
        (folder / {"scores": SCORES, "decisions": DECISIONS}[name]).write_text(text)
    return read_official_scores(folder, load_edition("2025"))


def test_decisions_are_joined_to_scores_by_name(tmp_path):
    table = read(tmp_path, scores="a.wav,0.5\nb.wav,0.25\n", decisions="b.wav,1\na.wav,0\n")
    assert table[["machine", "section", "file", "score", "decision"]].to_numpy().tolist() == [
        ["fan", "00", "a.wav", 0.5, 0.0],
        ["fan", "00", "b.wav", 0.25, 1.0],
    ]


def test_scores_alone_are_enough(tmp_path):
    assert "decision" not in read(tmp_path, scores="a.wav,0.5\n")


def test_decisions_of_other_clips_are_an_error_that_names_both_differences(tmp_path):
    with pytest.raises(ScoresError) as caught:
        read(tmp_path, scores="a.wav,0.5\nb.wav,1\n", decisions="b.wav,1\nc.wav,0\n")
    assert "1 clip(s) scored but without a decision, the first fan section 00 a.wav" in str(
        caught.value
    )
    assert "1 clip(s) decided but not scored, the first fan section 00 c.wav" in str(caught.value)


def test_a_decision_that_is_neither_0_nor_1_is_an_error(tmp_path):
    with pytest.raises(ScoresError, match=rf"{DECISIONS}: the decision 0\.5 of a\.wav"):
        read(tmp_path, scores="a.wav,0.5\n", decisions="a.wav,0.5\n")
