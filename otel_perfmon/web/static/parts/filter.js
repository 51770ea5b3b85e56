// A form that filters as one types or chooses. A field that suggests names waits until it has one of them, or is left;
// one that asks for a form (`pattern`) until it has it; one that adds (`data-adds`) is empty again afterwards.
import {visit} from "../visit.js";

const PAUSE_MS = 120;

/** Follow the form. */
export function start(form) {
  let timer = 0;
  const go = () => {
    clearTimeout(timer);
    if (!form.checkValidity()) {
      return;
    }
    const fields = [...new FormData(form)].filter(([, value]) => value !== "");
    for (const field of form.querySelectorAll("[data-adds]")) {
      field.value = "";
    }
    const address = `${form.getAttribute("action") ?? location.pathname}?${new URLSearchParams(fields)}`;
    visit(address, {replace: true}).catch(({message}) => (document.getElementById("state").textContent = message));
  };
  form.addEventListener("input", ({target}) => {
    clearTimeout(timer);
    if (isWhole(target)) {
      timer = setTimeout(go, PAUSE_MS);
    }
  });
  form.addEventListener("change", ({target}) => {
    if (target.reportValidity() && !isWhole(target)) {
      clearTimeout(timer);
      timer = setTimeout(go); // behind the submit of who pressed Enter
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go();
  });
}

/** Whether what stands in a field means something before somebody says that it is all. */
function isWhole(field) {
  if (field.pattern || field.hasAttribute("data-adds")) {
    return field.value === "";
  }
  return !field.list || field.value === "" || [...field.list.options].some(({value}) => value === field.value);
}
