"""Scores of several systems -> those of one, and how far its figures can be trusted."""

from dcase_asd.steps.fuse.members import newest_common_edition
from dcase_asd.steps.fuse.run import Fused, fuse, fuse_again

__all__ = ["Fused", "fuse", "fuse_again", "newest_common_edition"]
