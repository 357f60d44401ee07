"""A small BEATs from random weights: what two minutes of fine-tuning on two cores are worth.

Without arguments on the generated miniature: the gain shows that training learns what tells
machines apart, and nothing about real ones. With data folders (`bench_finetune.py data`) on the
recordings there, with the very settings that were chosen on seed 0 of the miniature; every edition
whose development set has labels is scored by itself. Both networks are of the same seed; the
untrained one is embedded as the mean over its tokens. One thread: products this small are slower
on two.
"""

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from dcase_asd.clips.manifest import read_manifest
from dcase_asd.clips.prepare import prepare
from dcase_asd.miniature.miniature import write_miniature
from dcase_asd.recipe.detector import Detector
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.recipe.training import Training
from dcase_asd.registry import load_backbone
from dcase_asd.training.dev_score import dev_score, embed_share, read_development_set
from dcase_asd.training.finetune import finetune

SEEDS = (0, 1, 2)
SMALL = {
    "encoder_layers": 2, "encoder_embed_dim": 96, "encoder_ffn_embed_dim": 192,
    "encoder_attention_heads": 4, "embed_dim": 96, "conv_pos": 32, "conv_pos_groups": 8,
    "dropout": 0.0, "attention_dropout": 0.0,
}  # fmt: skip
SHORT = {
    "steps": 300, "batch_size": 32, "accumulation": 1, "warmup": 50, "learning_rate": 2e-3,
    "seconds": 2.0, "embedding": 64, "bottleneck": 32, "time_mask": 20, "frequency_mask": 16,
    "eval_every": 0, "save_every": 0, "keep": 1,
}  # fmt: skip


def dev_sets(data, settings):
    """Each edition's labelled development set, by name."""
    clips = read_manifest(data)
    tests = clips[(clips["stage"] == "dev") & (clips["split"] == "test")]
    kinds = tests[tests["condition"] != ""].groupby("edition")["condition"].nunique()
    return {
        name: read_development_set(data, replace(settings, dev_edition=name))
        for name in kinds[kinds > 1].index
    }


def one_seed(data, runs, seed):
    """Train; print how; returns the dev scores untrained and trained, in percent, by edition."""
    settings = Training(seed=seed, **SHORT)
    options = {"random_weights": seed, "architecture": SMALL, "gradient_decay": 1.0}
    run = runs / str(seed)
    started = time.perf_counter()
    system = System(run.name, Embedding("beats", None, options), train=settings)
    done = finetune(data, run, system, device="cpu", workers=0)
    took = time.perf_counter() - started
    lines = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    speed, waited = (
        statistics.median(line[name] for line in lines) for name in ("clips_per_second", "waited")
    )
    accuracy = statistics.mean(line["accuracy"] for line in lines[-50:])
    print(
        f"finetune: seed {seed}: {took:.0f} s; accuracy {100 * accuracy:.0f} %, {speed:.0f} clips "
        f"of {settings.seconds:g} s a second, {100 * waited:.1f} % of the time waiting for audio"
    )
    models = [load_backbone("beats", **options), load_backbone("beats", done.scored[0])]
    return {
        name: [
            100 * dev_score(dev, [embed_share(model, dev, settings, 0, 1)], Detector())
            for model in models
        ]
        for name, dev in dev_sets(data, settings).items()
    }


def compare(data, runs):
    """Train with every seed and print what it is worth on each development set."""
    found = [one_seed(data, runs, seed) for seed in SEEDS]
    for name in found[0]:
        scores = [each[name] for each in found]
        gains = [after - before for before, after in scores]
        told = ", ".join(f"{before:.1f} -> {after:.1f}" for before, after in scores)
        print(
            f"finetune: {name}: dev score in percent, untrained -> fine-tuned: {told}; gain "
            f"{statistics.mean(gains):.1f} on average, standard deviation "
            f"{statistics.stdev(gains):.1f} over {len(SEEDS)} seeds"
        )


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if not sys.argv[1:]:
            data = Path(folder) / "data"
            write_miniature(data, editions=["dcase2025"])
            prepare(data)
            compare(data, Path(folder) / "runs")
        for number, data in enumerate(map(Path, sys.argv[1:])):
            compare(data, Path(folder) / f"runs_{number}")


if __name__ == "__main__":
    main()
