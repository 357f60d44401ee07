"""Any audio encoder of transformers as a backbone."""

from dcase_asd_huggingface.backbone import HuggingFace

__all__ = ["HuggingFace"]
