"""The version, in one place; the wheel, `nncift --version` and every run folder read it from here."""

__version__ = "0.1.0"
