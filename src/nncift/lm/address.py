"""Where a server is: addresses that may stand in records, keys that may stand in headers, and models named by address."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from nncift.errors import ConfigError
from nncift.registry import LAYERS, SERVERS, TOKENIZER

SERVER_KEY = "NNCIFT_SERVER_KEY"
"""Where the key of a server of labels is looked for."""

_SENDABLE = re.compile(r"[!#-&(-\[\]-~]+")  # what stands in a header, and in a JSON text as it is
_VERSION = "/v1/"


@dataclass(frozen=True, slots=True)
class Served:
    """A language model that a server runs.

    Attributes:
        root: the address, before `/v1`.
        model: its name there.
        tokenizer: hub id or folder of its tokenizer.
    """

    root: str
    model: str
    tokenizer: str


def read_served(name: str) -> Served:
    """What `openai://HOST:PORT/NAME` says (`openai+https://` encrypted), `#tokenizer=` behind it where the tokenizer has
    another name than the model. A name that holds `/v1/` is an address up to there, so that a server may lie in a folder.

    Raises:
        ConfigError: it says no address, no name, or something that no record may hold.
    """
    address, named, tokenizer = name.partition(TOKENIZER)
    scheme, _, rest = address.partition("://")
    place, versioned, model = rest.partition(_VERSION)
    if not versioned:
        place, _, model = rest.partition("/")
    root = f"{SERVERS[scheme]}://{place}" + (f"?{rest.partition('?')[2]}" if "?" in rest else "")
    check_address(root, whose="--model's", example="openai://localhost:8000/Qwen/Qwen2.5-0.5B", key=SERVER_KEY)
    if not model or not model.isprintable() or (named and not tokenizer):
        raise ConfigError(
            f"--model {name!r} names no model on a server. Write openai://HOST:PORT/NAME, and "
            f"{TOKENIZER}HUB_ID_OR_FOLDER behind it where the tokenizer has another name."
        )
    if "#" in model:
        mend = "a served model is whole" if LAYERS in model else f"only {TOKENIZER} may stand behind a served model"
        raise ConfigError(f"--model {name!r}: {mend}. Leave out #{model.partition('#')[2]}.")
    return Served(root, model, tokenizer or model)


def check_address(url: str, *, whose: str, example: str, key: str) -> None:
    """Raises:
    ConfigError: it is no address, or holds a name, a key or a query.
    """
    none = f"{whose} address is none. Give one such as {example}."
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigError(none) from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            f"{whose} address must hold no name, key or query: addresses are kept in records. "
            f"Put the key into the environment variable {key}."
        )
    if not sound or not url.isprintable() or " " in url:
        raise ConfigError(none)


def key_of(names: Sequence[str]) -> str:
    """The key in the first of some environment variables that has one, empty where none has.

    Raises:
        ConfigError: it holds what no request header may hold.
    """
    name = next((name for name in names if os.environ.get(name, "").strip()), None)
    if name is None:
        return ""
    key = os.environ[name].strip()
    if not _SENDABLE.fullmatch(key):
        raise ConfigError(f"the key in {name} holds a blank, a quote or a letter that no key has. Set it anew.")
    return key


def is_private(url: str) -> bool:
    """Whether nobody can listen on the way to a server."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        here = ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost" or host.endswith(".localhost")
    return here or parts.scheme == "https"
