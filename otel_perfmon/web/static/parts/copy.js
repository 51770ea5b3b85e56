// Buttons that copy: a text stands in their data-copy. The element that holds them is the part.

const TOLD_MS = 1_200;

/** Hear them. */
export function start(element) {
  element.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button || !element.contains(button)) {
      return;
    }
    const isCopied = await copy(button.dataset.copy);
    button.classList.add("is-told");
    button.textContent = isCopied ? "copied" : "not allowed";
    setTimeout(() => {
      button.textContent = "copy";
      button.classList.remove("is-told");
    }, TOLD_MS);
  });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = Object.assign(document.createElement("textarea"), {value: text});
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy"); // over plain HTTP from another machine there is no clipboard
    area.remove();
    return isCopied;
  }
}
