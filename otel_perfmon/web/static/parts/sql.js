// The statement: Ctrl+Enter runs it, names of columns are put where the cursor is, and what is typed while it runs stays.
import {visit} from "../visit.js";

/** Follow the form. */
export function start(form) {
  return new Statement(form);
}

class Statement {
  constructor(form) {
    this.form = form;
    this.told = this.field.defaultValue;
    this.isTyped = false;
    this.runs = 0;
    form.addEventListener("input", () => {
      this.isTyped = true;
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    document.addEventListener("click", ({target}) => {
      const name = target.closest?.("[data-insert]")?.dataset.insert;
      if (name !== undefined && form.isConnected) {
        this.insert(name);
      }
    });
  }

  get field() {
    return this.form.elements.sql;
  }

  async run() {
    const number = ++this.runs;
    const fields = [...new FormData(this.form)].filter(([, value]) => value !== "");
    const began = performance.now();
    this.isTyped = false;
    const timer = setInterval(() => this.tell(`running for ${Math.round((performance.now() - began) / 1000)} s`), 1_000);
    this.form.setAttribute("aria-busy", "true");
    try {
      await visit(`${this.form.getAttribute("action")}?${new URLSearchParams(fields)}`);
    } catch (error) {
      this.tell(error instanceof TypeError ? "The server does not answer." : `There is no answer: ${error.message}.`);
    } finally {
      clearInterval(timer);
      if (number === this.runs) {
        this.form.removeAttribute("aria-busy");
      }
    }
  }

  tell(text) {
    document.getElementById("busy").textContent = text;
  }

  insert(name) {
    const {field} = this;
    const text = /^[A-Za-z]\w*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
    const before = field.value.slice(0, field.selectionStart);
    field.setRangeText(/[\w"]$/.test(before) ? `, ${text}` : text, field.selectionStart, field.selectionEnd, "end");
    this.isTyped = true;
    field.focus();
  }

  /** Another statement came with the page: by the back button, or with its answer. */
  refresh() {
    const {field} = this;
    if (field.defaultValue !== this.told) {
      this.told = field.defaultValue;
      if (!this.isTyped) {
        field.value = this.told;
      }
    }
  }
}
