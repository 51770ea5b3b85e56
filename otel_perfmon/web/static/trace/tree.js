// The tree of a trace as the outline gives it, columns of numbers: what is a parent, what is folded, what stands in which
// row. Places are those of the outline; a span comes before its children.

/** What is told of a span by one bit each (outline.py). */
export const MARK = {error: 1, slow: 2, orphan: 4, cycle: 8, interrupted: 16, running: 32, skewed: 64, remote: 128};

/** The tree that an outline holds; `folded` are keys of spans whose children are not to be shown. */
export class TraceTree {
  constructor(outline, folded = new Set()) {
    this.outline = outline;
    this.folded = folded;
    this.count = outline.span_ids.length;
    this.length = Math.max(1, outline.duration_nano);
    this.parents = outline.parents;
    this.depths = outline.depths;
    this.starts = outline.starts_nano;
    this.durations = outline.durations_nano;
    this.selfs = outline.selfs_nano;
    this.marks = outline.marks;
    this.sizes = sizesOf(outline.parents);
    this.covers = new Map();
    this.#sortPath(outline.critical_path);
    this.#findTwins();
    this.lay();
  }

  name(place) {
    return this.outline.names[this.outline.name_indexes[place]];
  }

  service(place) {
    return this.outline.services[this.outline.service_indexes[place]];
  }

  end(place) {
    return this.starts[place] + this.durations[place];
  }

  has(place, mark) {
    return (this.marks[place] & mark) !== 0;
  }

  isParent(place) {
    return this.sizes[place] > 1;
  }

  isFolded(place) {
    return this.folded.has(this.key(place));
  }

  /** How an address names a span: its id; the second of one id has .2 behind it. */
  key(place) {
    return this.twins.get(place) ?? this.outline.span_ids[place];
  }

  placeOf(key) {
    const [id, number] = key.toLowerCase().split(".");
    let left = Number(number ?? 1) || 1;
    return this.outline.span_ids.findIndex((each) => each === id && --left === 0);
  }

  /** Which places stand in the rows, and in which row each does. */
  lay() {
    const rows = [];
    for (let place = 0; place < this.count; ) {
      rows.push(place);
      place += this.folded.size && this.isFolded(place) ? this.sizes[place] : 1;
    }
    this.rows = rows;
  }

  /** The row of a place, or of what it is folded into. */
  rowOf(place) {
    let [low, high] = [0, this.rows.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      [low, high] = this.rows[middle] <= place ? [middle, high] : [low, middle - 1];
    }
    return low;
  }

  fold(place, isFolded) {
    if (this.isParent(place)) {
      this.folded[isFolded ? "add" : "delete"](this.key(place));
      this.lay();
    }
  }

  /** Fold all but the roots, or nothing. */
  foldAll(isFolded) {
    this.folded.clear();
    for (let place = 0; isFolded && place < this.count; place++) {
      if (this.isParent(place) && this.parents[place] >= 0) {
        this.folded.add(this.key(place));
      }
    }
    this.lay();
  }

  /** Have a place stand in a row of its own: nothing that it is in stays folded. */
  reveal(place) {
    let isChanged = false;
    for (let each = this.parents[place]; each >= 0; each = this.parents[each]) {
      isChanged = this.folded.delete(this.key(each)) || isChanged;
    }
    if (isChanged) {
      this.lay();
    }
  }

  /** Where children ran, as starts and ends that follow each other. */
  cover(place) {
    let found = this.covers.get(place);
    if (!found) {
      found = [];
      let reached = this.starts[place];
      const last = this.end(place);
      for (let child = place + 1; child < place + this.sizes[place]; child += this.sizes[child]) {
        const [start, end] = [Math.max(reached, this.starts[child]), Math.min(last, this.end(child))];
        if (start < end) {
          if (found.length && found.at(-1) === start) {
            found[found.length - 1] = end;
          } else {
            found.push(start, end);
          }
          reached = end;
        }
      }
      this.covers.set(place, found);
    }
    return found;
  }

  /** The stretches of the critical path that a span determined, as starts and ends. */
  path(place) {
    return this.paths.get(place) ?? [];
  }

  #sortPath(flat) {
    this.paths = new Map();
    for (let at = 0; at < flat.length; at += 3) {
      const found = this.paths.get(flat[at]);
      if (found) {
        found.push(flat[at + 1], flat[at + 2]);
      } else {
        this.paths.set(flat[at], [flat[at + 1], flat[at + 2]]);
      }
    }
  }

  #findTwins() {
    this.twins = new Map();
    const counts = new Map();
    this.outline.span_ids.forEach((id, place) => {
      const number = (counts.get(id) ?? 0) + 1;
      counts.set(id, number);
      if (number > 1) {
        this.twins.set(place, `${id}.${number}`);
      }
    });
  }
}

/** How many spans stand below each, itself among them. */
function sizesOf(parents) {
  const sizes = new Int32Array(parents.length).fill(1);
  for (let place = parents.length - 1; place > 0; place--) {
    if (parents[place] >= 0) {
      sizes[parents[place]] += sizes[place];
    }
  }
  return sizes;
}
