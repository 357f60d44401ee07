"""EAT-base against explicit attention and a front end clip by clip: 10 s, same random weights."""

import torch
from dcase_asd_eat import Eat
from dcase_asd_eat.front_end import DEVIATION, MEAN
from explicit_transformer import compare, explicit_tokens
from torch.nn import functional
from torchaudio.compliance import kaldi


def main():
    backbone = Eat.from_checkpoint(random_weights=0).eval()

    def twin(waveforms):
        frames = [
            kaldi.fbank(
                (clip - clip.mean())[None],
                htk_compat=True,
                window_type="hanning",
                num_mel_bins=128,
            )
            for clip in waveforms
        ]
        padded = [functional.pad(each, (0, 0, 0, 1024 - len(each))) for each in frames]
        spectrogram = (torch.stack(padded) - MEAN) / (2 * DEVIATION)
        return explicit_tokens(backbone.network.encoder, spectrogram)[:, 0]

    compare("EAT-base", backbone, twin, 160_000, bands=1, target=1.2)


if __name__ == "__main__":
    main()
