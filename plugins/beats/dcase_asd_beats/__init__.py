"""BEATs, the audio transformer with acoustic tokenizers, as a backbone."""

from dcase_asd_beats.backbone import Beats

__all__ = ["Beats"]
