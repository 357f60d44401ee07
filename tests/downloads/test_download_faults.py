"""Servers, records, archives and disks that fail, and requests that make no sense."""

import pytest
from downloading import DEV, DEV_TREE, below, run, states
from loopback import Fault
from published import machines_of, publish_edition, tree_below, zipped

from dcase_asd.downloads.download import download
from dcase_asd.downloads.plan import plan_download
from dcase_asd.errors import DownloadError, EditionError
from dcase_asd.progress import Silent


def test_one_bad_archive_does_not_stop_the_others(server, request_for, tmp_path):
    tree = publish_edition(server)
    server.faults[DEV] = [Fault(status=404)]
    outcome = run(request_for())
    assert outcome.complete == 5
    assert [problem for problem in outcome.problems if "answers 404" in problem]
    missing = below(tree, DEV_TREE)
    assert tree_below(tmp_path / "data") == {k: v for k, v in tree.items() if k not in missing}
    assert run(request_for()).problems == ()
    assert tree_below(tmp_path / "data") == tree


def test_every_fault_of_the_server_at_once_is_survived(server, request_for, tmp_path):
    tree = publish_edition(server, clips=20)
    faults = [
        Fault(drop=500), Fault(status=429, retry_after="0"), Fault(damaged=True), Fault(whole=True),
        Fault(chunked=True, extra=b"more"), Fault(status=500),
    ]  # fmt: skip
    archives = [path for path in server.files if path.startswith("/records/")]
    for index, path in enumerate(archives):
        server.faults[path] = [faults[index % 6], faults[(index + 3) % 6]]
    for path in server.files:
        if path.startswith("/api/"):
            server.faults[path] = [Fault(status=503)]
    assert run(request_for()).problems == ()
    assert tree_below(tmp_path / "data") == tree


def test_no_more_files_come_at_once_than_the_user_allows(server, request_for):
    publish_edition(server, clips=20)
    server.pause = 0.002
    run(request_for(jobs=2))
    assert server.busiest <= 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no zip", "damaged"),
        (zipped({"ToyCar/readme.txt": b""}), "holds no clips"),
        (zipped({"a/train/x.wav": b"", "b/train/x.wav": b""}), "several machines"),
        (zipped({"ToyCar/train/../../../../x.wav": b""}), "leads out of it"),
    ],
)
def test_a_bad_archive_leaves_nothing_behind_in_the_tree(
    server, one_machine, tmp_path, content, reason
):
    server.publish(15097779, {"dev_ToyCar.zip": content})
    (problem,) = run(one_machine()).problems
    assert reason in problem
    assert tree_below(tmp_path / "data") == {}
    assert not list((tmp_path / "data").rglob(".unpack*"))


def test_a_record_that_differs_from_what_is_known_is_refused(server, request_for):
    publish_edition(server, "dcase2023", machines=1)
    outcome = run(request_for("2023", machines=machines_of("dcase2023", 1)))
    assert outcome.complete == 0
    assert all("than the published one" in problem for problem in outcome.problems)


def test_an_archive_that_the_record_does_not_hold_is_told(server, one_machine):
    server.publish(15097779, {"dev_ToyCar_r2.zip": b""})
    (problem,) = run(one_machine()).problems
    assert "records/15097779 holds no dev_ToyCar.zip; was it replaced?" in problem


def test_without_a_known_checksum_nothing_is_fetched(server, one_machine):
    publish_edition(server)
    server.files.pop("/api/records/15097779")
    progress = Silent()
    (problem,) = run(one_machine(), progress).problems
    assert "its checksum is known neither here nor from the record" in problem
    assert "sizes and checksums could not be read" in progress.notes[0]
    assert server.asked(DEV) == []


def test_without_the_api_files_of_known_checksum_are_fetched(server, request_for):
    path = "/records/7882613/files/dev_fan.zip"
    server.serve(path, zipped({"train/x.wav": b"x", "test/x.wav": b"x"}, "fan"))
    (problem,) = run(request_for("2023", parts=("dev",), machines=("fan",))).problems
    assert "not the published file" in problem
    assert len(server.asked(path)) == 2


def test_no_way_to_the_server_is_told_at_once(one_machine):
    request = one_machine(mirror="http://127.0.0.1:9")
    plan = plan_download(request)
    assert [file.size for file in plan.files] == [None]
    assert (
        "could not be read: http://127.0.0.1:9/api/records/15097779: cannot be reached"
        in (plan.notes[0])
    )
    with pytest.raises(DownloadError, match="cannot be reached"):
        download(plan)


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    server, one_machine, monkeypatch
):
    publish_edition(server)
    monkeypatch.setattr("dcase_asd.downloads.plan.free_space", lambda folder: 100)
    with pytest.raises(DownloadError, match=r"about .* are needed and 100 B are free; make room"):
        run(one_machine())
    assert server.asked(DEV) == []


def test_a_disk_that_fills_up_meanwhile_is_told_and_the_zip_is_kept(
    server, one_machine, tmp_path, monkeypatch
):
    tree = publish_edition(server)
    monkeypatch.setattr("dcase_asd.downloads.archive.free_space", lambda folder: 100)
    (problem,) = run(one_machine()).problems
    assert "unpacking dev_ToyCar.zip needs" in problem
    monkeypatch.undo()
    assert states(one_machine()) == {"dev_ToyCar.zip": "archive"}
    run(one_machine())
    assert len(server.asked(DEV)) == 1
    assert tree_below(tmp_path / "data") == below(tree, DEV_TREE)
    assert not list((tmp_path / "data" / "downloads").rglob("*.zip"))


def test_kept_zips_count_in_full_for_the_disk_others_only_while_they_come(server, request_for):
    publish_edition(server)
    sizes = sorted(file.size for file in plan_download(request_for()).files)
    assert plan_download(request_for(jobs=2)).archives_size == sum(sizes[-2:])
    assert plan_download(request_for(keep_archives=True)).archives_size == sum(sizes)


def test_a_year_that_does_not_exist_is_told(request_for):
    with pytest.raises(EditionError, match="2019"):
        plan_download(request_for("2019", machines=()))
    with pytest.raises(EditionError, match="workshop: no year of the challenge"):
        plan_download(request_for("workshop", machines=()))


def test_a_machine_that_does_not_exist_is_told(request_for):
    with pytest.raises(EditionError, match="has no machine fun; did you mean 'fan'"):
        plan_download(request_for("2025", machines=("fun",)))


def test_noise_of_a_year_without_any_is_told(request_for):
    with pytest.raises(
        EditionError, match="publishes no supplemental clips; dcase2025 dev and add"
    ):
        plan_download(request_for("2024", machines=(), noise_only=True))
