"""Where weights come from: a folder, the hub or its cache, or what `Backbone.save` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    PretrainedConfig,
    PreTrainedModel,
    logging,
)
from transformers.models.auto.feature_extraction_auto import feature_extractor_class_from_name

from dcase_asd.backbone import in_place_of_weights, read_checkpoint
from dcase_asd.backbone.published import CONFIG, TENSORS
from dcase_asd.errors import BackboneError
from dcase_asd_huggingface.network import UNUSED

NAME = "huggingface"
EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""Either of them says how sound becomes the model's input."""
WANTED = (CONFIG, *EXTRACTOR_FILES, TENSORS, "model.safetensors.index.json", "model-*.safetensors")
"""Files of a repository of the hub that are fetched: nothing else is ever opened."""
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
TRAINING_ONLY = {
    "apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0,
    "layerdrop": 0.0, "encoder_layerdrop": 0.0,
}  # fmt: skip
"""What models do by themselves in training, and here the recipe decides."""
REASON_LENGTH = 200
"""Characters of another library's message that ours quotes."""
FETCH_SECONDS = 10.0
"""How long the hub may take to answer at all."""


@dataclass(frozen=True)
class Weights:
    """What a checkpoint holds: encoder, feature extractor, and options of a backbone.

    `config` and `feature_extractor` are what both can be made again of, as plain values.
    """

    encoder: PreTrainedModel
    extractor: Any
    config: dict[str, Any]
    feature_extractor: dict[str, Any]
    options: dict[str, Any]
    tensors: dict[str, torch.Tensor] | None = None


def fetch(name: str) -> Path:
    """Folder of a model of the hub, in its cache; fetched where it is not there yet.

    Raises:
        BackboneError: There is no such folder or model, or it cannot be fetched.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    by_hand = (
        f"give the folder of a model ({CONFIG}, {EXTRACTOR_FILES[0]}, {TENSORS}) as --checkpoint"
    )
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise BackboneError(
            f"{name}: no such folder, and no name of a model on the hub, which is "
            f"owner/model; {by_hand}"
        )

    def get(*, local: bool) -> Path:
        found = snapshot_download(
            name, allow_patterns=list(WANTED), etag_timeout=FETCH_SECONDS, local_files_only=local
        )
        return Path(found)

    # What is in the cache is not asked for again: the same name gives the same weights.
    try:
        if _is_complete(folder := get(local=True)):
            return folder
    except Exception:  # noqa: S110, BLE001 - then it has to be fetched, which may fail with a reason
        pass
    try:
        return get(local=False)
    except LocalEntryNotFoundError as error:
        raise BackboneError(
            f"{name}: not in the cache ({constants.HF_HUB_CACHE}), and the hub cannot be reached; "
            f"fetch it where there is a network with `hf download {name}` and copy that cache, "
            f"or {by_hand}"
        ) from error
    except Exception as error:  # of the hub and everything below it
        raise BackboneError(f"{name}: cannot be fetched ({reason(error)}); {by_hand}") from error


def read_weights(path: str | Path) -> Weights:
    """Read a model's folder or a file that `Backbone.save` wrote; nothing in it is executed.

    Raises:
        BackboneError: It is damaged, or holds no audio encoder that transformers knows.
    """
    path = Path(path)
    if path.name == TENSORS and (path.parent / CONFIG).is_file():
        path = path.parent
    return _read_folder(path) if path.is_dir() else _read_saved(path)


def reason(error: Exception) -> str:
    """Another library's message, in one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= REASON_LENGTH else text[: REASON_LENGTH - 1] + "…"


def _read_folder(folder: Path) -> Weights:
    settings = _check_folder(folder)
    with _quiet(), torch.random.fork_rng(devices=[]):
        config = _opened(folder, settings, AutoConfig)
        extractor = _opened(folder, settings, AutoFeatureExtractor)
        _for_us(config)
        try:
            model, found = AutoModel.from_pretrained(
                folder, config=config, use_safetensors=True, dtype=torch.float32,
                output_loading_info=True, local_files_only=True, trust_remote_code=False,
            )  # fmt: skip
        except Exception as error:  # a damaged file fails in any way
            raise BackboneError(
                f"{folder}: the weights cannot be loaded ({reason(error)}); fetch them again"
            ) from error
    encoder = _encoder(model)
    own = {id(value) for value in encoder.state_dict(keep_vars=True).values()}
    names = {name for name, value in model.state_dict(keep_vars=True).items() if id(value) in own}
    missing = sorted(
        key for key in found["missing_keys"] if key in names and not key.endswith(UNUSED)
    )
    if missing:
        others = sorted(found["unexpected_keys"])
        instead = f", and others are there, as {others[0]!r}" if others else ""
        raise BackboneError(
            f"{folder}: its weights are not those of the model that {CONFIG} describes "
            f"({len(missing)} tensors are missing, as {missing[0]!r}{instead}); fetch both again"
        )
    return Weights(encoder, extractor, _plain(config), _plain(extractor), {})


