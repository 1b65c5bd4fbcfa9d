"""Text of strangers made fit for a page: whatever a row holds is seen as text, and takes no more room than it may."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

Made = TypeVar("Made")

_CONTROLS = {code: chr(0x2400 + code) for code in range(32)} | {0x7F: "\u2421"}
_CONTROLS |= dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "\ufffd")
del _CONTROLS[0x0A], _CONTROLS[0x09]

_IN_SCRIPT = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}

_SHRINKING = (1.0, 0.5, 0.25, 0.12, 0.05)


def plain(text: str, most: int) -> str:
    """The beginning of a text, with what no page can show made visible.

    A NUL, an escape or a lone surrogate becomes a sign of its own; letters that turn the direction of writing stay, and are
    isolated by the page.

    Args:
        text: anything.
        most: characters at most, the sign for what is left out included.
    """
    cut = text if len(text) <= most else f"{text[: max(0, most - 1)]}…"
    return re.sub("\r\n?", "\n", cut).translate(_CONTROLS)


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element: no character of it can end the element or begin another.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).translate(_IN_SCRIPT)


def fitting(make: Callable[[float], Made], size: Callable[[Made], int], most: int) -> Made:
    """What `make` gives for the largest share of the usual text length that takes at most so many bytes.

    Args:
        make: from a share of the usual length, 1 for all of it, to something that holds text.
        size: bytes of that on the page.
        most: bytes.
    """
    made = make(_SHRINKING[0])
    for share in _SHRINKING[1:]:
        if size(made) <= most:
            break
        made = make(share)
    return made


def bytes_of(texts: list[str]) -> int:
    """Bytes that texts take on a page at most, whether in HTML or inside a script."""
    return sum(
        len(text.encode("utf-8", "replace")) + 5 * len(re.findall("[<>&\"'\u2028\u2029\\\\\n\t]", text))
        for text in texts
    )
