// The page follows the store: the server tells of changes (server-sent events), and the page looks again, but never so
// often that it would take more than a tenth of the time. One connection serves all tabs, since a browser opens only
// six to one server.
import {count, size} from "./numbers.js";
import {listen} from "./listening.js";
import {html} from "./svg.js";
import {startWorker} from "./trusted.js";
import {refresh} from "./visit.js";

const PAUSE_MS = 2_000;
const POINTING_MS = 2_500;
const STRANGER = "The server has started anew: open the address that it printed";
let isChanged = false;
let isAsking = false;
let notBefore = 0;
let pointedAt = -POINTING_MS; // when the pointer last moved over rows, which then stay where they are

/** Follow it. */
export function startLive() {
  if (globalThis.SharedWorker) {
    const {port} = startWorker();
    port.onmessage = ({data}) => hear(data);
    addEventListener("pagehide", () => port.postMessage(false));
    addEventListener("pageshow", ({persisted}) => persisted && port.postMessage(true));
  } else {
    listen(hear);
  }
  addEventListener("pointermove", ({target}) => {
    if (target.closest?.("tbody")) {
      pointedAt = performance.now();
    }
  });
  setInterval(lookAgain, 250);
  document.addEventListener("visibilitychange", lookAgain);
}

function hear({pulse, isAway = false, isStranger = false}) {
  const live = document.getElementById("live");
  live?.classList.toggle("is-away", isAway);
  tell(isStranger ? STRANGER : isAway ? "The server does not answer" : "");
  if (pulse) {
    isChanged = true;
    write("stored", count(pulse.stored));
    write("lost", count(pulse.lost));
    write("file_bytes", size(pulse.file_bytes));
    document.dispatchEvent(new CustomEvent("perfmon:pulse", {detail: pulse}));
  }
}

let said = "";

/** Say in the foot what is wrong, and in the header that nothing is live; or, with an empty text, no longer. */
function tell(text) {
  if (text === said) {
    return;
  }
  said = text;
  const [state, live] = [document.getElementById("state"), document.getElementById("live")];
  state.replaceChildren(text || (document.body.hasAttribute("data-live") ? "live" : ""));
  if (live && document.body.hasAttribute("data-live")) {
    live.textContent = text ? "away" : "live";
  }
}

function write(name, text) {
  const element = document.querySelector(`#foot [data-of=${name}]`);
  if (element && element.textContent.replace(/\s/g, "") !== text.replace(/\s/g, "")) {
    const [number, unit] = text.split(" ");
    element.replaceChildren(number, ...(unit ? [html("span", {class: "u"}, unit)] : []));
  }
}

async function lookAgain() {
  const isHeld = document.querySelector("[data-held]"); // a box is being drawn, a row is pointed at
  const isPointing = performance.now() < pointedAt + POINTING_MS;
  if (!isChanged || isAsking || isHeld || isPointing || document.hidden || performance.now() < notBefore) {
    return;
  }
  if (!document.body.hasAttribute("data-live")) {
    return;
  }
  isAsking = true;
  isChanged = false;
  const began = performance.now();
  let took;
  try {
    took = await refresh();
  } catch {
    isChanged = true;
    took = performance.now() - began;
  } finally {
    isAsking = false;
    notBefore = performance.now() + Math.max(PAUSE_MS, 10 * took);
  }
}
