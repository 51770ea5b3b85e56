// Going on to another state of the same page without a reload: its HTML is fetched, and what differs is changed.
import {morph} from "./morph.js";
import {refreshParts} from "./parts.js";
import {writeTimes} from "./times.js";
import {parsed} from "./trusted.js";

let latest = 0;

/** Show another state of this page; the address follows unless it is the same. Returns how long the server took, in ms. */
export async function visit(address, {replace = false} = {}) {
  const number = ++latest;
  const url = new URL(address, location.href);
  if (url.href !== location.href) {
    history[replace ? "replaceState" : "pushState"](null, "", url);
  }
  return show(url, number);
}

/** The same for who has nothing else to do when it cannot be shown: then the browser goes there and says why. */
export const go = (address, options) => visit(address, options).catch(() => location.assign(address));

/** Show what this page is now. */
export const refresh = () => show(new URL(location.href), ++latest);

async function show(url, number) {
  const began = performance.now();
  const response = await fetch(url, {headers: {Accept: "text/html"}});
  const text = await response.text();
  const took = performance.now() - began;
  if (number !== latest) {
    return took; // something else was asked for meanwhile
  }
  const page = parsed(text);
  if (!response.ok) {
    throw new Error(page.querySelector("#main p")?.textContent ?? `${response.status} ${response.statusText}`);
  }
  document.title = page.title;
  document.body.toggleAttribute("data-live", page.body.hasAttribute("data-live"));
  for (const id of ["bar", "main", "foot"]) {
    morph(document.getElementById(id), page.getElementById(id));
  }
  writeTimes(document);
  await refreshParts(document);
  document.dispatchEvent(new CustomEvent("perfmon:shown"));
  return took;
}

addEventListener("popstate", () => refresh().catch(() => location.reload()));
