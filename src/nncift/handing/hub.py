"""Pushing an export to the Hugging Face hub: only its rows and its card, and only where that was asked for."""

from __future__ import annotations

import re
from dataclasses import replace

from nncift.errors import ConfigError, DataError, MissingExtraError
from nncift.handing.writing import Handed

_TOKEN = re.compile(r"\bhf_\w+")


def check_name(name: str) -> str:
    """A data set's name on the hub.

    Raises:
        ConfigError: it is none.
    """
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) is None:
        raise ConfigError(f"--push-to-hub {name!r} does not name a data set. Write owner/name.")
    return name


def push(handed: Handed, name: str) -> Handed:
    """Uploads the rows and the card of an export as a private data set of the hub, made if it is not there.

    The access token is the one that `huggingface_hub` finds (`HF_TOKEN`, or `hf auth login`); it is never written or told.

    Raises:
        ConfigError: the name is malformed.
        MissingExtraError: the package `huggingface_hub` is not installed.
        DataError: the hub cannot be reached, or refuses.
    """
    check_name(name)
    try:
        from huggingface_hub import HfApi, get_token
    except ModuleNotFoundError as error:
        raise MissingExtraError("huggingface_hub", "hub", f"pushing {name}") from error
    assert handed.card is not None
    files = [handed.pattern, handed.card.name]
    try:
        api = HfApi()
        api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            repo_type="dataset",
            folder_path=handed.data.parent,
            allow_patterns=files,
            delete_patterns=[f"{handed.trainer}.jsonl", f"{handed.trainer}/*.jsonl"],  # of an earlier push
            commit_message=f"{handed.rows:,} rows chosen by NN-CIFT",
        )
    except Exception as error:  # the package passes on whatever its network and file layers raise
        said = _without(f"{type(error).__name__}: {error}", get_token())
        raise DataError(
            f"cannot push {name} to the hub: {said} Check the name and the network, and log in with `hf auth login` or "
            f"HF_TOKEN. The files are in {str(handed.data.parent)!r}."
        ) from None  # what a network layer raises can hold the token in a header
    return replace(handed, pushed=f"datasets/{name}")


def _without(text: str, token: str | None) -> str:
    """A text without access tokens."""
    if token:
        text = text.replace(token, "***")
    return _TOKEN.sub("***", text)
