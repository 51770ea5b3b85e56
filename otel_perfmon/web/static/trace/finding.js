// Finding spans in a trace by a part of their name, their service or their id, at once; and by what they carry, which the
// server is asked for when somebody has stopped typing.
import {ask} from "../api.js";
import {count} from "../numbers.js";

const PAUSE_MS = 200;

/** The search field and what it found. `show` is told of each span that is gone to. */
export class Finding {
  constructor(form, {source, changed, show, merged}) {
    this.source = source;
    this.merged = merged;
    this.known = {word: "", ids: new Set()}; // what the server said last
    this.form = form;
    this.field = form.elements.find;
    this.told = form.querySelector("output");
    this.changed = changed;
    this.show = show;
    this.found = new Set();
    this.places = [];
    this.at = -1;
    this.field.addEventListener("input", () => this.changed(this.field.value));
    this.field.addEventListener("keydown", (event) => this.#press(event));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.querySelector(".previous").addEventListener("click", () => this.go(-1));
    form.querySelector(".next").addEventListener("click", () => this.go(1));
  }

  /** Look for a word in a tree; the field shows it unless somebody is typing there. */
  look(tree, word) {
    if (this.field !== document.activeElement && this.field.value !== word) {
      this.field.value = word;
    }
    const {names, services, span_ids, name_indexes, service_indexes} = tree.outline;
    const wanted = word.trim().toLowerCase();
    const carrying = this.known.word === wanted ? this.known.ids : new Set();
    if (wanted && this.known.word !== wanted) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.#ask(wanted), PAUSE_MS);
    }
    this.wanted = wanted;
    this.found.clear();
    if (wanted) {
      const [named, served] = [names, services].map((each) => each.map((name) => name.toLowerCase().includes(wanted)));
      for (let place = 0; place < tree.count; place++) {
        if (named[name_indexes[place]] || served[service_indexes[place]] || span_ids[place].includes(wanted) || carrying.has(span_ids[place])) {
          this.found.add(place);
        }
      }
    }
    const before = this.places[this.at];
    this.places = [...this.found];
    this.at = this.places.indexOf(before);
    this.isEmpty = !wanted;
    this.tell();
  }

  /** Go to the next one, or to the previous. */
  go(step) {
    if (this.places.length) {
      this.at = this.at < 0 && step < 0 ? this.places.length - 1 : (this.at + step + this.places.length) % this.places.length;
      this.tell();
      this.show(this.places[this.at]);
    }
  }

  /** What the trace holds has changed: the server may say something else. */
  forget() {
    this.known = {word: "", ids: new Set()};
  }

  async #ask(wanted) {
    const {items} = await ask(`${this.source}?text=${encodeURIComponent(wanted)}`).catch(() => ({items: []}));
    if (wanted === this.wanted) {
      this.known = {word: wanted, ids: new Set(items)};
      this.merged();
    }
  }

  tell() {
    const at = this.at < 0 ? "" : `${count(this.at + 1)}/`;
    this.told.textContent = this.isEmpty ? "" : `${at}${count(this.places.length)}`;
    this.form.classList.toggle("is-found", this.places.length > 0);
    this.form.classList.toggle("is-vain", !this.isEmpty && !this.places.length);
  }

  #press(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      this.go(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape" && this.field.value) {
      event.preventDefault();
      event.stopPropagation();
      this.field.value = "";
      this.changed("");
    }
  }
}
