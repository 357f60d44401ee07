"""What is fine-tuned from random weights of any plugin is embedded and scored by new processes."""

import json
import subprocess
import sys

import pytest
import torch

from dcase_asd.audio import read_waveform
from dcase_asd.clips.manifest import read_manifest
from dcase_asd.embeddings.kept import embedding_folders
from dcase_asd.embeddings.store import read_embeddings
from dcase_asd.registry import load_backbone

TRAINING = {
    "--steps": 4, "--accumulation": 1, "--batch-size": 8, "--warmup": 1, "--seconds": 0.8,
    "--embedding": 16, "--bottleneck": 8, "--eval-every": 2, "--save-every": 0, "--keep": 2,
    "--time-mask": 8, "--frequency-mask": 8, "--device": "cpu", "--workers": 0,
}  # fmt: skip
ARCHITECTURES = {
    "beats": """{ encoder_layers = 1, encoder_embed_dim = 48, encoder_ffn_embed_dim = 96,
                  encoder_attention_heads = 4, embed_dim = 48, conv_pos = 32,
                  conv_pos_groups = 8 }""",
    "eat": "{ embed_dim = 48, depth = 1, num_heads = 4 }",
    "fisher": "{ embed_dim = 48, depth = 1, num_heads = 4 }",
}


def command(*words):
    done = subprocess.run(
        [sys.executable, "-m", "dcase_asd", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("plugin", ARCHITECTURES)
def test_what_was_trained_from_random_weights_is_embedded_and_scored(data, tmp_path, plugin):
    run = tmp_path / "run"
    options = ["random_weights=0", f"architecture={' '.join(ARCHITECTURES[plugin].split())}"]
    options += ["target_length=96"] if plugin == "eat" else []
    flags = [word for pair in TRAINING.items() for word in pair]
    given = [word for option in options for word in ("--option", option)]
    command("finetune", "--plugin", plugin, "--data", data, "--run", run, *given, *flags)
    command("embed", "--data", data, "--edition", "dcase2025", "--run", run, "--device", "cpu")
    command("score", run, "--edition", "dcase2025")
    result = tmp_path / "result.json"
    command("evaluate", run, "--edition", "dcase2025", "--json", result)
    assert 0 <= json.loads(result.read_text())["official_score"] <= 1

    rows = read_manifest(data)
    rows = rows[(rows["machine"] == "fan") & (rows["split"] == "test")]
    for folder, checkpoint in zip(
        embedding_folders(run), sorted((run / "checkpoints").glob("step_*")), strict=True
    ):
        found = next(each for each in read_embeddings(folder, "dcase2025") if each.machine == "fan")
        backbone = load_backbone(plugin, checkpoint)
        for path in rows["path"][:2]:
            (place,) = found.clips.index[found.clips["file"] == path.rpartition("/")[2]]
            with torch.inference_mode():
                expected = backbone.embed(torch.from_numpy(read_waveform(data / path))[None])
            torch.testing.assert_close(
                torch.from_numpy(found.vectors[place].copy()), expected[0], atol=1e-5, rtol=1e-4
            )
