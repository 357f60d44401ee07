"""What each year's rules refuse in a package and what they allow."""

import pytest

from dcase_asd.editions.edition import load_edition, official_editions
from dcase_asd.errors import SubmissionError
from dcase_asd.progress import Silent
from dcase_asd.recipe.system import Embedding, System, recipe_path
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.scores.table import write_scores
from dcase_asd.submission.submit import submit
from dcase_asd.submission.validate import validate

LABEL = "Lastname_INST_task2_1"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "dist"


@pytest.mark.parametrize("edition", official_editions())
def test_statistics_of_test_clips_keep_scores_out_of_every_years_package(make_entry, out, edition):
    assert not load_edition(edition).transductive
    entry = make_entry(edition)
    write_scores(entry.run, edition, entry.scores, {"fingerprint": "y", "analysis": True})
    with pytest.raises(SubmissionError, match="statistics of test clips went into its scores"):
        submit(entry.run, edition, LABEL, out)
    assert not out.exists()
    entry.write(entry.scores)
    done = submit(entry.run, edition, LABEL, out)
    write_scores(entry.run, edition, entry.scores, {"fingerprint": "y", "analysis": True})
    found = validate(done.archive, edition, entry.data, [entry.run]).problems
    assert any(each.level == "error" and "transductive" in each.what for each in found)


@pytest.mark.parametrize("edition", official_editions())
def test_each_year_refuses_a_later_ones_recordings_and_packs_its_own(
    make_entry, trained_with, out, edition
):
    entry = make_entry(edition)
    later = "dcase2026" if edition < "dcase2026" else "dcase2025"  # 2026 forbids earlier ones, too
    trained_with(entry.run, edition, later)
    with pytest.raises(SubmissionError, match=f"{edition} does not allow: train clips of {later}"):
        submit(entry.run, edition, LABEL, out)
    trained_with(entry.run, edition)
    done = submit(entry.run, edition, LABEL, out)
    for years, errors in (((edition,), 0), ((edition, later), 1)):
        trained_with(entry.run, *years)
        found = validate(done.archive, edition, entry.data, [entry.run]).problems
        refused = [each for each in found if each.level == "error" and "not allow" in each.what]
        assert len(refused) == errors


def test_published_weights_that_the_form_does_not_name_are_told(make_entry, out, tmp_path):
    entry, progress = make_entry("dcase2026"), Silent()
    system = System("small", Embedding("beats"))
    recipe_path(entry.run).write_text(recipe_text(system), encoding="utf-8")
    submit(entry.run, "dcase2026", LABEL, out, progress=progress)
    said = "external_datasets is null, but the run starts from BEATs_iter3, which is external data"
    assert any(said in note for note in progress.notes)
    form = tmp_path / "form.toml"
    form.write_text('[[external_datasets]]\nname = "BEATs_iter3"\nurl = "https://example.org"\n')
    drawn = System("small", Embedding("beats", options={"random_weights": 0}))
    for name, named, recipe in (("a", form, system), ("b", None, drawn)):
        progress.notes.clear()
        recipe_path(entry.run).write_text(recipe_text(recipe), encoding="utf-8")
        submit(entry.run, "dcase2026", LABEL, tmp_path / name, form=named, progress=progress)
        assert not any("external_datasets is null" in note for note in progress.notes)
