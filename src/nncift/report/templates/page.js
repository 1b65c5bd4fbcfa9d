"use strict";
// Colours are the style sheet's: each renderer takes the variable that bears its name.
const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function paint(model) {
  const ink = shade("ink"), muted = shade("muted"), rule = shade("rule"), card = shade("card");
  for (const one of model.references()) {
    if (one.type.endsWith("Axis")) {
      one.axis_line_color = one.major_tick_line_color = rule;
      one.major_label_text_color = one.axis_label_text_color = muted;
    } else if (one.type === "Grid") {
      one.grid_line_color = rule;
      one.grid_line_alpha = 0.6;
    } else if (one.type === "Legend") {
      one.label_text_color = ink;
      one.background_fill_color = card;
    } else if (one.type === "GlyphRenderer" && one.name) {
      const colour = { value: shade(one.name) };
      for (const glyph of [one.glyph, one.nonselection_glyph, one.muted_glyph, one.hover_glyph]) {
        if (!glyph || typeof glyph !== "object") continue;
        for (const property of ["fill_color", "line_color"]) if (property in glyph) glyph[property] = colour;
      }
    }
  }
}

async function draw() {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const drawn = [];
  for (const place of document.querySelectorAll("[data-chart]")) {
    const item = charts[place.dataset.chart];
    item.target_id = null;
    const views = await Bokeh.embed.embed_item(item, place);
    for (const model of new Set([...views].map((view) => view.model))) {
      paint(model);
      drawn.push(model);
    }
  }
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = () => { document.documentElement.dataset.shade = dark.matches ? "dark" : "light"; };
  dark.addEventListener("change", () => { shown(); drawn.forEach(paint); });
  shown();
  document.documentElement.dataset.drawn = drawn.length;
}

const STEP = 50;

function listing(place) {
  const body = place.querySelector("tbody"), rows = [...body.rows];
  const search = place.querySelector("input"), found = place.querySelector(".found");
  const more = place.querySelector(".more"), texts = rows.map((row) => row.textContent.toLowerCase());
  let order = rows.map((_, k) => k), most = STEP;

  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = order.filter((k) => words.every((word) => texts[k].includes(word)));
    body.replaceChildren(...kept.slice(0, most).map((k) => rows[k]));
    found.textContent = `${Math.min(most, kept.length)} shown of ${kept.length}${words.length ? " found" : ""}`;
    more.hidden = kept.length <= most;
  };
  const sort = (head) => {
    const column = Number(head.querySelector("button").dataset.sort);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of place.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keys = rows.map((row) => {
      const cell = row.cells[column];
      if (cell.dataset.value === undefined) return cell.textContent.trim();
      return cell.dataset.value === "" ? -Infinity : Number(cell.dataset.value);
    });
    const sign = down ? -1 : 1;
    order.sort((a, b) => sign * (typeof keys[a] === "number" ? keys[a] - keys[b] || 0 : keys[a].localeCompare(keys[b])) || a - b);
    most = STEP;
    show();
  };
  for (const head of place.querySelectorAll("thead th")) head.querySelector("button").addEventListener("click", () => sort(head));
  search.addEventListener("input", () => { most = STEP; show(); });
  more.querySelector("button").addEventListener("click", () => { most += 4 * STEP; show(); });
  place.querySelector(".tools").hidden = false;
  show();
}

document.querySelectorAll("[data-listing]").forEach(listing);
Bokeh.set_log_level("warn");
draw();
