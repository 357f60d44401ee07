"""What stops a fine-tuning: weights, losses, clips, memory, and how that is told."""

import pytest
import torch

from dcase_asd.embeddings.embed import embed
from dcase_asd.embeddings.kept import checkpoints_folder
from dcase_asd.errors import AudioError, BackboneError, TrainingError
from dcase_asd.recipe.system import Embedding, System
from dcase_asd.registry import load_backbone
from dcase_asd.training import batches
from dcase_asd.training.finetune import finetune
from dcase_asd.training.model import TrainingModel


def tune(data, run, system, **options):
    return finetune(data, run, system, device="cpu", workers=0, **options)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_told_before_anything_is_written(
    data, tmp_path, make_system, value
):
    broken = load_backbone("tiny")
    with torch.no_grad():
        broken.k_proj.weight[3, 5] = value
    checkpoint = tmp_path / "broken.safetensors"
    broken.save(checkpoint)
    run, start = tmp_path / "run", make_system(checkpoint=str(checkpoint))
    told = rf"{checkpoint}: the weight k_proj\.weight is not finite, .*give another --checkpoint"
    with pytest.raises(BackboneError, match=told):
        tune(data, run, start)
    system = System("plain", Embedding("tiny", str(checkpoint)))
    told = (
        rf"{checkpoint}: the embedding of .*/section_00_source_test_anomaly_000\d_v_1\.wav is "
        r"not finite, as the weight k_proj\.weight is not; give another --checkpoint"
    )
    for _ in range(2):  # nothing is left that is taken for complete
        with pytest.raises(BackboneError, match=told):
            embed(data, tmp_path / "plain", "dcase2025", system, "cpu")
    assert not list(tmp_path.rglob("*.npy"))


def test_an_embedding_that_is_not_finite_though_the_weights_are_names_its_clip(
    data, tmp_path, plugin_path, monkeypatch
):
    tiny = type(load_backbone("tiny"))
    whole = tiny.embed

    def spoilt(self, waveforms, lengths=None, sample_rate=None):
        vectors = whole(self, waveforms, lengths, sample_rate)
        vectors[2] = torch.nan
        return vectors

    monkeypatch.setattr(tiny, "embed", spoilt)
    # The third of the test clips, which come first.
    told = r"tiny: the embedding of .*_test_normal_0000_v_0\.wav is not finite though the weights"
    with pytest.raises(BackboneError, match=told):
        embed(data, tmp_path / "run", "dcase2025", System("run", Embedding("tiny")), "cpu")
    assert not list(tmp_path.rglob("*.npy"))


def test_a_damaged_state_is_told(data, tmp_path, make_system):
    state = checkpoints_folder(tmp_path / "run") / "state.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"no state")
    with pytest.raises(TrainingError, match=r"state\.pt: damaged"):
        tune(data, tmp_path / "run", make_system())


def test_a_loss_that_is_not_finite_stops_with_the_batch_and_its_files(
    data, tmp_path, make_system, monkeypatch
):
    forward = TrainingModel.forward
    calls = []

    def broken(self, *arguments):
        loss, predicted = forward(self, *arguments)
        calls.append(None)
        return (loss * float("nan") if len(calls) == 4 else loss), predicted

    monkeypatch.setattr(TrainingModel, "forward", broken)
    with pytest.raises(TrainingError, match=r"the loss of batch 3 is nan.*train/section_00.*and 4"):
        tune(data, tmp_path / "run", make_system())


def test_too_little_memory_suggests_the_same_effective_batch(
    data, tmp_path, make_system, monkeypatch
):
    def broken(self, *arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TrainingModel, "forward", broken)
    expected = r"--batch-size 4 --accumulation 4 --steps 32 --eval-every 16 --save-every 8"
    with pytest.raises(TrainingError, match=expected):
        tune(data, tmp_path / "run", make_system())
    with pytest.raises(TrainingError, match=r"batches of 2 clips; use a larger GPU"):
        tune(data, tmp_path / "run", make_system(batch_size=2))


@pytest.mark.parametrize("memory", ["all of it", "what no computer has"])
def test_too_little_memory_is_told_on_a_cpu_and_other_errors_stay_what_they_are(
    data, tmp_path, make_system, monkeypatch, memory
):
    def broken(self, *arguments):
        if memory == "all of it":
            raise RuntimeError("shapes do not fit")
        torch.empty(2**60)  # 4 EiB

    monkeypatch.setattr(TrainingModel, "forward", broken)
    kind, said = (
        (RuntimeError, "shapes do not fit")
        if memory == "all of it"
        else (TrainingError, "the same effective batch in smaller parts: --batch-size 4")
    )
    with pytest.raises(kind, match=said):
        tune(data, tmp_path / "run", make_system())


def test_unreadable_clips_and_wrong_devices_are_told(data, tmp_path, make_system, monkeypatch):
    with pytest.raises(TrainingError, match="cannot compute on the device 'gpu'"):
        finetune(data, tmp_path / "run", make_system(), device="gpu")

    def broken(path, *_):
        raise AudioError(f"{path}: broken")

    monkeypatch.setattr(batches, "read_samples", broken)
    for workers in (0, 1):
        with pytest.raises(AudioError, match=r"^[^\n]*\.wav: broken$"):
            finetune(data, tmp_path / "run", make_system(), device="cpu", workers=workers)


def test_a_backbone_without_a_front_end_of_its_own_cannot_be_fine_tuned(
    data, tmp_path, make_system
):
    with pytest.raises(BackboneError, match="'spectral' cannot be fine-tuned"):
        tune(data, tmp_path / "run", make_system(plugin="spectral"))
