"""The clips of runs on the page of a report."""

from __future__ import annotations

import re

import numpy as np
import pytest
from report_pages import report, words
from report_runs import another_run, make_fusion

from dcase_asd.embeddings.store import write_plan
from dcase_asd.errors import ArtifactError, DataError
from dcase_asd.recipe.system import Embedding, System, recipe_path
from dcase_asd.recipe.toml import recipe_text
from dcase_asd.scores.table import read_scores
from dcase_asd.scores.threshold import empirical_threshold


@pytest.fixture
def entry(make_entry, write_clip):
    """A run whose manifest names short recordings of two development machines."""
    made = make_entry("dcase2025")
    tests = made.clips[(made.clips["split"] == "test") & (made.clips["stage"] == "dev")]
    for seed, path in enumerate(tests["path"]):
        write_clip(made.data / path, seed, seconds=0.2)
    return made


def section(text, title):
    """What stands below a heading of the list of clips."""
    return re.search(rf"<h3>{title}</h3>(.*?)(?:<h3>|</section>)", text)[1]


def test_the_most_anomalous_clips_of_each_machine_can_be_heard(entry, tmp_path):
    done = report(entry.run, "2025", out=tmp_path / "out", clips=True, data=entry.data, most=3)
    text = words(done.page)
    scores = read_scores(entry.run, "dcase2025")
    for machine in ("ToyCar", "ToyTrain"):
        shown = section(text, f"{machine}, development set")
        rows = scores[(scores["machine"] == machine) & (scores["stage"] == "dev")]
        train = rows[rows["split"] == "train"]["score"].to_numpy()
        tests = rows[rows["split"] == "test"].sort_values("score", ascending=False)
        limit = empirical_threshold(train, 0.9)
        assert (
            f"The 3 most anomalous of {len(tests)} test clips by score; more with --most" in shown
        )
        assert re.findall(r"<h4>(.*?)</h4>", shown) == tests["file"].tolist()[:3]
        assert len(re.findall(r'<audio controls [^>]*src="data:audio/mpeg;base64,', shown)) == 3
        listed = re.findall(
            r'<th scope="row">(\S+\.wav)</th> <th scope="row">(\w+)</th> '
            r'<td class="number">(\S+)</td> <td class="number">(\S+)</td> '
            r'<td class="words">(\w+)</td>', shown,
        )  # fmt: skip
        assert [each[0] for each in listed] == tests["file"].tolist()
        for (file, label, score, p, decision), value in zip(listed, tests["score"], strict=True):
            assert label == ("anomalous" if "anomaly" in file else "normal")
            assert float(score) == pytest.approx(value, rel=1e-3)
            assert float(p) == pytest.approx((1 + (train >= value).sum()) / 21, abs=1e-4)
            assert decision == ("anomalous" if value > limit else "normal")
    assert text.index('<section id="clips"') < text.index('<section id="results"')
    assert "<dt>Label</dt><dd>anomalous</dd>" in text
    pictures = [path for path in done.pictures if "clips_dev_ToyCar" in str(path)]
    assert len(pictures) == 3
    again = report(entry.run, "2025", out=tmp_path / "out", clips=True, data=entry.data, most=3)
    assert not again.changed


def test_all_clips_are_shown_where_that_is_asked_for(entry, tmp_path):
    done = report(entry.run, "2025", out=tmp_path / "out", clips=True, data=entry.data, most=0)
    shown = section(words(done.page), "ToyCar, development set")
    assert "24 test clips by score." in shown
    assert shown.count("<audio ") == 24


def test_recordings_that_are_gone_are_named_and_their_scores_stay(entry, tmp_path):
    done = report(entry.run, "2025", out=tmp_path / "out", clips=True, data=entry.data, most=1)
    machine = next(iter(entry.edition.machines["eval"]))
    shown = section(words(done.page), f"{machine}, evaluation set")
    assert "<audio" not in shown
    assert re.search(r"Not shown: \S*section_00_\d+\.wav: cannot be read", shown)
    assert "<dt>Label</dt>" not in shown
    assert '<th scope="row">unknown</th>' in shown


