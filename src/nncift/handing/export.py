"""`nncift export`: the chosen rows of a finished run in a trainer's format, read without a model."""

from __future__ import annotations

from pathlib import Path

from nncift.handing.card import write_card
from nncift.handing.finished import Finished
from nncift.handing.formats import check_shards
from nncift.handing.hub import check_name, push
from nncift.handing.options import ExportConfig
from nncift.handing.writing import Handed, hand_over


def export(config: ExportConfig) -> Handed:
    """Writes the rows of a run folder for a trainer, with a card where one is asked for, and pushes them where that is.

    Raises:
        NnciftError: there is no finished run, the trainer is unknown or can hold no row, or the hub refuses.
    """
    check_shards(config.trainer, config.shard_rows)
    if config.push_to_hub is not None:  # told before anything is written
        check_name(config.push_to_hub)
    run = Finished.at(config.run)
    folder = Path(config.output) if config.output else run.folder / "export"
    name = run.folder.resolve().name
    told = {"trainer": config.trainer, "name": name, "source": str(run.subset)}
    handed = hand_over(run.rows(), folder, **told, shard_rows=config.shard_rows)
    if config.card or config.license or config.push_to_hub:
        handed = write_card(run, handed, license_id=config.license)
    return handed if config.push_to_hub is None else push(handed, config.push_to_hub)
