import json
import shutil
import time
import zipfile
from pathlib import Path

import pytest
from loopback import Fault
from published import machine_clips, machines_of, publish_edition, tree_below, zipped

from dcase_asd.artifacts.atomic import only_writer
from dcase_asd.challenge.edition import load_edition
from dcase_asd.errors import ArtifactError, DataError, DownloadError, EditionError
from dcase_asd.progress import Silent
from dcase_asd.steps.download import Request, download, plan_download
from dcase_asd.steps.download.files import STAGED_NOTE
from dcase_asd.transfer.connection import Patience

PATIENT = Patience(attempts=3, first_pause=0.01, longest_pause=0.02, silence=0.5)
DEV = "/records/15097779/files/dev_ToyCar.zip"
DEV_TREE = "dcase2025t2/dev_data/raw/ToyCar"


@pytest.fixture
def request_for(tmp_path, server):
    def make(*editions, **options):
        names = editions or ("2025",)
        options.setdefault("machines", machines_of(load_edition(names[0]).name))
        options.setdefault("mirror", server.url)
        return Request(tmp_path / "data", names, patience=PATIENT, **options)

    return make


@pytest.fixture
def one_machine(request_for):
    """A request for the development clips of one machine."""

    def make(**options):
        return request_for("2025", parts=("dev",), machines=("ToyCar",), **options)

    return make


def run(request, progress=None):
    return download(plan_download(request), progress)


def states(request):
    return {file.archive.name: file.state for file in plan_download(request).files}


def below(tree, folder):
    return {path: content for path, content in tree.items() if path.startswith(folder + "/")}


def test_an_edition_ends_in_the_official_tree(server, request_for, tmp_path):
    tree = publish_edition(server)
    outcome = run(request_for())
    assert outcome.problems == ()
    assert outcome.complete == 6
    assert tree_below(tmp_path / "data") == tree
    downloads = tmp_path / "data" / "downloads" / "dcase2025"
    assert not list(downloads.rglob("*.zip"))
    assert not list((tmp_path / "data").rglob(".unpack*"))


def test_a_plan_changes_nothing_and_says_what_is_to_come(server, request_for, tmp_path):
    publish_edition(server)
    plan = plan_download(request_for())
    assert [file.state for file in plan.files] == ["absent"] * 6
    assert all(file.size and file.checksum for file in plan.files)
    assert plan.unpacked_size > plan.archives_size > 0
    assert plan.free > plan.needed
    assert plan.licences[0] == (
        "dcase2025", "dev", "cc-by-nc-sa-4.0", "https://zenodo.org/records/15097779",
    )  # fmt: skip
    assert not (tmp_path / "data").exists()


def test_what_is_in_place_is_not_fetched_again_nor_asked_about(server, request_for):
    publish_edition(server)
    run(request_for())
    asked = len(server.requests)
    assert set(states(request_for()).values()) == {"done"}
    assert run(request_for()).complete == 6
    assert len(server.requests) == asked


def test_clips_that_went_away_are_fetched_again(server, one_machine, tmp_path):
    tree = publish_edition(server)
    run(one_machine())
    shutil.rmtree(tmp_path / "data" / DEV_TREE / "test")
    (tmp_path / "data" / DEV_TREE / "train").joinpath("mine.txt").write_text("mine")
    assert states(one_machine()) == {"dev_ToyCar.zip": "absent"}
    run(one_machine())
    expected = below(tree, DEV_TREE) | {f"{DEV_TREE}/train/mine.txt": b"mine"}
    assert tree_below(tmp_path / "data") == expected


def test_a_tree_that_somebody_else_unpacked_is_left_alone(server, one_machine, tmp_path):
    publish_edition(server)
    for folder in ("train", "test", "supplemental"):
        clip = tmp_path / "data" / DEV_TREE / folder / "section_00_x.wav"
        clip.parent.mkdir(parents=True)
        clip.write_bytes(b"mine")
    before = tree_below(tmp_path / "data")
    assert states(one_machine()) == {"dev_ToyCar.zip": "own"}
    assert run(one_machine()).complete == 1
    assert tree_below(tmp_path / "data") == before
    assert server.requests == []


def test_empty_folders_are_no_unpacked_tree(server, one_machine, tmp_path):
    tree = publish_edition(server)
    for folder in ("train", "test", "supplemental"):
        (tmp_path / "data" / DEV_TREE / folder).mkdir(parents=True)
    run(one_machine())
    assert tree_below(tmp_path / "data") == below(tree, DEV_TREE)


