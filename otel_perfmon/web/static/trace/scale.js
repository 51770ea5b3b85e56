// Time across: the stretch of the trace that is shown, in nanoseconds since its start, over so many pixels.

const LEAST_NANO = 20;
const UNITS = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];

/** A scale over a trace of `length` nanoseconds. */
export class Scale {
  constructor(length) {
    this.width = 0;
    this.resize(length);
    this.reset();
  }

  /** The trace has become longer; what shows all of it goes on to do so. */
  resize(length) {
    const isWhole = !this.isZoomed;
    this.length = length;
    if (isWhole) {
      this.reset();
    }
  }

  get isZoomed() {
    return this.length !== undefined && (this.start > 0 || this.end < this.length);
  }

  get span() {
    return this.end - this.start;
  }

  reset() {
    [this.start, this.end] = [0, this.length];
  }

  x(nano) {
    return ((nano - this.start) / this.span) * this.width;
  }

  nano(x) {
    return this.start + (x / this.width) * this.span;
  }

  /** Show what lies between two moments; within the trace, and never less than can be told apart. */
  show(one, other) {
    const least = Math.min(this.length, LEAST_NANO);
    const span = Math.min(this.length, Math.max(least, Math.abs(other - one)));
    const middle = (one + other) / 2;
    this.start = Math.max(0, Math.min(this.length - span, middle - span / 2));
    this.end = this.start + span;
  }

  /** Show more or less around a moment, which stays where it is. */
  zoom(factor, around = (this.start + this.end) / 2) {
    this.show(around - (around - this.start) * factor, around + (this.end - around) * factor);
  }

  /** Go on by a part of what is shown. */
  move(part) {
    const by = Math.max(-this.start, Math.min(this.length - this.end, part * this.span));
    this.start += by;
    this.end += by;
  }

  /** The stretch as it stands in an address, empty for all of the trace. */
  get text() {
    return this.isZoomed ? `${Math.round(this.start)}-${Math.round(this.end)}` : "";
  }

  set text(text) {
    const found = /^(\d{1,19})-(\d{1,19})$/.exec(text);
    if (found) {
      this.show(Number(found[1]), Number(found[2]));
    } else {
      this.reset();
    }
  }

  /** Round moments at about `gap` pixels from each other: [{nano, label}]. */
  ticks(gap) {
    const least = (this.span * gap) / Math.max(gap, this.width);
    const power = 10 ** Math.floor(Math.log10(least));
    const step = Math.max(1, [1, 2, 5, 10].map((digit) => digit * power).find((each) => each >= least));
    const [unit, size] = UNITS.find(([, each]) => this.end >= each) ?? UNITS[3];
    const digits = Math.max(0, Math.ceil(Math.log10(size / step) - 1e-9));
    const ticks = [];
    for (let nano = Math.ceil(this.start / step) * step; nano <= this.end; nano += step) {
      ticks.push({nano, label: nano ? `${(nano / size).toFixed(Math.min(12, digits))} ${unit}` : "0"});
    }
    return ticks;
  }
}
