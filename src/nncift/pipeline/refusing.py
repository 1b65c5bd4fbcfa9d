"""A run that would not fit into memory is refused before anything is spent."""

from __future__ import annotations

from nncift.errors import ConfigError
from nncift.pipeline.footprint import Footprint, before_kernels, footprint, size
from nncift.pipeline.models import Models
from nncift.pipeline.room import allowed
from nncift.pipeline.setup import Setup
from nncift.progress import Silent


def refuse_too_large(setup: Setup, models: Models | None = None) -> None:
    """Refuses a run that would not fit into memory, rather than let it swap.

    Args:
        setup: the run; its route refuses by itself what no machine like this can hold.
        models: of the run, where there are some already.

    Raises:
        ConfigError: what it needs at its peak is more than `--memory` says, or than there is.
    """
    _ = setup.route
    if (limit := allowed(setup.config.memory)) is not None:
        _refuse(setup, footprint(setup, models or Models(setup, Silent())), limit)


def refuse_before_dedup(setup: Setup, models: Models) -> str:
    """Refuses a run that would not fit however many near-copies `--dedup` leaves out, before rows are embedded to tell.

    What is held throughout (models, and all rows: those that are left out stay, to be told) and what embedding and comparing
    the pool take do not become less; the rest does.

    Args:
        setup: the run of all rows.
        models: of that run.

    Returns:
        a warning where it would not fit if nothing were left out, else an empty string.

    Raises:
        ConfigError: it does not fit.
    """
    if (limit := allowed(setup.config.memory)) is not None:
        held, stages, unknown, _ = before_kernels(setup, models)
        _refuse(setup, Footprint("dedup", (*held, *stages["dedup"]), " and ".join(unknown)), limit)
    try:
        refuse_too_large(setup, models)
    except ConfigError as error:
        return f"whether --dedup leaves few enough rows is known once they are embedded: with all of them, {error}"
    return ""


def _refuse(setup: Setup, found: Footprint, limit: int) -> None:
    if found.needed <= limit:
        return
    largest = max(found.parts, key=lambda part: part.bytes * (not part.returnable))
    lowered = max((part for part in found.parts if part.mend), key=lambda part: part.bytes)
    which = "" if lowered is largest else f"What an option lowers is: {lowered.name}, {size(lowered.bytes)}. "
    mend = lowered.mend
    if lowered.bytes < found.needed - limit:
        which, mend = "", f"No option alone brings it down to that; this saves most: {mend}"
    there = "are available" if setup.config.memory.strip().lower() == "auto" else "are allowed by --memory"
    raise ConfigError(
        f"the run would need about {size(found.needed)} of memory in its stage `{found.stage}`, and {size(limit)} {there}. "
        f"The largest part is: {largest.name}, {size(largest.bytes)}. {which}{mend} "
        "--memory 0 starts it all the same, and it may swap."
    )