def test_a_users_own_file_is_never_written_over(server, one_machine, tmp_path):
    tree = publish_edition(server)
    own = tmp_path / "data" / DEV_TREE / "attributes_00.csv"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    same = tmp_path / "data" / next(path for path in tree if path.startswith(f"{DEV_TREE}/train"))
    same.parent.mkdir()
    same.write_bytes(tree[same.relative_to(tmp_path / "data").as_posix()])
    progress = Silent()
    run(one_machine(), progress)
    expected = below(tree, DEV_TREE) | {f"{DEV_TREE}/attributes_00.csv": b"mine"}
    assert tree_below(tmp_path / "data") == expected
    assert [note for note in progress.notes if "1 file(s) that were there before" in note]


def test_a_linked_machine_folder_is_filled_where_it_lies(server, one_machine, tmp_path):
    tree = publish_edition(server)
    elsewhere = tmp_path / "other disk" / "ToyCar"
    elsewhere.mkdir(parents=True)
    link = tmp_path / "data" / DEV_TREE
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    run(one_machine())
    assert tree_below(elsewhere).keys() == {
        path.removeprefix(f"{DEV_TREE}/") for path in below(tree, DEV_TREE)
    }
    assert states(one_machine()) == {"dev_ToyCar.zip": "done"}


@pytest.mark.parametrize("root", ["", "ToyCar", "dev_ToyCar", "raw/ToyCar", "./ToyCar"])
def test_any_folder_above_the_machine_is_looked_through(server, one_machine, tmp_path, root):
    files = machine_clips("ToyCar", "dev")
    server.publish(15097779, {"dev_ToyCar.zip": zipped(files, root)})
    run(one_machine())
    assert tree_below(tmp_path / "data") == {f"{DEV_TREE}/{k}": v for k, v in files.items()}


def test_the_litter_of_other_systems_is_left_out(server, one_machine, tmp_path):
    files = machine_clips("ToyCar", "dev")
    litter = {"__MACOSX/ToyCar/train/._a.wav": b"x", "ToyCar/train/.DS_Store": b"x", "README": b"x"}
    packed = {f"ToyCar/{name}": content for name, content in files.items()} | litter
    server.publish(15097779, {"dev_ToyCar.zip": zipped(packed)})
    run(one_machine())
    assert tree_below(tmp_path / "data") == {f"{DEV_TREE}/{k}": v for k, v in files.items()}


def test_the_folders_of_2021_are_known(server, request_for, tmp_path):
    dev = {f"{folder}/x.wav": b"x" for folder in ("train", "source_test", "target_test")}
    test = {f"{folder}/x.wav": b"x" for folder in ("source_test", "target_test")}
    server.publish(4562016, {"dev_data_fan.zip": zipped(dev, "fan")})
    server.publish(4660992, {"eval_data_fan_train.zip": zipped({"train/x.wav": b"x"}, "fan")})
    server.publish(4884786, {"eval_data_fan_test.zip": zipped(test, "fan")})
    assert run(request_for("2021", machines=("fan",))).problems == ()
    raw = "dcase2021t2/{}/raw/fan/{}/x.wav"
    assert set(tree_below(tmp_path / "data")) == {
        raw.format(stage, folder)
        for stage in ("dev_data", "eval_data")
        for folder in ("train", "source_test", "target_test")
    }


def test_only_noise_clips_are_unpacked_where_only_they_are_wanted(server, one_machine, tmp_path):
    tree = publish_edition(server)
    mixed = machine_clips("ToyCar", "dev")
    mixed["supplemental/section_00_machine_source_0000_noAttribute.wav"] = b"clean"
    server.publish(15097779, {"dev_ToyCar.zip": zipped(mixed, "ToyCar")})
    run(one_machine(noise_only=True))
    noise = {k: v for k, v in tree.items() if k.startswith(DEV_TREE) and "noise" in k}
    assert len(noise) == 3
    assert tree_below(tmp_path / "data") == noise
    assert states(one_machine(noise_only=True)) == {"dev_ToyCar.zip": "done"}
    assert states(one_machine()) == {"dev_ToyCar.zip": "absent"}
    run(one_machine())
    assert tree_below(tmp_path / "data") == {f"{DEV_TREE}/{k}": v for k, v in mixed.items()}
    assert states(one_machine(noise_only=True)) == {"dev_ToyCar.zip": "done"}


def test_a_machine_without_noise_clips_has_none(server, one_machine, tmp_path):
    clean = {"supplemental/section_00_machine_source_0000_.wav": b"x", "train/x.wav": b"x"}
    server.publish(15097779, {"dev_ToyCar.zip": zipped(clean, "ToyCar")})
    assert run(one_machine(noise_only=True)).problems == ()
    assert tree_below(tmp_path / "data") == {}
    assert states(one_machine(noise_only=True)) == {"dev_ToyCar.zip": "done"}


