"""The charts: one function for each, from its data to a figure of Bokeh; the page's style sheet has the colours.

A renderer is named by what it shows (`pool`, `target`, `chosen`, `random`, `line`); the page's script gives each name its
colour, in light and in dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, NumeralTickFormatter, PlainText
from bokeh.models.dom import Div, ValueRef
from bokeh.plotting import figure
from jaxtyping import Float64
from numpy import ndarray

from nncift.report.gaining import Growth
from nncift.report.landscape import Landscape
from nncift.report.shown import plain
from nncift.report.spending import Spending
from nncift.report.spread import Bars, Shares

NAMES = {"pool": "not chosen", "target": "target", "chosen": "chosen"}
_MARKS = {"pool": "circle", "target": "diamond", "chosen": "circle"}
_SIZES = {"pool": 5, "target": 9, "chosen": 6}
_ALPHAS = {"pool": 0.45, "target": 0.85, "chosen": 0.9}


def map_chart(found: Landscape) -> Any:
    """The map; the pointer shows id and text, a click in the legend hides a kind, and it can be moved and enlarged."""
    chart = _figure(460, tools="pan,wheel_zoom,box_zoom,reset", axes=False)
    drawn = []
    for kind in found.kinds:
        source = ColumnDataSource(
            {
                "x": kind.points[:, 0].astype(np.float32), "y": kind.points[:, 1].astype(np.float32),
                "id": list(kind.ids), "text": list(kind.texts), "kind": [NAMES[kind.name]] * len(kind.ids),
            }
        )  # fmt: skip
        drawn.append(
            chart.scatter(
                "x", "y", source=source, name=kind.name, marker=_MARKS[kind.name], size=_SIZES[kind.name],
                fill_alpha=_ALPHAS[kind.name], line_alpha=0, legend_label=NAMES[kind.name],
            )
        )  # fmt: skip
    chart.add_tools(HoverTool(renderers=drawn, tooltips=_tip(), limit=3))
    _legend(chart)
    chart.legend.click_policy = "hide"
    return chart


def gain_chart(found: Growth) -> Any:
    """The objective of growing subsets, and of random ones."""
    chart = _figure(300, x="rows chosen", y="objective so far")
    if found.random is not None:
        low, high = found.random.min(axis=0), found.random.max(axis=0)
        chart.varea(found.sizes, low, high, name="random", fill_alpha=0.25, legend_label="random rows")
        chart.line(found.sizes, found.random.mean(axis=0), name="random", line_width=2, legend_label="random rows")
    chart.line(found.sizes, found.chosen, name="chosen", line_width=2.5, legend_label="chosen")
    if len(found.sizes) <= 20:
        chart.scatter(found.sizes, found.chosen, name="chosen", size=6, line_alpha=0, legend_label="chosen")
    _legend(chart)
    return chart


def histogram_chart(found: Bars, *, before: str, after: str, axis: str, logarithmic: bool = False) -> Any:
    """Two histograms over the same bins."""
    chart = _figure(300, x=axis, y="share of rows", logarithmic=logarithmic)
    left, right = found.edges[:-1], found.edges[1:]
    for name, tops, label in (("pool", found.before, before), ("chosen", found.after, after)):
        chart.quad(
            left=left, right=right, bottom=0, top=tops, name=name, fill_alpha=0.5, line_alpha=0.9, legend_label=label
        )
    chart.y_range.start = 0
    chart.yaxis.formatter = NumeralTickFormatter(format="0%")
    if logarithmic:
        chart.xaxis.ticker = FixedTicker(ticks=_round_numbers(float(left[0]), float(right[-1])))
        chart.xaxis.formatter = NumeralTickFormatter(format="0,0")
    _legend(chart)
    return chart


def agreement_chart(exact: Sequence[float], estimated: Sequence[float]) -> Any:
    """Estimated against exact influence, with the diagonal on which both are the same."""
    chart = _figure(320, x="exact influence", y="estimated")
    every = [*exact, *estimated]
    ends = [min(every), max(every)]
    chart.line(ends, ends, name="random", line_width=1.5, line_dash="dashed", legend_label="the same")
    chart.scatter(exact, estimated, name="chosen", size=6, fill_alpha=0.55, line_alpha=0, legend_label="held-out pairs")
    _legend(chart)
    return chart


def learning_chart(rounds: Sequence[dict[str, Any]]) -> Any:
    """How well each round foresaw the next labels, and what is forecast of the candidates' means."""
    chart = _figure(300, x="labels", y="rank correlation")
    curves = {
        "chosen": ("new labels, as foreseen", [(one["labels"], (one.get("ahead") or {}).get("spearman")) for one in rounds]),
        "target": ("candidates' means, forecast", [(one["labels"], one.get("reached")) for one in rounds]),
        "random": ("likeness to the round before", [(one["labels"], one.get("likeness")) for one in rounds]),
    }  # fmt: skip
    for name, (label, points) in curves.items():
        known = [(x, y) for x, y in points if y is not None]
        if known:
            x, y = (list(column) for column in zip(*known, strict=True))
            chart.line(x, y, name=name, line_width=2, legend_label=label)
            chart.scatter(x, y, name=name, size=7, line_alpha=0, legend_label=label)
    _legend(chart)
    return chart


