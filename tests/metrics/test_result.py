import csv
import io

import pytest

from dcase_asd.metrics.official import SectionResult, aggregate
from dcase_asd.metrics.result import (
    EvaluationReport,
    as_csv,
    as_latex,
    as_markdown,
    result_table,
    table_rows,
)

VALUES = {"auc_source": 0.6826, "auc_target": 0.6796, "pauc": 0.6068}


@pytest.fixture
def evaluation():
    sections = [SectionResult(machine, "00", "", VALUES) for machine in ("ToyCar", "bearing")]
    return aggregate(sections, "2022")


def test_rows_are_those_of_the_reports_table(evaluation):
    rows = [(row.machine, row.metric, row.percent) for row in table_rows(evaluation)]
    block = [("AUC_s", "68.26"), ("AUC_t", "67.96"), ("pAUC", "60.68"), ("hmean", "65.44")]
    assert rows == [(machine, *row) for machine in ("bearing", "ToyCar", "hmean") for row in block]


def test_2020_ends_in_means_and_2021_has_a_pauc_for_each_domain():
    result = {"auc": 0.5, "pauc": 0.6}
    rows = table_rows(aggregate([SectionResult("fan", "00", "", result)], "2020"))
    assert [(row.machine, row.metric) for row in rows[-3:]] == [
        ("mean", "AUC"),
        ("mean", "pAUC"),
        ("mean", "mean"),
    ]
    sections = [SectionResult("fan", "00", domain, result) for domain in ("source", "target")]
    rows = table_rows(aggregate(sections, "2021"))
    assert [row.metric for row in rows[:5]] == ["AUC_s", "AUC_t", "pAUC_s", "pAUC_t", "hmean"]


def test_csv_has_the_system_as_its_last_column(evaluation):
    rows = list(csv.reader(io.StringIO(as_csv(evaluation, "system, first"))))
    assert rows[0] == ["Machine", "Metric", "system, first"]
    assert rows[1] == ["bearing", "AUC_s", "68.26"]
    assert len(rows) == 13


def test_markdown_names_a_machine_once(evaluation):
    text = as_markdown(evaluation, "a|b")
    assert text.splitlines()[0] == r"| Machine | Metric | a\|b |"
    assert text.splitlines()[2:4] == ["| bearing | AUC_s | 68.26 |", "|  | AUC_t | 67.96 |"]
    assert text.count("bearing") == 1


def test_latex_escapes_names_and_sets_subscripts(evaluation):
    text = as_latex(evaluation, "my_system 50% \\x~^")
    assert r"my\_system 50\% \textbackslash{}x\textasciitilde{}\textasciicircum{}" in text
    assert r"bearing & AUC$_s$ & 68.26 \\" in text
    assert text.startswith(r"\begin{tabular}{llr}")
    assert text.endswith("\\end{tabular}\n")


def test_several_systems_stand_side_by_side_with_the_means_last(evaluation):
    other = aggregate([SectionResult(name, "00", "", VALUES) for name in ("fan", "ToyCar")], "2022")
    reports = [
        EvaluationReport("dcase2022", name, "file names", each, None, {}, True, ())
        for name, each in (("a", evaluation), ("b", other))
    ]
    table = result_table(reports)
    assert table.columns == ["Machine", "Metric", "a", "b"]
    cells = {(row[0], row[1]): tuple(row[2:]) for row in table.rows}
    assert cells["bearing", "AUC_s"] == ("68.26", "-")
    assert cells["fan", "pAUC"] == ("-", "60.68")
    assert cells["ToyCar", "hmean"] == ("65.44", "65.44")
    machines = list(dict.fromkeys(row[0] for row in table.rows))
    assert machines == ["bearing", "fan", "ToyCar", "hmean"]
    assert table.markdown().splitlines()[3] == "|  | AUC_t | 67.96 | - |"
