"""The road from files to a subset and its receipt."""

from nncift.pipeline.reopening import reopen
from nncift.pipeline.road import label, select

__all__ = ["label", "reopen", "select"]
