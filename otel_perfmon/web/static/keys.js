// The keyboard: / finds, and letters go to pages. Nothing else is taken from the browser.

const isTyping = (target) => target.closest?.("input, textarea, select, [contenteditable]");

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
