import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from dcase_asd.errors import ArtifactError, BusyError
from dcase_asd.files import fingerprint, only_writer, read_json, replacing, write_json, write_text


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"

    def fail_half_way(error):
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(RuntimeError):
        fail_half_way(RuntimeError)
    assert list(path.parent.iterdir()) == []
    write_text(path, "whole")
    with pytest.raises(KeyboardInterrupt):
        fail_half_way(KeyboardInterrupt)
    assert path.read_text() == "whole"


def test_new_files_are_as_readable_as_any_other(tmp_path):
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_equal_content_leaves_a_file_untouched(tmp_path):
    path = tmp_path / "file"
    assert write_text(path, "a")
    before = path.stat().st_mtime_ns
    assert not write_text(path, "a")
    assert path.stat().st_mtime_ns == before
    assert write_text(path, "b")


def test_a_name_that_is_not_utf_8_is_never_written(tmp_path):
    text = "machine," + os.fsdecode(b"L\xfcfter.wav")
    with pytest.raises(ArtifactError, match=r"not UTF-8 \(…machine,L\\xfc\); rename it$"):
        write_text(tmp_path / "file", text)
    assert not (tmp_path / "file").exists()


def test_a_full_disk_is_one_clear_line_and_the_old_file_stays(tmp_path):
    """A limit on the size of files stands in for a full disk: writing fails in the middle."""
    path = tmp_path / "file"
    write_text(path, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ArtifactError, match=r"file: cannot be written \(File too large\)"):
            write_text(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match=r"below: cannot be written \(Not a directory|exists"):
        write_text(tmp_path / "file" / "below", "x")
    with pytest.raises(ArtifactError, match="cannot be written"), only_writer(tmp_path / "file"):
        pass


def test_a_marker_that_is_no_json_object_counts_as_absent(tmp_path):
    path = tmp_path / "marker.json"
    assert read_json(path) is None
    for content in ("", "{", "[1]", '{"a": 1'):
        path.write_text(content)
        assert read_json(path) is None
    write_json(path, {"a": 0.1})
    assert read_json(path) == {"a": 0.1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})


def test_fingerprints_depend_on_values_and_not_on_order_of_names():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint(json.loads('{"b": 2, "a": 1}'))
    assert fingerprint(1, 2) != fingerprint(2, 1) != fingerprint([1, 2])


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_named_with_the_way_out(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ArtifactError) as caught, only_writer(tmp_path):
        pass
    assert not isinstance(caught.value, BusyError)
    message = str(caught.value)
    assert f"{tmp_path}: its file system cannot lock files ({os.strerror(number)})" in message
    assert "give a folder on a local disk" in message
    # The way out, as the message spells it.
    name, _, value = message.partition("`export ")[2].partition("`")[0].partition("=")
    monkeypatch.setenv(name, value)
    with only_writer(tmp_path):
        write_text(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_a_lock_that_a_network_disk_denies_is_anothers(tmp_path, monkeypatch):
    def deny(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(fcntl, "flock", deny)
    with pytest.raises(BusyError, match="another dcase-asd is writing"), only_writer(tmp_path):
        pass


def test_the_lock_ends_with_the_block_though_a_forked_worker_has_it_open(tmp_path, monkeypatch):
    opened, flock = [], fcntl.flock

    def duplicate(descriptor, operation):
        # What a fork leaves in the child: another descriptor of the same open file.
        opened.append(os.dup(descriptor if isinstance(descriptor, int) else descriptor.fileno()))
        return flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", duplicate)
    try:
        for _ in range(2):
            with only_writer(tmp_path):
                pass
    finally:
        for descriptor in opened:
            os.close(descriptor)


def test_the_lock_of_a_killed_process_is_free_and_its_left_overs_are_removed(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from dcase_asd.files import *\n"
        "folder = Path(sys.argv[1])\n"
        "with only_writer(folder), replacing(folder / 'deep' / 'file') as path:\n"
        "    path.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    with pytest.raises(ArtifactError, match="another dcase-asd is writing"), only_writer(tmp_path):
        pass
    assert len(list(tmp_path.glob("deep/.writing-*"))) == 1
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with only_writer(tmp_path):
        assert list(tmp_path.glob("deep/*")) == []


def test_a_forked_worker_that_outlives_its_killed_run_does_not_keep_the_lock(tmp_path):
    program = (
        "import os, sys, time; from dcase_asd.files import only_writer\n"
        "with only_writer(sys.argv[1]):\n"
        "    worker = os.fork()\n"
        "    if not worker: print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    worker = int(child.stdout.readline())
    try:
        with pytest.raises(BusyError), only_writer(tmp_path):
            pass
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        os.kill(worker, 0)  # lives
        with only_writer(tmp_path):
            pass
    finally:
        child.stdout.close()
        os.kill(worker, signal.SIGKILL)


def test_the_command_line_starts_where_python_has_no_posix_modules():
    names = ("fcntl", "resource", "pwd", "grp", "termios")  # Windows has none of them
    program = f"import sys; sys.modules |= dict.fromkeys({names}); import dcase_asd.cli"
    subprocess.run([sys.executable, "-c", program], check=True)
