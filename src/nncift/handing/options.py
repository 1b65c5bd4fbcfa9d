"""Options of `nncift export`."""

from __future__ import annotations

from dataclasses import dataclass

from nncift.config import Options, at_least, setting


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Options):
    """Options of `nncift export`."""

    run: str = setting("A finished run folder.")
    trainer: str = setting(
        "Whose format: trl, axolotl, llamafactory, torchtune, litgpt, or a mere one: alpaca, sharegpt, messages.",
        "trl",
        short="-t",
    )
    output: str | None = setting("Folder of the export; without it `export` inside the run folder.", None, short="-o")
    shard_rows: int = setting("Write a folder of shards with at most so many rows each; 0: one file.", 0)
    card: bool = setting("Also write a dataset card, README.md.", False)
    license: str | None = setting("Licence of the source, for the card, as the hub calls it (apache-2.0).", None)
    push_to_hub: str | None = setting("Upload rows and card as this private data set, owner/name.", None)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, shard_rows=0)
