// A <details> that lies over the page: it closes when one goes elsewhere, by the pointer or by Escape.

/** Close it then. */
export function start(menu) {
  document.addEventListener("pointerdown", ({target}) => {
    if (!menu.contains(target)) {
      menu.open = false;
    }
  });
  menu.addEventListener("keydown", ({key}) => {
    if (key === "Escape" && menu.open) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}
