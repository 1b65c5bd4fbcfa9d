"""The hub is asked once, and what it answers is said in words."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import Mock

import pytest
from huggingface_hub import HfApi, constants, errors

from nncift.errors import ModelError
from nncift.lm.device import place
from nncift.lm.hub import ask_hub, hub_reason
from nncift.lm.load import load_language_model


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hub out of reach; the names it was asked for."""
    asked: list[str] = []

    def model_info(self: HfApi, name: str, **options: Any) -> None:
        asked.append(name)
        raise ConnectionError("no route")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "model_info", model_info)
    return asked


def test_without_a_network_a_model_fails_at_once_and_in_one_sentence(no_network: list[str]) -> None:
    started = time.perf_counter()
    with pytest.raises(
        ModelError, match=r"'gemma-3-270n': the Hugging Face hub cannot be reached, .* Did you mean 'gemma"
    ):
        load_language_model("gemma-3-270n", place("cpu", "float32"))
    assert no_network == ["gemma-3-270n"]
    assert time.perf_counter() - started < 30  # the loaders alone would retry for about a minute


def test_offline_by_choice_is_said_without_asking(monkeypatch: pytest.MonkeyPatch, no_network: list[str]) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert ask_hub("nobody/nothing") == "HF_HUB_OFFLINE is set"
    assert no_network == []


def test_an_unknown_name_is_told_from_a_dead_line() -> None:
    response: Any = Mock(headers={})
    assert "no public model" in hub_reason(errors.RepositoryNotFoundError("404", response=response))
    assert "refuses" in hub_reason(errors.HfHubHTTPError("503 busy", response=response))
    assert "cannot be reached" in hub_reason(errors.LocalEntryNotFoundError("no file"))
    assert "no valid name" in hub_reason(errors.HFValidationError("two slashes"))
