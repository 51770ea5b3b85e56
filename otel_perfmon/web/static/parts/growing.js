// What is open grows: once a second each bar and number goes on by itself, from what the server told last.
import {lapse} from "../numbers.js";

const TICK_MS = 1_000;

/** Let what is within grow. */
export function start(element) {
  let told = performance.now();
  const grow = () => {
    const more = performance.now() - told;
    const open = [...element.querySelectorAll("[data-open-ms]")].map((each) => [each, Number(each.dataset.openMs) + more]);
    const longest = Math.max(0, ...open.map(([, ms]) => ms));
    const steps = element.dataset.stepsMs.split(" ").map(Number);
    const scale = Math.max(Number(element.dataset.scaleMs), steps.find((step) => step > longest) ?? longest);
    for (const [each, ms] of open) {
      write(each, lapse(ms / 1000));
      each.parentElement.querySelector("rect")?.setAttribute("width", `${(100 * Math.min(1, ms / scale)).toFixed(1)}%`);
    }
  };
  const timer = setInterval(() => element.isConnected ? grow() : clearInterval(timer), TICK_MS);
  return {
    refresh() {
      told = performance.now();
      grow();
    },
  };
}

/** Figures and their units, as the server writes them. */
function write(element, parts) {
  const texts = [...element.childNodes].map((node) => node.textContent);
  if (texts.join() !== parts.flat().join()) {
    element.replaceChildren(...parts.flatMap(([figure, unit]) => [figure, unitOf(unit)]));
  }
}

function unitOf(text) {
  const unit = document.createElement("span");
  unit.className = "u";
  unit.textContent = text;
  return unit;
}
