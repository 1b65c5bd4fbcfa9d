"""Secrets are struck out of texts and values, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nncift.config import SelectConfig
from nncift.errors import ConfigError
from nncift.recipe import changed_options, read_recipe, recipe_values, refuse_struck, resolved, write_recipe
from nncift.redact import STRUCK, redact, redacted
from nncift.tracking.public import public


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("the token hf_AbCdEfGhIjKlMnOpQrStUv was refused", "hf_AbCdEfGhIjKlMnOpQrStUv"),
        ("key sk-proj-abc123def456ghi789 is wrong", "sk-proj-abc123def456ghi789"),
        ("GET https://anna:geheim@host.example/v1 failed", "geheim"),
        ("GET https://host.example/v1?key=AIzaSyGeheim&x=1 failed", "AIzaSyGeheim"),
        ("--option api_key=geheim17 --seed 3", "geheim17"),
        ("judge_token = geheim17", "geheim17"),
        ("Authorization: Bearer geheim.17.abc", "geheim.17.abc"),
        ("posted by xoxb-123456789012-abcdef", "xoxb-123456789012-abcdef"),
        ("clone ghp_abcdefghijklmnopqrstuvwxyz0123", "ghp_abcdefghijklmnopqrstuvwxyz0123"),
    ],
)
def test_a_secret_is_struck_out_and_the_rest_stays(text: str, secret: str) -> None:
    found = redact(text)
    assert secret not in found and STRUCK in found
    first, last = text.split(secret)
    assert found.startswith(first.split("anna")[0]) and found.endswith(last)
    assert redact(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "--batch-tokens 2048, max_tokens=77 of 5,000 tokens",
        "task-specific-instruction-tuning and risk-aware-selection-2",
        "hub:owner/name#split, https://host.example/v1, user@host",
        "the key of a stage; key=5% as a quota; tokens=3",
        "hf_small",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


def test_what_the_environment_holds_is_struck_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNCIFT_JUDGE_KEY", "x")  # too short to be told from a letter
    monkeypatch.setenv("MY_SERVICE_API_KEY", "purple-elephant")
    assert redact("a purple-elephant in x") == f"a {STRUCK} in x"


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "OPENAI_API_KEY", "NNCIFT_JUDGE_KEY", "NNCIFT_SERVER_KEY", "WANDB_API_KEY"]
)
def test_the_keys_that_the_program_uses_are_secrets(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "purple-elephant")
    assert "purple" not in redact("refused: purple-elephant")


def test_a_path_in_the_environment_is_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CLIENT_KEY", str(tmp_path))
    assert redact(f"cannot write {tmp_path}/run") == f"cannot write {tmp_path}/run"


def test_values_under_a_secret_name_are_struck_whole() -> None:
    given = {"api_key": "a b c", "rows": 3, "option": ("share=0.5", "password=pw"), "nested": [{"hub_token": "t"}]}
    assert redacted(given) == {
        "api_key": STRUCK,
        "rows": 3,
        "option": ("share=0.5", f"password={STRUCK}"),
        "nested": [{"hub_token": STRUCK}],
    }


def test_errors_tell_no_secret() -> None:
    assert "geheim" not in str(ConfigError("cannot reach https://anna:geheim@host/v1"))


def test_a_recipe_keeps_no_secret_and_is_not_replayed_without_it(tmp_path: Path) -> None:
    config = SelectConfig.of({"pool": "pool.jsonl", "option": ("api_key=geheim17", "share=1")})
    recipe = tmp_path / "recipe.yaml"
    write_recipe(config, recipe)
    assert "geheim17" not in recipe.read_text() and "share=1" in recipe.read_text()
    assert changed_options(config, recipe) == ""  # the same command again is no other run
    with pytest.raises(ConfigError, match="--option"):
        refuse_struck(recipe_values(recipe)[1], recipe)
    write_recipe(SelectConfig.of({"pool": "pool.jsonl"}), recipe)
    refuse_struck(recipe_values(recipe)[1], recipe)


COLUMNS = ("token", "api_key", "password", "hub_token", "my secret", "credentials", "access-key")


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("share", ["5%", "200"])
def test_a_quota_names_a_column_and_no_secret(column: str, share: str, tmp_path: Path) -> None:
    quota = f"{column}={share}"
    assert redacted({"quota": quota, "nested": [{"quota": quota}]}) == {"quota": quota, "nested": [{"quota": quota}]}
    assert public({"quota": quota}) == {"quota": quota}
    config, recipe = SelectConfig.of({"pool": "pool.jsonl", "quota": quota}), tmp_path / "recipe.yaml"
    write_recipe(resolved(config), recipe)
    assert read_recipe(recipe).quota == quota and changed_options(config, recipe) == ""
    refuse_struck(recipe_values(recipe)[1], recipe)
    assert changed_options(replace(config, quota=f"{column}=9%"), recipe) == "--quota"


@pytest.mark.parametrize(
    "quota", ["api_key=geheim17", "token=5%x", "password=pw", "token=5% token=geheim17", "secret=-5"]
)
def test_what_is_no_quota_is_struck_there_too(quota: str) -> None:
    assert quota.rpartition("=")[2] not in redacted({"quota": quota})["quota"]
    assert quota.rpartition("=")[2] not in public({"quota": quota})["quota"]


def test_a_known_secret_is_struck_in_a_quota_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", "1234567890")
    assert redacted({"quota": "token=1234567890"}) == {"quota": f"token={STRUCK}"}
    assert redacted({"quota": "hf_AbCdEfGhIjKlMnOpQrStUv=5"}) == {"quota": f"{STRUCK}=5"}
    assert redacted({"option": "token=5", "token": "5", "quotas": "token=5"}) == {
        "option": f"token={STRUCK}",
        "token": STRUCK,
        "quotas": f"token={STRUCK}",
    }


def test_columns_of_an_experiments_rows_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", "purple-elephant")
    spec = {"where": {"token": "a b", "password": ["x", "y"]}, "columns": {"api_key": "{first}, {second}"}}
    assert redacted({"data": spec}) == {"data": spec}
    planted = {"where": {"token": "purple-elephant", "api_key": "sk-proj-abc123def456ghi789", "x": {"token": "t"}}}
    assert redacted(planted) == {"where": {"token": STRUCK, "api_key": STRUCK, "x": {"token": STRUCK}}}


def test_an_error_names_the_quota_that_it_is_about() -> None:
    told = "--quota api_key=5%: no row of the pool has a column 'api_key'."
    assert redact(told) == told
    assert "geheim" not in redact("--quota api_key=geheim17: no row") and "17" not in redact(
        "--option api_key=17: no row"
    )
