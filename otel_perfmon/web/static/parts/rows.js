// The rows of a table, each of which leads somewhere: by its link, by a click anywhere on it, and by the keyboard.
import {isTyping} from "../keys.js";
import {isPlain} from "./soft.js";

const STEPS = {j: 1, k: -1, ArrowDown: 1, ArrowUp: -1};

/** Make the rows of an element open by their links, `a.opens`. */
export function start(element) {
  const links = () => [...element.querySelectorAll("tbody a.opens")];
  element.addEventListener("click", (event) => {
    const link = event.target.closest("tbody tr")?.querySelector("a.opens");
    const isChoosing = String(getSelection()).length > 0; // of text, to copy it
    if (link && isPlain(event) && !isChoosing && !event.target.closest("a, button, summary, details")) {
      link.click();
    }
  });
  document.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    const isOurs = element.isConnected && !isTyping(event.target) && !event.ctrlKey && !event.metaKey && !event.altKey;
    const at = links().findIndex((link) => link.closest("tr").contains(document.activeElement));
    if (!step || !isOurs || (event.key.startsWith("Arrow") && at < 0)) {
      return;
    }
    event.preventDefault();
    const next = links()[at < 0 ? 0 : Math.max(0, Math.min(links().length - 1, at + step))];
    next?.focus({preventScroll: true});
    next?.scrollIntoView({block: "nearest"});
  });
}
