import hashlib

from dcase_asd.downloads.partial import PartialFile, RemoteFile, file_checksum


def test_blocks_are_hashed_in_their_order(tmp_path):
    expected = hashlib.sha256()
    with PartialFile(tmp_path / "x", RemoteFile("http://x/", None, "sha256:0")) as part:
        for index in range(50):
            block = bytes([index]) * (1000 + index)
            part.append(block)
            expected.update(block)
            assert part.checksum() == expected.hexdigest()


def test_the_beginning_of_another_process_is_hashed_before_what_follows(tmp_path):
    remote = RemoteFile("http://x/", None, "sha256:0")
    for count, content in enumerate((b"first", b"second")):
        with PartialFile(tmp_path / "x", remote) as part:
            assert part.size == 5 * count
            part.remember("")
            part.append(content)
    assert part.checksum() == hashlib.sha256(b"firstsecond").hexdigest()


def test_a_files_checksum_is_that_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_checksum(tmp_path / "x", "sha256") == hashlib.sha256(b"abc").hexdigest()
