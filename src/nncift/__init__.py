"""NN-CIFT: choose the instruction data that teaches most, at a few per cent of what the influence function would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nncift.version import __version__

if TYPE_CHECKING:
    from nncift.api import evaluate, fidelity, label, score, select
    from nncift.selection import Selection

__all__ = ["Selection", "__version__", "evaluate", "fidelity", "label", "score", "select"]

_HOME = dict.fromkeys(("evaluate", "fidelity", "label", "score", "select"), "nncift.api") | {
    "Selection": "nncift.selection"
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: `import nncift` alone loads neither PyTorch nor transformers."""
    if name not in _HOME:
        raise AttributeError(f"module 'nncift' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
