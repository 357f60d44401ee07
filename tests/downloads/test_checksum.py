import hashlib

from dcase_asd.downloads.partial import BackgroundHash, file_checksum


def test_blocks_are_hashed_in_their_order():
    background = BackgroundHash("sha256")
    expected = hashlib.sha256()
    for index in range(50):
        block = background.borrow()
        content = bytes([index]) * (1000 + index)
        block[: len(content)] = content
        background.hash(block, len(content))
        expected.update(content)
    assert background.finish() == expected.hexdigest()
    assert background.finish() == expected.hexdigest()


def test_a_files_checksum_is_that_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_checksum(tmp_path / "x", "sha256") == hashlib.sha256(b"abc").hexdigest()
