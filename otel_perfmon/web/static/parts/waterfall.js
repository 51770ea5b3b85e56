// A trace: its tree with a bar for each span, or the same as a flame view. Owns what is within its element; the panel
// beside it comes from the server, with the address.
import {ask} from "../api.js";
import {count, visible} from "../numbers.js";
import {html} from "../svg.js";
import {Colours} from "../trace/colours.js";
import {divider} from "../trace/divider.js";
import {Finding} from "../trace/finding.js";
import {Flame} from "../trace/flame.js";
import {Minimap} from "../trace/minimap.js";
import {Rows} from "../trace/rows.js";
import {Ruler} from "../trace/ruler.js";
import {Scale} from "../trace/scale.js";
import {MARK, TraceTree} from "../trace/tree.js";
import {go} from "../visit.js";

const ZOOM = 0.6;
const STEP = 0.2;

/** Draw it, and again whenever the trace, the address or the room changes. */
export function start(element) {
  const waterfall = new Waterfall(element);
  waterfall.refresh();
  return waterfall;
}

class Waterfall {
  constructor(element) {
    this.element = element;
    this.state = {tree: null, scale: null, colours: new Colours(), chosen: -1, cursor: -1, events: []};
    this.version = "";
    const zoomed = () => this.#zoomed();
    const held = (isHeld) => (isHeld ? element.setAttribute("data-held", "") : element.removeAttribute("data-held"));
    const choose = (place) => this.#choose(place);
    this.state.finding = new Finding(this.#form(), {
      source: element.dataset.src.replace(/outline$/, "matches"),
      changed: (word) => this.#look(word),
      show: (place) => this.#show(place),
      merged: () => this.#mark(),
    });
    this.minimap = new Minimap(this.state, {zoomed, held});
    this.ruler = new Ruler(this.state, {zoomed, held});
    this.rows = new Rows(this.state, {choose, fold: (place) => this.#fold(place)});
    this.divider = divider(element, {moved: () => this.draw(), held});
    this.flame = new Flame(this.state, {choose});
    this.legend = html("ul", {class: "legend", "aria-label": "Colours"});
    this.corner = html("div", {class: "corner"});
    this.rows.element.addEventListener("keydown", (event) => this.#press(event));
    new ResizeObserver(() => this.draw()).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Follow the address and the trace. */
  async refresh() {
    const {src, version, view, span, find, zoom, events} = this.element.dataset;
    if (version !== this.version) {
      try {
        this.#take(await ask(src));
        this.version = version;
      } catch (error) {
        if (!this.state.tree) {
          this.element.querySelector(".wait-below").textContent = String(error.message);
        }
        return;
      }
    }
    const {state} = this;
    state.events = events ? events.split(",").map(Number) : [];
    const chosen = span ? state.tree.placeOf(span) : -1;
    if (chosen !== state.chosen && chosen >= 0) {
      state.cursor = chosen;
      state.tree.reveal(chosen);
      this.isReaching = true;
    }
    state.chosen = chosen;
    state.scale.text = zoom;
    state.finding.look(state.tree, find);
    this.#arrange(view);
    this.draw();
  }

  draw() {
    const {state, element} = this;
    if (!state.tree || !element.clientWidth) {
      return;
    }
    if (this.view === "flame") {
      this.flame.draw();
      return;
    }
    this.folding.textContent = state.tree.folded.size ? "unfold all" : "fold all";
    const {element: rows} = this.rows;
    element.style.setProperty("--edge", `${rows.offsetWidth - rows.clientWidth}px`); // of the scroll bar, as this browser has it
    state.scale.width = Math.max(20, this.ruler.element.clientWidth);
    this.divider.style.left = `${this.ruler.element.offsetLeft - 4}px`;
    this.divider.setAttribute("aria-valuenow", this.ruler.element.offsetLeft);
    this.minimap.draw();
    this.ruler.draw();
    this.rows.draw();
    if (this.isReaching && state.cursor >= 0) {
      this.isReaching = false;
      this.rows.reach(state.cursor);
      this.rows.draw();
    }
  }

  #take(outline) {
    const {state} = this;
    const before = state.tree;
    const cursor = before && state.cursor >= 0 ? before.key(state.cursor) : "";
    const tree = new TraceTree(outline, before?.folded);
    state.tree = tree;
    state.cursor = cursor ? tree.placeOf(cursor) : -1;
    state.scale ? state.scale.resize(tree.length) : (state.scale = new Scale(tree.length));
    state.colours.assign(tree);
    state.finding.forget();
    this.flame.refresh();
    this.#drawLegend();
  }

  /** Put into the element what the view has. */
  #arrange(view) {
    if (view === this.view) {
      return;
    }
    this.view = view;
    const {form} = this.state.finding;
    const top = html("div", {class: "top"}, form, this.legend);
    const parts = view === "flame"
      ? [top, this.flame.told, this.flame.element]
      : [top, html("div", {class: "band"}, this.corner, this.minimap.element), html("div", {class: "band"}, this.#hints(), this.ruler.element), this.divider, this.rows.element];
    this.element.replaceChildren(...parts);
  }

  #hints() {
    this.folding = html("button", {type: "button", class: "fold", title: "Fold or unfold all (*)"});
    this.folding.addEventListener("click", () => this.#foldAll());
    return html("div", {class: "corner"}, this.folding, html("span", {class: "keys", "aria-hidden": "true"}, html("kbd", {}, "↑↓←→"), html("kbd", {}, "⏎"), html("kbd", {title: "zoom"}, "+ −"), html("kbd", {title: "next error"}, "e")));
  }

  #drawLegend() {
    const [shown, left] = this.state.colours.legend();
    const items = shown.map(({hue, label}) => html("li", {title: visible(label.slice(0, 200))}, html("i", {class: `hue hue-${hue}`}), html("bdi", {}, visible(label.slice(0, 60)) || "(no name)")));
    if (left) {
      items.push(html("li", {}, html("i", {class: "hue hue-0"}), `${count(left)} others`));
    }
    this.legend.replaceChildren(...items);
    this.corner.replaceChildren(html("span", {class: "key"}, html("i", {class: "swatch own"}), "own"), html("span", {class: "key"}, html("i", {class: "swatch pale"}), "in children"), html("span", {class: "key"}, html("i", {class: "swatch critical"}), "critical"));
  }

  #form() {
    const form = this.element.querySelector("form");
    const button = (kind, label, sign) => html("button", {type: "button", class: kind, "aria-label": label, title: label}, sign);
    form.append(button("previous", "Previous match", "↑"), button("next", "Next match", "↓"));
    return form;
  }

  /** Change the address without asking the server: it is the same page in the same state but for that. */
  #note(name, value) {
    const url = new URL(location.href);
    value ? url.searchParams.set(name, value) : url.searchParams.delete(name);
    history.replaceState(null, "", url);
    this.element.dataset[name] = value;
  }

