import pytest

from dcase_asd.errors import ArtifactError, command
from dcase_asd.files import read_table

TYPES = {"file": str, "frames": int, "score": float}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        # A field too many in every row, of which pandas would take the first for row names.
        ("a.wav,1,0,5\nb.wav,2,0,7\n", "line 2: 4 fields instead of 3; numbers take a point"),
        ("a.wav,1,0.5\nb.wav,2,0,7\n", "line 3: 4 fields instead of 3; numbers take a point"),
        ('a.wav,1,0.5\nb.wav,2,"0,7"\n', "line 3: the column score holds a value that is "
         "no number, '0,7', but has a decimal comma"),
        ("a.wav,1,0.5\nb.wav,many,1\n", "line 3: the column frames holds a value that is no num"),
        ("a.wav,1,0.5\nb.wav,2\n", "line 3: 2 fields instead of 3"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_file_and_line(tmp_path, rows, words):
    path = tmp_path / "scores.csv"
    path.write_text("file,frames,score\n" + rows)
    with pytest.raises(ArtifactError) as caught:
        read_table(path, TYPES, command("score", "runs/a"))
    message = str(caught.value)
    assert f"{path}, {words}" in message
    assert message.endswith("; mend it, or make it again with `dcase-asd score runs/a`")
    assert "\n" not in message


def test_another_separator_shows_in_the_header(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("file;frames;score\na.wav;1;0,5\n")
    with pytest.raises(ArtifactError, match="must be file,frames,score, not file;frames;score"):
        read_table(path, TYPES, command("score", "runs/a"))


@pytest.mark.parametrize("content", [b"", b"file,frames,score\n\xff,1,2\n"])
def test_what_is_no_table_is_told(tmp_path, content):
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"scores\.csv: not a readable table \("):
        read_table(path, TYPES, command("score", "runs/a"))
