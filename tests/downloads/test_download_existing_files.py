"""What a download finds in the data folder: whole, own, begun, interrupted or damaged files."""

import json
import shutil

import pytest
from downloading import DEV, DEV_TREE, below, run, states
from loopback import Fault
from published import publish_edition, tree_below

from dcase_asd.downloads.plan import plan_download
from dcase_asd.downloads.request import STAGED_NOTE
from dcase_asd.errors import ArtifactError
from dcase_asd.files import only_writer
from dcase_asd.progress import Silent


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


def test_what_somebody_else_left_in_its_place_is_told(server, one_machine, tmp_path):
    publish_edition(server)
    (file,) = plan_download(one_machine()).files
    file.staged.parent.mkdir(parents=True)
    file.staged.write_text("mine")
    (problem,) = run(one_machine()).problems
    assert "Not a directory; mend that and run the same command again" in problem
    assert file.staged.read_text() == "mine"


def test_a_move_interrupted_before_its_note_is_finished(server, one_machine, tmp_path):
    tree = publish_edition(server)
    run(one_machine())
    data = tmp_path / "data"
    staged = data / DEV_TREE / ".." / ".unpacked-dev_ToyCar.zip"
    staged.mkdir()
    (data / "downloads/dcase2025/dev_ToyCar.zip.json").rename(staged / STAGED_NOTE)
    assert states(one_machine()) == {"dev_ToyCar.zip": "unpacked"}
    assert run(one_machine()).problems == ()
    assert tree_below(data) == below(tree, DEV_TREE)
    assert states(one_machine()) == {"dev_ToyCar.zip": "done"}


def test_an_interrupted_unpacking_is_begun_again(server, one_machine, tmp_path):
    tree = publish_edition(server)
    litter = tmp_path / "data" / "dcase2025t2/dev_data/raw/.unpacking-dev_ToyCar.zip"
    (litter / "machine" / "train").mkdir(parents=True)
    (litter / "machine" / "train" / "half.wav").write_bytes(b"half")
    run(one_machine())
    assert tree_below(tmp_path / "data") == below(tree, DEV_TREE)


def test_a_folder_in_the_way_that_is_none_of_ours_is_named_and_kept(server, one_machine, tmp_path):
    publish_edition(server)
    foreign = tmp_path / "data" / DEV_TREE / ".." / ".unpacked-dev_ToyCar.zip" / "mine.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    (problem,) = run(one_machine()).problems
    assert "/.unpacked-dev_ToyCar.zip: Directory not empty; mend that and run the same" in problem
    assert foreign.read_bytes() == b"mine"


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
