"""Whether the Hugging Face hub gives a model: asked once and with little patience, because the loaders retry for a minute."""

from __future__ import annotations

_PATIENCE = 8.0  # seconds until a connection counts as dead


def ask_hub(name: str) -> str | None:
    """Why the hub does not give a model, in words; None where it does."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        HfApi().model_info(name, timeout=_PATIENCE)
    except Exception as error:  # the client lets errors of its network library through, which share no base
        return hub_reason(error)
    return None


def hub_reason(error: Exception) -> str:
    """What an error of the hub's client means to a user."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the Hugging Face hub has no public model of this name"
    if isinstance(error, errors.HFValidationError):
        return "this is no valid name of a model on the Hugging Face hub"
    if isinstance(error, errors.HfHubHTTPError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"the Hugging Face hub refuses it ({_first_line(error)})"
    return "the Hugging Face hub cannot be reached"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
