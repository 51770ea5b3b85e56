// The rows of the waterfall: names as a tree at the left, bars beside them. Only the rows that can be seen are there.
import {count, duration, visible} from "../numbers.js";
import {html, svg} from "../svg.js";
import {bar} from "./bar.js";
import {MARK} from "./tree.js";

const ROW_PX = 26;
const BEYOND = 4;
const STEP_PX = 13;
const STEPS = 9;
const NAME_CHARACTERS = 200;

/** A tree of rows in an element that scrolls; `state` has the tree, the scale, what is chosen and where the cursor is. */
export class Rows {
  constructor(state, {choose, fold}) {
    this.state = state;
    this.shown = new Map();
    this.lines = svg("svg", {class: "lines", "aria-hidden": "true"});
    this.space = html("div", {class: "space", role: "rowgroup"});
    this.element = html("div", {class: "rows", role: "treegrid", tabindex: 0, "aria-label": "Spans of the trace"}, this.lines, this.space);
    this.element.addEventListener("scroll", () => this.draw(false));
    this.element.addEventListener("pointerover", (event) => {
      const row = event.target.closest("[role=row]");
      if (row && !row.title) {
        row.title = this.#told(Number(row.dataset.place));
      }
    });
    this.element.addEventListener("click", (event) => {
      const row = event.target.closest("[role=row]");
      const place = Number(row?.dataset.place);
      if (row && event.target.closest(".twisty")) {
        fold(place);
      } else if (row) {
        choose(place);
      }
    });
  }

  /** Draw what can be seen; all of it anew unless only the scrolling changed. */
  draw(isAnew = true) {
    const {tree, scale} = this.state;
    const rows = tree.rows;
    this.space.style.height = `${rows.length * ROW_PX}px`;
    const first = Math.max(0, Math.floor(this.element.scrollTop / ROW_PX) - BEYOND);
    const last = Math.min(rows.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / ROW_PX) + BEYOND);
    if (isAnew) {
      this.#drawLines(scale);
      this.element.setAttribute("aria-rowcount", rows.length);
    }
    const wanted = new Set();
    for (let row = first; row < last; row++) {
      const place = rows[row];
      wanted.add(place);
      let element = this.shown.get(place);
      if (!element || isAnew) {
        const made = this.#row(place, row);
        element ? element.replaceWith(made) : this.space.append(made);
        this.shown.set(place, made);
      }
    }
    for (const [place, element] of this.shown) {
      if (!wanted.has(place)) {
        element.remove();
        this.shown.delete(place);
      }
    }
    this.#tellCursor();
  }

  /** Have a place be seen. */
  reach(place) {
    const top = this.state.tree.rowOf(place) * ROW_PX;
    const {scrollTop, clientHeight} = this.element;
    if (top < scrollTop + ROW_PX) {
      this.element.scrollTop = top - ROW_PX * 2;
    } else if (top > scrollTop + clientHeight - 2 * ROW_PX) {
      this.element.scrollTop = top - clientHeight + 3 * ROW_PX;
    }
  }

  /** The places whose rows can be seen. */
  visible() {
    const first = Math.ceil(this.element.scrollTop / ROW_PX);
    return this.state.tree.rows.slice(first, first + this.page + 1);
  }

  /** How many rows can be seen. */
  get page() {
    return Math.max(1, Math.floor(this.element.clientHeight / ROW_PX) - 1);
  }

  #tellCursor() {
    const element = this.shown.get(this.state.cursor);
    if (element) {
      this.element.setAttribute("aria-activedescendant", element.id);
    } else {
      this.element.removeAttribute("aria-activedescendant");
    }
  }

  #row(place, row) {
    const {tree, scale, chosen, cursor, finding, colours} = this.state;
    const classes = ["row"];
    const is = {chosen: place === chosen, cursor: place === cursor, found: finding.found.has(place)};
    classes.push(...Object.keys(is).filter((name) => is[name]).map((name) => `is-${name}`));
    const hue = colours.of(place);
    const picture = svg("svg", {class: "bars", "aria-hidden": "true"}, ...bar(tree, place, scale, hue));
    if (place === chosen) {
      picture.append(...this.#events());
    }
    const element = html(
      "div", {class: classes.join(" "), role: "row", id: `row-${place}`, "data-place": place, "aria-level": tree.depths[place] + 1,
        "aria-rowindex": row + 1, "aria-selected": String(place === chosen)},
      html("div", {class: "n", role: "gridcell"}, ...this.#name(place, hue)),
      html("div", {class: "b", role: "gridcell", "aria-label": this.#times(place)}, picture),
    );
    if (tree.isParent(place)) {
      element.setAttribute("aria-expanded", String(!tree.isFolded(place)));
    }
    element.style.transform = `translateY(${row * ROW_PX}px)`;
    return element;
  }

  #name(place, hue) {
    const {tree} = this.state;
    const indent = html("span", {class: "indent"});
    const depth = tree.depths[place];
    indent.style.width = `${Math.min(depth, STEPS) * STEP_PX + Math.min(24, Math.max(0, depth - STEPS) * 3)}px`;
    const isFolded = tree.isFolded(place);
    const twisty = html("span", {class: tree.isParent(place) ? "twisty" : "twisty is-leaf", "aria-hidden": "true"},
      tree.isParent(place) ? (isFolded ? "▸" : "▾") : "");
    const name = tree.name(place).slice(0, NAME_CHARACTERS);
    const parts = [indent, twisty, html("i", {class: `hue hue-${hue}`}),
      name ? html("bdi", {class: "name"}, visible(name)) : html("span", {class: "name dim"}, "(no name)")];
    if (isFolded) {
      parts.push(html("span", {class: "below"}, `+${count(tree.sizes[place] - 1)}`));
    }
    return [...parts, ...this.#pills(place)];
  }

  #pills(place) {
    const {tree} = this.state;
    const pills = [["error", "err", "error"], ["slow", "slow", "slow"], ["interrupted", "slow", "interrupted"], ["running", "new", "running"],
      ["orphan", "", tree.has(place, MARK.remote) ? "parent elsewhere" : "parent missing"], ["cycle", "", "cycle"], ["skewed", "", "clock"]];
    return pills.filter(([mark]) => tree.has(place, MARK[mark])).map(([, kind, text]) => html("span", {class: `pill ${kind}`}, text));
  }

  #times(place) {
    const {tree} = this.state;
    const [start, took, own] = [tree.starts, tree.durations, tree.selfs].map((each) => duration(each[place] / 1e6));
    return `${took}, ${own} of its own, from ${start}`;
  }

  #told(place) {
    const {tree} = this.state;
    const service = tree.service(place);
    return `${visible(tree.name(place).slice(0, 1000)) || "(no name)"}${service ? ` · ${visible(service)}` : ""} · ${this.#times(place)}`;
  }

  #events() {
    const {scale, events} = this.state;
    return events.map((nano) => scale.x(nano)).filter((x) => x >= 0 && x <= scale.width)
      .map((x) => svg("path", {class: "event", d: `M${x.toFixed(1)} 1l3.5 3.5l-3.5 3.5l-3.5 -3.5Z`}));
  }

  #drawLines(scale) {
    const tall = Math.max(this.element.clientHeight, ROW_PX);
    this.lines.setAttribute("height", tall);
    this.lines.replaceChildren(...scale.ticks(110).map(({nano}) => {
      const x = scale.x(nano).toFixed(1);
      return svg("line", {x1: x, x2: x, y1: 0, y2: tall});
    }));
  }
}
