import dataclasses
import io
import json
import zipfile
from dataclasses import replace

import pytest
from loopback import Fault

from dcase_asd.downloads import ground_truth
from dcase_asd.downloads.ground_truth import fetch_labels, plan_labels
from dcase_asd.downloads.http import Patience
from dcase_asd.editions.edition import load_edition
from dcase_asd.errors import DownloadError, EditionError
from dcase_asd.progress import Silent

PATIENT = Patience(attempts=2, first_pause=0.01, silence=0.5)
LABELS = b"section_00_0000.wav,0\nsection_00_0001.wav,1\n"
FILE = "ground_truth_Scanner_section_00_test.csv"


def repository(edition, files, commit=None):
    """A repository as it is published: a zip whose comment is the commit."""
    source = load_edition(edition).ground_truth
    commit = commit or source.commit.ljust(40, "0")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.comment = commit.encode()
        for name, content in files.items():
            archive.writestr(f"{source.repository.partition('/')[2]}-{commit}/{name}", content)
    return source.archive.removeprefix("https://github.com"), stream.getvalue()


@pytest.fixture
def evaluator(server):
    files = {
        f"ground_truth_data/{FILE}": LABELS,
        f"ground_truth_domain/{FILE}": LABELS,
        f"ground_truth_attributes/{FILE}": LABELS,
        f"ground_truth_data/._{FILE}": b"litter",
        "dcase2024_task2_evaluator.py": b"code",
        "LICENSE.pdf": b"terms",
    }
    path, content = repository("2024", files)
    server.serve(path, content)
    return path


def fetch(plan, server, **options):
    fetch_labels(plan, mirror=server.url, patience=PATIENT, **options)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_labels_and_their_licence_are_taken_and_nothing_else(server, evaluator, tmp_path):
    (plan,) = plan_labels(tmp_path, ["2024"])
    assert not plan.there
    fetch(plan, server)
    assert plan.folder == tmp_path / "ground_truth" / "dcase2024"
    assert names(plan.folder) == [
        "LICENSE.pdf", f"ground_truth_data/{FILE}", f"ground_truth_domain/{FILE}", "source.json"
    ]  # fmt: skip
    assert (plan.folder / "ground_truth_data" / FILE).read_bytes() == LABELS
    source = json.loads((plan.folder / "source.json").read_text())
    assert source["source"].endswith("tree/b5d17f63769bf4372a5412a7ede1f814c9590047")
    assert source["licence"] == "NTT Software License Agreement for Evaluation"
    assert not list(tmp_path.rglob("*.zip"))


def test_labels_that_are_there_are_not_fetched_again(server, evaluator, tmp_path):
    fetch(plan_labels(tmp_path, ["2024"])[0], server)
    (plan,) = plan_labels(tmp_path, ["dcase2024", "2024"])
    assert plan.there
    fetch(plan, server)
    assert len(server.requests) == 1


def test_another_commit_than_the_pinned_one_is_refused(server, tmp_path):
    path, content = repository("2024", {f"ground_truth_data/{FILE}": LABELS}, "0" * 40)
    server.serve(path, content)
    (plan,) = plan_labels(tmp_path, ["2024"])
    with pytest.raises(DownloadError, match="what came is not commit b5d17f63"):
        fetch(plan, server)
    assert not plan.folder.exists()
    assert not list(tmp_path.rglob("*.zip"))


def test_a_repository_without_labels_is_refused_and_leaves_nothing(server, tmp_path):
    path, content = repository("2024", {f"ground_truth_data/{FILE}": LABELS})
    server.serve(path, content)
    (plan,) = plan_labels(tmp_path, ["2024"])
    with pytest.raises(DownloadError, match="holds no labels in ground_truth_domain"):
        fetch(plan, server)
    assert not plan.folder.exists()


