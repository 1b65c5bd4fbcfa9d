"""The command line: one thin function per verb; options come from the configuration dataclasses, so the words are the same."""

from nncift.cli.ending import main

__all__ = ["main"]
