"""A small BEATs from random weights: what two minutes of fine-tuning on two cores are worth.

The sounds are generated: the gain shows that training learns what tells machines apart, and
nothing about real machines. Both networks are of the same seed; the untrained one is embedded as
the mean over its tokens. One thread: products this small are slower on two.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dcase_asd.challenge.miniature import write_miniature
from dcase_asd.detection.anomaly_scores import Detector
from dcase_asd.registry import load_backbone
from dcase_asd.steps.finetune import finetune
from dcase_asd.steps.prepare import prepare
from dcase_asd.system import Embedding, System
from dcase_asd.training.evaluation import dev_score, embed_share, read_development_set
from dcase_asd.training.settings import Training

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


def one_seed(data, runs, seed):
    """Dev score untrained and trained, seconds, clips/s, share of waiting, accuracy at the end."""
    settings = Training(seed=seed, **SHORT)
    options = {"random_weights": seed, "architecture": SMALL, "gradient_decay": 1.0}
    dev = read_development_set(data, settings)
    untrained = load_backbone("beats", **options)
    before = dev_score(dev, [embed_share(untrained, dev, settings, 0, 1)], Detector())
    run = runs / str(seed)
    started = time.perf_counter()
    system = System(run.name, Embedding("beats", None, options), train=settings)
    done = finetune(data, run, system, device="cpu", workers=0)
    took = time.perf_counter() - started
    lines = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    return (
        before,
        done.checkpoints[-1].score,
        took,
        statistics.median(line["clips_per_second"] for line in lines),
        statistics.median(line["waited"] for line in lines),
        float(np.mean([line["accuracy"] for line in lines[-50:]])),
    )


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_miniature(data, editions=["dcase2025"])
        prepare(data)
        rows = [one_seed(data, Path(folder) / "runs", seed) for seed in SEEDS]
    for seed, (before, after, took, speed, waited, accuracy) in zip(SEEDS, rows, strict=True):
        print(
            f"finetune: seed {seed}: dev score {100 * before:.1f} % untrained, {100 * after:.1f} % "
            f"after {took:.0f} s; accuracy {100 * accuracy:.0f} %, {speed:.0f} clips of 2 s a "
            f"second, {100 * waited:.1f} % of the time waiting for audio"
        )
    gains = [100 * (after - before) for before, after, *_ in rows]
    print(
        f"finetune: gain in dev score {statistics.mean(gains):.1f} points on average, "
        f"{min(gains):.1f} to {max(gains):.1f} over {len(SEEDS)} seeds"
    )


if __name__ == "__main__":
    main()
