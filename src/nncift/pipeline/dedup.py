"""Near-copies are looked for before a run begins: what can be refused is refused first, since embedding is what it costs."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nncift.cachedir import cache_folder
from nncift.config import SelectConfig
from nncift.data.rows import Pool, ids_of, numbers_of
from nncift.embed.base import Embedder
from nncift.embed.choose import embed_rows
from nncift.embed.precomputed import Precomputed
from nncift.embed.sentence import SentenceEmbedder
from nncift.errors import ConfigError
from nncift.ledger import Ledger
from nncift.lm.device import devices
from nncift.pipeline.encoding import spread_encoder
from nncift.pipeline.left_out import leave_out
from nncift.pipeline.models import Models
from nncift.pipeline.preparing import without
from nncift.pipeline.receipt import tell_rows
from nncift.pipeline.refusing import refuse_before_dedup, refuse_too_large
from nncift.pipeline.setup import Setup
from nncift.pipeline.twins import FILE, Twin, Twins, find_twins, stored_twins
from nncift.pipeline.vectors import Take
from nncift.progress import Reporter, Silent
from nncift.run import Clock, content_key, file_hash, lists_key, read_records
from nncift.scale.executor import open_executor

log = logging.getLogger(__name__)

_CODE = 1  # raised where another choice of copies would come out


def admit(setup: Setup, reporter: Reporter) -> Setup:
    """The run as it will be done: refused where it does not fit, told what it reads, and without near-copies of the pool's
    own rows where that is asked for. Rows are compared in the order of their ids.

    With `--dedup` the run is refused before anything is embedded where what comes before the comparison, or does not become
    less by it, does not fit; and once more when it is known what is left.

    Args:
        setup: of all rows.
        reporter: told how far it is.

    Raises:
        ConfigError: the run does not fit, options contradict what is left of the rows, or files of vectors have none for rows
            that cannot be used.
    """
    config = setup.config
    if not isinstance(config, SelectConfig) or not config.dedup:
        refuse_too_large(setup)
        tell_rows(setup, reporter)
        return setup
    models = Models(setup, Silent())
    search = _Search(setup.pool, config, models)
    found = search.found_before()
    if found is None and (warning := refuse_before_dedup(setup, models)):
        log.warning("%s", warning)
    tell_rows(setup, reporter)
    models.setup = without(setup, found or search.find(reporter))
    refuse_too_large(models.setup, models)
    return models.setup


class _Search:
    """Looks for the near-copies in a pool."""

    def __init__(self, pool: Pool, config: SelectConfig, models: Models) -> None:
        self._pool, self._config = pool, config
        self._device, self._embedder = models.placement.device, models.embedder
        self._depends: dict[str, Any] = {
            "code": _CODE,
            "threshold": config.dedup,
            "embedder": self._embedder.fingerprint,
            "rows": pool.fingerprint,
        }
        if isinstance(self._embedder, Precomputed):
            order = zip(ids_of(pool.examples), numbers_of(pool.examples).tolist(), strict=True)
            self._depends["order"] = lists_key({"pool": order})

    def found_before(self) -> Twins | None:
        """What this run left out when it was begun; None where it is another question now, or its file is not whole."""
        if not self._config.output:
            return None
        place = Path(self._config.output)
        record, path = read_records(place).get("dedup"), place / FILE
        if record is None or record.key != content_key(self._depends) or not path.is_file():
            return None
        if record.files.get(FILE) != file_hash(path) or (found := stored_twins(place, self._config)) is None:
            return None
        return replace(found, depends=self._depends)

    def find(self, reporter: Reporter) -> Twins:
        """Embeds the rows and compares them."""
        pool, threshold, clock, ledger = self._pool, self._config.dedup, Clock(), Ledger()
        embedder, ids, order = self._embedder, ids_of(pool.examples), pool.order
        if isinstance(embedder, Precomputed):
            vectors: Take = embedder.vectors(pool, role="pool").take
        else:
            vectors = self._encoded(embedder, ledger, reporter)
        reporter.begin("dedup", len(pool), "rows")
        twin, cosine = find_twins(lambda at: vectors(order[at]), len(pool), threshold, reporter=reporter)
        pairs = {
            ids[order[k]]: Twin(ids[order[twin[k]]], round(float(cosine[k]), 6))
            for k in np.flatnonzero(twin >= 0).tolist()
        }
        reporter.end(f"{len(pairs):,} of {len(pool):,} rows are near-copies (cosine {threshold:g} or more)")
        twins = Twins(threshold, len(pool), pairs, self._depends, ledger, clock.spent())
        if isinstance(embedder, Precomputed):
            try:
                embedder.vectors(leave_out(pool, twins), role="pool")
            except ConfigError as error:
                raise ConfigError(
                    f"--dedup leaves rows out, and {self._config.embedder} has no vectors of the rejected rows to count by. "
                    f"Give one vector per row of {pool.source}, or mend its rejected rows."
                ) from error
        return twins

    def _encoded(self, embedder: Embedder, ledger: Ledger, reporter: Reporter) -> Take:
        """The vectors of texts, from the cache or encoded now."""
        pool, config, device = self._pool, self._config, self._device
        if isinstance(embedder, SentenceEmbedder):
            embedder.ledger = ledger
        reporter.begin("embed", len(pool), "rows")
        with closing(
            open_executor(config.executor, workers=config.workers, devices=devices(config.device, device))
        ) as own:
            found = embed_rows(
                embedder,
                pool,
                folder=cache_folder() / "embeddings",
                on_progress=reporter.advance,
                encode=spread_encoder(own, embedder, device, ledger),
            )
        reporter.end(f"{len(pool):,} rows, {found.computed:,} newly encoded")
        return found.vectors.__getitem__
