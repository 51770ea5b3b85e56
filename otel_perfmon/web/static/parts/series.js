// Figures over time as lines: of the answer of /api/series those that data-fields names, on a scale that data-unit
// chooses (ms is logarithmic; rate and share begin at zero). The moment pointed at is shown in every such chart of the
// page; dragging over one, or Shift and the arrow keys, chooses a stretch of time.
import {timeLabels} from "../axis.js";
import {Chart} from "../chart.js";
import {count, duration, rate, roundDuration, share} from "../numbers.js";
import {linearScale, logScale} from "../scale.js";
import {svg} from "../svg.js";
import {day, timeOfDay} from "../times.js";
import {go} from "../visit.js";

const LEFT = 50;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;
const TICK_HEIGHT = 22;
const CLICK_PX = 4;
const POINTED = "perfmon:moment";
const LABELS = {p50_ms: "p50", p95_ms: "p95", p99_ms: "p99", rate: "", error_rate: ""};
const UNITS = {
  ms: {text: duration, tick: roundDuration, told: "Durations"},
  rate: {text: rate, tick: (value) => rate(value, true), told: "Calls"},
  share: {text: share, tick: share, told: "Share of calls that failed,"},
};
const WHOLE_ENOUGH = 0.3; // of a cell that is not over, before its rate says anything

/** Draw it into a figure, and again whenever it changes. */
export function start(figure) {
  const series = new Series(figure);
  series.refresh();
  return series;
}

class Series extends Chart {
  constructor(figure) {
    super(figure);
    this.fields = figure.dataset.fields.split(" ");
    this.unit = UNITS[figure.dataset.unit];
    this.cursor = null; // the cell that the keyboard is at
    this.from = null; // where a stretch of time begins
    document.addEventListener(POINTED, ({detail}) => this.#point(detail));
  }

  /** What is drawn of an answer: [{ms, values}], the values null where there is nothing to tell. */
  take({window, cell_seconds, points}) {
    this.startMs = window.start_unix_nano / 1e6;
    this.endMs = window.end_unix_nano / 1e6;
    this.cellMs = cell_seconds * 1000;
    this.points = points.map((point, place) => {
      const ms = this.startMs + place * this.cellMs;
      return {ms, point, values: this.fields.map((field) => this.#value(field, point, ms))};
    });
  }

  #value(field, point, ms) {
    if (field !== "rate") {
      return point.count ? point[field] : null;
    }
    const elapsed = Math.min(this.cellMs, Date.now() - ms); // the cell that is now has only begun
    return elapsed > WHOLE_ENOUGH * this.cellMs ? point.count / (elapsed / 1000) : null;
  }

  get isEmpty() {
    return !this.points.some(({point}) => point.count);
  }

  get isChoosing() {
    return this.from !== null;
  }

  measure() {
    const values = this.points.flatMap((each) => each.values).filter((value) => value !== null);
    const [low, high] = [this.height - BOTTOM, TOP];
    if (this.figure.dataset.unit === "ms") {
      this.scale = logScale(values.filter((value) => value > 0), low, high);
    } else {
      this.scale = linearScale(Math.max(...values, this.figure.dataset.unit === "share" ? 0.01 : 0), low, high);
    }
  }

  #x(ms) {
    return LEFT + ((ms - this.startMs) / (this.endMs - this.startMs)) * (this.width - LEFT - RIGHT);
  }

  /** A cell's figures stand at its middle. */
  #middle(place) {
    return this.#x(this.startMs + (place + 0.5) * this.cellMs);
  }

  marks() {
    return [...this.#axes(), ...this.#lines(), ...this.#threshold()];
  }

  #axes() {
    const marks = [];
    const {ticks} = this.scale;
    const every = Math.ceil(ticks.length / (this.height / TICK_HEIGHT));
    for (const {value, y} of ticks.filter((_, place) => place % every === 0)) {
      marks.push(svg("line", {class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y}));
      marks.push(svg("text", {x: LEFT - 8, y: y + 3.5, "text-anchor": "end"}, this.unit.tick(value)));
    }
    return [...marks, ...timeLabels(this.startMs, this.endMs, {left: LEFT, right: this.width - RIGHT, y: this.height - 5})];
  }