def test_zips_are_kept_where_that_is_wanted_and_used_again(server, one_machine, tmp_path):
    tree = publish_edition(server)
    run(one_machine(keep_archives=True))
    kept = tmp_path / "data" / "downloads" / "dcase2025" / "dev_ToyCar.zip"
    assert kept.read_bytes() == server.files[DEV]
    shutil.rmtree(tmp_path / "data" / DEV_TREE)
    asked = len(server.asked(DEV))
    assert states(one_machine()) == {"dev_ToyCar.zip": "archive"}
    run(one_machine())
    assert tree_below(tmp_path / "data") == below(tree, DEV_TREE)
    assert len(server.asked(DEV)) == asked
    assert kept.exists()


def test_a_kept_zip_that_was_damaged_is_told(server, one_machine, tmp_path):
    publish_edition(server)
    run(one_machine(keep_archives=True))
    kept = tmp_path / "data" / "downloads" / "dcase2025" / "dev_ToyCar.zip"
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    shutil.rmtree(tmp_path / "data" / DEV_TREE)
    (problem,) = run(one_machine()).problems
    assert "not the dev_ToyCar.zip of dcase2025" in problem


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


def test_two_archives_of_one_machine_may_come_at_the_same_moment(
    server, request_for, tmp_path, monkeypatch
):
    tree = publish_edition(server)
    rename = Path.rename

    def slowly(path, target):
        if path.name == "machine":
            time.sleep(0.05)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", slowly)
    assert (
        run(request_for(parts=("add", "eval"), machines=machines_of("dcase2025")[2:])).complete == 4
    )
    assert tree_below(tmp_path / "data") == {k: v for k, v in tree.items() if "eval_data" in k}


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
    monkeypatch.setattr("dcase_asd.steps.download.plan.free_space", lambda folder: 100)
    with pytest.raises(DownloadError, match=r"about .* are needed and 100 B are free; make room"):
        run(one_machine())
    assert server.asked(DEV) == []


def test_a_disk_that_fills_up_meanwhile_is_told_and_the_zip_is_kept(
    server, one_machine, tmp_path, monkeypatch
):
    tree = publish_edition(server)
    monkeypatch.setattr("dcase_asd.transfer.disk.free_space", lambda folder: 100)
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


def test_what_has_come_of_a_file_is_seen_and_gone_on_with(server, one_machine, tmp_path):
    tree = publish_edition(server)
    server.faults[DEV] = [Fault(drop=1000), Fault(status=404)]
    run(one_machine())
    plan = plan_download(one_machine())
    assert [(file.state, file.fetched) for file in plan.files] == [("begun", 1000)]
    assert run(one_machine()).problems == ()
    assert server.asked(DEV)[-1] == "bytes=1000-"
    assert tree_below(tmp_path / "data") == below(tree, DEV_TREE)


def test_an_interrupted_move_is_finished_without_the_network(server, one_machine, tmp_path):
    tree = publish_edition(server)
    run(one_machine())
    data = tmp_path / "data"
    note = data / "downloads" / "dcase2025" / "dev_ToyCar.zip.json"
    staged = data / DEV_TREE / ".." / ".unpacked-dev_ToyCar.zip"
    (staged / "machine").mkdir(parents=True)
    note.rename(staged / STAGED_NOTE)
    (data / DEV_TREE / "test").rename(staged / "machine" / "test")
    asked = len(server.requests)
    assert states(one_machine()) == {"dev_ToyCar.zip": "unpacked"}
    assert run(one_machine()).problems == ()
    assert len(server.requests) == asked
    assert tree_below(data) == below(tree, DEV_TREE)
    assert states(one_machine()) == {"dev_ToyCar.zip": "done"}


def test_an_interrupted_unpacking_is_begun_again(server, one_machine, tmp_path):
    tree = publish_edition(server)
    litter = tmp_path / "data" / "dcase2025t2/dev_data/raw/.unpacking-dev_ToyCar.zip"
    (litter / "machine" / "train").mkdir(parents=True)
    (litter / "machine" / "train" / "half.wav").write_bytes(b"half")
    run(one_machine())
    assert tree_below(tmp_path / "data") == below(tree, DEV_TREE)


def test_a_damaged_note_counts_for_nothing(server, one_machine, tmp_path):
    publish_edition(server)
    run(one_machine())
    note = tmp_path / "data" / "downloads" / "dcase2025" / "dev_ToyCar.zip.json"
    assert json.loads(note.read_text())["folders"] == ["supplemental", "test", "train"]
    note.write_text("{}", encoding="utf-8")
    assert states(one_machine()) == {"dev_ToyCar.zip": "own"}


