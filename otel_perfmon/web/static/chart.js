// A chart: what every one does beside what it draws. It asks the API for what data-src names, keeps one picture and one
// bubble for as long as its figure shows them, and says so where there is nothing to draw.
import {askTogether} from "./api.js";
import {html, svg} from "./svg.js";

const WIDTH_MIN = 90;

/**
 * A chart in a figure. Each kind tells by isEmpty and isChoosing how it stands, and has take(answer), measure(), summary(),
 * marks() and listen(); between measure() and listen() `width`, `height`, `picture`, `bubble` and `overlay` are there.
 */
export class Chart {
  #isAnswered = false;

  constructor(figure) {
    this.figure = figure;
    new ResizeObserver(() => this.draw()).observe(figure);
  }

  /** Ask again; the answer waits for the next time while something is being chosen. */
  async refresh() {
    const source = this.figure.dataset.src;
    try {
      const answer = await askTogether(source);
      if (source === this.figure.dataset.src && !this.isChoosing) {
        this.take(answer);
        this.#isAnswered = true;
        this.draw();
      }
    } catch (error) {
      this.#say(String(error.message), {role: "status"});
    }
  }

  draw() {
    const style = getComputedStyle(this.figure);
    this.width = this.figure.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    this.height = this.figure.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    if (!this.#isAnswered || !(this.width >= WIDTH_MIN)) {
      return; // nothing to draw, or nowhere: it is off the page
    }
    if (this.isEmpty) {
      this.#say("No calls in this time");
      return;
    }
    this.measure();
    this.#frame();
    this.picture.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.picture.setAttribute("aria-label", this.summary());
    this.overlay = svg("g");
    this.picture.replaceChildren(...this.marks(), this.overlay);
    this.drawn();
  }

  /** What a kind draws over its marks. */
  drawn() {}

  /** The pointer is ours, and the page waits, until `letGo`. */
  hold(event) {
    this.figure.dataset.held = "";
    this.picture.setPointerCapture(event.pointerId);
  }

  /** The keyboard reads: the page waits, and the bubble is read out, until `letGo`. */
  holdForKeys() {
    this.figure.dataset.held = "";
    this.bubble.setAttribute("role", "status");
  }

  letGo() {
    delete this.figure.dataset.held;
    this.bubble.hidden = true;
    this.bubble.removeAttribute("role");
  }

  /** The picture and its bubble, which stay as long as the figure shows them: focus and the pointer are theirs. */
  #frame() {
    if (this.picture?.parentNode === this.figure) {
      return;
    }
    this.picture = svg("svg", {tabindex: 0, role: "application", "aria-roledescription": "chart"});
    this.bubble = html("div", {class: "bubble", hidden: ""});
    this.figure.replaceChildren(this.picture, this.bubble);
    this.listen();
  }

  #say(text, attributes = {}) {
    this.figure.replaceChildren(html("p", {class: "wait", ...attributes}, text));
  }
}