def cost_chart(found: Spending) -> Any:
    """Work by stage beside that of every pair, or seconds by stage where no language model was asked."""
    if found.exact is None:
        names = [stage.name for stage in found.stages]
        return _lying(names, {"chosen": np.array([stage.seconds for stage in found.stages])}, "seconds")
    stages = [stage for stage in found.stages if stage.work]
    names = [*(stage.name for stage in stages), found.exact.name]
    made = np.array([*(stage.work for stage in stages), 0.0])
    whole = np.array([*([0.0] * len(stages)), found.exact.work])
    return _lying(names, {"chosen": made, "pool": whole}, "language-model passes (a backward one counts as two)")


def share_chart(found: Shares) -> Any:
    """Shares of groups in pool and subset, side by side."""
    chart = _lying(list(found.names), {"pool": found.before, "chosen": found.after}, "share of rows", beside=True)
    chart.xaxis.formatter = NumeralTickFormatter(format="0%")
    return chart


def _lying(names: Sequence[str], values: dict[str, Float64[ndarray, " b"]], axis: str, *, beside: bool = False) -> Any:
    """Bars that lie, the first on top."""
    height = 90 + len(names) * (28 if beside else 34)
    chart = _figure(height, x=axis)
    at = -np.arange(len(names), dtype=np.float64)
    thick = 0.36 if beside else 0.6
    for k, (name, lengths) in enumerate(values.items()):
        shift = (0.5 - k) * thick if beside else 0.0
        label = {"legend_label": {"pool": "pool", "chosen": "subset"}[name]} if beside else {}
        chart.hbar(y=at + shift, right=lengths, left=0, height=thick, name=name, line_alpha=0, **label)
    chart.yaxis.ticker = FixedTicker(ticks=at.tolist())
    chart.yaxis.major_label_overrides = {int(y): _short(name) for y, name in zip(at, names, strict=True)}
    chart.x_range.start = 0
    chart.xaxis.formatter = NumeralTickFormatter(format="0,0.[00]")
    chart.ygrid.visible = False
    if beside:
        _legend(chart)
    return chart


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two numbers; the powers alone where these are far apart."""
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    return [step * 10.0**power for power in range(12) for step in steps if low <= step * 10.0**power <= high]


def _short(name: str) -> PlainText:
    """A label of a stranger's words: plain, since between two dollar signs Bokeh would read TeX."""
    return PlainText(text=" ".join(plain(name, 28).split()) or "(blank)")


def _figure(
    height: int, *, x: str = "", y: str = "", tools: str = "", axes: bool = True, logarithmic: bool = False
) -> Any:
    chart = figure(
        height=height, sizing_mode="stretch_width", tools=tools, toolbar_location="above" if tools else None,
        x_axis_type="log" if logarithmic else "linear", x_axis_label=x or None, y_axis_label=y or None,
        background_fill_alpha=0, border_fill_alpha=0, outline_line_color=None, min_border_right=18,
    )  # fmt: skip
    chart.toolbar.logo = None
    chart.axis.visible = axes
    chart.grid.visible = axes
    for axis in chart.axis:
        axis.minor_tick_line_color = None
        axis.axis_label_text_font_style = "normal"
    return chart


def _legend(chart: Any) -> None:
    """The legend above the chart, where it hides nothing."""
    legend = chart.legend[0]
    chart.add_layout(legend, "above")
    legend.orientation = "horizontal"
    legend.location = "left"
    legend.border_line_color = None
    legend.background_fill_alpha = 0
    legend.padding = 0
    legend.spacing = 14
    legend.label_text_font_size = "0.8rem"
    legend.margin = 4


def _tip() -> Div:
    """What the pointer shows: elements whose text is set as text, never as HTML."""
    line = {
        "max-width": "22rem", "white-space": "pre-wrap", "overflow-wrap": "anywhere", "unicode-bidi": "plaintext",
    }  # fmt: skip
    box = {
        "background-color": "var(--card)", "color": "var(--ink)", "padding": "0.3rem", "font-size": "0.8rem",
        "box-shadow": "0 0 0 7px var(--card)",  # over the frame that Bokeh draws, which is white in the dark too
    }  # fmt: skip
    looks = (("kind", {"font-size": "0.75rem", "color": "var(--muted)"}), ("id", {"font-weight": "600"}), ("text", {}))
    return Div(style=box, children=[Div(style=line | look, children=[ValueRef(field=field)]) for field, look in looks])
