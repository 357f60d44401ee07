import sys
from pathlib import Path

import pytest

from dcase_asd.errors import BackboneError
from dcase_asd.registry import (
    choose_checkpoint,
    import_problem,
    installed_plugins,
    load_backbone,
    load_class,
    locate_checkpoint,
    named_checkpoints,
)

PLUGIN = """
import torch
from dcase_asd.backbone import Backbone

class Constant(Backbone):
    name = "constant"
    def __init__(self, depth=1):
        super().__init__()
        if depth < 1:
            raise ValueError("depth must be at least 1")
        self.dimension, self.sample_rate, self.options = 2, None, {"depth": depth}
    @classmethod
    def from_checkpoint(cls, path=None, depth=1):
        return cls(depth)
    def embed(self, waveforms, lengths=None, sample_rate=None):
        return torch.ones(len(waveforms), 2)
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with plugins into a folder on the import path."""

    def run(name, modules, entries):
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)
        metadata = tmp_path / f"{name}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = "".join(f"{entry} = {target}\n" for entry, target in entries.items())
        (metadata / "entry_points.txt").write_text(f"[dcase_asd.backbones]\n{lines}")
        monkeypatch.syspath_prepend(str(tmp_path))

    return run


def test_the_spectral_plugin_comes_with_the_toolkit():
    spectral = [plugin for plugin in installed_plugins() if plugin.name == "spectral"]
    assert [(each.package, each.target) for each in spectral] == [
        ("dcase-asd", "dcase_asd_spectral:Spectral")
    ]
    assert import_problem("spectral") is None


def test_a_third_partys_plugin_is_listed_and_loaded(install):
    install("somebody", {"constant_plugin": PLUGIN}, {"constant": "constant_plugin:Constant"})
    (found,) = [plugin for plugin in installed_plugins() if plugin.name == "constant"]
    assert (found.package, found.version) == ("somebody", "1.2")
    assert "constant_plugin" not in sys.modules
    backbone = load_backbone("constant", depth=3)
    assert backbone.options == {"depth": 3}
    assert not backbone.training


def test_a_plugin_that_fails_is_told_and_breaks_nothing_else(install):
    install(
        "broken",
        {"broken_plugin": "raise RuntimeError('no\\nluck')", "other_plugin": "Thing = 3"},
        {"broken": "broken_plugin:X", "thing": "other_plugin:Thing", "gone": "nowhere:X"},
    )
    assert "cannot be imported: RuntimeError: no luck" in import_problem("broken")
    assert "is no class derived from dcase_asd.backbone.Backbone" in import_problem("thing")
    assert "cannot be imported: ModuleNotFoundError" in import_problem("gone")
    assert import_problem("spectral") is None


def test_a_plugin_without_a_method_that_all_need_is_told(install):
    unfinished = PLUGIN.partition("    def embed")[0]
    install("begun", {"begun_plugin": unfinished}, {"begun": "begun_plugin:Constant"})
    expected = r"'begun' \(begun_plugin:Constant\) is not finished: it has no embed$"
    with pytest.raises(BackboneError, match=expected):
        load_backbone("begun")


def test_one_name_for_two_plugins_is_refused(install):
    install("twin", {"twin_plugin": PLUGIN}, {"spectral": "twin_plugin:Constant"})
    with pytest.raises(BackboneError, match="more than one backbone plugin is called 'spectral'"):
        load_class("spectral")


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(BackboneError, match=r"is called 'spectrum'; did you mean 'spectral'?"):
        load_backbone("spectrum")


def test_options_are_checked_by_name_and_value(install):
    with pytest.raises(BackboneError, match=r"no option 'mel_bin' .did you mean 'mel_bins'?"):
        load_backbone("spectral", mel_bin=3)
    with pytest.raises(
        BackboneError, match=r"refuses its options: .*no statistic is called 'median'"
    ):
        load_backbone("spectral", statistics=["median"])
    install("somebody", {"constant_plugin": PLUGIN}, {"constant": "constant_plugin:Constant"})
    with pytest.raises(BackboneError, match="refuses its options: depth must be at least 1"):
        load_backbone("constant", depth=0)


def test_a_plugin_may_know_where_a_checkpoint_of_some_name_is(install, tmp_path):
    found = tmp_path / "found.safetensors"
    found.touch()
    source = (
        PLUGIN.replace("return cls(depth)", "return cls(2 if path.is_file() else 1)")
        + f"""
    @classmethod
    def locate(cls, name):
        assert name.as_posix() == "some/name"
        from pathlib import Path
        return Path({str(found)!r})
"""
    )
    install("finder", {"finding_plugin": source}, {"finding": "finding_plugin:Constant"})
    assert load_backbone("finding", Path("some/name")).options == {"depth": 2}


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(BackboneError, match=r"gone\.pt: no such checkpoint"):
        load_backbone("spectral", tmp_path / "gone.pt")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of weights."""
    monkeypatch.setenv("DCASE_ASD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


PUBLISHED = [
    (plugin.name, checkpoint.name)
    for plugin in installed_plugins()
    for checkpoint in named_checkpoints(plugin)
]


@pytest.mark.parametrize(("plugin", "name"), PUBLISHED)
def test_every_published_name_is_a_checkpoint_or_says_the_command(cache, plugin, name):
    with pytest.raises(BackboneError, match=f"{name}: these weights are not here") as raised:
        load_backbone(plugin, name)
    assert f"`dcase-asd weights {plugin} --checkpoint {name}`" in str(raised.value)
    checkpoint = choose_checkpoint(plugin, name)
    folder = cache / plugin / name
    folder.mkdir(parents=True)
    for file in checkpoint.files:
        (folder / file.name).touch()
    expected = folder / checkpoint.files[0].name if len(checkpoint.files) == 1 else folder
    assert locate_checkpoint(plugin, name) == expected


def test_a_file_of_that_name_here_goes_before_the_cache(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("BEATs_iter3").touch()
    assert locate_checkpoint("beats", "BEATs_iter3") == Path("BEATs_iter3")


def test_a_checkpoint_may_stand_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.pt").touch()
    assert locate_checkpoint("beats", "~/x.pt") == tmp_path / "x.pt"


@pytest.mark.parametrize(
    ("plugin", "name", "message"),
    [
        ("eat", "EAT-base_epoch30_pretrian", r"did you mean 'EAT-base_epoch30_pretrain'\?"),
        ("beats", "w/BEATs_iter3.pt", r"a published name \(did you mean 'BEATs_iter3'\?"),
        ("fisher", "x", "choose from FISHER-mini-0723, FISHER-small-0723, FISHER-tiny-0723"),
        ("beats", "EAT-base_epoch30_pretrain", "published weights of 'eat'; use --plugin eat"),
        ("huggingface", "BEATs_iter3", "published weights of 'beats'; use --plugin beats"),
        ("beats", "https://x.org/y.pt", "https://x.org/y.pt: an address; download the file"),
        ("beets", "x", "no backbone plugin is called 'beets'; did you mean 'beats'"),
    ],
)
def test_an_unknown_checkpoint_gets_the_nearest_name(cache, plugin, name, message):
    with pytest.raises(BackboneError, match=message):
        locate_checkpoint(plugin, name)


@pytest.mark.parametrize("plugin", ["beats", "eat", "fisher", "huggingface"])
def test_an_option_that_a_plugin_does_not_have_gets_the_nearest_one(plugin):
    with pytest.raises(BackboneError, match=r"no option 'representaton' .did you mean 'represen"):
        load_backbone(plugin, representaton="mean")
