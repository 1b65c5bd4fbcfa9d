"""Debian's Chromium, driven by Playwright; where one of them is absent the tests are skipped, and say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on the PATH (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright (pip install playwright)")
    with playwright.sync_playwright() as driver:
        alone = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium refuses to run as root otherwise
        started = driver.chromium.launch(executable_path=program, args=alone)
        yield started
        started.close()