  #zoomed() {
    this.#note("zoom", this.state.scale.text);
    this.ruler.draw();
    this.minimap.drawWindow();
    this.rows.draw();
    this.#follow();
  }

  /** After zooming in somewhere else, go to the rows of what runs there. */
  #follow() {
    const {tree, scale} = this.state;
    const isThere = (place) => tree.starts[place] >= scale.start && tree.starts[place] <= scale.end;
    if (scale.isZoomed && !this.rows.visible().some(isThere)) {
      const first = tree.rows.find(isThere);
      if (first !== undefined) {
        this.rows.reach(first);
        this.rows.draw();
      }
    }
  }

  #look(word) {
    this.#note("find", word);
    this.#mark();
  }

  #mark() {
    this.state.finding.look(this.state.tree, this.element.dataset.find);
    this.draw();
  }

  #choose(place) {
    const {state} = this;
    state.chosen = state.cursor = place;
    state.events = [];
    this.draw();
    const url = new URL(location.href);
    url.searchParams.set("span", state.tree.key(place));
    this.element.dataset.span = state.tree.key(place);
    go(url);
  }

  #show(place) {
    const {state} = this;
    state.tree.reveal(place);
    state.cursor = place;
    this.isReaching = true;
    this.draw();
  }

  #fold(place, isFolded = !this.state.tree.isFolded(place)) {
    this.state.cursor = place;
    this.state.tree.fold(place, isFolded);
    this.draw();
  }

  #foldAll() {
    const {tree} = this.state;
    const key = this.state.cursor >= 0 ? this.state.cursor : 0;
    tree.foldAll(tree.folded.size === 0);
    this.state.cursor = tree.rows[tree.rowOf(key)];
    this.isReaching = true;
    this.draw();
  }

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const {state} = this;
    const around = state.cursor >= 0 ? this.#middle(state.cursor) : undefined;
    const zooms = {"+": ZOOM, "=": ZOOM, "-": 1 / ZOOM};
    if (event.key in zooms) {
      state.scale.zoom(zooms[event.key], around);
      this.#zoomed();
    } else if (event.shiftKey && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      state.scale.move(event.key === "ArrowLeft" ? -STEP : STEP);
      this.#zoomed();
    } else if (event.key === "Escape" || event.key === "0") {
      state.scale.reset();
      this.#zoomed();
    } else if (event.key === "*") {
      this.#foldAll();
    } else if ((event.key === "Enter" || event.key === " ") && state.cursor >= 0) {
      this.#choose(state.cursor);
    } else if (event.key === "n" || event.key === "N") {
      state.finding.go(event.key === "n" ? 1 : -1);
    } else if (event.key === "e" || event.key === "E") {
      this.#showNext(event.key === "e" ? 1 : -1, MARK.error);
    } else if (!this.#walk(event.key)) {
      return;
    }
    event.preventDefault();
  }

  /** Go to the next span with a mark, or to the previous. */
  #showNext(step, mark) {
    const {tree, cursor} = this.state;
    for (let place = cursor < 0 && step < 0 ? tree.count - 1 : cursor + step; place >= 0 && place < tree.count; place += step) {
      if (tree.has(place, mark)) {
        this.#show(place);
        return;
      }
    }
  }

  /** The middle of what of a span can be seen. */
  #middle(place) {
    const {tree, scale} = this.state;
    return (Math.max(scale.start, Math.min(scale.end, tree.starts[place])) + Math.max(scale.start, Math.min(scale.end, tree.end(place)))) / 2;
  }

  #walk(key) {
    const {tree, cursor} = this.state;
    const row = cursor < 0 ? -1 : tree.rowOf(cursor);
    const rows = {ArrowDown: row + 1, ArrowUp: row - 1, Home: 0, End: tree.rows.length - 1, PageDown: row + this.rows.page, PageUp: row - this.rows.page};
    if (key in rows) {
      this.#show(tree.rows[Math.max(0, Math.min(tree.rows.length - 1, rows[key]))]);
    } else if (key === "ArrowRight" && cursor >= 0) {
      tree.isFolded(cursor) ? this.#fold(cursor, false) : tree.isParent(cursor) && this.#show(cursor + 1);
    } else if (key === "ArrowLeft" && cursor >= 0) {
      tree.isParent(cursor) && !tree.isFolded(cursor) ? this.#fold(cursor, true) : tree.parents[cursor] >= 0 && this.#show(tree.parents[cursor]);
    } else {
      return false;
    }
    return true;
  }
}
