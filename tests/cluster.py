"""A real Ray cluster of two workers on this machine, for the tests that need one."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

CPUS = 2
STORE = 100 * 2**20


@contextmanager
def two_workers() -> Iterator[None]:
    """Within the block Ray is up, and `--executor ray` uses it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Ray tells of defaults that it will change
        import ray

        ray.init(
            address="local",
            num_cpus=CPUS,
            include_dashboard=False,
            object_store_memory=STORE,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
        try:
            yield
        finally:
            ray.shutdown()