def _read_saved(path: Path) -> Weights:
    tensors, options = read_checkpoint(path, NAME)
    config, extractor = options.pop("config", {}), options.pop("feature_extractor", {})
    try:
        kind = feature_extractor_class_from_name(extractor["feature_extractor_type"])
        with _quiet(), torch.random.fork_rng(devices=[]):
            # Copies: transformers empties the tables that it is given.
            made = AutoConfig.for_model(**json.loads(json.dumps(config)))
            model = AutoModel.from_config(made, dtype=torch.float32)  # type: ignore[no-untyped-call]
            opened = kind.from_dict(json.loads(json.dumps(extractor)))
    except Exception as error:  # what another version of transformers does not know
        raise BackboneError(
            f"{path}: this version of transformers cannot make its model ({reason(error)})"
        ) from error
    return Weights(_encoder(model), opened, config, extractor, options, tensors)


def _is_complete(folder: Path) -> bool:
    extractor = any((folder / name).is_file() for name in EXTRACTOR_FILES)
    return extractor and (folder / CONFIG).is_file() and any(folder.glob("*.safetensors"))


def _check_folder(folder: Path) -> dict[str, Any]:
    """Settings of a model whose folder has all that is needed."""
    for pattern in WANTED:
        for file in folder.glob(pattern):
            if reason := in_place_of_weights(file):
                raise BackboneError(f"{file}: {reason}")
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BackboneError(
            f"{folder}: has no {CONFIG}; give the folder of a model, as its repository on the hub"
        ) from error
    except (OSError, ValueError) as error:
        raise BackboneError(f"{folder / CONFIG}: not readable as JSON ({error})") from error
    if not isinstance(settings, dict) or not settings.get("model_type"):
        raise BackboneError(
            f"{folder / CONFIG}: names no model_type; it is no model of transformers"
        )
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        why = (
            f"only {pickled[0]}, which is not loaded, as a pickle can run code; take the model's "
            'safetensors form, or convert it where you trust it: python -c "from transformers '
            "import AutoModel; AutoModel.from_pretrained('.').save_pretrained('.')\""
            if pickled
            else "no *.safetensors: fetch the weights of the model, too"
        )
        raise BackboneError(f"{folder}: holds {why}")
    if not any((folder / name).is_file() for name in EXTRACTOR_FILES):
        raise BackboneError(
            f"{folder}: has no {EXTRACTOR_FILES[0]}, which says how sound becomes the model's "
            "input: either this is no model for audio, or the file must be fetched, too"
        )
    return settings


def _opened(folder: Path, settings: Mapping[str, Any], kind: Any) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers has no class of its own for what is wrong
        if "auto_map" in settings:
            raise BackboneError(
                f"{folder}: its model {settings['model_type']!r} is code in that folder, which is "
                "not run; take the plugin for this model, or one that transformers knows itself"
            ) from error
        what = "a model" if kind is AutoConfig else "a feature extractor for audio"
        raise BackboneError(
            f"{folder}: not {what} that transformers can open ({reason(error)})"
        ) from error


def _for_us(config: PretrainedConfig) -> None:
    """Switch off what a model does by itself in training, in all its parts."""
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        for name, value in TRAINING_ONLY.items():
            if hasattr(part, name):
                setattr(part, name, value)


def _encoder(model: PreTrainedModel) -> PreTrainedModel:
    """The part of a model that takes sound; of most it is all."""
    audio = getattr(model.config, "audio_config", None)
    if audio is not None:
        for part in model.modules():
            if isinstance(part, PreTrainedModel) and part.config is audio:
                return part
    if model.config.is_encoder_decoder:
        return model.get_encoder()  # type: ignore[no-any-return]
    return model


def _plain(described: Any) -> dict[str, Any]:
    """What a configuration is made again of, as it comes back from JSON."""
    return dict(json.loads(json.dumps(described.to_dict())))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from reporting and from drawing bars of its own."""
    verbosity = logging.get_verbosity()
    shown = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
