import hashlib
import sys

import pytest
from loopback import Fault

from dcase_asd.downloads.http import Patience
from dcase_asd.downloads.weights import fetch_weights, list_weights
from dcase_asd.errors import BackboneError, DownloadError, RecipeError
from dcase_asd.registry import cache_folder, find_checkpoint

PATIENT = Patience(attempts=2, first_pause=0.01, silence=0.5)
WEIGHTS = b"PK weights" * 1000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a plugin whose code must not run; returns a function that sets its list."""
    site = tmp_path / "site"
    package = site / "dcase_asd_loud"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')", encoding="utf-8")
    metadata = site / "dcase_asd_loud-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: dcase-asd-loud\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(
        "[dcase_asd.backbones]\nloud = dcase_asd_loud.model:Loud\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("DCASE_ASD_CACHE", str(tmp_path / "cache"))

    def name_checkpoints(text):
        (package / "checkpoints.toml").write_text(text, encoding="utf-8")

    return name_checkpoints


@pytest.fixture
def loud(plugin, server):
    plugin(
        f"""
        [[checkpoints]]
        name = "loud_base"
        description = "pre-trained"
        licence = "MIT"
        files = [{{ name = "loud.pt", url = "{server.url}/loud.pt", sha256 = "{SHA256}" }}]

        [[checkpoints]]
        name = "loud_large"
        description = "two files"
        licence = "MIT"
        files = [
            {{ name = "config.json", url = "{server.url}/config.json" }},
            {{ name = "model.safetensors", url = "{server.url}/model.safetensors" }},
        ]

        [[checkpoints]]
        name = "loud_old"
        description = "by hand"
        licence = "MIT"
        note = "the authors' link is dead"
        files = [{{ name = "old.pt", sha256 = "{SHA256}" }}]
        """
    )
    server.serve("/loud.pt", WEIGHTS)
    server.serve("/config.json", b"{}")
    server.serve("/model.safetensors", WEIGHTS)


def test_checkpoints_are_listed_without_importing_the_plugin(loud, tmp_path):
    rows = [row for row in list_weights() if row.plugin == "loud"]
    assert [row.checkpoint.name for row in rows] == ["loud_base", "loud_large", "loud_old"]
    assert rows[0].path == tmp_path / "cache" / "loud" / "loud_base" / "loud.pt"
    assert rows[1].path == tmp_path / "cache" / "loud" / "loud_large"
    assert not any(row.there for row in rows)
    assert "dcase_asd_loud" not in sys.modules


def test_the_first_checkpoint_is_the_default(loud, server, tmp_path):
    path = fetch_weights("loud", patience=PATIENT)
    assert path.read_bytes() == WEIGHTS
    assert find_checkpoint("loud") == path
    assert find_checkpoint("loud", "loud_base") == path
    fetch_weights("loud", patience=PATIENT)
    assert len(server.requests) == 1


def test_several_files_end_in_one_folder(loud):
    folder = fetch_weights("loud", "loud_large", patience=PATIENT)
    assert (folder / "config.json").read_bytes() == b"{}"
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert find_checkpoint("loud", "loud_large") == folder


def test_weights_are_gone_on_with_and_checked(loud, server):
    server.faults["/loud.pt"] = [Fault(drop=1000), Fault(status=404)]
    with pytest.raises(DownloadError, match="404"):
        fetch_weights("loud", patience=PATIENT)
    fetch_weights("loud", patience=PATIENT)
    assert server.asked("/loud.pt")[-1] == "bytes=1000-"


def test_weights_that_are_not_the_published_ones_are_refused(loud, server):
    server.serve("/loud.pt", WEIGHTS[::-1])
    with pytest.raises(DownloadError, match="not the published file"):
        fetch_weights("loud", patience=PATIENT)
    with pytest.raises(BackboneError, match="these weights are not here"):
        find_checkpoint("loud")


def test_a_web_page_is_not_taken_for_weights(loud, server):
    server.serve("/config.json", b"<html>sign in</html>")
    with pytest.raises(DownloadError, match="a web page came instead of weights"):
        fetch_weights("loud", "loud_large", patience=PATIENT)
    assert not list(cache_folder().rglob("config.json"))


def test_without_a_network_it_is_said_which_file_goes_where(loud, tmp_path):
    patience = Patience(attempts=1, first_pause=0.01)
    with pytest.raises(DownloadError) as raised:
        fetch_weights("loud", mirror="http://127.0.0.1:9", patience=patience)
    place = tmp_path / "cache" / "loud" / "loud_base"
    assert "or put loud.pt (http://127.0.0.1:" in str(raised.value)
    assert str(raised.value).endswith(f"into {place}")
    with pytest.raises(BackboneError, match="`dcase-asd weights loud --checkpoint loud_base`"):
        find_checkpoint("loud")


def test_a_file_that_can_only_be_had_by_hand_is_checked_when_it_is_there(loud, tmp_path):
    with pytest.raises(BackboneError, match=r"put old.pt into .* \(the authors' link is dead\)"):
        fetch_weights("loud", "loud_old", patience=PATIENT)
    with pytest.raises(BackboneError, match=r"dead\); `dcase-asd weights loud .*_old` then checks"):
        find_checkpoint("loud", "loud_old")
    place = tmp_path / "cache" / "loud" / "loud_old" / "old.pt"
    place.write_bytes(WEIGHTS)
    assert fetch_weights("loud", "loud_old", patience=PATIENT) == place
    place.write_bytes(b"another")
    with pytest.raises(DownloadError, match="its SHA-256 is another; delete it and run again"):
        fetch_weights("loud", "loud_old", patience=PATIENT)


def test_plugins_and_checkpoints_that_do_not_exist_are_told(loud):
    with pytest.raises(BackboneError, match="no plugin is called 'lout'; did you mean 'loud'"):
        fetch_weights("lout")
    with pytest.raises(BackboneError, match="no checkpoint 'loud_bas'; did you mean 'loud_base'"):
        fetch_weights("loud", "loud_bas")


def test_a_plugin_without_weights_has_none(plugin):
    assert not [row for row in list_weights() if row.plugin in ("loud", "spectral")]
    with pytest.raises(BackboneError, match="'loud' names no published weights"):
        fetch_weights("loud")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[checkpoints]]\nname = 'a'\n", "'checkpoints\\[0\\].description' is missing"),
        ("checkpoint = []", "unknown name 'checkpoint'"),
        ("[[checkpoints]", "not a readable TOML file"),
        (
            "[[checkpoints]]\nname='a'\ndescription=''\nlicence=''\nfiles=[{name='../x'}]",
            "'../x' is no plain file name",
        ),
        (
            "[[checkpoints]]\nname='a'\ndescription=''\nlicence=''\nfiles=[{name='x', sha256='1'}]",
            "'1' is no SHA-256",
        ),
        ("[[checkpoints]]\nname='a/b'\ndescription=''\nlicence=''\nfiles=[]", "no plain name"),
        ("[[checkpoints]]\nname='a'\ndescription=''\nlicence=''\nfiles=[]", "a names no file"),
    ],
)
def test_a_malformed_list_is_told_with_its_file(plugin, text, reason):
    plugin(text)
    with pytest.raises(RecipeError, match=f"checkpoints.toml: .*{reason}"):
        list_weights()


def test_the_cache_is_the_users_unless_another_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("DCASE_ASD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dcase-asd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "dcase-asd"
