"""A pre-training that takes a second, and one that is stopped."""

from contextlib import contextmanager

import pytest

from dcase_asd.recipe.pretraining import Pretraining
from dcase_asd.training import pretraining_engine

TINY = {"embed_dim": 48, "depth": 2, "num_heads": 4}
SHORT = Pretraining(
    architecture=TINY, seconds=0.5, updates=6, warmup=2, batch_size=3, accumulation=2,
    learning_rate=1e-3, decay_start=0.9, decay_end=0.95, decay_updates=6, max_images=4,
    decoder_width=32, decoder_layers=2, decoder_kernel=3, save_every=2, seed=1,
)  # fmt: skip


@contextmanager
def stopped_at(update, monkeypatch):
    """A pre-training inside is stopped as by Ctrl-C before an update."""
    made = pretraining_engine.PretrainingEngine.update

    def stopped(engine, number, batches):
        if number == update:
            raise KeyboardInterrupt
        return made(engine, number, batches)

    with monkeypatch.context() as patch:
        patch.setattr(pretraining_engine.PretrainingEngine, "update", stopped)
        with pytest.raises(KeyboardInterrupt):
            yield
