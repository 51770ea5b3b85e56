// The keyboard: / goes to the filter of the page, or to the search. Nothing else is taken from the browser.

/** Whether keys are for what they are pressed in. */
export const isTyping = (target) => target.closest?.("input, textarea, select, [contenteditable]");

/** Hear them. */
export function listenToKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) {
      if (event.key === "Escape" && isTyping(event.target)) {
        event.target.blur();
      }
      return;
    }
    if (event.key === "/") {
      const field = document.querySelector("#filters input[type=search]") ?? document.querySelector(".find input");
      event.preventDefault();
      field.focus();
      field.select();
    }
  });
}
