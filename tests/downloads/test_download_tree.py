"""The official tree that a download ends in, whatever its archives look like."""

import time
from pathlib import Path

import pytest
from downloading import DEV_TREE, run, states
from published import machine_clips, machines_of, publish_edition, tree_below, zipped

from dcase_asd.downloads.plan import plan_download


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


def test_every_archive_of_every_edition_has_its_place(request_for):
    editions = tuple(str(year) for year in range(2020, 2027))
    plan = plan_download(request_for(*editions, machines=(), mirror="http://127.0.0.1:9"))
    assert len(plan.files) == 146
    assert len({(file.target, file.part) for file in plan.files}) == 146


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
