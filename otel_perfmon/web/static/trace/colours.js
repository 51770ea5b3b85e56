// A hue for each service, or for each operation where there is only one service. What takes most has a hue of its own,
// and keeps it while the trace grows; the rest is grey.

const HUES = 9;
const GREY = 0;

/** Hues 1 to 9, and 0 for the rest. */
export class Colours {
  #hues = new Map();
  #kind = "";

  /** Give out hues to what of the tree has none yet. */
  assign(tree) {
    const {outline} = tree;
    const kind = outline.services.length > 1 ? "services" : "names";
    if (kind !== this.#kind) {
      this.#hues.clear();
      this.#kind = kind;
    }
    this.labels = outline[kind];
    this.indexes = kind === "services" ? outline.service_indexes : outline.name_indexes;
    const totals = new Float64Array(this.labels.length);
    this.indexes.forEach((index, place) => (totals[index] += tree.selfs[place]));
    const order = [...totals.keys()].sort((one, other) => totals[other] - totals[one] || one - other);
    for (const index of order) {
      if (!this.#hues.has(this.labels[index])) {
        this.#hues.set(this.labels[index], this.#hues.size < HUES ? this.#hues.size + 1 : GREY);
      }
    }
    this.byIndex = this.labels.map((label) => this.#hues.get(label));
    this.order = order;
  }

  /** The hue of a span. */
  of(place) {
    return this.byIndex[this.indexes[place]];
  }

  /** What has a hue of its own, and how much is grey: [{hue, label}], number. */
  legend() {
    const shown = this.order.filter((index) => this.byIndex[index] !== GREY);
    return [shown.map((index) => ({hue: this.byIndex[index], label: this.labels[index]})), this.order.length - shown.length];
  }

  /** The hues as a canvas wants them, by number. */
  static read(element) {
    const style = getComputedStyle(element);
    return Array.from({length: HUES + 1}, (_, hue) => style.getPropertyValue(`--hue-${hue}`).trim());
  }
}
