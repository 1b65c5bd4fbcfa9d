"""The report in a real browser: hostile rows are text, and the table and the map do what they say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nncift
from nncift.report import write_report

HOSTILE = [
    "</script><script>window.struck='script'</script>",
    "<img src=x onerror=\"window.struck='img'\">",
    "<svg onload=\"window.struck='svg'\"><style>*{display:none}</style></svg>",
    '"><a href="javascript:window.struck=\'link\'" onmouseover="window.struck=\'over\'" autofocus>x</a>',
    "<!--<script>window.struck='comment'</script>",
    "{{ 7*7 }} {% for x in y %} ${window.struck='template'} @{id}{safe} $name",
    "$$\\href{javascript:window.struck='tex'}{x}$$ \\(x\\) \\[y\\]",
    "\u202eturned around \u2066and\u2067 around\u202d",
    "nul \x00 bell \x07 line\u2028separator\u2029 \ufeff \uffff",
    "<iframe srcdoc=\"<script>parent.struck='frame'</script>\"></iframe>",
    '<meta http-equiv=refresh content="0;url=data:text/html,x"><base href=//x>',
    "z" + "\u0301" * 400 + "W" * 5000,
    "']]>';window.struck='quote';//`${window.struck='tick'}`",
]
LONE = '"lone \\ud83d surrogate \\udc00"'  # as JSON, which no Python string of this file could be


@dataclass
class Heard:
    """What a page did that it must not do."""

    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


Open = Callable[..., Any]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run of which every row, id, task and target is hostile, beside ordinary ones."""
    folder = tmp_path_factory.mktemp("hostile")
    texts = [*HOSTILE, *(f"ordinary row {k} of {'apples' if k % 2 else 'pears'}" for k in range(67))]
    rows = [{"id": f"{k:02d} {text}", "text": text, "task": text[:60]} for k, text in enumerate(texts)]
    lines = [json.dumps(row) for row in rows] + [f'{{"id": {LONE}, "text": {LONE}, "task": {LONE}}}']
    (folder / "pool.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    target = [json.dumps({"id": f"t {text}", "text": f"target {text}"}) for text in HOSTILE[:7]]
    (folder / "target.jsonl").write_text("\n".join(target) + "\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    for name, count in (("pool", len(lines)), ("target", len(target))):
        np.save(folder / f"{name}.npy", rng.normal(size=(count, 5)))
    run = nncift.select(
        folder / "pool.jsonl", target=folder / "target.jsonl", budget=70, influence="similarity", labels="200",
        embedder=f"{folder / 'pool.npy'},{folder / 'target.npy'}", output=folder / "<b onclick=x>run",
    )  # fmt: skip
    return write_report([run])


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def visit(browser: Any, page_file: Path, heard: Heard) -> Iterator[Open]:
    """Opens the page, waits until it is drawn, and listens."""
    contexts = []

    def visit(**options: Any) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1200, "height": 900}} | options))
        contexts.append(context)
        context.add_init_script(
            "window.refused = []; document.addEventListener('securitypolicyviolation', "
            "event => window.refused.push(event.violatedDirective + ' ' + event.blockedURI + ' ' + event.sample));"
        )
        page = context.new_page()
        page.on("dialog", lambda dialog: (heard.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: heard.errors.append(str(error)))
        page.on("console", lambda said: heard.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda request: heard.asked.append(request.url))
        page.goto(page_file.as_uri())
        page.wait_for_selector("html[data-drawn]", timeout=30_000)
        return page

    yield visit
    for context in contexts:
        context.close()


def table(page: Any) -> Any:
    """The table of chosen rows."""
    return page.locator("[data-listing]").first


SPOTS = """() => {
    const spots = [];
    for (const view of Bokeh.index) {
        if (view.model.type !== "Figure") continue;
        for (const renderer of view.model.renderers) {
            const data = renderer.data_source.data;
            if (!data.text) continue;
            const box = view.el.getBoundingClientRect(), frame = view.frame;
            for (let k = 0; k < data.text.length; k++) {
                const x = frame.x_scale.compute(data.x[k]), y = frame.y_scale.compute(data.y[k]);
                spots.push({ x: box.x + x, y: box.y + y, text: data.text[k], kind: renderer.name });
            }
        }
    }
    return spots;
}"""


def hover(page: Any, wanted: str) -> dict[str, str]:
    """What the map says where each row lies whose text has these words."""
    page.locator("[data-chart='0-map']").scroll_into_view_if_needed()
    said = {}
    for spot in page.evaluate(SPOTS):
        if wanted in spot["text"]:
            page.mouse.move(spot["x"], spot["y"])
            page.wait_for_timeout(15)
            said[spot["text"]] = _tips(page)
    return said


def _tips(page: Any) -> str:
    return page.evaluate(
        """() => {
            const texts = [], walk = (node) => {
                if (node.shadowRoot) walk(node.shadowRoot);
                for (const child of node.children || []) walk(child);
                if (node.classList && node.classList.contains("bk-Tooltip")) texts.push((node.shadowRoot || node).textContent);
            };
            walk(document.documentElement);
            return texts.join("\\n");
        }"""
    )


def test_hostile_rows_are_text_and_nothing_more(visit: Open, heard: Heard, page_file: Path) -> None:
    page = visit()
    while page.locator("[data-more]:visible").count():
        page.locator("[data-more]:visible").first.click()
    said = hover(page, "window.struck")
    assert len(said) >= 10 and sum(text in tip for text, tip in said.items()) > 0.7 * len(said)  # some lie on one spot
    seen = table(page).locator("tbody").text_content()
    for text in (
        "</script><script>window.struck",
        "<img src=x onerror=",
        "{{ 7*7 }} {% for x in y %}",
        "$$\\href{javascript",
        "nul ␀ bell ␇",
    ):
        assert text in seen
    page.wait_for_timeout(300)
    assert page.evaluate("window.struck") is None
    assert page.evaluate("window.refused") == []  # the policy had nothing to refuse: nothing was tried
    assert heard == Heard(asked=[page_file.as_uri()])
    assert page.locator("td img, td svg, td a, td iframe, td script, bdi > *").count() == 0
    assert page.title().startswith("<b onclick=x>run")


def test_the_policy_refuses_what_is_not_the_pages_own(visit: Open) -> None:
    """That nothing was refused above says something only if something can be."""
    page = visit()
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.struck = 'new script'";
        document.body.append(script);
        const image = new Image();
        image.src = "https://nowhere.invalid/x.png";
        document.body.insertAdjacentHTML("beforeend", 
            "<p onclick=\\"window.struck='click'\\" style='color:red' id=planted>x</p>");
        document.getElementById("planted").click();
    }""")
    page.wait_for_timeout(200)
    assert page.evaluate("window.struck") is None
    refused = {one.split(" ")[0] for one in page.evaluate("window.refused")}
    assert {"script-src-elem", "script-src-attr", "img-src", "style-src-attr"} <= refused


def test_text_that_turns_the_direction_keeps_to_its_cell(visit: Open) -> None:
    page = visit()
    table(page).locator("input").fill("turned around")
    row = table(page).locator("tbody tr").first
    assert row.locator("th bdi").evaluate("one => getComputedStyle(one).unicodeBidi") == "isolate"
    assert row.locator("td.text p").last.evaluate("one => getComputedStyle(one).unicodeBidi") in (
        "isolate",
        "plaintext",
    )
    left = [cell.bounding_box()["x"] for cell in row.locator("th, td").all()]
    assert left == sorted(left)


def test_a_huge_word_does_not_widen_the_page(visit: Open) -> None:
    page = visit(viewport={"width": 420, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_headings_sort_by_key_and_by_mouse(visit: Open) -> None:
    page = visit()
    place = table(page)

    def column(number: int) -> list[float]:
        cells = place.locator(f"tbody tr > :nth-child({number})").all()
        return [float(cell.get_attribute("data-value")) for cell in cells]

    gain = place.locator("thead button", has_text="Gain")
    assert column(1) == list(range(1, 51))
    gain.focus()
    page.keyboard.press("Enter")
    assert place.locator("th[aria-sort]").count() == 1
    assert gain.locator("xpath=..").get_attribute("aria-sort") == "ascending"
    assert column(4) == sorted(column(4))
    gain.click()
    assert gain.locator("xpath=..").get_attribute("aria-sort") == "descending"
    assert column(4) == sorted(column(4), reverse=True) and column(1)[0] == 1
    place.locator("thead button", has_text="Rank").click()
    place.locator("thead button", has_text="Rank").click()
    assert column(1) == list(range(70, 20, -1))


def test_the_search_finds_every_word_in_any_column(visit: Open) -> None:
    page = visit()
    place = table(page)
    place.locator("input").fill("ORDINARY pears")
    rows = place.locator("tbody tr")
    texts = rows.all_text_contents()
    assert texts and all("ordinary" in text and "pears" in text for text in texts)
    assert place.locator(".found").text_content() == f"{len(texts)} shown of {len(texts)} found"
    place.locator("input").fill("no such words")
    assert rows.count() == 0 and place.locator(".found").text_content() == "0 shown of 0 found"
    place.locator("input").fill("")
    assert rows.count() == 50 and place.locator(".found").text_content() == "50 shown of 70"
    place.locator("[data-more]").click()
    assert rows.count() == 70 and not place.locator("[data-more]").is_visible()


def test_the_pointer_shows_the_text_of_a_row(visit: Open) -> None:
    page = visit()
    said = hover(page, "ordinary row 1")
    assert len(said) == 11 and sum(text in tip for text, tip in said.items()) >= 8  # others lie on the same spot
    assert all("chosen" in tip or "target" in tip for tip in said.values())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_can_be_read(visit: Open, scheme: str) -> None:
    page = visit(color_scheme=scheme)

    def luminance(name: str, selector: str) -> float:
        found = page.locator(selector).first.evaluate(f"one => getComputedStyle(one).{name}")
        numbers = [float(part) / 255 for part in found[found.index("(") + 1 : -1].split(",")[:3]]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in numbers]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    paper, card = luminance("backgroundColor", "body"), luminance("backgroundColor", ".card")
    assert (paper > 0.5) == (scheme == "light")
    for selector, ground in (
        (".lead", paper),
        (".card .answer", card),
        (".card p:last-child", card),
        ("figcaption", card),
    ):
        ink = luminance("color", selector)
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5  # WCAG 2.1, level AA
    axes = page.evaluate(
        "[...Bokeh.documents].flatMap(one => one.roots()).flatMap(root => [...root.references()])"
        ".filter(one => one.type === 'LinearAxis').map(one => one.major_label_text_color)"
    )
    muted = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--muted').trim()")
    assert axes and set(axes) == {muted}


def test_a_change_of_scheme_repaints_the_charts(visit: Open) -> None:
    page = visit(color_scheme="light")
    colour = (
        "[...Bokeh.documents].flatMap(one => one.roots()).flatMap(root => [...root.references()])"
        ".find(one => one.type === 'GlyphRenderer' && one.name === 'chosen').glyph.fill_color.value"
    )
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(100)
    assert page.evaluate(colour) != light


def test_without_scripts_every_row_and_message_is_there(browser: Any, page_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert table(page).locator("tbody tr").count() == 70
    assert page.locator("noscript").count() == 1 and page.locator("figcaption").count() >= 6
    assert not page.locator(".tools").first.is_visible()
    context.close()


def test_it_prints(visit: Open) -> None:
    page = visit(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("body").evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".lead").first.evaluate("one => getComputedStyle(one).color") == "rgb(26, 34, 48)"
    assert not page.locator(".tools").first.is_visible()
    assert "invert" in page.locator(".chart").first.evaluate("one => getComputedStyle(one).filter")
