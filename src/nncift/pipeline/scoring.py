"""The verb `score`: the mean influence of new rows on the target of a run, from its estimator, without the influence."""

from __future__ import annotations

import json
import logging
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from nncift.cachedir import cache_folder
from nncift.config import ScoreConfig
from nncift.data.files import load_pool
from nncift.data.rows import Pool, numbers_of
from nncift.data.write import write_rejected
from nncift.embed.base import Embedder
from nncift.embed.choose import embed_rows, load_embedder
from nncift.embed.precomputed import Precomputed
from nncift.errors import ConfigError
from nncift.estimator.base import Unsure
from nncift.estimator.covariance import Coordinates, squared_distances
from nncift.estimator.features import Features
from nncift.estimator.means import FittedMeans
from nncift.ledger import Ledger
from nncift.lm.atomic import write_whole
from nncift.lm.device import devices
from nncift.pipeline.encoding import spread_encoder
from nncift.pipeline.features import row_features
from nncift.pipeline.inputs import describe_rejected
from nncift.pipeline.readers import readers_of
from nncift.pipeline.reopening import Learnt, reopen_estimator
from nncift.pipeline.states import states_of
from nncift.progress import Reporter, Silent
from nncift.scale.executor import Executor, check_executor, open_executor

log = logging.getLogger(__name__)

_FAR = 0.99  # of the run's own rows lie nearer to another one
_MANY_FAR = 0.05  # of new rows beyond that, from where it is said
_SOME = 2000  # of the run's rows that new ones are compared with


@dataclass(frozen=True, slots=True)
class Scored:
    """New rows with what a run's estimator says of them, in the order of their file.

    Attributes:
        pool: the rows.
        means: predicted mean influence on the run's targets, [n], in label units.
        sd: standard deviation of each mean against that of the run's pool, [n]; None where the estimator gives none.
        far: which rows are unlike anything that the run has seen, [n].
        beats: share of the run's own pool that each row is above, [n].
    """

    pool: Pool
    means: Float[ndarray, " n"]
    sd: Float[ndarray, " n"] | None
    far: ndarray
    beats: Float[ndarray, " n"]

    def records(self) -> list[dict[str, Any]]:
        """One for each row, best first; ties by id."""
        ids, numbers = self.pool.ids, numbers_of(self.pool.examples)
        order = sorted(range(len(ids)), key=lambda k: (-self.means[k], ids[k]))
        return [
            {
                "rank": rank,
                "id": ids[k],
                "row": int(numbers[k]),
                "mean_influence": float(self.means[k]),
                "sd": None if self.sd is None else float(self.sd[k]),
                "above_share_of_pool": float(self.beats[k]),
                "unlike_the_run": bool(self.far[k]),
            }
            for rank, k in enumerate(order, start=1)
        ]


def score(config: ScoreConfig, reporter: Reporter | None = None) -> Scored:
    """Predicts the mean influence of new rows on the target of a finished run, and writes them best first.

    Raises:
        ConfigError: the run has no estimator, or its features cannot be made for new rows.
        RunError: the run did not finish or is not what it was.
        DataError: the file of new rows cannot be used.

    *Cost*: an embedding of each new row, and where the run's estimator reads states one forward of its language model;
    no influence. The means over m targets take linear time.
    """
    check_executor(config.executor)
    place = None if config.output is None else Path(config.output)
    if place is not None and not place.parent.is_dir():
        raise ConfigError(
            f"there is no folder {str(place.parent)!r} to write the scores into. Make it, or name another -o."
        )
    learnt = reopen_estimator(config.run)
    if isinstance(learnt.fitted, FittedMeans):
        raise ConfigError(
            "the run's estimator `means` reads no text, so that all new rows are the same to it. Take another."
        )
    new = load_pool(config.rows, layout=config.format, role="pool")
    seen = _features(learnt, new, config, reporter or Silent())
    rows = learnt.targets
    means = learnt.fitted.kernel(rows, seen).candidate_means()
    own = learnt.fitted.kernel(rows, learnt.pool).candidate_means()
    sd = learnt.fitted.candidate_sd(seen) if isinstance(learnt.fitted, Unsure) and learnt.sure else None
    own_keys = set(learnt.pool.keys)
    far = unlike(learnt.pool, seen) & np.array([key not in own_keys for key in seen.keys], dtype=bool)
    if far.mean() > _MANY_FAR:
        log.warning(
            "%s of %s rows are unlike anything in the run's pool: what is said of them is little more than a guess "
            "(select again with these rows in the pool)",
            f"{int(far.sum()):,}",
            f"{len(far):,}",
        )
    found = Scored(new, means, sd, far, np.searchsorted(np.sort(own), means) / len(own))
    _tell_rejected(new, place)
    if place is not None:
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in found.records())
        write_whole(place, lines.encode("ascii"))
    return found


