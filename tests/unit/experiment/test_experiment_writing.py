"""Files that hold whatever names they are given, and figures that are there, are not blank and never change."""

from __future__ import annotations

import builtins
import csv
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncift.experiment.tables import write_tables
from nncift.experiment.tables.drawing import Curve, HeatMap, Panel
from nncift.experiment.tables.figures import draw_curves, draw_heat
from nncift.experiment.tables.writing import Block, Table, latex, markdown, write_table
from toy_cells import cell, fidelity, write_experiment

NASTY = "a|b_c 50% *x* $5 #1 <b> & {z}~^\\ `k`\nnext\x00\ud800"


def test_markdown_shows_a_name_as_it_is() -> None:
    assert markdown("a|b_c 50%") == r"a\|b\_c 50%"
    assert markdown("<b> & *x*") == r"&lt;b> &amp; \*x\*"
    assert markdown("[a](b)\n c") == r"[a]\(b) c"
    assert markdown("5.0 [4.0, 6.0]") == "5.0 [4.0, 6.0]"
    assert markdown("a\x00\ud800") == "a\ufffd\ufffd"


def test_latex_shows_a_name_as_it_is() -> None:
    assert latex("a_b 50% & #1 $x$ {y}") == r"a\_b 50\% \& \#1 \$x\$ \{y\}"
    assert (
        latex("1 ± 2 × R² ~ ^ \\ –")
        == r"1 $\pm$ 2 $\times$ R$^2$ \textasciitilde{} \textasciicircum{} \textbackslash{} --"
    )
    assert latex("a|b <c>") == r"a\textbar{}b \textless{}c\textgreater{}"


def test_a_table_of_nasty_names_keeps_its_columns(tmp_path: Path) -> None:
    block = Block(
        "Of | all", ("name", "x_1", "y"), 1, ((NASTY, "1.0", "–"), ("plain", "2.0", "3 ± 1")), ("It's 5 % | a_b.",)
    )
    lines = ({"name": NASTY, "mean": 0.1 + 0.2, "n": 3, "none": None}, {"name": 'say "hi", then', "more": 1e-300})
    paths = write_table(Table((block,), lines), tmp_path, "nasty", title=NASTY, claim="", images=["../figures/a.svg"])
    assert [path.name for path in paths] == ["nasty.md", "nasty.csv", "nasty.tex"]
    text = paths[0].read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and all(row.replace(r"\|", "").count("|") == 4 for row in rows)
    found = list(csv.DictReader(io.StringIO(paths[1].read_text(encoding="utf-8"))))
    assert float(found[0]["mean"]) == 0.1 + 0.2 and (found[0]["n"], found[0]["none"]) == ("3", "")
    assert found[1]["name"] == 'say "hi", then' and float(found[1]["more"]) == 1e-300 and found[1]["mean"] == ""
    assert found[0]["name"].startswith("a|b_c 50% *x*") and "\n" not in found[0]["name"]
    body = [line for line in paths[2].read_text(encoding="utf-8").splitlines() if line.endswith(r"\\")]
    assert len(body) == 3 and all(line.replace(r"\&", "").count("&") == 2 for line in body)


PANEL = Panel(
    "R² of $x$ & 5%",
    "labels_|",
    ((10.0, "10"), (100.0, "100")),
    True,
    (
        Curve("net_work $a$", ((10.0, 0.2, 0.05), (100.0, 0.6, None)), False),
        Curve("predict the mean", ((10.0, 0.0, None),), True),
    ),
)
HEAT = HeatMap(
    "seconds",
    "v",
    "u_%",
    ("1%", "a|b", "$c"),
    ("5%", "<x>"),
    np.array([[1.0, 2, np.nan], [3, 4, 5]]),
    [["1", "2", "–"], ["3", "4", "5"]],
)


@pytest.mark.parametrize("kind", ["curves", "heat"])
def test_figures_are_not_blank_and_the_same_bytes_again(tmp_path: Path, kind: str) -> None:
    from matplotlib import rcParams
    from matplotlib.image import imread

    def draw(stem: str) -> list[Path]:
        if kind == "heat":
            return draw_heat(HEAT, tmp_path / stem, title=NASTY)
        return draw_curves([PANEL] * 4, tmp_path / stem, title=NASTY)

    before = dict(rcParams)
    svg, png = draw("one")
    assert dict(rcParams) == before
    again = draw("two")
    assert [path.suffix for path in (svg, png)] == [".svg", ".png"]
    assert [path.read_bytes() for path in again] == [svg.read_bytes(), png.read_bytes()]
    text = svg.read_text(encoding="utf-8")
    assert "<dc:date>" not in text and ("net_work $a$" in text or kind == "heat")
    image = imread(png)
    clear, drawn = image[..., 3] == 0, image[..., 3] > 0.5
    assert clear.mean() > 0.2 and 0.01 < drawn.mean() < 0.8  # no page colour of its own, and something on it
    assert len(np.unique((255 * image[drawn]).astype(int), axis=0)) > 10


def test_ink_can_be_read_on_a_light_and_on_a_dark_page() -> None:
    from nncift.experiment.tables.figures import _COLOURS, _INK

    def light(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
        return sum(a * b for a, b in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    for colour in (_INK, *_COLOURS):
        on_white, on_dark = 1.05 / (light(colour) + 0.05), (light(colour) + 0.05) / (light("#0d1117") + 0.05)
        assert min(on_white, on_dark) > 3, colour


def folder_with_a_figure(folder: Path) -> Path:
    cells = [
        cell(f"fidelity/{u}", {"u": u, "model": NASTY}, {"records": [fidelity("net|work", 9, r2=0.5)]})
        for u in ("1%", "5%")
    ]
    spec = {"kind": "fidelity", "name": "size", "x": "u", "figures": ["r2", "mse"]}
    return write_experiment(
        folder, [spec, spec | {"name": "pages", "pages": ["u"], "x": "model"}], cells, claim="50% of\n it_"
    )


def test_everything_is_the_same_bytes_again(tmp_path: Path) -> None:
    first = write_tables(folder_with_a_figure(tmp_path))
    assert [path.relative_to(tmp_path).as_posix() for path in first] == [
        *("tables/size.md", "tables/size.csv", "tables/size.tex", "figures/size.svg", "figures/size.png"),
        *("tables/pages.md", "tables/pages.csv", "tables/pages.tex", "figures/pages-1-1.svg", "figures/pages-1-1.png"),
        *("figures/pages-2-5.svg", "figures/pages-2-5.png"),
    ]
    before = [path.read_bytes() for path in first]
    again = write_tables(tmp_path)
    assert again == first and [path.read_bytes() for path in again] == before
    assert r"50% of it\_" in first[0].read_text(encoding="utf-8")


def test_without_matplotlib_the_tables_are_written_and_one_note_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = builtins.__import__

    def importing(name: str, *more: Any, **rest: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError(name)
        return real(name, *more, **rest)

    monkeypatch.setattr(builtins, "__import__", importing)
    with caplog.at_level(logging.WARNING):
        paths = write_tables(folder_with_a_figure(tmp_path))
    assert [path.suffix for path in paths] == [".md", ".csv", ".tex"] * 2
    (record,) = caplog.records
    assert 'pip install "nncift[figures]"' in record.getMessage()
    assert "![" not in paths[0].read_text(encoding="utf-8")
