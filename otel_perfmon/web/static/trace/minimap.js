// The whole trace in small, and the stretch of it that is shown: it can be dragged along, and a new one drawn.
import {html, svg} from "../svg.js";
import {Colours} from "./colours.js";
import {MARK} from "./tree.js";

const TALL = 40;
const EDGE_PX = 6;
const CLICK_PX = 4;

/** The small picture; `zoomed` is called when another stretch is chosen, `held` with whether one is being drawn. */
export class Minimap {
  constructor(state, {zoomed, held}) {
    this.state = state;
    this.canvas = html("canvas", {height: TALL, "aria-hidden": "true"});
    this.overlay = svg("svg", {"aria-hidden": "true"});
    this.element = html("div", {class: "minimap"}, this.canvas, this.overlay);
    this.zoomed = zoomed;
    this.held = held;
    this.#listen();
  }

  /** Draw all spans: each a line of at least a pixel, what failed in red and above the others. */
  draw() {
    const {tree, colours} = this.state;
    const width = (this.width = this.element.clientWidth);
    const ratio = globalThis.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = TALL * ratio;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const hues = Colours.read(this.element);
    const paint = (place, colour) => {
      context.fillStyle = colour;
      const x = Math.min(width - 1, (tree.starts[place] / tree.length) * width);
      const tall = Math.min(4, Math.max(1, TALL / tree.count));
      const y = (place / tree.count) * (TALL - tall);
      context.fillRect(x, y, Math.max(1, (tree.durations[place] / tree.length) * width), tall);
    };
    const failed = [];
    for (let place = 0; place < tree.count; place++) {
      paint(place, hues[colours.of(place)]);
      if (tree.has(place, MARK.error)) {
        failed.push(place);
      }
    }
    const red = getComputedStyle(this.element).getPropertyValue("--error");
    failed.forEach((place) => paint(place, red));
    this.drawWindow();
  }

  /** Draw which stretch is shown. */
  drawWindow([start, end] = [this.state.scale.start, this.state.scale.end]) {
    const {scale} = this.state;
    const [left, right] = [start, end].map((nano) => (nano / scale.length) * this.width);
    this.overlay.setAttribute("viewBox", `0 0 ${this.width} ${TALL}`);
    const isAll = start <= 0 && end >= scale.length;
    this.overlay.replaceChildren(...(isAll ? [] : [
      svg("rect", {class: "off", x: 0, y: 0, width: Math.max(0, left), height: TALL}),
      svg("rect", {class: "off", x: right, y: 0, width: Math.max(0, this.width - right), height: TALL}),
      svg("line", {x1: left, x2: left, y1: 0, y2: TALL}),
      svg("line", {x1: right, x2: right, y1: 0, y2: TALL}),
    ]));
  }

  #listen() {
    const {element} = this;
    let drag = null;
    const at = (event) => event.clientX - element.getBoundingClientRect().left;
    const nano = (x) => Math.max(0, Math.min(1, x / this.width)) * this.state.scale.length;
    element.addEventListener("pointerdown", (event) => {
      if (event.button === 0) {
        drag = this.#begin(at(event), nano);
        element.setPointerCapture(event.pointerId);
        this.held(true);
      }
    });
    element.addEventListener("pointermove", (event) => {
      if (drag) {
        drag.isMoved ||= Math.abs(at(event) - drag.x) >= CLICK_PX;
        drag.to = drag.isMoved ? drag.move(at(event)) : drag.to;
        this.drawWindow(drag.to);
      }
    });
    const end = () => {
      if (drag?.isMoved) {
        this.state.scale.show(...drag.to);
        this.zoomed();
      }
      drag = null;
      this.held(false);
    };
    element.addEventListener("pointerup", end);
    element.addEventListener("pointercancel", end);
    element.addEventListener("dblclick", () => {
      this.state.scale.reset();
      this.zoomed();
    });
  }

  /** What dragging from there does: move one end, the whole stretch, or draw a new one. */
  #begin(x, nano) {
    const {scale} = this.state;
    const [start, end] = [scale.start, scale.end];
    const [left, right] = [start, end].map((each) => (each / scale.length) * this.width);
    const sorted = (one, other) => [Math.min(one, other), Math.max(one, other)];
    const drag = {x, to: [start, end], isMoved: false};
    if (scale.isZoomed && Math.abs(x - left) <= EDGE_PX) {
      drag.move = (to) => sorted(nano(to), end);
    } else if (scale.isZoomed && Math.abs(x - right) <= EDGE_PX) {
      drag.move = (to) => sorted(start, nano(to));
    } else if (scale.isZoomed && x > left && x < right) {
      drag.move = (to) => {
        const by = Math.max(-start, Math.min(scale.length - end, ((to - x) / this.width) * scale.length));
        return [start + by, end + by];
      };
    } else {
      drag.move = (to) => sorted(nano(x), nano(to));
    }
    return drag;
  }
}
