// Time against duration: the darker, the more calls. A box drawn over it, with the pointer or the keyboard, asks which
// spans these are; it goes into the address, START/END/LEAST/MOST.
import {decadeTicks, timeLabels} from "../axis.js";
import {Chart} from "../chart.js";
import {count, duration, roundDuration} from "../numbers.js";
import {svg} from "../svg.js";
import {timeOfDay} from "../times.js";
import {go} from "../visit.js";

const LEVELS = 8;
const LEFT = 58;
const TOP = 12;
const BOTTOM = 20;
const CLICK_PX = 4;
const DECADE = 10;
const LEAST_MS = 1e-6;

/** Draw it into a figure, and again whenever it changes. */
export function start(figure) {
  const heatmap = new Heatmap(figure);
  heatmap.refresh();
  return heatmap;
}

class Heatmap extends Chart {
  cursor = null; // the cell that the keyboard is at: [cell, row]
  anchor = null; // where the box began

  take(answer) {
    this.answer = padded(answer);
  }

  get isEmpty() {
    return !this.answer.counts.length || !this.answer.bounds_ms.length;
  }

  get isChoosing() {
    return this.anchor !== null;
  }

  measure() {
    const {window, cell_seconds, bounds_ms, counts} = this.answer;
    this.startMs = window.start_unix_nano / 1e6;
    this.endMs = window.end_unix_nano / 1e6;
    this.cellMs = cell_seconds * 1000;
    this.cells = counts.length;
    this.rows = bounds_ms.length - 1;
    const ratio = this.rows > 1 ? bounds_ms[2] / bounds_ms[1] : 2;
    this.bounds = bounds_ms.map((bound, place) => (place ? bound : Math.max(bound, bounds_ms[1] / ratio)));
    this.cellWidth = (this.width - LEFT) / this.cells;
    this.rowHeight = (this.height - TOP - BOTTOM) / this.rows;
    this.most = Math.max(1, ...counts.map((row) => Math.max(0, ...row)));
  }

