from dcase_asd.scores.table import scored_editions


def test_litter_is_no_scored_edition(tmp_path):
    (tmp_path / "scores").mkdir()
    assert scored_editions(tmp_path) == []
    for name in ("dcase2025.csv", "._dcase2025.csv", ".~lock.dcase2025.csv"):
        (tmp_path / "scores" / name).touch()
    assert scored_editions(tmp_path) == ["dcase2025"]