def _tell_rejected(new: Pool, place: Path | None) -> None:
    """Says how many rows cannot be used and why, and keeps them beside the scores."""
    told = describe_rejected([("new", new)])
    if told is None:
        return
    if place is None:
        log.warning("%s", told.removesuffix(" (see rejected.jsonl)"))
        return
    aside = place.with_name(f"{place.stem}.rejected.jsonl")
    write_rejected(new.rejected, aside)
    log.warning("%s", told.replace("rejected.jsonl", aside.name))


def unlike(pool: Features, new: Features) -> ndarray:
    """Which new rows lie farther from 2,000 rows of a pool than these do from one another, whitened, in any block of
    features: so far that one in a hundred of the pool's own would too.

    *Cost*: (n + 2,000) · 2,000 distances in 64 dimensions a block.
    """
    coordinates = Coordinates.of([pool])
    own = coordinates.apply(pool.take(np.linspace(0, len(pool) - 1, min(_SOME, len(pool))).astype(np.int64)))
    far, near = np.zeros(len(new), dtype=bool), 1 - (1 - _FAR) / len(own)
    for mine, theirs in zip(own, coordinates.apply(new), strict=True):
        between = squared_distances([mine], [mine])[0]
        between.fill_diagonal_(torch.inf)
        limit = float(torch.quantile(between.min(dim=1).values, near)) if len(mine) > 1 else np.inf
        nearest = torch.cat([squared_distances([part], [mine])[0].min(dim=1).values for part in theirs.split(4096)])
        far |= (nearest > limit).numpy()
    return far


def _embedded(
    embedder: Embedder | Precomputed, new: Pool, config: ScoreConfig, device: str, reporter: Reporter
) -> Float[ndarray, "n d"]:
    """The vectors of new rows, encoded by the workers that the user asked for."""
    with closing(_workers(config, device)) as executor:
        encoder = spread_encoder(executor, embedder, device, Ledger())
        folder = cache_folder() / "embeddings"
        return embed_rows(embedder, new, folder=folder, on_progress=reporter.advance, encode=encoder).vectors


def _workers(config: ScoreConfig, device: str) -> Executor:
    return open_executor(config.executor, workers=config.workers, devices=devices(device, device))


def _features(learnt: Learnt, new: Pool, config: ScoreConfig, reporter: Reporter) -> Features:
    """What the run's estimator reads of new rows."""
    models = learnt.models
    embedder = models.embedder
    if isinstance(embedder, Precomputed):
        if config.embedder is None:
            raise ConfigError(
                "the run was embedded by files of vectors: name one for the new rows, --embedder NEW.npy."
            )
        embedder = load_embedder(config.embedder, device=models.placement.device)
        if not isinstance(embedder, Precomputed):
            raise ConfigError(
                f"the run was embedded by files of vectors, and {config.embedder!r} is none: --embedder NEW.npy."
            )
    elif config.embedder is not None:
        raise ConfigError("new rows are embedded as the run was; leave --embedder out.")
    reporter.begin("embed", len(new), "rows")
    vectors = _embedded(embedder, new, config, models.placement.device, reporter)
    reporter.end(f"{len(new):,} rows")
    states = None
    if models.setup.reads_states:
        lm = models.lms[0]
        lm.meter.ledger = Ledger()
        with closing(_workers(config, models.placement.device)) as executor:
            readers = readers_of(models, lm.meter.ledger, executor)
            with nullcontext() if readers is None else closing(readers):
                states = states_of(
                    lm, new.examples, reporter, tell=lambda _, said: log.warning("%s", said), readers=readers
                )
    return row_features(new.examples, vectors, states)
