"""Hashes of recordings, as training, embeddings and duplicates need them."""

from dcase_asd.clips.cache import content_hashes, read_cache
from dcase_asd.clips.prepare import prepare
from dcase_asd.progress import Silent


def test_of_a_recording_that_cannot_be_read_the_reason_stands_for_its_hash(small_tree):
    whole = prepare(small_tree).clips["path"].tolist()
    broken = small_tree / whole[0]
    content = broken.read_bytes()
    broken.write_bytes(content[:200])
    found = content_hashes(small_tree, whole[:2], Silent())
    assert found[whole[0]].startswith(f"{broken}: truncated")
    assert found[whole[1]] == read_cache(small_tree)[whole[1]].hash != ""
    # No reason is taken for a hash later, when the recording is there again.
    broken.write_bytes(content)
    prepare(small_tree)
    assert ":" not in content_hashes(small_tree, whole[:1], Silent())[whole[0]]