  #lines() {
    const shapes = [];
    this.fields.forEach((field, number) => {
      const runs = this.#runs(number);
      if (this.figure.dataset.unit !== "ms") {
        const base = this.height - BOTTOM;
        const areas = runs.map((run) => `M${run[0][0]} ${base}L${run.map((each) => each.join(" ")).join("L")}L${run.at(-1)[0]} ${base}z`);
        shapes.push(svg("path", {class: `area ${field}`, d: areas.join("")}));
      }
      shapes.push(svg("path", {class: field, d: runs.map((run) => `M${run.map((each) => each.join(" ")).join("L")}`).join("")}));
      for (const [[x, y]] of runs.filter((run) => run.length === 1)) {
        shapes.push(svg("circle", {class: field, cx: x, cy: y, r: 1.5}));
      }
    });
    return shapes;
  }

  /** The points of one line, cut where there is nothing to tell: [[[x, y], …], …]. */
  #runs(number) {
    const runs = [];
    let isOpen = false;
    this.points.forEach(({values}, place) => {
      const value = values[number];
      if (value === null) {
        isOpen = false;
        return;
      }
      if (!isOpen) {
        runs.push([]);
      }
      isOpen = true;
      runs.at(-1).push([this.#middle(place).toFixed(1), this.scale.y(value).toFixed(1)]);
    });
    return runs;
  }

  #threshold() {
    const slowMs = Number(this.figure.dataset.slowMs);
    if (!(slowMs >= this.scale.least && slowMs <= this.scale.most)) {
      return [];
    }
    const y = this.scale.y(slowMs);
    return [svg("line", {class: "threshold", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y})];
  }

  summary() {
    const told = this.fields.map((field, number) => {
      const values = this.points.map((each) => each.values[number]).filter((value) => value !== null);
      const [least, most] = [Math.min(...values), Math.max(...values)];
      return values.length ? `${LABELS[field]} ${this.unit.text(least)} to ${this.unit.text(most)}` : "";
    });
    return `${this.unit.told} over time: ${told.filter(Boolean).join(", ")}.`
      + " Arrow keys read the values, with Shift they choose a time, Enter goes there.";
  }

  // --- pointing

  listen() {
    const at = (event) => event.clientX - this.picture.getBoundingClientRect().left;
    this.picture.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && at(event) >= LEFT) {
        this.from = this.#cellAt(at(event));
        this.anchor = at(event);
        this.hold(event);
      }
    });
    this.picture.addEventListener("pointermove", (event) => {
      this.cursor = this.#cellAt(at(event));
      this.#tell(this.from !== null);
    });
    this.picture.addEventListener("pointerup", (event) => {
      const isDrag = this.from !== null && Math.abs(at(event) - this.anchor) > CLICK_PX;
      const [from, to] = [this.from, this.#cellAt(at(event))];
      this.#release();
      if (isDrag) {
        this.#choose(from, to);
      }
    });
    this.picture.addEventListener("pointercancel", () => this.#release());
    this.picture.addEventListener("pointerleave", () => this.from === null && this.#release());
    this.picture.addEventListener("keydown", (event) => this.#press(event));
    this.picture.addEventListener("blur", () => this.#release());
  }

  #cellAt(x) {
    const ms = this.startMs + ((x - LEFT) / (this.width - LEFT - RIGHT)) * (this.endMs - this.startMs);
    return Math.max(0, Math.min(this.points.length - 1, Math.floor((ms - this.startMs) / this.cellMs)));
  }

  #press(event) {
    const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    const last = this.points.length - 1;
    if (move || event.key === "Home" || event.key === "End") {
      event.preventDefault();
      const before = this.cursor ?? last + (move === 1 ? -1 : 1);
      this.from = event.shiftKey ? (this.from ?? before) : null;
      this.cursor = move ? Math.max(0, Math.min(last, before + move)) : event.key === "Home" ? 0 : last;
      this.holdForKeys();
      this.#tell(this.from !== null);
    } else if (event.key === "Enter" && this.from !== null) {
      this.#choose(this.from, this.cursor);
    } else if (event.key === "Escape") {
      this.#release();
    }
  }

  #tell(isChoosing) {
    const detail = {ms: this.points[this.cursor].ms, from: isChoosing ? this.points[this.from].ms : null, by: this};
    document.dispatchEvent(new CustomEvent(POINTED, {detail}));
  }

  #release() {
    this.cursor = this.from = null;
    this.letGo();
    document.dispatchEvent(new CustomEvent(POINTED, {detail: null}));
  }

  /** Show a moment that was pointed at, here or in another chart; none when it is null. */
  #point(detail) {
    if (!this.picture?.isConnected) {
      return;
    }
    const place = detail && Math.round((detail.ms - this.startMs) / this.cellMs);
    if (detail === null || !(place in this.points)) {
      this.overlay.replaceChildren();
      this.bubble.hidden = true;
      this.bubble.removeAttribute("role");
      return;
    }
    const x = this.#middle(place);
    const [top, bottom] = [TOP, this.height - BOTTOM];
    const marks = [svg("line", {class: "hair", x1: x, x2: x, y1: top, y2: bottom})];
    if (detail.from !== null) {
      const [first, last] = [Math.min(detail.from, detail.ms), Math.max(detail.from, detail.ms) + this.cellMs];
      marks.unshift(svg("rect", {class: "chosen", x: this.#x(first), width: this.#x(last) - this.#x(first), y: top, height: bottom - top}));
    }
    this.fields.forEach((field, number) => {
      const value = this.points[place].values[number];
      if (value !== null) {
        marks.push(svg("circle", {class: field, cx: x, cy: this.scale.y(value), r: 3}));
      }
    });
    this.overlay.replaceChildren(...marks);
    this.#write(place, x);
  }

  #write(place, x) {
    const {ms, point, values} = this.points[place];
    const date = new Date(ms);
    const moment = this.cellMs >= 86_400_000 ? day(date) : timeOfDay(date).slice(0, this.cellMs < 60_000 ? 8 : 5);
    const told = this.fields.map((field, number) =>
      values[number] === null ? "" : `${LABELS[field]} ${this.unit.text(values[number])}`.trim());
    const calls = this.fields.includes("error_rate") && point.error_count ? `${count(point.error_count)} of ${count(point.count)} failed` : "";
    this.bubble.textContent = [moment, ...(point.count ? told : ["no calls"]), calls].filter(Boolean).join(" · ");
    this.bubble.hidden = false;
    const left = x + 14 + this.bubble.offsetWidth > this.width ? x - 14 - this.bubble.offsetWidth : x + 14;
    this.bubble.style.left = `${Math.max(0, left)}px`;
    this.bubble.style.top = `${TOP}px`;
  }

  #choose(from, to) {
    const [first, last] = [Math.min(from, to), Math.max(from, to) + 1];
    const moment = (place) => new Date(Math.round(this.startMs + place * this.cellMs)).toISOString();
    const address = new URL(this.figure.dataset.here, location.href);
    address.searchParams.set("window", `${moment(first)}/${moment(last)}`);
    this.#release();
    go(address);
  }
}
