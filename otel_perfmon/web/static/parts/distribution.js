// How durations spread: bars over a logarithmic scale, with the percentiles of data-marks and the slow threshold drawn.
// A click on a bar, or dragging over several, goes to the spans that took so long.
import {Chart} from "../chart.js";
import {count, duration, roundDuration, share} from "../numbers.js";
import {logScale} from "../scale.js";
import {svg} from "../svg.js";

const LEFT = 10;
const RIGHT = 10;
const TOP = 46;
const BOTTOM = 22;
const BAR_WIDTH = 7;
const BUCKETS_PER_DOUBLING = 32; // of the store's histogram
const LEAST_MS = 1e-6;
const LABEL_WIDTH = 78;
const LABEL_HEIGHT = 13;

/** Draw it into a figure, and again whenever it changes. */
export function start(figure) {
  const distribution = new Distribution(figure);
  distribution.refresh();
  return distribution;
}

class Distribution extends Chart {
  cursor = null; // the bar that is pointed at
  from = null; // the bar where choosing began

  take({buckets}) {
    this.buckets = buckets;
  }

  get isEmpty() {
    return !this.buckets.length;
  }

  get isChoosing() {
    return this.from !== null;
  }

  /** As many of the store's fine buckets to a bar as make bars of a good width, on the same bounds at every look. */
  measure() {
    const key = ({upper_ms}) => Math.round(Math.log2(Math.max(upper_ms, LEAST_MS) / LEAST_MS) * BUCKETS_PER_DOUBLING) - 1;
    const [first, last] = [key(this.buckets[0]), key(this.buckets.at(-1))];
    let size = 1;
    while (Math.floor(last / size) - Math.floor(first / size) >= (this.width - LEFT - RIGHT) / BAR_WIDTH) {
      size *= 2;
    }
    const bound = (each) => LEAST_MS * 2 ** ((each * size) / BUCKETS_PER_DOUBLING);
    const lowest = Math.floor(first / size);
    this.bars = Array.from({length: Math.floor(last / size) - lowest + 1}, (_, place) => ({
      low: bound(lowest + place), high: bound(lowest + place + 1), count: 0,
    }));
    for (const bucket of this.buckets) {
      this.bars[Math.floor(key(bucket) / size) - lowest].count += bucket.count;
    }
    this.all = this.bars.reduce((sum, bar) => sum + bar.count, 0);
    this.most = Math.max(...this.bars.map((bar) => bar.count));
    this.scale = logScale([this.bars[0].low * 1.05, this.bars.at(-1).high / 1.05], LEFT, this.width - RIGHT);
  }

  summary() {
    const marks = this.#given().map(([name, ms]) => `${name} ${duration(ms)}`).join(", ");
    return `${count(this.all)} calls by duration: ${marks}.`
      + " Arrow keys read the bars, with Shift they choose several, Enter shows their spans.";
  }

  marks() {
    return [...this.#axis(), ...this.#bars(), ...this.#percentiles()];
  }

  #axis() {
    const base = this.height - BOTTOM;
    const marks = [svg("line", {class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: base, y2: base})];
    for (const {value, y: x} of this.scale.ticks) {
      const anchor = x < LEFT + 14 ? "start" : x > this.width - RIGHT - 14 ? "end" : "middle";
      marks.push(svg("text", {x, y: this.height - 7, "text-anchor": anchor}, roundDuration(value)));
    }
    return marks;
  }

