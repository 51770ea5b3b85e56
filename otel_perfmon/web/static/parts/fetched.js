// A part of a page that takes longer than a page may: fetched by itself, from a page of its own that shows the same. It is
// fetched again when data-mark is another, or when a link with data-again within is followed.
import {writeTimes} from "../times.js";
import {parsed} from "../trusted.js";

const PAUSE_MS = 10_000;

/** Fetch it into an element. */
export function start(element) {
  const fetched = new Fetched(element);
  element.addEventListener("click", (event) => {
    if (event.target.closest("[data-again]") && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      fetched.load();
    }
  });
  fetched.load();
  return fetched;
}

class Fetched {
  constructor(element) {
    this.element = element;
    this.mark = element.dataset.mark;
    this.asked = 0;
  }

  refresh() {
    const isOther = this.mark !== this.element.dataset.mark;
    if (isOther && !this.isAsking && performance.now() - this.asked > PAUSE_MS) {
      this.load();
    }
  }

  async load() {
    const {element} = this;
    this.isAsking = true;
    this.mark = element.dataset.mark;
    element.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(element.dataset.src, {headers: {Accept: "text/html"}});
      const page = parsed(await response.text());
      this.#show((page.getElementById("fetched") ?? page.getElementById("main")).childNodes);
    } catch {
      // the server is away, which the foot line tells; what stands here stays
    } finally {
      element.removeAttribute("aria-busy");
      this.isAsking = false;
      this.asked = performance.now();
    }
  }

  #show(nodes) {
    const hadFocus = this.element.contains(document.activeElement);
    this.element.replaceChildren(...nodes);
    writeTimes(this.element);
    if (hadFocus) {
      this.element.querySelector("[data-again]")?.focus({preventScroll: true});
    }
  }
}
