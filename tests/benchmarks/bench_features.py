"""Batched log-mel against torchaudio's per-clip loop: 32 clips of 10 s, same threads."""

import statistics
import time

import torch
from torchaudio.compliance import kaldi

from dcase_asd.features import INT16_SCALE, LogMel

CLIPS, SAMPLES, ROUNDS = 32, 160_000, 15
TARGET = 1.5


def per_clip(waveforms):
    """What the field's models do: one call for each clip."""
    return torch.stack([kaldi.fbank(clip[None], num_mel_bins=128) for clip in waveforms])


def seconds(compute, waveforms):
    started = time.perf_counter()
    compute(waveforms)
    if waveforms.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main():
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.randn(CLIPS, SAMPLES, generator=generator) * 0.1 * INT16_SCALE
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    for device in devices:
        on_device, front_end = waveforms.to(device), LogMel().to(device)
        # Turn and turn about, so that what else the machine does hits both alike.
        rounds = [
            (seconds(per_clip, on_device), seconds(front_end, on_device)) for _ in range(ROUNDS)
        ][2:]
        loop, batched = (statistics.median(times) for times in zip(*rounds, strict=True))
        print(
            f"log-mel, {CLIPS} clips of 10 s on {device}: batched {batched * 1e3:.1f} ms, "
            f"per clip {loop * 1e3:.1f} ms; ratio {loop / batched:.2f}, target {TARGET}"
        )


if __name__ == "__main__":
    main()
