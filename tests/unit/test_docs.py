"""The site: it builds without a warning, every page can be reached, nothing of it is fetched, and what it says of options and
classes is what the code says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

import nncift.evaluation.options
import nncift.handing.options
import nncift.rehearsal.options  # the configurations of all three are found as subclasses
from nncift import registry
from nncift.config import Options, flag

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))

pytestmark = pytest.mark.skipif(find_spec("furo") is None, reason="the extra `docs` is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages."""
    folder = tmp_path_factory.mktemp("site")
    words = ["-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(folder / "html"), "-d", str(folder / "read")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Tags(HTMLParser):
    """Every opening tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def loaded(text: str) -> Iterator[str]:
    """What a browser fetches for a page by itself: links that a reader may follow are not among it."""
    for tag, values in Tags(text).found:
        names = ("href",) if tag == "link" else () if tag == "a" else ("src", "srcset", "data", "poster", "href")
        yield from (values[name] for name in names if values.get(name))


def styled(text: str) -> Iterator[str]:
    """What a style sheet fetches."""
    for found in re.finditer(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""", text):
        yield found[1] or found[2]


def is_elsewhere(address: str) -> bool:
    """Whether an address is on the network."""
    return re.match(r"\s*(?:[a-z]+:)?//", address, re.IGNORECASE) is not None


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_built_and_can_be_reached_from_the_first(site: Path, page: str) -> None:
    assert (site / f"{page}.html").is_file()
    sidebar = [values.get("href") for tag, values in Tags((site / "index.html").read_text(encoding="utf-8")).found]
    assert page == "index" or f"{page}.html" in sidebar


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # the index and the search besides
    found = {path.name: [at for at in loaded(path.read_text(encoding="utf-8")) if is_elsewhere(at)] for path in pages}
    for path in sorted(site.rglob("*.css")):
        found[path.name] = [at for at in styled(path.read_text(encoding="utf-8")) if is_elsewhere(at)]
    assert {name: addresses for name, addresses in found.items() if addresses} == {}


def test_what_is_fetched_is_noticed() -> None:
    bad = '<script src="https://x.org/a.js"></script><link href="//x.org/a.css"><img src="HTTP://x.org/a.png">'
    good = '<a href="https://x.org">x</a><script src="a.js"></script><img src="data:image/png;base64,//8="><link href="a.css">'
    assert len([at for at in loaded(bad) if is_elsewhere(at)]) == 3
    assert [at for at in loaded(good) if is_elsewhere(at)] == []
    assert list(filter(is_elsewhere, styled("@import 'https://x.org/a.css'; a {background: url(//x.org/b)}"))) != []


def configurations(base: type = Options) -> Iterator[type]:
    """Every configuration that is the options of a verb."""
    for config in base.__subclasses__():
        if re.match(r"Options of `nncift \w+`", config.__doc__ or ""):
            yield config
        yield from configurations(config)


def test_every_option_of_every_verb_is_told_with_its_help(site: Path) -> None:
    text = unescape(re.sub(r"<[^>]+>", "", (site / "reference" / "options.html").read_text(encoding="utf-8")))
    text = re.sub(r"\s+", " ", text)
    found = list(configurations())
    assert len(found) >= 6
    for config in found:
        for name, item in config.__dataclass_fields__.items():  # pyright: ignore[reportAttributeAccessIssue]
            named = rf"{flag(name)}(?![\w-])|\b{name.upper()}\b"
            assert re.search(named, text), (config, name)
            assert item.metadata["help"].replace("`", "") in text, (config, name)


def test_every_registered_name_has_a_heading_and_its_docstring(site: Path) -> None:
    pages = {"influence": "influences", "objective": "objectives", "estimator": "estimators", "embedder": "estimators"}
    assert set(pages) == set(get_args(registry.Kind))
    for kind, page in pages.items():
        html = (site / "reference" / f"{page}.html").read_text(encoding="utf-8")
        for name in registry.names(kind):  # pyright: ignore[reportArgumentType]
            found = registry.load(kind, name)  # pyright: ignore[reportArgumentType]
            assert f'id="{found.__module__}.{found.__qualname__}"' in html, name
            assert re.search(rf"<h2>{re.escape(name)}<", html), name


def test_public_names_are_documented(site: Path) -> None:
    html = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in set(nncift.__all__) - {"__version__"}:
        assert f'id="nncift.{name}"' in html
