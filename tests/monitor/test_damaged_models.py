"""A model's file that was damaged, or made to do harm: it opens right, or one line says why not."""

import copy
import io
import json
import random
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load, save

from dcase_asd.errors import ArtifactError, DcaseAsdError
from dcase_asd.monitor.model_file import ARRAYS, TABLE
from dcase_asd.monitor.monitor import Monitor

MUTATIONS = 100
ODD = [None, True, -1, 1.5, 10**9, 10**400, float("nan"), float("inf"), 1e308, "", "../x", "a\0b",
       "/dev/zero", "\x1b[31m\nx", [], {}, [1], {"x": 1}]  # fmt: skip
NAMES = [
    "../x",
    "/x",
    "weights/../../x",
    "weights/",
    "c:\\x",
    "weights/x\0y",
    TABLE + "/",
    "a" * 6000,
]
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]
TEXTS = [b"", b"null", b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe", b"9" * 5000, b"[]"]
KINDS = [np.float16, np.float32, np.float64, np.int64, np.uint8, bool]


def zipped(entries, *more):
    """A zip of entries by name, and more of (name, content, method)."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, content, method in [*((*each, METHODS[0]) for each in entries.items()), *more]:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            file.writestr(entry, content)
    return made.getvalue()


def places(value):
    """Every place in a table, as a path of names and numbers."""
    for name in value if isinstance(value, dict) else range(min(2, len(value))):
        yield (name,)
        if isinstance(value[name], dict | list):
            yield from ((name, *rest) for rest in places(value[name]))


class Damage:
    """Makes one damaged file after another of a model's."""

    def __init__(self, whole, seed):
        self.whole, self.random = whole, random.Random(seed)
        with zipfile.ZipFile(io.BytesIO(whole)) as file:
            self.entries = {name: file.read(name) for name in file.namelist()}
        self.directory = whole.index(b"PK\1\2")
        self.ways = [self.cut, self.flip, self.table, self.text, self.array, self.header,
                     self.names, self.sizes]  # fmt: skip

    def cut(self):
        return self.whole[: self.random.randrange(len(self.whole))]

    def flip(self):
        content = bytearray(self.whole)
        first = self.random.choice([0, self.directory, self.directory])
        content[self.random.randrange(first, len(content))] = self.random.randrange(256)
        return bytes(content)

    def table(self):
        table = json.loads(self.entries[TABLE])
        *path, last = self.random.choice(list(places(table)))
        inner = table
        for name in path:
            inner = inner[name]
        if self.random.random() < 0.2:
            del inner[last]
        else:
            inner[last] = copy.deepcopy(self.random.choice(ODD))
        return zipped(self.entries | {TABLE: json.dumps(table).encode()})

    def text(self):
        return zipped(self.entries | {TABLE: self.random.choice(TEXTS)})

    def array(self):
        arrays = load(self.entries[ARRAYS])
        name = self.random.choice(sorted(arrays))
        array = arrays[name]
        arrays[name] = np.ascontiguousarray(self.random.choice([
            array.astype(self.random.choice(KINDS)), array[None], array.ravel(), array[1:],
            array[:0], np.full(array.shape, 2**62), np.full(array.shape, np.nan), np.array(1.0),
        ]))  # fmt: skip
        return zipped(self.entries | {ARRAYS: save(arrays)})

    def header(self):
        content = bytearray(self.entries[ARRAYS])
        (length,) = struct.unpack_from("<Q", content)
        if self.random.random() < 0.5:
            struct.pack_into("<Q", content, 0, self.random.choice([0, 2**63, length + 1, 10**8]))
        for _ in range(3):
            content[8 + self.random.randrange(length)] = self.random.randrange(256)
        return zipped(self.entries | {ARRAYS: bytes(content)})

    def names(self):
        return zipped(self.entries, (self.random.choice(NAMES), b"x", self.random.choice(METHODS)))

    def sizes(self):
        """Flags, method, sizes, lengths and place of an entry in the zip's directory."""
        content = bytearray(self.whole)
        at = self.random.choice([self.directory, self.whole.rindex(b"PK\1\2")])
        at += self.random.choice([8, 10, 20, 24, 28, 30, 42])
        content[at : at + 2] = self.random.randbytes(2)
        return bytes(content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("seed", range(2))
def test_whatever_was_damaged_opens_right_or_is_refused_in_one_line(machine, tmp_path, seed):
    sound = machine.normal()
    small = Monitor.fit([machine.normal()[:16000] for _ in range(4)], sample_rate=16000)
    folder = tmp_path / "models"
    model = folder / "fan.asd"
    small.save(model)
    damage, refused = Damage(model.read_bytes(), seed), []
    for number in range(MUTATIONS // 2):
        model.write_bytes(damage.ways[number % len(damage.ways)]())
        try:
            opened = Monitor.load(model)
            json.dumps([opened.check(sound).as_json(), opened.notes()], allow_nan=False)
        except DcaseAsdError as error:
            refused.append(str(error))
    assert len(refused) > MUTATIONS // 4
    assert all(each.isprintable() and len(each) < 600 for each in refused)
    assert [each.name for each in tmp_path.iterdir()] == ["models"]
    assert [each.name for each in folder.iterdir()] == ["fan.asd"]


def test_an_encrypted_entry_is_refused(monitor, tmp_path):
    monitor.save(tmp_path / "a.asd")
    content = bytearray((tmp_path / "a.asd").read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    content[6] |= 1
    (tmp_path / "a.asd").write_bytes(content)
    with pytest.raises(ArtifactError, match="encrypted"):
        Monitor.load(tmp_path / "a.asd")


def test_a_newer_programs_name_cannot_write_to_the_terminal(monitor, tmp_path):
    monitor.save(tmp_path / "a.asd")
    with zipfile.ZipFile(tmp_path / "a.asd") as file:
        entries = {name: file.read(name) for name in file.namelist()}
    table = json.loads(entries[TABLE]) | {"version": 3, "made_by": "\x1b[2J\n" + "x" * 10_000}
    (tmp_path / "a.asd").write_bytes(zipped(entries | {TABLE: json.dumps(table)}))
    with pytest.raises(ArtifactError, match="newer version") as error:
        Monitor.load(tmp_path / "a.asd")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((TABLE, b"{}", METHODS[0]), "holds a name twice"),
        (("script.py", b"", METHODS[0]), "holds 'script.py', as no model does"),
        (("weights/x", b"0", METHODS[1]), "holds 'weights/x', as no model does"),
    ],
)
def test_a_file_with_more_than_a_model_holds_is_refused(monitor, tmp_path, more, said):
    monitor.save(tmp_path / "a.asd")
    with zipfile.ZipFile(tmp_path / "a.asd") as file:
        entries = {name: file.read(name) for name in file.namelist()}
    (tmp_path / "a.asd").write_bytes(zipped(entries, more))
    with pytest.raises(ArtifactError, match=said):
        Monitor.load(tmp_path / "a.asd")


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"format": "tar"}, "no model of this program"), ({"version": "two"}, "says no version")],
)
def test_a_table_of_no_known_form_is_refused(monitor, tmp_path, changes, said):
    monitor.save(tmp_path / "a.asd")
    with zipfile.ZipFile(tmp_path / "a.asd") as file:
        entries = {name: file.read(name) for name in file.namelist()}
    table = json.dumps(json.loads(entries[TABLE]) | changes)
    (tmp_path / "a.asd").write_bytes(zipped(entries | {TABLE: table}))
    with pytest.raises(ArtifactError, match=said):
        Monitor.load(tmp_path / "a.asd")