def test_a_fetch_that_failed_is_gone_on_with(server, evaluator, tmp_path):
    server.faults[evaluator] = [Fault(drop=300), Fault(status=404)]
    (plan,) = plan_labels(tmp_path, ["2024"])
    with pytest.raises(DownloadError, match="404"):
        fetch(plan, server)
    fetch(plan, server)
    assert server.asked(evaluator)[-1] == "bytes=300-"
    assert plan.folder.is_dir()


def test_the_list_of_2020_comes_from_its_record(server, tmp_path):
    server.publish(3951620, {"eval_data_list.csv": b"fan\nid_01_0.wav,normal_id_01_0.wav,0\n"})
    (plan,) = plan_labels(tmp_path, ["2020"])
    fetch(plan, server)
    assert names(plan.folder) == ["eval_data_list.csv", "source.json"]


def test_a_record_without_the_list_is_told(server, tmp_path):
    server.publish(3951620, {})
    with pytest.raises(DownloadError, match=r"holds no eval_data_list.csv; was it replaced?"):
        fetch(plan_labels(tmp_path, ["2020"])[0], server)


def test_the_list_of_2025_loses_its_folder(server, tmp_path):
    path, content = repository(
        "2025", {"datasets/eval_data_list_2025.csv": b"x", "LICENSE.pdf": b""}
    )
    server.serve(path, content)
    (plan,) = plan_labels(tmp_path, ["2025"])
    fetch(plan, server)
    assert names(plan.folder) == ["LICENSE.pdf", "eval_data_list_2025.csv", "source.json"]


def test_of_2022_only_labels_and_domains_are_taken():
    source = load_edition("2022").ground_truth
    assert source.paths == ("ground_truth_data", "ground_truth_domain")


@pytest.mark.parametrize("below", ["", "dcase2024_task2_evaluator", "dcase2024"])
def test_a_checkout_that_one_has_is_copied_without_the_network(tmp_path, below):
    checkout = tmp_path / "checkouts" / below
    for folder in ("ground_truth_data", "ground_truth_domain", "ground_truth_attributes"):
        (checkout / folder).mkdir(parents=True)
        (checkout / folder / FILE).write_bytes(LABELS)
    progress = Silent()
    (plan,) = plan_labels(tmp_path / "data", ["2024"])
    fetch_labels(
        plan, checkout=tmp_path / "checkouts", mirror="http://127.0.0.1:9", progress=progress
    )
    assert names(plan.folder) == [
        f"ground_truth_data/{FILE}", f"ground_truth_domain/{FILE}", "source.json"
    ]  # fmt: skip
    assert "its commit was not checked" in progress.notes[0]


def test_a_folder_that_is_no_checkout_is_told(tmp_path):
    (plan,) = plan_labels(tmp_path / "data", ["2024"])
    with pytest.raises(
        DownloadError, match=r"--from names a checkout of https://github.com/nttcslab"
    ):
        fetch_labels(plan, checkout=tmp_path)
    assert not plan.folder.exists()


def test_a_year_without_published_labels_is_told(tmp_path, monkeypatch):
    unpublished = dataclasses.replace(load_edition("2024"), ground_truth=None)
    monkeypatch.setattr("dcase_asd.downloads.ground_truth.official", lambda _: unpublished)
    with pytest.raises(EditionError, match="dcase2024: no labels of its evaluation set are publ"):
        plan_labels(tmp_path, ["2024"])
    monkeypatch.undo()
    with pytest.raises(EditionError, match="workshop: no year of the challenge"):
        plan_labels(tmp_path, ["workshop"])


def test_a_year_whose_labels_are_not_published_yet_is_told(tmp_path, monkeypatch):
    unpublished = replace(load_edition("2024"), ground_truth=None)
    monkeypatch.setattr(ground_truth, "official", lambda name: unpublished)
    with pytest.raises(EditionError, match="dcase2024: no labels of its evaluation set are publis"):
        plan_labels(tmp_path, ["2024"])