  #bars() {
    const base = this.height - BOTTOM;
    const slowMs = Number(this.figure.dataset.slowMs);
    return this.bars.filter((bar) => bar.count).map((bar) => {
      const [x, end] = [this.scale.y(bar.low), this.scale.y(bar.high)];
      const height = Math.max(1.5, (bar.count / this.most) * (base - TOP)); // one call is seen beside a million
      const isSlow = slowMs && bar.low >= slowMs * 0.98;
      return svg("rect", {class: isSlow ? "bar is-slow" : "bar", x, y: base - height, width: Math.max(1, end - x - 0.7), height});
    });
  }

  /** Names and durations of the percentiles: [["p50", 12.2], …]. */
  #given() {
    const words = (this.figure.dataset.marks ?? "").split(" ");
    const pairs = words.flatMap((word, place) => (place % 2 ? [] : [[word, Number(words[place + 1])]]));
    return pairs.filter(([, ms]) => ms > 0);
  }

  #percentiles() {
    const base = this.height - BOTTOM;
    const slowMs = Number(this.figure.dataset.slowMs);
    const marks = [];
    if (slowMs > this.scale.least && slowMs < this.scale.most) {
      const x = this.scale.y(slowMs);
      marks.push(svg("line", {class: "threshold", x1: x, x2: x, y1: TOP - 8, y2: base}));
    }
    this.#given().forEach(([name, ms], line) => { // each on a line of its own: they may stand close
      const x = this.scale.y(ms);
      const isRight = x > this.width - LABEL_WIDTH;
      const y = 10 + LABEL_HEIGHT * line;
      marks.push(svg("line", {class: "mark", x1: x, x2: x, y1: y - 8, y2: base}));
      marks.push(svg("text", {class: "marked", x: isRight ? x - 4 : x + 4, y, "text-anchor": isRight ? "end" : "start"},
        `${name} ${duration(ms)}`));
    });
    return marks;
  }

  // --- pointing

  listen() {
    const barAt = (event) => {
      const x = event.clientX - this.picture.getBoundingClientRect().left;
      const place = this.bars.findIndex((bar) => this.scale.y(bar.high) >= x);
      return place < 0 ? this.bars.length - 1 : place;
    };
    this.picture.addEventListener("pointerdown", (event) => {
      if (event.button === 0) {
        this.from = barAt(event);
        this.hold(event);
      }
    });
    this.picture.addEventListener("pointermove", (event) => this.#tell(barAt(event)));
    this.picture.addEventListener("pointerup", () => this.from !== null && this.#choose());
    this.picture.addEventListener("pointercancel", () => this.#release());
    this.picture.addEventListener("pointerleave", () => this.from === null && this.#release());
    this.picture.addEventListener("keydown", (event) => this.#press(event));
    this.picture.addEventListener("blur", () => this.#release());
  }

  #press(event) {
    const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (move) {
      event.preventDefault();
      const before = this.cursor ?? this.bars.length - (move === 1 ? 2 : 0);
      this.from = event.shiftKey ? (this.from ?? before) : null;
      this.holdForKeys();
      this.#tell(Math.max(0, Math.min(this.bars.length - 1, before + move)));
    } else if (event.key === "Enter" && this.cursor !== null) {
      this.#choose();
    } else if (event.key === "Escape") {
      this.#release();
    }
  }

  #chosen() {
    const from = this.from ?? this.cursor;
    return [Math.min(from, this.cursor), Math.max(from, this.cursor)];
  }

  #tell(place) {
    this.cursor = place;
    const [first, last] = this.#chosen();
    const bars = this.bars.slice(first, last + 1);
    const number = bars.reduce((sum, bar) => sum + bar.count, 0);
    const below = this.bars.slice(0, first).reduce((sum, bar) => sum + bar.count, 0);
    const [x, end] = [this.scale.y(bars[0].low), this.scale.y(bars.at(-1).high)];
    this.overlay.replaceChildren(svg("rect", {class: "brush", x, y: TOP, width: end - x, height: this.height - BOTTOM - TOP}));
    this.bubble.textContent = `${duration(bars[0].low)} – ${duration(bars.at(-1).high)} · ${count(number)} call${number === 1 ? "" : "s"}`
      + ` (${share(number / this.all)}) · slower than ${share(below / this.all)}`;
    this.bubble.hidden = false;
    this.bubble.style.left = `${Math.max(0, Math.min(x, this.width - this.bubble.offsetWidth))}px`;
    this.bubble.style.top = `${TOP + 4}px`;
  }

  #release() {
    this.cursor = this.from = null;
    this.letGo();
    this.overlay.replaceChildren();
  }

  #choose() {
    const [first, last] = this.#chosen();
    this.#release();
    const address = new URL(this.figure.dataset.spans, location.href);
    address.searchParams.set("min_duration_ms", String(Number(this.bars[first].low.toPrecision(9))));
    address.searchParams.set("max_duration_ms", String(Number(this.bars[last].high.toPrecision(9))));
    location.assign(address);
  }
}
