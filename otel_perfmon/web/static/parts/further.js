// A search that has found nothing yet goes on by itself, step by step, until it has or somebody stops it.
import {go} from "../visit.js";

const PAUSE_MS = 300;
let isStopped = false;

/** Follow the link, unless it is pressed before: that stops it, and a second time goes on by hand. */
export function start(link) {
  const step = () => {
    if (!isStopped && link.isConnected) {
      link.textContent = "Stop";
      setTimeout(() => !isStopped && link.isConnected && go(link.href, {replace: true}), PAUSE_MS);
    }
  };
  link.addEventListener("click", (event) => {
    if (!isStopped) {
      event.preventDefault();
      isStopped = true;
      link.textContent = "Go on";
    }
  });
  step();
  return {refresh: step};
}