  #x(cell) {
    return LEFT + cell * this.cellWidth;
  }

  #y(row) {
    return this.height - BOTTOM - row * this.rowHeight;
  }

  /** Where a duration stands; the rows are as high as each other, and so logarithmic. */
  #yOf(ms) {
    const [low, high] = [this.bounds[0], this.bounds.at(-1)];
    return this.#y((Math.log(ms / low) / Math.log(high / low)) * this.rows);
  }

  summary() {
    const {counts, error_counts} = this.answer;
    const all = counts.flat().reduce((sum, each) => sum + each, 0);
    const failed = error_counts.reduce((sum, each) => sum + each, 0);
    return `${count(all)} calls by time and duration, ${count(failed)} failed. Arrow keys move, with Shift they draw a box, Enter shows its spans.`;
  }

  marks() {
    return [...this.#axes(), ...this.#cells(), ...this.#failures(), ...this.#threshold()];
  }

  #axes() {
    const lines = [];
    for (const {ms, label} of decadeTicks(this.bounds[0], this.bounds.at(-1))) {
      const y = this.#yOf(ms);
      lines.push(svg("line", {class: "grid", x1: LEFT, x2: this.width, y1: y, y2: y}));
      lines.push(svg("text", {x: LEFT - 8, y: y + 3.5, "text-anchor": "end"}, label));
    }
    return [...lines, ...timeLabels(this.startMs, this.endMs, {left: LEFT, right: this.width, y: this.height - 5})];
  }

  /** One path for each shade: thousands of cells, eight elements. */
  #cells() {
    const paths = Array.from({length: LEVELS}, () => []);
    const scale = Math.log(this.most + 1);
    const gap = this.cellWidth > 3 ? 0.5 : 0;
    this.answer.counts.forEach((row, cell) =>
      row.forEach((number, place) => {
        if (number) {
          const level = Math.min(LEVELS - 1, Math.floor((Math.log(number + 1) / scale) * LEVELS));
          const [x, y] = [this.#x(cell), this.#y(place + 1)];
          paths[level].push(`M${x.toFixed(2)} ${y.toFixed(2)}h${(this.cellWidth - gap).toFixed(2)}`
            + `v${(this.rowHeight - gap).toFixed(2)}h${(gap - this.cellWidth).toFixed(2)}z`);
        }
      }));
    return paths.map((path, level) => svg("path", {class: `l${level + 1}`, d: path.join("")}));
  }

  #failures() {
    const {counts, error_counts} = this.answer;
    const sum = (cell) => counts[cell].reduce((all, each) => all + each, 0);
    const dots = error_counts.flatMap((number, cell) => // the larger, the more of the calls failed
      number ? [svg("circle", {class: "failed", cx: this.#x(cell + 0.5), cy: 4, r: 1.2 + 2.6 * Math.sqrt(number / sum(cell))})] : []);
    return dots.length ? [svg("text", {class: "failing", x: LEFT - 8, y: 7.5, "text-anchor": "end"}, "failed"), ...dots] : [];
  }

  #threshold() {
    const slowMs = Number(this.figure.dataset.slowMs);
    if (!(slowMs > this.bounds[0] && slowMs < this.bounds.at(-1))) {
      return [];
    }
    const y = this.#yOf(slowMs);
    const label = svg("text", {class: "told", x: this.width, y: y - 3, "text-anchor": "end"}, `slow from ${roundDuration(slowMs)}`);
    return [svg("line", {class: "threshold", x1: LEFT, x2: this.width, y1: y, y2: y}), label];
  }

  // --- the box

  listen() {
    const at = (event) => {
      const place = this.picture.getBoundingClientRect();
      return [event.clientX - place.left, event.clientY - place.top];
    };
    this.picture.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && at(event)[0] >= LEFT) {
        event.preventDefault(); // focus is for the keyboard
        this.anchor = at(event);
        this.hold(event);
      }
    });
    this.picture.addEventListener("pointermove", (event) => {
      if (this.anchor) {
        this.#show(this.#boxOf(this.anchor, at(event)));
      }
      this.#tell(this.#cellAt(at(event)));
    });
    this.picture.addEventListener("pointerup", (event) => {
      if (this.anchor) {
        const box = this.#boxOf(this.anchor, at(event));
        this.#release();
        if (box.first === box.last && box.lowest === box.highest && !this.#count(box)) {
          go(this.figure.dataset.here); // a click on nothing
        } else {
          this.#choose(box);
        }
      }
    });
    this.picture.addEventListener("pointercancel", () => this.#release());
    this.picture.addEventListener("pointerleave", () => (this.bubble.hidden = true));
    this.picture.addEventListener("keydown", (event) => this.#press(event));
    this.picture.addEventListener("blur", () => this.#release());
  }

  #release() {
    this.anchor = null;
    this.letGo();
  }

  #cellAt([x, y]) {
    const cell = Math.floor((x - LEFT) / this.cellWidth);
    const row = Math.floor((this.height - BOTTOM - y) / this.rowHeight);
    return [Math.max(0, Math.min(this.cells - 1, cell)), Math.max(0, Math.min(this.rows - 1, row))];
  }

  /** The cells between two points: {first, last, lowest, highest}. */
  #boxOf(one, other) {
    const [a, b] = [this.#cellAt(one), this.#cellAt(other)];
    const isClick = Math.hypot(one[0] - other[0], one[1] - other[1]) < CLICK_PX;
    return between(isClick ? b : a, b);
  }

  #show({first, last, lowest, highest}, name = "brush") {
    const [x, y] = [this.#x(first), this.#y(highest + 1)];
    this.overlay.replaceChildren(svg("rect", {
      class: name, x, y, width: this.#x(last + 1) - x, height: this.#y(lowest) - y,
    }));
  }

  #tell([cell, row]) {
    const number = this.answer.counts[cell][row];
    const failed = this.answer.error_counts[cell];
    const moment = timeOfDay(new Date(this.startMs + cell * this.cellMs));
    const [low, high] = [this.answer.bounds_ms[row], this.answer.bounds_ms[row + 1]];
    this.bubble.textContent = `${moment} · ${duration(low)} – ${duration(high)} · ${count(number)} call${number === 1 ? "" : "s"}`
      + (failed ? ` · ${count(failed)} failed at that time` : "");
    this.bubble.hidden = false;
    const x = this.#x(cell) + 24;
    this.bubble.style.left = `${Math.min(x, this.width - this.bubble.offsetWidth)}px`;
    this.bubble.style.top = `${Math.max(2, this.#y(row + 1) - 22)}px`;
  }

  #count({first, last, lowest, highest}) {
    let sum = 0;
    for (let cell = first; cell <= last; cell++) {
      for (let row = lowest; row <= highest; row++) {
        sum += this.answer.counts[cell][row];
      }
    }
    return sum;
  }

  #choose({first, last, lowest, highest}) {
    const moment = (cell) => new Date(Math.round(this.startMs + cell * this.cellMs)).toISOString();
    const [low, high] = [lowest ? this.answer.bounds_ms[lowest] : 0, this.answer.bounds_ms[highest + 1]];
    const most = highest === this.rows - 1 ? "" : Number(high.toPrecision(9));
    const box = `${moment(first)}/${moment(last + 1)}/${Number(low.toPrecision(9))}/${most}`;
    const here = this.figure.dataset.here;
    go(`${here}${here.includes("?") ? "&" : "?"}box=${box}`);
  }

  /** The box that stands in the address. */
  drawn() {
    const [start, end, low, high] = (this.figure.dataset.box ?? "").split("/");
    if (!end) {
      return;
    }
    const cellOf = (text) => (Date.parse(text) - this.startMs) / this.cellMs;
    const rowOf = (ms) => this.answer.bounds_ms.findIndex((bound) => bound >= ms * (1 - 1e-6));
    const box = {
      first: Math.max(0, Math.round(cellOf(start))),
      last: Math.min(this.cells, Math.round(cellOf(end))) - 1,
      lowest: Math.max(0, Number(low) ? rowOf(Number(low)) : 0),
      highest: (high && rowOf(Number(high)) > 0 ? rowOf(Number(high)) : this.rows) - 1,
    };
    const isSeen = box.last >= box.first && box.highest >= box.lowest;
    if (isSeen) {
      this.#show(box);
    }
    const told = document.querySelector("#boxed [data-of=box]");
    if (told) {
      told.textContent = isSeen ? count(this.#count(box)) : "Its";
    }
  }

  #press(event) {
    const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};
    const move = moves[event.key];
    if (move) {
      event.preventDefault();
      const before = this.cursor ?? this.#mostAt();
      this.from = event.shiftKey ? (this.from ?? before) : null;
      this.cursor = [
        Math.max(0, Math.min(this.cells - 1, before[0] + move[0])),
        Math.max(0, Math.min(this.rows - 1, before[1] + move[1])),
      ];
      this.holdForKeys();
      this.#show(between(this.from ?? this.cursor, this.cursor), this.from ? "brush" : "cursor");
      this.#tell(this.cursor);
    } else if (event.key === "Enter" && this.cursor) {
      const box = between(this.from ?? this.cursor, this.cursor);
      this.#release();
      this.#choose(box);
    } else if (event.key === "Escape") {
      this.cursor = this.from = null;
      this.#release();
      this.overlay.replaceChildren();
      if (this.figure.dataset.box) {
        go(this.figure.dataset.here);
      }
    }
  }

  /** The cell with the slowest calls: where one begins to look. */
  #mostAt() {
    for (let row = this.rows - 1; row >= 0; row--) {
      const cell = this.answer.counts.findLastIndex((each) => each[row]);
      if (cell >= 0) {
        return [cell, row];
      }
    }
    return [0, 0];
  }
}

/** The same with empty rows around few that are close together: a picture of less than a decade tells nothing. */
function padded(answer) {
  const {bounds_ms: bounds} = answer;
  if (bounds.length < 2) {
    return answer;
  }
  const ratio = bounds.at(-1) / bounds.at(-2);
  const wanted = Math.ceil(Math.log(DECADE) / Math.log(ratio)) - (bounds.length - 1);
  const below = Math.max(0, Math.min(Math.floor(wanted / 2), Math.floor(Math.log(bounds[0] / LEAST_MS) / Math.log(ratio))));
  const above = Math.max(0, wanted - below);
  const zeros = (number) => Array(number).fill(0);
  return {
    ...answer,
    bounds_ms: [
      ...zeros(below).map((_, place) => bounds[0] / ratio ** (below - place)), ...bounds,
      ...zeros(above).map((_, place) => bounds.at(-1) * ratio ** (place + 1)),
    ],
    counts: answer.counts.map((row) => [...zeros(below), ...row, ...zeros(above)]),
  };
}

function between([cell, row], [otherCell, otherRow]) {
  return {
    first: Math.min(cell, otherCell), last: Math.max(cell, otherCell),
    lowest: Math.min(row, otherRow), highest: Math.max(row, otherRow),
  };
}
