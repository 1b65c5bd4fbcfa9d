"""What a server answers is read up to a bound, for a time, and uncompressed: whoever answers may be broken, or mean harm."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

MOST = 32 << 20
"""Bytes of one answer. Scores of a prompt take some 200 for each token, so 160,000 tokens; a grade takes 10 kB."""

TOO_LARGE = f"sent more than {MOST >> 20} MiB in one answer"
COMPRESSED = "compressed its answer, though it was asked not to"
"""Why an answer is not read; what is raised says one of the two."""

_PLAIN = ("", "identity")


def bounded_client(openai: Any, *, before: Sequence[Callable[[Any], None]] = ()) -> Any:
    """A client for `openai.OpenAI(http_client=...)` that holds at most `MOST` bytes of an answer, whatever its status, and
    reads an answer that has begun no longer than it would have waited for one. It asks for uncompressed answers and reads no
    others, since few compressed bytes may be any number.

    Args:
        openai: the module.
        before: told of every request, repeated ones included.

    Raises (when it is used):
        openai.OpenAIError: `TOO_LARGE` or `COMPRESSED`; it is not asked again, as failures on the way are.
        openai.APITimeoutError: it comes byte by byte, after as many tries as a silent server gets.
    """
    hooks = {"request": [*before, _ask_for_plain], "response": [_bound(openai)]}
    return openai.DefaultHttpxClient(event_hooks=hooks)


def _ask_for_plain(request: Any) -> None:
    request.headers["Accept-Encoding"] = "identity"


def _bound(openai: Any) -> Callable[[Any], None]:
    def bound(response: Any) -> None:
        if response.headers.get("Content-Encoding", "").strip().lower() not in _PLAIN:
            raise openai.OpenAIError(COMPRESSED)
        library = import_module(type(response).__module__.partition(".")[0])  # httpx, by whichever name openai uses it
        waits = response.request.extensions.get("timeout", {}).get("read")
        end = math.inf if waits is None else time.monotonic() + waits

        class Bounded(library.SyncByteStream):
            """The first bytes of a stream."""

            def __init__(self, stream: Any) -> None:
                self._stream = stream

            def __iter__(self) -> Iterator[bytes]:
                left = MOST
                for chunk in self._stream:
                    left -= len(chunk)
                    if left < 0:
                        raise openai.OpenAIError(TOO_LARGE)
                    if time.monotonic() > end:
                        raise library.ReadTimeout("byte by byte", request=response.request)
                    yield chunk

            def close(self) -> None:
                self._stream.close()

        response.stream = Bounded(response.stream)

    return bound
