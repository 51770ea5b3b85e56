// The flame view: spans that were called along the same path of names are one frame, as wide as their own time together
// with that of what they called. So nothing overlaps, whatever ran beside what.
import {count, duration, visible} from "../numbers.js";
import {html} from "../svg.js";
import {Colours} from "./colours.js";
import {MARK} from "./tree.js";

const ROW_PX = 22;
const TEXT_PX = 34;
const ROWS_MAX = 400;
const LEAST_PX = 0.3;

/** The frames of a tree: [{name, service, hue, depth, own, total, count, slowest, parent, children}], the first is all. */
export function framesOf(tree, colours) {
  const all = {name: "all", depth: 0, own: 0, total: 0, count: 0, slowest: -1, parent: null, children: new Map(), hue: 0};
  const frames = [all];
  const frameOf = new Array(tree.count);
  for (let place = 0; place < tree.count; place++) {
    const parent = tree.parents[place] < 0 ? all : frameOf[tree.parents[place]];
    const key = `${tree.outline.name_indexes[place]}/${tree.outline.service_indexes[place]}`;
    let frame = parent.children.get(key);
    if (!frame) {
      frame = {
        name: tree.name(place), service: tree.service(place), hue: colours.of(place), depth: parent.depth + 1, own: 0, total: 0,
        count: 0, failed: 0, slowest: place, parent, children: new Map(),
      };
      parent.children.set(key, frame);
      frames.push(frame);
    }
    frame.own += tree.selfs[place];
    frame.count += 1;
    frame.failed += tree.has(place, MARK.error) ? 1 : 0;
    frame.slowest = tree.durations[place] > tree.durations[frame.slowest] ? place : frame.slowest;
    frameOf[place] = frame;
  }
  for (let at = frames.length - 1; at > 0; at--) {
    frames[at].total += frames[at].own;
    frames[at].parent.total += frames[at].total;
  }
  all.count = tree.count;
  return frames;
}

/** The picture of them; `choose` is told the slowest span of a frame that is clicked at. */
export class Flame {
  constructor(state, {choose}) {
    this.state = state;
    this.choose = choose;
    this.canvas = html("canvas", {"aria-hidden": "true"});
    this.told = html("p", {class: "told", role: "status"});
    this.element = html("div", {
      class: "flame", tabindex: 0, role: "application", "aria-roledescription": "flame graph",
      "aria-label": "Own time by path of calls. Arrow keys move, Enter zooms in and chooses the slowest span, Escape zooms out.",
    }, this.canvas);
    this.path = []; // the keys from all to what is zoomed into
    this.#listen();
  }

  /** Make the frames anew; what was zoomed into stays so if it is still there. */
  refresh() {
    this.frames = framesOf(this.state.tree, this.state.colours);
    this.zoomed = this.path.reduce((frame, key) => frame?.children.get(key), this.frames[0]) ?? this.frames[0];
    this.cursor = this.zoomed;
  }

