"""The page of a report as a whole: its words and anchors, its progress, what is refused."""

from __future__ import annotations

import re

import pytest
from report_pages import report, words
from report_runs import make_fusion

from dcase_asd.errors import ArtifactError, DataError, EditionError, GroundTruthError, ScoresError
from dcase_asd.progress import Silent


def test_every_picture_has_words_and_an_anchor_leads_to_every_section(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    done = report([make_fusion(entry), entry.run], "2025", out=tmp_path / "out")
    text = words(done.page)
    pictures = re.findall(r"<svg[^>]*>", text)
    assert len(pictures) == len(done.pictures)
    labels = [re.search(r'role="img" aria-label="([^"]+)"', each) for each in pictures]
    assert all(label is not None and len(label[1]) > 30 for label in labels)
    anchors = set(re.findall(r'href="#([\w-]+)"', text.split("<main")[0]))
    assert anchors <= set(re.findall(r' id="([\w-]+)"', text))
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_progress_counts_the_machine_sections(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    told = []

    class Counting(Silent):
        def bar(self, description, total, unit):
            told.append([description, total, unit, 0])

            class Bar:
                def __enter__(self):
                    return lambda count: told[-1].__setitem__(3, told[-1][3] + count)

                def __exit__(self, *_):
                    pass

            return Bar()

    report(entry.run, "2025", out=tmp_path / "out", progress=Counting())
    assert told == [["Reading", 1, "runs", 1], ["Drawing", 4, "machine sections", 4]]


@pytest.mark.parametrize(
    ("runs", "options", "error", "message"),
    [
        ([], {}, DataError, "no run folder is given"),
        (["runs/smal"], {}, DataError, r"smal: no such run folder \(did you mean 'small'\?\)"),
        (["clips.txt"], {}, DataError, "clips.txt: a file, not a run folder"),
        (["runs/small", "runs/../runs/small"], {}, DataError, "is given twice"),
        (["runs"], {}, DataError, "runs: not a run folder, but it holds some; give one, such as"),
        (["runs/small"], {"edition": "dcase2019"}, EditionError, "there is no edition 'dcase2019'"),
        (["runs/small"], {"edition": "dcase2024"}, ScoresError, "no finished scores of dcase2024"),
        (["runs/small"], {"quantile": 1.0}, ScoresError, "the quantile 1.0 must lie between"),
        (["runs/small"], {"ground_truth": "none"}, GroundTruthError, "no such ground truth"),
        (["runs/small"], {"out": "clips.txt"}, ArtifactError, "clips.txt: is a file"),
    ],
)
def test_wrong_input_is_one_line_that_names_it(make_entry, tmp_path, runs, options, error, message):
    make_entry("dcase2025")
    (tmp_path / "clips.txt").write_text("mine")
    values = {"edition": "dcase2025", "out": "out", **options}
    for name in ("out", "ground_truth"):
        if name in values:
            values[name] = tmp_path / values[name]
    with pytest.raises(error, match=message) as caught:
        report([tmp_path / run for run in runs], **values)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "clips.txt").read_text() == "mine"


def test_a_run_without_test_clips_is_refused(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    entry.write(entry.scores[entry.scores["split"] == "train"])
    with pytest.raises(ScoresError, match="holds no test clip"):
        report(entry.run, "2025", out=tmp_path / "out")


def test_a_recipe_in_another_encoding_is_shown_as_far_as_it_can_be(make_entry, tmp_path):
    entry = make_entry("dcase2025")
    (entry.run / "recipe.toml").write_bytes(b"# f\xfcr <fan>\nname = 1\n")
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    assert "<pre># f\N{REPLACEMENT CHARACTER}r &lt;fan&gt; name = 1 </pre>" in text