def test_several_systems_are_listed_by_their_mean_p_value(entry, tmp_path):
    runs = [entry.run, another_run(entry, "other", 0.3)]
    done = report(runs, "2025", out=tmp_path / "out", clips=True, data=entry.data, most=2)
    shown = section(words(done.page), "ToyTrain, development set")
    assert "The 2 most anomalous of 24 test clips by the mean p value of 2 systems" in shown
    means = {}
    for run in runs:
        scores = read_scores(run, "dcase2025")
        scores = scores[(scores["machine"] == "ToyTrain") & (scores["stage"] == "dev")]
        train = scores[scores["split"] == "train"]["score"].to_numpy()
        for row in scores[scores["split"] == "test"].itertuples():
            means.setdefault(row.file, []).append((1 + (train >= row.score).sum()) / 21)
    expected = sorted(means, key=lambda file: (np.mean(means[file]), file))
    listed = re.findall(r'<th scope="row">(\S+\.wav)</th>', shown)
    assert listed == expected
    assert re.search(r'class="verdict anomalous">anomalous for [12] of 2 systems<', shown)
    for head in ("p, small", "p, other", "Mean p"):
        assert f'<th scope="col" class="number">{head}</th>' in shown


@pytest.mark.parametrize("part", ["", "members/step_1"])
def test_the_recordings_are_those_that_were_embedded(entry, tmp_path, monkeypatch, part):
    write_plan(entry.run / part, "dcase2025", [("dev", "ToyCar")], entry.data)
    assert report(entry.run, "2025", out=tmp_path / "a", clips=True, most=1).page.is_file()
    fused = make_fusion(entry)
    assert "<audio" in words(report(fused, "2025", out=tmp_path / "b", clips=True, most=1).page)
    other = another_run(entry, "alone", 0.1)
    with pytest.raises(DataError, match="data: no such data folder; say which with --data"):
        report(other, "2025", out=tmp_path / "c", clips=True)
    assert not (tmp_path / "c").exists()
    monkeypatch.chdir(tmp_path)
    assert report(other, "2025", out=tmp_path / "c", clips=True, most=1).page.is_file()


def test_a_folder_without_a_manifest_is_refused(entry, tmp_path):
    (entry.data / "clips.csv").unlink()
    with pytest.raises(ArtifactError, match=r"clips\.csv"):
        report(entry.run, "2025", out=tmp_path / "out", clips=True, data=entry.data)
    with pytest.raises(DataError, match="nowhere: no such data folder"):
        report(entry.run, "2025", out=tmp_path / "out", clips=True, data=tmp_path / "nowhere")


def test_the_channel_of_the_recipe_is_the_one_that_is_played(entry, tmp_path):
    recipe = recipe_text(System("small", Embedding("spectral", channel=1)))
    recipe_path(entry.run).write_text(recipe)
    done = report(entry.run, "2025", out=tmp_path / "out", clips=True, data=entry.data, most=1)
    assert "there is no channel 1, the file has 1" in words(done.page)


def test_without_train_scores_clips_have_no_p_value_and_no_threshold(entry, tmp_path):
    entry.write(entry.scores[entry.scores["split"] == "test"])
    done = report(entry.run, "2025", out=tmp_path / "out", clips=True, data=entry.data, most=1)
    shown = section(words(done.page), "ToyCar, development set")
    assert 'class="verdict ">no threshold<' in shown
    assert "<dt>p</dt>" not in shown
    assert "\N{EN DASH}</td>" in shown


def test_a_report_has_no_clips_unless_asked(entry, tmp_path):
    text = words(report(entry.run, "2025", out=tmp_path / "out").page)
    assert "<audio" not in text
    assert 'id="clips"' not in text
