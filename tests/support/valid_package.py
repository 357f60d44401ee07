"""A valid package for 2025, to break one thing of."""

from __future__ import annotations

import copy

from dcase_asd.editions.edition import load_edition
from dcase_asd.submission.check import check_package
from dcase_asd.submission.meta import (
    Affiliation,
    Author,
    ExternalDataset,
    SubmissionForm,
    SystemFacts,
    build_meta,
    meta_text,
)
from dcase_asd.submission.package import Package

EDITION = load_edition("dcase2025")
LABEL = "Doe_INST_task2_1"
FOLDER = f"task2/{LABEL}"
META = f"{FOLDER}/{LABEL}.meta.yaml"
REPORT = "task2/Doe_INST_task2.technical_report.pdf"
MACHINES = list(EDITION.machines["eval"])
CLIPS = {
    (machine, "00", ""): {f"section_00_{index:04}.wav" for index in range(4)}
    for machine in MACHINES
}
SCORES = f"{FOLDER}/anomaly_score_ToyPet_section_00_test.csv"
DECISIONS = f"{FOLDER}/decision_result_ToyPet_section_00_test.csv"
RESULTS = {
    machine: {"auc_source": 61.25, "auc_target": 58.5, "pauc": 52.125}
    for machine in EDITION.machines["dev"]
}
FORM = SubmissionForm(
    name="A system",
    abbreviation="System",
    authors=(
        Author("Doe", "Jo", "jo@inst.edu", Affiliation("INST", "Oslo, Norway"), corresponding=True),
    ),
    description=dict.fromkeys(
        set(EDITION.submission.description) - {"input_sampling_rate"}, "something"
    )
    | {"ensemble_method_subsystem_count": 2},
    external_datasets=(ExternalDataset("AudioSet", "https://audio.set"),),
    source_code="https://code.org",
)
VALID_META = build_meta(LABEL, EDITION, FORM, SystemFacts(16000, 1234, 5678, RESULTS))


def valid_files(label=LABEL):
    folder = f"task2/{label}"
    meta = copy.deepcopy(VALID_META)
    meta["submission"]["label"] = label
    files = {f"{folder}/{label}.meta.yaml": meta_text(meta).encode(), REPORT: b"%PDF-1.7"}
    for machine in MACHINES:
        for kind, values in (("anomaly_score", (0.1, 0.4, 0.2, 0.3)), ("decision_result", "0101")):
            lines = "".join(
                f"section_00_{index:04}.wav,{value}\n" for index, value in enumerate(values)
            )
            files[f"{folder}/{kind}_{machine}_section_00_test.csv"] = lines.encode()
    return files


def findings(files, computed=None, clips=CLIPS, name="", edition=EDITION):
    results = {LABEL: RESULTS} if computed is None else computed
    return [
        (problem.level, problem.where, problem.what)
        for problem in check_package(Package(name, files), edition, clips, results)
    ]


def only_finding(files, **options):
    found = findings(files, **options)
    assert len(found) == 1, found
    return found[0]
