import pytest

from dcase_asd.errors import ArtifactError, DataError
from dcase_asd.runs.demo import make_demo_data, run_demo


@pytest.mark.slow
def test_the_demo_ends_with_results_above_chance_and_a_valid_package(tmp_path, contents):
    done = run_demo(tmp_path / "demo")
    assert done.validation.accepted()
    results = {
        each.edition: each.evaluation
        for each in done.system.evaluations
        if each.labels == "file names"
    }
    assert set(results) == {"dcase2020", "dcase2024", "dcase2025"}
    assert 0.7 < results["dcase2025"].official_score < 0.95
    assert (tmp_path / "demo" / "dist" / "Miniature_DEMO_task2.zip").is_file()
    before = contents(tmp_path / "demo")
    run_demo(tmp_path / "demo")
    assert contents(tmp_path / "demo") == before


def test_the_demo_touches_no_folder_of_somebody_else(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"thesis|another folder|other"):
        run_demo(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises((DataError, ArtifactError), match="file"):
        make_demo_data(tmp_path / "file")
    assert (tmp_path / "data" / "thesis.txt").read_text() == "mine"
