// The line between names and bars: it can be dragged, and moved by the keyboard.
import {html} from "../svg.js";

const LEAST_PX = 90;
const ROOM_PX = 160;
const STEP_PX = 20;

/** The line; `moved` is called when it stands elsewhere, `held` with whether it is being dragged. */
export function divider(element, {moved, held}) {
  const line = html("div", {class: "divider", role: "separator", tabindex: 0, "aria-orientation": "vertical", "aria-label": "Width of the names", "aria-valuenow": 0});
  const move = (px) => {
    const width = Math.round(Math.max(LEAST_PX, Math.min(element.clientWidth - ROOM_PX, px)));
    element.style.setProperty("--names", `${width}px`);
    moved();
  };
  line.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    line.setPointerCapture(event.pointerId);
    held(true);
  });
  line.addEventListener("pointermove", (event) => {
    if (line.hasPointerCapture(event.pointerId)) {
      move(event.clientX - element.getBoundingClientRect().left);
    }
  });
  line.addEventListener("lostpointercapture", () => held(false));
  line.addEventListener("dblclick", () => {
    element.style.removeProperty("--names");
    moved();
  });
  line.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: -STEP_PX, ArrowRight: STEP_PX}[event.key];
    if (step) {
      event.preventDefault();
      move(line.getBoundingClientRect().left - element.getBoundingClientRect().left + step);
    }
  });
  return line;
}
