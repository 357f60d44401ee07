"""The commands `pretrain` and `shards`: their flags, and what they answer."""

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from dcase_asd import load_backbone
from dcase_asd.cli.app import app
from dcase_asd.errors import DataError, RecipeError

FLAGS = [
    "--architecture", "embed_dim=48", "--architecture", "depth=1", "--architecture", "num_heads=4",
    "--seconds", "0.5", "--updates", "2", "--warmup", "1", "--batch-size", "2",
    "--accumulation", "1", "--max-images", "2", "--decoder-width", "16", "--decoder-layers", "1",
]  # fmt: skip


def call(*arguments):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.fixture
def audio(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "audio").mkdir()
    for index in range(4):
        noise = 0.1 * random.standard_normal(16000)
        soundfile.write(tmp_path / "audio" / f"{index}.wav", noise, 16000)
    return tmp_path / "audio"


def test_from_recordings_over_shards_to_a_checkpoint(audio, tmp_path):
    out, run = f"{tmp_path}/s/{{00..01}}.tar", tmp_path / "run"
    assert call("shards", audio, "--out", out) == f"{out}: 4 recordings in 2 shards\n"
    base = ["pretrain", "--audio", out, "--run", run, "--device", "cpu", "--workers", "0"]
    said = call(*base, *FLAGS)
    assert said == f"{run}: pre-trained; embed with --plugin fisher --checkpoint {run}\n"
    assert load_backbone("fisher", run).options["architecture"]["depth"] == 1
    again = json.loads(call(*base, "--json"))  # as its own recipe says
    assert again == {
        "run": str(run), "changed": False, "checkpoint": str(run / "pretrained.safetensors")
    }  # fmt: skip


def test_a_dry_run_says_what_would_be_done(audio, tmp_path):
    base = ["pretrain", "--audio", audio, "--run", tmp_path / "run", "--dry-run", "--warmup", "0"]
    said = call(*base, "--updates", "100")
    assert "recordings                     4\n" in said
    assert "weights of the network         5,388,288\n" in said
    assert "patches that the student sees  74 of 372\n" in said
    assert "0 of 100 done, 48 clips each" in said
    plan = json.loads(call(*base, "--json", "--max-images", "32"))
    assert plan["masks"] == 32
    assert not (tmp_path / "run").exists()


def test_shards_speak_json(audio, tmp_path):
    (audio / "bad.wav").write_bytes(b"RIFF")
    said = json.loads(call("shards", audio, "--out", f"{tmp_path}/{{0..0}}.tar", "--json"))
    assert said == {"shards": [f"{tmp_path}/0.tar"], "recordings": 4, "skipped": 1}


def test_mistakes_are_told(tmp_path):
    with pytest.raises(DataError, match="no recording here"):
        call("pretrain", "--audio", tmp_path, "--run", tmp_path / "run", *FLAGS)
    with pytest.raises(RecipeError, match="warmup must be below updates"):
        call("pretrain", "--audio", tmp_path, "--run", tmp_path / "run", "--updates", 9)