def test_two_downloads_into_one_folder_do_not_mix(server, one_machine, tmp_path):
    publish_edition(server)
    with (
        only_writer(tmp_path / "data" / "downloads"),
        pytest.raises(ArtifactError, match="another"),
    ):
        run(one_machine())


# Zips that the user brings.


@pytest.fixture
def brought(tmp_path):
    folder = tmp_path / "usb"
    folder.mkdir()
    (folder / "dev_ToyCar.zip").write_bytes(zipped(machine_clips("ToyCar", "dev"), "ToyCar"))
    return folder


def test_zips_from_a_folder_need_no_network_and_stay(one_machine, brought, tmp_path):
    progress = Silent()
    request = one_machine(source=brought, mirror="http://127.0.0.1:9")
    assert run(request, progress).problems == ()
    files = machine_clips("ToyCar", "dev")
    assert tree_below(tmp_path / "data") == {f"{DEV_TREE}/{k}": v for k, v in files.items()}
    assert [path.name for path in brought.iterdir()] == ["dev_ToyCar.zip"]
    assert "its checksum is not known" in progress.notes[0]


@pytest.mark.parametrize("folder", ["dcase2025", "dcase2025t2", "2025"])
def test_zips_may_lie_in_a_folder_of_their_edition(one_machine, brought, folder):
    (brought / folder).mkdir()
    (brought / "dev_ToyCar.zip").rename(brought / folder / "dev_ToyCar.zip")
    assert run(one_machine(source=brought)).problems == ()


def test_a_downloads_folder_carried_elsewhere_brings_its_checksums(
    server, one_machine, request_for, tmp_path
):
    publish_edition(server)
    run(one_machine(keep_archives=True))
    carried = tmp_path / "data" / "downloads"
    carried = carried.rename(tmp_path / "carried")
    shutil.rmtree(tmp_path / "data")
    zip_path = carried / "dcase2025" / "dev_ToyCar.zip"
    assert [f.checksum for f in plan_download(one_machine(source=carried)).files] != [""]
    with zipfile.ZipFile(zip_path, "a") as archive:
        archive.writestr("ToyCar/train/added.wav", b"x")
    (problem,) = run(one_machine(source=carried)).problems
    assert "not the dev_ToyCar.zip of dcase2025" in problem


def test_a_zip_that_is_not_there_is_named_with_its_place(request_for, brought):
    request = request_for("2025", parts=("dev",), machines=("ToyCar", "ToyTrain"), source=brought)
    outcome = run(request)
    assert outcome.complete == 1
    (problem,) = outcome.problems
    assert problem.startswith(str(brought / "dcase2025" / "dev_ToyTrain.zip"))


def test_zips_of_one_name_from_several_years_are_not_mixed_up(request_for, brought):
    request = request_for("2024", "2025", parts=("dev",), machines=("ToyCar",), source=brought)
    assert run(request).complete == 0
    (brought / "dcase2025").mkdir()
    (brought / "dev_ToyCar.zip").rename(brought / "dcase2025" / "dev_ToyCar.zip")
    outcome = run(request)
    assert outcome.complete == 1
    assert str(brought / "dcase2024") in outcome.problems[0]


def test_a_zip_of_another_year_is_noticed_by_what_it_lacks(one_machine, brought):
    files = {k: v for k, v in machine_clips("ToyCar", "dev").items() if "supplemental" not in k}
    (brought / "dev_ToyCar.zip").write_bytes(zipped(files, "ToyCar"))
    (problem,) = run(one_machine(source=brought)).problems
    assert "not the dev_ToyCar.zip of dcase2025, as it lacks supplemental" in problem


def test_a_zip_with_another_checksum_than_known_is_refused(request_for, brought):
    (brought / "dev_fan.zip").write_bytes(zipped({"train/x.wav": b"", "test/x.wav": b""}, "fan"))
    request = request_for("2023", parts=("dev",), machines=("fan",), source=brought)
    (problem,) = run(request).problems
    assert "instead of md5:9348591e96fb0ad499a1e33b082562fc" in problem


def test_a_folder_that_is_not_there_is_told(one_machine):
    with pytest.raises(DataError, match="--from names the folder of your zips"):
        plan_download(one_machine(source=Path("/no/such/folder")))


# Requests that make no sense.


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


def test_every_archive_of_every_edition_has_its_place(request_for):
    editions = tuple(str(year) for year in range(2020, 2027))
    plan = plan_download(request_for(*editions, machines=(), mirror="http://127.0.0.1:9"))
    assert len(plan.files) == 146
    assert len({(file.target, file.part) for file in plan.files}) == 146
