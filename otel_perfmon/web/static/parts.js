// Parts of a page: an element with data-part="heatmap" is drawn by parts/heatmap.js, whose start(element) gives what
// refresh(element) it has. A part owns what is within its element; its attributes come from the server.

const running = new WeakMap();

/** Start every part that is not yet there. */
export function startParts(root) {
  for (const element of root.querySelectorAll("[data-part]")) {
    if (!running.has(element)) {
      running.set(element, import(`./parts/${element.dataset.part}.js`).then((module) => module.start(element) ?? {}));
    }
  }
}

/** Have every part look again at its attributes and at what it shows. */
export async function refreshParts(root) {
  startParts(root);
  const parts = [...root.querySelectorAll("[data-part]")].map((element) => running.get(element));
  await Promise.all(parts.map(async (part) => (await part).refresh?.()));
}
