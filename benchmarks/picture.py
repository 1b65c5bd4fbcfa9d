"""The picture of the report in the README, taken by Chromium from the page of a run.

python benchmarks/picture.py runs/demo/run/report.html docs/report.png
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright


def main() -> None:
    """Opens the page, waits for its charts, and takes what a window of 1,100 by 1,300 shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    asked = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 1300}, color_scheme="light")
        page.goto(asked.page.resolve().as_uri())
        page.wait_for_selector("canvas")
        page.wait_for_timeout(1500)
        page.screenshot(path=asked.picture)
        browser.close()
    print(f"{asked.picture.stat().st_size / 1e3:,.0f} kB in {asked.picture}")


if __name__ == "__main__":
    main()
