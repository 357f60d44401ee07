"""The Efficient Audio Transformer as a backbone."""

from dcase_asd_eat.backbone import Eat

__all__ = ["Eat"]
