// Spans as they end. The table follows, but not under the pointer or the keyboard: while a row is pointed at, chosen, or
// somebody has paused it, the rows stay, and it is told how many there would be.
import {html} from "../svg.js";
import {parsed} from "../trusted.js";
import {refresh} from "../visit.js";

const PAUSE_MS = 2_000;
const ROWS = "#spans tbody tr";

/** Put the controls into an element, which says by `data-follows` whether the table follows now. */
export const start = (element) => new Tail(element);

class Tail {
  constructor(element) {
    this.element = element;
    this.isPaused = this.isPointed = this.isAsking = false;
    this.notBefore = 0;
    this.button = html("button", {type: "button", "aria-pressed": "false"}, "❚❚ Pause");
    this.fresh = html("button", {type: "button", class: "fresh", hidden: ""});
    element.append(this.fresh, this.button);
    this.button.addEventListener("click", () => this.#pause(!this.isPaused));
    this.fresh.addEventListener("click", () => this.#catchUp());
    document.addEventListener("pointerover", ({target}) => this.#point(Boolean(target.closest?.(ROWS))));
    document.documentElement.addEventListener("pointerleave", () => this.#point(false));
    document.addEventListener("focusin", () => this.#hold());
    document.addEventListener("focusout", () => setTimeout(() => this.#hold()));
    document.addEventListener("perfmon:pulse", () => this.#count());
    this.#hold();
  }

  /** The page was shown anew. */
  refresh() {
    this.#tell(0);
    this.#hold();
  }

  #point(isPointed) {
    if (this.isPointed !== isPointed) {
      this.isPointed = isPointed;
      this.#hold();
    }
  }

  #pause(isPaused) {
    this.isPaused = isPaused;
    this.button.setAttribute("aria-pressed", String(isPaused));
    this.button.textContent = isPaused ? "▶ Follow" : "❚❚ Pause";
    this.#hold();
    if (!isPaused) {
      this.#catchUp();
    }
  }

  get #isFollowing() {
    return this.element.isConnected && this.element.hasAttribute("data-follows");
  }

  get #isHeld() {
    return this.#isFollowing && (this.isPaused || this.isPointed || Boolean(document.activeElement?.closest(ROWS)));
  }

  #hold() {
    this.button.hidden = !this.#isFollowing;
    this.element.toggleAttribute("data-held", this.#isHeld);
    if (!this.#isHeld) {
      this.#tell(0);
    }
  }

  /** Look how many rows there would be that are not here: at most once in two seconds, and for a tenth of the time. */
  async #count() {
    if (!this.#isHeld || this.isAsking || document.hidden || performance.now() < this.notBefore) {
      return;
    }
    this.isAsking = true;
    const began = performance.now();
    try {
      const response = await fetch(location.href, {headers: {Accept: "text/html"}});
      const rows = [...parsed(await response.text()).querySelectorAll(ROWS)];
      const number = rows.filter((row) => !document.getElementById(row.id)).length;
      if (this.#isHeld && response.ok) {
        this.#tell(number, number === rows.length);
      }
    } catch {
      // The line at the foot says that the server does not answer.
    } finally {
      this.isAsking = false;
      this.notBefore = performance.now() + Math.max(PAUSE_MS, 10 * (performance.now() - began));
    }
  }

  #tell(number, isMore = false) {
    this.fresh.hidden = !number;
    this.fresh.textContent = `${number}${isMore ? "+" : ""} new`;
  }

  /** Show what is new, also where the rows are held. */
  #catchUp() {
    this.#tell(0);
    return refresh().catch(() => {});
  }
}
