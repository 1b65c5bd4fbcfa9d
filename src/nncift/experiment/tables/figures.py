"""Curves and heat maps as SVG and PNG, the same bytes from the same numbers, on a light page and on a dark one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from nncift.errors import MissingExtraError
from nncift.experiment.tables.drawing import Curve, HeatMap, Panel
from nncift.experiment.tables.writing import clean

_INK = "#7f7f7f"  # 4 : 1 on white and 5 : 1 on black
_COLOURS = ("#2f86d6", "#d9652b", "#23966f", "#b562b3", "#a3862b", "#c94f6d", "#4f9aa8", "#7d6fd0")
_MARKERS = "osD^vPX*"
_DASHES = ((0, (6, 3)), (0, (2, 2)), (0, (6, 2, 1, 2)))
_ACROSS = 3
_SIZE = (4.0, 3.0)  # inches of a panel
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "nncift",
    "svg.fonttype": "none",  # words stay words: they can be found and read aloud
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "axes.unicode_minus": True,
    "axes.grid": False,
} | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "axes.titlecolor"), _INK
)


def draw_curves(panels: Sequence[Panel], stem: Path, *, title: str) -> list[Path]:
    """Writes `stem.svg` and `stem.png`: one pair of axes for each panel, means with bars of one standard error.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    across = min(_ACROSS, len(panels))
    down = ceil(len(panels) / across)
    names = dict.fromkeys(curve.name for panel in panels for curve in panel.curves)
    baselines = dict.fromkeys(curve.name for panel in panels for curve in panel.curves if curve.baseline)
    looks = _looks([name for name in names if name not in baselines], list(baselines))
    below = 0.3 + 0.2 * ceil(len(names) / (2 * across))
    with _figure((_SIZE[0] * across, _SIZE[1] * down + below + 0.3)) as figure:
        fields = figure.subplots(down, across, squeeze=False)
        for field, panel in zip(fields.flat, panels, strict=False):
            _panel(field, panel, looks)
        for field in list(fields.flat)[len(panels) :]:
            field.set_visible(False)
        figure.suptitle(clean(title))
        handles = {}
        for field in fields.flat:
            handles |= dict(zip(*reversed(field.get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 2 * across))
        return _save(figure, stem)


def draw_heat(heat: HeatMap, stem: Path, *, title: str) -> list[Path]:
    """Writes `stem.svg` and `stem.png`: a field for each pair of values, its number in it.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    down, across = heat.values.shape
    with _figure((1.8 + 0.75 * across, 1.4 + 0.45 * down)) as figure:
        field = figure.subplots()
        shown = np.ma.masked_invalid(heat.values)
        image = field.imshow(shown, cmap="viridis", aspect="auto")
        field.set_xticks(range(across), [clean(word) for word in heat.columns])
        field.set_yticks(range(down), [clean(word) for word in heat.rows])
        field.set_xlabel(clean(heat.x))
        field.set_ylabel(clean(heat.y))
        for row in range(down):
            for column in range(across):
                known = not np.ma.getmaskarray(shown)[row, column]
                dark = known and sum(np.array(image.cmap(image.norm(shown[row, column])))[:3] * (0.3, 0.59, 0.11)) < 0.5
                colour = _INK if not known else "white" if dark else "black"
                text = heat.texts[row][column]
                field.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        figure.colorbar(image, ax=field, label=clean(heat.title))
        figure.suptitle(clean(title))
        return _save(figure, stem)


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[Any]:
    """An empty figure in our style, whatever the user's own settings are.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "figures", "drawing figures") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, value in _STYLE.items():
            matplotlib.rcParams[name] = value  # pyright: ignore[reportArgumentType] of names it knows as literals
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def _looks(names: Sequence[str], baselines: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and dashes of each line, the same in all panels."""
    looks: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(names):
        looks[name] = {"color": _COLOURS[k % len(_COLOURS)], "marker": _MARKERS[k % len(_MARKERS)], "markersize": 4}
    for k, name in enumerate(baselines):
        looks[name] = {"color": _INK, "linestyle": _DASHES[k % len(_DASHES)]}
    return looks


def _panel(field: Any, panel: Panel, looks: dict[str, dict[str, Any]]) -> None:
    field.set_title(clean(panel.title), fontsize=9)
    field.set_xlabel(clean(panel.x))
    field.spines[["top", "right"]].set_visible(False)
    if panel.scaled:
        field.set_xscale("log")
    for curve in panel.curves:
        _curve(field, curve, looks[curve.name])
    field.set_xticks([place for place, _ in panel.ticks], [clean(word) for _, word in panel.ticks])
    field.minorticks_off()
    if max(len(word) for _, word in panel.ticks) * len(panel.ticks) > 36:
        field.tick_params(axis="x", labelrotation=45)


def _curve(field: Any, curve: Curve, look: dict[str, Any]) -> None:
    x, mean, error = (list(column) for column in zip(*curve.points, strict=True))
    errors = [0.0 if one is None else one for one in error]
    name = clean(curve.name)
    if curve.baseline and len(x) == 1:
        field.axhline(mean[0], label=name, linewidth=1.2, **look)
        return
    field.errorbar(x, mean, yerr=errors, label=name, linewidth=1.2, capsize=2, elinewidth=0.8, **look)


def _save(figure: Any, stem: Path) -> list[Path]:
    """Without a date or a version: the same numbers are the same bytes."""
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("svg", "png")]
    figure.savefig(paths[0], format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(paths[1], format="png", dpi=120, metadata={"Software": None})
    return paths
