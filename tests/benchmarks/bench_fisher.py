"""FISHER-small against explicit attention and a front end clip by clip: 10 s, random weights."""

import torch
import torchaudio
from dcase_asd_fisher import Fisher
from dcase_asd_fisher.front_end import DEVIATION, FLOOR, MEAN
from explicit_transformer import compare, explicit_tokens

SMALL = {"embed_dim": 384, "num_heads": 6}


def bench(rate, bands):
    backbone = Fisher.from_checkpoint(random_weights=0, architecture=SMALL, sample_rate=rate).eval()

    def twin(waveforms):
        embeddings = []
        for clip in waveforms:
            magnitude = torchaudio.transforms.Spectrogram(
                n_fft=25 * rate // 1000, hop_length=10 * rate // 1000, power=1, center=False
            )(clip - clip.mean())
            spectrogram = ((magnitude + FLOOR).log().T - MEAN) / (2 * DEVIATION)
            split = [spectrogram[:, 100 * band : 100 * band + 100] for band in range(bands)]
            embeddings.append(torch.stack(split))
        tokens = explicit_tokens(backbone.network.encoder, torch.cat(embeddings))
        return tokens[:, 0].reshape(len(waveforms), -1)

    compare(f"FISHER-small at {rate} Hz", backbone, twin, 10 * rate, bands=bands, target=1.2)


def main():
    bench(16_000, 2)
    bench(48_000, 6)


if __name__ == "__main__":
    main()
