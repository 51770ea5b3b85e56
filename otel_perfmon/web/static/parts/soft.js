// Links to other states of the same page, followed without a reload.
import {go} from "../visit.js";

/** Whether a click is a plain one: others open tabs and windows, which is the browser's business. */
export const isPlain = (event) =>
  event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey && !event.defaultPrevented;

/** Follow the links within an element. */
export function start(element) {
  element.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (link && isPlain(event) && new URL(link.href).pathname === location.pathname) {
      event.preventDefault();
      go(link.href);
    }
  });
}
