import math

import pytest

from dcase_asd.errors import RecipeError
from dcase_asd.recipe.system import Embedding, System, read_system
from dcase_asd.recipe.toml import read_recipe, recipe_text
from dcase_asd.recipe.training import Training
from dcase_asd.training.engine import learning_rate_factor


def test_the_defaults_are_the_report_s():
    report = Training()
    assert (report.batch_size, report.accumulation, report.steps) == (32, 8, 30_000)
    assert (report.updates, report.warmup) == (3750, 360)
    assert (report.scale, report.margin, report.sub_centers) == (30.0, 0.2, 16)
    assert (report.time_mask, report.frequency_mask, report.seconds) == (80, 80, 10.0)
    assert (report.noise_probability, report.noise_snrs) == (0.5, (5.0, 10.0, 15.0, 20.0))
    assert (report.ensemble, report.keep) == ("best", 3)


def test_a_recipe_with_training_is_read_back_equal(tmp_path):
    system = System("beats", Embedding("beats"), train=Training(editions=("dcase2025",), seed=3))
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(system))
    assert read_system(path) == system


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 1}, "batch_size must be at least 2, not 1"),
        ({"noise_probability": 1.5}, "noise_probability must be at most 1, not 1.5"),
        ({"learning_rate": 0.0}, "learning_rate must be larger than 0, not 0.0"),
        ({"learning_rate": 5.0}, "learning_rate must be at most 1, not 5.0"),
        ({"seconds": 0.0}, r"seconds must be at least 0\.025, not 0.0"),
        ({"seconds": 10_000.0}, "seconds must be at most 600 seconds, not 10000.0"),
        ({"scale": -30.0}, "scale must be larger than 0, not -30.0"),
        ({"scale": float("inf")}, "scale must be at most 1000, not inf"),
        ({"margin": 28.6}, r"margin must be at most 1\.571 radians, not 28\.6"),
        ({"margin": -0.2}, "margin must be at least 0, not -0.2"),
        ({"mixup": float("inf")}, "mixup must be a finite number, not inf"),
        ({"head_multiplier": float("nan")}, "head_multiplier must be at least 0, not nan"),
        ({"clip_norm": float("inf")}, "clip_norm must be a finite number, not inf"),
        ({"weight_decay": 1.5}, "weight_decay must be at most 1, not 1.5"),
        ({"noise_probability": -0.1}, "noise_probability must be at least 0, not -0.1"),
        ({"noise_snrs": (5.0, float("nan"))}, "noise_snrs must be at least -100, not nan"),
        ({"noise_snrs": (500.0, 5.0)}, "noise_snrs must be at most 100 dB, not 500.0"),
        ({"sample_rate": 16}, "sample_rate must be at least 1000, not 16"),
        ({"sub_centers": 0}, "sub_centers must be at least 1, not 0"),
        ({"lora_alpha": 0.0}, "lora_alpha must be larger than 0, not 0.0"),
        ({"lora_dropout": 1.1}, "lora_dropout must be at most 1, not 1.1"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"warmup": -1}, "warmup must be at least 0, not -1"),
        ({"cycles": 4000}, r"cycles must be at most the 3390 update\(s\) after the warm-up"),
        ({"noise_snrs": ()}, "noise_snrs is empty"),
        ({"steps": 30}, r"steps must be a multiple of accumulation \(8\), not 30"),
        ({"margin": float("nan")}, "margin must be at least 0, not nan"),
    ],
)
def test_wrong_values_are_told(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        Training(**values)
    path = tmp_path / "recipe.toml"
    lines = [
        f"{name} = {list(value) if isinstance(value, tuple) else value}"
        for name, value in values.items()
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(RecipeError, match=message):
        read_recipe(path, Training)


def test_all_wrong_values_are_told_at_once():
    with pytest.raises(ValueError, match="margin must") as caught:
        Training(margin=28.6, batch_size=1, noise_snrs=(200.0, -200.0), noise_probability=2.0)
    assert str(caught.value).split("; ") == [
        "batch_size must be at least 2, not 1",
        "noise_probability must be at most 1, not 2.0",
        "noise_snrs must be at most 100 dB, not 200.0",
        "noise_snrs must be at least -100, not -200.0",
        "margin must be at most 1.571 radians, not 28.6",
    ]


def test_values_at_the_ends_of_their_ranges_are_taken():
    Training(
        noise_probability=1.0, final_share=0.0, margin=math.pi / 2, seconds=0.025, warmup=0,
        noise_snrs=(-100.0, 100.0), mixup=0.0, lora_dropout=0.0, cycles=3750, batch_size=2,
    )  # fmt: skip
    Training(margin=0.0, noise_probability=0.0, noise_snrs=(), head_multiplier=0.0, warmup=9000)


def test_updates_may_be_counted_instead_of_batches():
    assert Training(steps=10, step_unit="update", eval_every=5, save_every=1).updates == 10


def test_the_learning_rate_rises_linearly_and_falls_to_one_percent():
    report = Training()
    shares = [learning_rate_factor(update, report) for update in range(report.updates)]
    assert shares[0] == pytest.approx(1 / 360)
    assert shares[179] == pytest.approx(0.5)
    assert shares[359] == shares[360] == 1.0
    middle = 360 + (3750 - 360) // 2
    assert shares[middle] == pytest.approx(0.505, abs=1e-3)
    assert shares[-1] == pytest.approx(0.01, abs=1e-5)
    assert shares[360:] == sorted(shares[360:], reverse=True)


def test_a_constant_rate_stays_and_cycles_restart():
    constant = Training(schedule="constant")
    assert learning_rate_factor(3000, constant) == 1.0
    cycles = Training(cycles=2, warmup=0)
    assert learning_rate_factor(1875, cycles) == 1.0
    assert learning_rate_factor(1874, cycles) == pytest.approx(0.01, abs=1e-5)