  draw() {
    const width = (this.width = this.element.clientWidth);
    this.#lay(width);
    const tall = Math.min(ROWS_MAX, 1 + Math.max(...this.laid.map(({row}) => row))) * ROW_PX;
    const ratio = globalThis.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, width * ratio);
    this.canvas.height = tall * ratio;
    this.canvas.style.height = `${tall}px`;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(this.element);
    const colours = Object.fromEntries(["--ink", "--panel", "--error", "--sunk", "--accent", "--line-strong"].map((name) => [name, style.getPropertyValue(name)]));
    context.font = `11.5px ${style.fontFamily}`;
    context.textBaseline = "middle";
    const hues = Colours.read(this.element);
    for (const each of this.laid) {
      this.#paint(context, each, hues, colours);
    }
    this.#tell(this.cursor);
  }

  /** Where each frame stands: those above what is zoomed into are as wide as all, those below share its width. */
  #lay(width) {
    this.laid = [];
    const above = [];
    for (let frame = this.zoomed.parent; frame; frame = frame.parent) {
      above.unshift(frame);
    }
    above.forEach((frame, row) => this.laid.push({frame, row, x: 0, width, isAbove: true}));
    const waiting = [{frame: this.zoomed, row: above.length, x: 0, width}];
    while (waiting.length) {
      const each = waiting.pop();
      this.laid.push(each);
      let {x} = each;
      const per = each.frame.total ? each.width / each.frame.total : 0;
      for (const child of [...each.frame.children.values()].sort((one, other) => other.total - one.total)) {
        if (child.total * per >= LEAST_PX && each.row < ROWS_MAX) {
          waiting.push({frame: child, row: each.row + 1, x, width: child.total * per});
        }
        x += child.total * per;
      }
    }
  }

  #paint(context, {frame, row, x, width, isAbove}, hues, colours) {
    const y = row * ROW_PX;
    context.globalAlpha = isAbove ? 0.35 : 0.55;
    context.fillStyle = frame.parent ? hues[frame.hue] : colours["--line-strong"];
    context.fillRect(x, y, Math.max(0.5, width - 1), ROW_PX - 1);
    context.globalAlpha = 1;
    const isFound = this.state.finding.found.size && frame.parent && this.#isFound(frame);
    const isCursor = frame === this.cursor && document.activeElement === this.element;
    if (frame.failed || isFound || isCursor) {
      context.fillStyle = isCursor ? colours["--ink"] : isFound ? colours["--accent"] : colours["--error"];
      context.fillRect(x, y + ROW_PX - 4, Math.max(1, width - 1), 3);
    }
    if (width > TEXT_PX) {
      context.save();
      context.beginPath();
      context.rect(x + 4, y, width - 8, ROW_PX);
      context.clip();
      context.fillStyle = colours["--ink"];
      const text = frame.parent ? visible(frame.name.slice(0, 120)) || "(no name)" : "all";
      context.fillText(`${text}${frame.count > 1 ? ` ×${count(frame.count)}` : ""}`, x + 5, y + ROW_PX / 2);
      context.restore();
    }
  }

  #isFound(frame) {
    const word = this.state.finding.field.value.trim().toLowerCase();
    return frame.name.toLowerCase().includes(word) || frame.service.toLowerCase().includes(word);
  }

  #tell(frame) {
    const all = this.frames[0].total || 1;
    const share = Number(((frame.total / all) * 100).toPrecision(3));
    const name = frame.parent ? visible(frame.name.slice(0, 200)) || "(no name)" : "All";
    this.told.textContent = `${name} · ${count(frame.count)} span${frame.count === 1 ? "" : "s"} · ${duration(frame.total / 1e6)} (${share}%)`
      + ` · ${duration(frame.own / 1e6)} of its own${frame.failed ? ` · ${count(frame.failed)} failed` : ""}`;
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, row] = [event.clientX - box.left, Math.floor((event.clientY - box.top) / ROW_PX)];
    return this.laid.find((each) => each.row === row && x >= each.x && x < each.x + Math.max(1, each.width))?.frame;
  }

  #zoom(frame) {
    this.zoomed = this.cursor = frame;
    this.path = [];
    for (let each = frame; each.parent; each = each.parent) {
      this.path.unshift([...each.parent.children].find(([, child]) => child === each)[0]);
    }
    this.draw();
  }

  #listen() {
    this.element.addEventListener("pointermove", (event) => this.#tell(this.#at(event) ?? this.cursor));
    this.element.addEventListener("pointerleave", () => this.#tell(this.cursor));
    this.element.addEventListener("click", (event) => {
      const frame = this.#at(event);
      if (frame) {
        this.#zoom(frame);
        if (frame.parent) {
          this.choose(frame.slowest);
        }
      }
    });
    this.element.addEventListener("focus", () => this.draw());
    this.element.addEventListener("blur", () => this.draw());
    this.element.addEventListener("keydown", (event) => this.#press(event));
  }

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const {cursor} = this;
    const beside = cursor.parent ? [...cursor.parent.children.values()].sort((one, other) => other.total - one.total) : [cursor];
    const place = beside.indexOf(cursor);
    const to = {
      ArrowUp: cursor.parent, ArrowLeft: beside[place - 1], ArrowRight: beside[place + 1],
      ArrowDown: [...cursor.children.values()].sort((one, other) => other.total - one.total)[0],
    };
    if (event.key in to) {
      event.preventDefault();
      this.cursor = to[event.key] ?? cursor;
      this.draw();
    } else if (event.key === "Enter") {
      this.#zoom(cursor);
      if (cursor.parent) {
        this.choose(cursor.slowest);
      }
    } else if (event.key === "Escape") {
      this.#zoom(this.zoomed.parent ?? this.frames[0]);
    }
  }
}
