"""Packages that `submit` makes: names, content, repeatability, refusals and interruptions."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from folder_contents import tree

from dcase_asd.errors import (
    RecipeError,
    ScoresError,
    SubmissionError,
    TooFewClipsError,
)
from dcase_asd.fusion.fuse import fuse
from dcase_asd.metrics.official import evaluate
from dcase_asd.progress import Silent
from dcase_asd.recipe.fusion import Fusion
from dcase_asd.scores.table import write_scores
from dcase_asd.scores.threshold import empirical_threshold, gamma_threshold
from dcase_asd.submission import submit as module
from dcase_asd.submission.submit import submit

LABEL = "Lastname_INST_task2_1"
FORM = Path(__file__).parents[2] / "submissions/examples/submission.toml"


@pytest.mark.parametrize(
    ("edition", "expected"),
    [
        ("dcase2020", ["anomaly_score_ToyCar_id_05.csv"]),
        (
            "dcase2021",
            [
                "anomaly_score_ToyCar_section_03_source_test.csv",
                "anomaly_score_ToyTrain_section_05_target_test.csv",
                "decision_result_ToyCar_section_04_target_test.csv",
            ],
        ),
        (
            "dcase2022",
            [
                "anomaly_score_ToyCar_section_03_test.csv",
                "decision_result_ToyTrain_section_05_test.csv",
            ],
        ),
        (
            "dcase2024",
            [
                "anomaly_score_3DPrinter_section_00_test.csv",
                "decision_result_AirCompressor_section_00_test.csv",
            ],
        ),
        ("dcase2025", ["anomaly_score_AutoTrash_section_00_test.csv"]),
    ],
)
def test_files_carry_the_names_of_their_year(make_entry, out, edition, expected):
    entry = make_entry(edition)
    done = submit(entry.run, edition, LABEL, out, form=FORM)
    names = {path.name for path in done.folder.iterdir()}
    assert set(expected) <= names
    assert f"{LABEL}.meta.yaml" in names
    files_per_clip_list = 1 if edition == "dcase2020" else 2
    assert len(names) == 1 + files_per_clip_list * len(done.files)
    assert any(name.startswith("decision") for name in names) == (edition != "dcase2020")
    with zipfile.ZipFile(done.archive) as archive:
        assert archive.namelist() == sorted(f"task2/{LABEL}/{name}" for name in names)


def test_every_evaluation_clip_gets_its_score_and_decision(make_entry, out):
    entry = make_entry("dcase2024")
    done = submit(entry.run, "dcase2024", LABEL, out)
    mine = entry.scores.query("stage == 'eval' and machine == '3DPrinter'")
    train = mine.query("split == 'train'")["score"].to_numpy()
    limit = empirical_threshold(train)
    test = mine.query("split == 'test'").sort_values("file")
    lines = [f"{row.file},{row.score!r}" for row in test.itertuples()]
    scores = done.folder / "anomaly_score_3DPrinter_section_00_test.csv"
    assert scores.read_text().splitlines() == lines
    decisions = done.folder / "decision_result_3DPrinter_section_00_test.csv"
    assert decisions.read_text().splitlines() == [
        f"{row.file},{int(row.score > limit)}" for row in test.itertuples()
    ]
    row = next(row for row in done.files if row.machine == "3DPrinter")
    assert row.threshold == limit
    assert row.anomalies == (test["score"] > limit).sum()


def test_meta_file_is_filled_in_from_run_and_form(make_entry, out):
    entry = make_entry("dcase2025")
    done = submit(entry.run, "dcase2025", LABEL, out, form=FORM)
    meta = yaml.safe_load((done.folder / f"{LABEL}.meta.yaml").read_text())
    assert meta["submission"]["label"] == LABEL
    assert [author["lastname"] for author in meta["submission"]["authors"]] == [
        "Lastname",
        "Placeholder",
    ]
    assert meta["system"]["description"]["input_sampling_rate"] == "16kHz"
    assert meta["system"]["complexity"] == {"total_parameters": 1234, "MACS": None}
    table = meta["results"]["development_dataset"]
    assert list(table) == list(entry.edition.machines["dev"])
    test = entry.clips.assign(score=entry.scores["score"]).query(
        "stage == 'dev' and split == 'test' and machine == 'ToyCar'"
    )
    condition = np.where(test["file"].str.contains("anomaly"), "anomaly", "normal")
    values = evaluate(test.assign(condition=condition), "2022").machines["ToyCar"]
    assert table["ToyCar"]["auc_target"] == pytest.approx(100 * values["auc_target"], abs=1e-4)
    assert table["valve"] == {"auc_source": None, "auc_target": None, "pauc": None}


def test_the_networks_of_a_fusion_are_counted(make_entry, trained_with, out, tmp_path):
    entry = make_entry("dcase2025")
    runs = []
    for name, count in (("a", 3), ("b", 2), ("c", 3)):
        run = entry.run.with_name(name)
        trained_with(run, "dcase2025", checkpoints=count)
        noise = np.random.default_rng(count).normal(size=len(entry.scores))
        made = {"backbone": "x", "parameters": 100 * count, "sample_rate": 16000}
        scores = entry.scores.assign(score=entry.scores["score"] + noise)
        write_scores(run, "dcase2025", scores, made | {"fingerprint": name})
        runs.append(run)
    fusion = Fusion(("a", "b", "c"), "weights", (0.5, 0.5, 0.0), resamples=0)
    fuse(runs, entry.run.with_name("fused"), "dcase2025", fusion)
    fused = entry.run.with_name("fused")
    done = submit(fused, "dcase2025", LABEL, out, form=FORM)
    system = yaml.safe_load((done.folder / f"{LABEL}.meta.yaml").read_text())["system"]
    assert system["description"]["ensemble_method_subsystem_count"] == 3 + 2
    assert system["complexity"]["total_parameters"] == 500
    form = tmp_path / "form.toml"
    form.write_text("[description]\nensemble_method_subsystem_count = 36\n")
    progress = Silent()
    done = submit(fused, "dcase2025", LABEL, tmp_path / "stated", form=form, progress=progress)
    system = yaml.safe_load((done.folder / f"{LABEL}.meta.yaml").read_text())["system"]
    assert system["description"]["ensemble_method_subsystem_count"] == 36
    assert any("the form says 36" in note and "made of 5" in note for note in progress.notes)


def test_a_run_that_was_trained_with_what_the_rules_forbid_is_refused(
    make_entry, trained_with, out
):
    entry = make_entry("dcase2026")
    trained_with(entry.run, "dcase2025", "dcase2026")
    with pytest.raises(SubmissionError) as caught:
        submit(entry.run, "dcase2026", LABEL, out)
    assert "uses what dcase2026 does not allow: train clips of dcase2025" in str(caught.value)
    assert "--editions dcase2026" in str(caught.value)
    assert not out.exists()
    trained_with(entry.run, "dcase2026")
    assert submit(entry.run, "dcase2026", LABEL, out).changed


def test_what_the_rules_may_not_allow_is_said_and_packed(make_entry, trained_with, out):
    entry = make_entry("dcase2024")
    trained_with(entry.run, "dcase2023", "workshop")
    progress = Silent()
    submit(entry.run, "dcase2024", LABEL, out, progress=progress)
    notes = [note for note in progress.notes if str(entry.run) in note]
    assert [
        "may not allow: train clips of dcase2023" in notes[0],
        "external data to dcase2024: train clips of workshop" in notes[1],
    ] == [True, True]


def test_2026_gets_no_macs(make_entry, out):
    entry = make_entry("dcase2026")
    done = submit(entry.run, "dcase2026", LABEL, out, form=FORM)
    meta = yaml.safe_load((done.folder / f"{LABEL}.meta.yaml").read_text())
    assert meta["system"]["complexity"] == {"total_parameters": 1234}
    assert list(meta["system"]["description"])[-2:] == [
        "external_data_usage",
        "development_data_usage",
    ]


def test_what_stays_empty_is_said(make_entry, out):
    entry = make_entry("dcase2025")
    entry.write(entry.scores.query("stage == 'eval'"))
    progress = Silent()
    done = submit(entry.run, "dcase2025", LABEL, out, progress=progress)
    notes = "\n".join(progress.notes)
    assert "covers 2 of 8 evaluation machines of dcase2025; not CoffeeGrinder" in notes
    assert "no complete labelled development scores of ToyCar" in notes
    assert "null in the meta file: name, abbreviation, authors" in notes
    assert "give a form with --form" in notes
    assert "name: !!null" in (done.folder / f"{LABEL}.meta.yaml").read_text()


def test_one_form_serves_a_year_that_asks_for_less(make_entry, out, tmp_path):
    entry = make_entry("dcase2020")
    form = tmp_path / "form.toml"
    form.write_text('[description]\nattribute_usage = "condition"\n')
    progress = Silent()
    submit(entry.run, "dcase2020", LABEL, out, form=form, progress=progress)
    assert "dcase2020 does not ask for attribute_usage: left out" in progress.notes


def test_same_inputs_give_the_same_bytes_elsewhere(make_entry, tmp_path):
    entry = make_entry("dcase2024")
    first = submit(entry.run, "dcase2024", LABEL, tmp_path / "a", form=FORM)
    second = submit(entry.run, "dcase2024", LABEL, tmp_path / "b", form=FORM)
    assert first.archive.read_bytes() == second.archive.read_bytes()
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_an_identical_system_is_left_as_it_is(make_entry, out):
    entry = make_entry("dcase2024")
    assert submit(entry.run, "dcase2024", LABEL, out).changed
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.name != ".lock"}
    assert not submit(entry.run, "dcase2024", LABEL, out).changed
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_a_second_label_joins_the_package(make_entry, out):
    entry = make_entry("dcase2024")
    first = submit(entry.run, "dcase2024", LABEL, out)
    (first.folder.parent / "__MACOSX").mkdir()
    (first.folder / "Thumbs.db").write_bytes(b"litter")
    assert not submit(entry.run, "dcase2024", LABEL, out).changed
    done = submit(entry.run, "dcase2024", "Lastname_INST_task2_2", out)
    assert done.systems == [LABEL, "Lastname_INST_task2_2"]
    with zipfile.ZipFile(done.archive) as archive:
        assert {name.split("/")[1] for name in archive.namelist()} == set(done.systems)


def test_a_report_is_packed_and_kept_by_later_systems(make_entry, out, tmp_path):
    entry = make_entry("dcase2024")
    pdf = tmp_path / "report.pdf"
    pdf.write_bytes(b"%PDF-1.7\n")
    submit(entry.run, "dcase2024", LABEL, out, report=pdf)
    done = submit(entry.run, "dcase2024", "Lastname_INST_task2_2", out)
    name = "task2/Lastname_INST_task2.technical_report.pdf"
    with zipfile.ZipFile(done.archive) as archive:
        assert archive.read(name) == b"%PDF-1.7\n"
    assert not submit(entry.run, "dcase2024", LABEL, out, report=pdf).changed  # the same again
    pdf.write_bytes(b"%PDF-1.7\nnew")
    with pytest.raises(SubmissionError, match=r"technical_report\.pdf: is there already"):
        submit(entry.run, "dcase2024", LABEL, out, report=pdf)
    done = submit(entry.run, "dcase2024", LABEL, out, report=pdf, overwrite=True)
    with zipfile.ZipFile(done.archive) as archive:
        assert archive.read(name) == b"%PDF-1.7\nnew"


def test_a_differing_system_is_replaced_only_when_asked(make_entry, out):
    entry = make_entry("dcase2024")
    submit(entry.run, "dcase2024", LABEL, out)
    before = tree(out)
    entry.write(entry.scores.assign(score=entry.scores["score"] * 2))
    with pytest.raises(SubmissionError, match=r"differs \(anomaly_score_3DPrinter.*--overwrite"):
        submit(entry.run, "dcase2024", LABEL, out)
    assert tree(out) == before
    assert submit(entry.run, "dcase2024", LABEL, out, overwrite=True).changed
    assert tree(out).keys() == before.keys()
    assert tree(out) != before


def test_the_official_gamma_is_there_by_name(make_entry, out):
    entry = make_entry("dcase2024")
    done = submit(entry.run, "dcase2024", LABEL, out, rule="gamma", quantile=0.5)
    train = entry.scores.query("stage == 'eval' and machine == '3DPrinter' and split == 'train'")
    row = next(row for row in done.files if row.machine == "3DPrinter")
    assert row.threshold == gamma_threshold(train["score"].to_numpy(), 0.5)


def test_thresholds_by_too_few_clips_are_told_once_for_all_machines(make_entry, out):
    entry = make_entry("dcase2024")
    progress = Silent()
    submit(entry.run, "dcase2024", LABEL, out, progress=progress)
    (note,) = (note for note in progress.notes if "cannot tell" in note)
    assert note.startswith(
        "3DPrinter section 00, AirCompressor section 00: 20 train clip(s) cannot tell which scores "
        "10 % of normal clips exceed: of new ones 1.2 to 25 % may lie above the threshold"
    )


def test_thresholds_can_be_set_by_target_domain_clips(make_entry, out):
    entry = make_entry("dcase2024")
    with pytest.raises(TooFewClipsError, match=r"no train clip is of the target.*empirical"):
        submit(entry.run, "dcase2024", LABEL, out, rule="target")
    target = entry.scores["file"].str.contains("source_train_normal_000")
    names = entry.scores["file"].where(
        ~target, entry.scores["file"].str.replace("source", "target")
    )
    entry.write(entry.scores.assign(file=names))
    done = submit(entry.run, "dcase2024", LABEL, out, rule="target", quantile=0.8)
    mine = (entry.scores["machine"] == "3DPrinter") & (entry.scores["stage"] == "eval")
    row = next(row for row in done.files if row.machine == "3DPrinter")
    assert row.threshold == entry.scores[mine & target]["score"].nlargest(2).min()  # 9th of 10


def test_the_empirical_rule_serves_where_gamma_cannot(make_entry, out):
    entry = make_entry("dcase2024")
    constant = entry.scores.assign(
        score=entry.scores["score"].where(entry.scores["split"] == "test", 0.25)
    )
    entry.write(constant)
    with pytest.raises(ScoresError, match=r"dcase2024 3DPrinter section 00: all 20 train scores"):
        submit(entry.run, "dcase2024", LABEL, out, rule="gamma")
    done = submit(entry.run, "dcase2024", LABEL, out)
    assert done.files[0].threshold == 0.25


def test_a_machine_without_train_scores_is_named(make_entry, out):
    entry = make_entry("dcase2024")
    entry.write(entry.scores.query("split == 'test'"))
    with pytest.raises(TooFewClipsError, match="3DPrinter section 00: there is no train score"):
        submit(entry.run, "dcase2024", LABEL, out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"label": "Lastname_task2_1"}, SubmissionError, "must read <Lastname>_<Inst>_task2_<1-4>"),
        ({"label": "Lastname_INST_task2_5"}, SubmissionError, "at most 4 systems"),
        ({"quantile": 1.0}, SubmissionError, r"quantile 1\.0 must lie between 0 and 1"),
        ({"report": Path("none.pdf")}, SubmissionError, "none.pdf: no such technical report"),
        ({"report": FORM}, SubmissionError, "is no PDF"),
        ({"form": Path("none.toml")}, RecipeError, "none.toml: no such recipe"),
        ({"edition": "dcase2025"}, ScoresError, "no finished scores of dcase2025"),
    ],
)
def test_wrong_arguments_leave_nothing_behind(make_entry, out, arguments, kind, message):
    entry = make_entry("dcase2024")
    with pytest.raises(kind, match=message):
        submit(
            **{"run": entry.run, "edition": "dcase2024", "label": LABEL, "out": out, **arguments}
        )
    assert not out.exists()


def test_an_oversized_report_is_refused(make_entry, out, tmp_path, monkeypatch):
    entry = make_entry("dcase2024")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7 long")
    monkeypatch.setattr(module, "LARGEST_FILE", 8)
    with pytest.raises(SubmissionError, match="make its figures smaller"):
        submit(entry.run, "dcase2024", LABEL, out, report=tmp_path / "report.pdf")


def test_a_run_without_evaluation_scores_is_refused(make_entry, out):
    entry = make_entry("dcase2024")
    entry.write(entry.scores.query("stage == 'dev'"))
    with pytest.raises(ScoresError, match="no scores of the evaluation set of dcase2024"):
        submit(entry.run, "dcase2024", LABEL, out)


def test_a_clip_without_a_domain_is_refused_where_files_are_sorted_by_it(make_entry, out):
    entry = make_entry("dcase2021")
    names = entry.scores["file"].str.replace("_source_test_00", "_00")
    entry.write(entry.scores.assign(file=names))
    with pytest.raises(ScoresError, match=r"section_03_0000\.wav does not name its domain"):
        submit(entry.run, "dcase2021", LABEL, out)


def test_caveats_of_the_scores_are_said(make_entry, out):
    entry = make_entry("dcase2025")
    path = entry.run / "scores" / "dcase2025.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"caveats": ["fitted to itself"]}))
    progress = Silent()
    submit(entry.run, "dcase2025", LABEL, out, progress=progress)
    assert progress.notes[0] == "fitted to itself"
