// The ruler above the bars. Dragging over it zooms in, a double click shows all again; events of the chosen span stand on it.
import {duration} from "../numbers.js";
import {html, svg} from "../svg.js";

const TICK_PX = 110;
const CLICK_PX = 4;

/** A ruler; `zoomed` is called when what it shows has changed, `held` with whether it is being dragged over. */
export class Ruler {
  constructor(state, {zoomed, held}) {
    this.state = state;
    this.picture = svg("svg", {class: "ticks", "aria-hidden": "true"});
    this.bubble = html("div", {class: "bubble", hidden: ""});
    this.element = html("div", {class: "ruler", title: "Drag to zoom, double-click to show all"}, this.picture, this.bubble);
    this.zoomed = zoomed;
    this.held = held;
    this.anchor = null;
    this.#listen();
  }

  draw() {
    const {scale, events} = this.state;
    const ticks = scale.ticks(TICK_PX).flatMap(({nano, label}) => {
      const x = scale.x(nano);
      const isLast = x + label.length * 6.5 > scale.width;
      return [
        svg("line", {x1: x, x2: x, y1: 16, y2: 26}),
        svg("text", {x: isLast ? x - 4 : x + 4, y: 16, "text-anchor": isLast ? "end" : "start"}, label),
      ];
    });
    const marks = events.map((nano) => scale.x(nano)).filter((x) => x >= 0 && x <= scale.width)
      .map((x) => svg("path", {class: "event", d: `M${x.toFixed(1)} 18l3.5 3.5l-3.5 3.5l-3.5 -3.5Z`}));
    this.picture.replaceChildren(...ticks, ...marks);
  }

  #x(event) {
    const box = this.element.getBoundingClientRect();
    return Math.max(0, Math.min(box.width, event.clientX - box.left));
  }

  #listen() {
    const {element} = this;
    element.addEventListener("pointerdown", (event) => {
      if (event.button === 0) {
        this.anchor = this.#x(event);
        element.setPointerCapture(event.pointerId);
        this.held(true);
      }
    });
    element.addEventListener("pointermove", (event) => this.#drag(this.#x(event)));
    element.addEventListener("pointerup", (event) => this.#drop(this.#x(event)));
    element.addEventListener("pointercancel", () => this.#release());
    element.addEventListener("pointerleave", () => this.anchor === null && (this.bubble.hidden = true));
    element.addEventListener("dblclick", () => {
      this.state.scale.reset();
      this.zoomed();
    });
  }

  #drag(x) {
    const {scale} = this.state;
    const isDragged = this.anchor !== null && Math.abs(x - this.anchor) >= CLICK_PX;
    this.picture.querySelector(".brush")?.remove();
    if (isDragged) {
      const left = Math.min(x, this.anchor);
      this.picture.append(svg("rect", {class: "brush", x: left, y: 0, width: Math.abs(x - this.anchor), height: 26}));
    }
    const told = isDragged ? Math.abs(scale.nano(x) - scale.nano(this.anchor)) : scale.nano(x);
    this.bubble.textContent = `${isDragged ? "" : "+"}${duration(Math.max(0, told) / 1e6)}`;
    this.bubble.hidden = false;
    this.bubble.style.left = `${Math.max(0, Math.min(scale.width - this.bubble.offsetWidth, x + 8))}px`;
  }

  #drop(x) {
    const {anchor} = this;
    this.#release();
    if (anchor !== null && Math.abs(x - anchor) >= CLICK_PX) {
      const {scale} = this.state;
      scale.show(scale.nano(anchor), scale.nano(x));
      this.zoomed();
    }
  }

  #release() {
    this.anchor = null;
    this.bubble.hidden = true;
    this.picture.querySelector(".brush")?.remove();
    this.held(false);
  }
}
