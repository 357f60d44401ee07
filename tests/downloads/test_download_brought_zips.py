"""Zips that the user brings instead of fetching them."""

import shutil
import zipfile
from pathlib import Path

import pytest
from downloading import DEV_TREE, run
from published import machine_clips, publish_edition, tree_below, zipped

from dcase_asd.downloads.plan import plan_download
from dcase_asd.errors import DataError
from dcase_asd.progress import Silent


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


def test_a_zip_that_is_none_is_planned_without_a_size_and_then_told(one_machine, brought):
    (brought / "dev_ToyCar.zip").write_bytes(b"no zip")
    plan = plan_download(one_machine(source=brought))
    assert (plan.files[0].state, plan.files[0].size, plan.unpacked_size) == ("archive", 6, 0)
    (problem,) = run(one_machine(source=brought)).problems
    assert "dev_ToyCar.zip: the archive is damaged" in problem


def test_a_zip_with_another_checksum_than_known_is_refused(request_for, brought):
    (brought / "dev_fan.zip").write_bytes(zipped({"train/x.wav": b"", "test/x.wav": b""}, "fan"))
    request = request_for("2023", parts=("dev",), machines=("fan",), source=brought)
    (problem,) = run(request).problems
    assert "instead of md5:9348591e96fb0ad499a1e33b082562fc" in problem


def test_a_folder_that_is_not_there_is_told(one_machine):
    with pytest.raises(DataError, match="--from names the folder of your zips"):
        plan_download(one_machine(source=Path("/no/such/folder")))
