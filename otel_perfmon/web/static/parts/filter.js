// A form that filters as one types or chooses.
import {visit} from "../visit.js";

const PAUSE_MS = 120;

/** Follow the form. */
export function start(form) {
  let timer = 0;
  const go = () => {
    const fields = [...new FormData(form)].filter(([, value]) => value !== "");
    visit(`${form.getAttribute("action") ?? location.pathname}?${new URLSearchParams(fields)}`, {replace: true});
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(go, PAUSE_MS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    go();
  });
}
