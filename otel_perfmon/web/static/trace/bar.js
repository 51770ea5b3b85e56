// The bar of one span: pale where its children ran, full where it ran itself, with the critical path as a dark thread, and
// its duration beside it.
import {duration} from "../numbers.js";
import {svg} from "../svg.js";
import {MARK} from "./tree.js";

const TOP = 7;
const TALL = 12;
const LEAST_PX = 2;
const DIGIT_PX = 6.4;
const GAP_PX = 6;

/** What to draw of a span, as children of an SVG of `height` pixels. */
export function bar(tree, place, scale, hue) {
  const [start, end] = [tree.starts[place], tree.end(place)];
  const [left, right] = [scale.x(start), scale.x(end)];
  const drawn = [];
  if (right >= -LEAST_PX && left <= scale.width + LEAST_PX) {
    const [from, to] = [Math.max(-4, left), Math.min(scale.width + 4, Math.max(right, left + LEAST_PX))];
    const kind = `took hue-${hue}${tree.has(place, MARK.error) ? " is-error" : ""}${tree.has(place, MARK.running) ? " is-running" : ""}`;
    drawn.push(svg("rect", {class: kind, x: from, y: TOP, width: to - from, height: TALL, rx: 2}));
    const own = start === end ? [[from.toFixed(1), to.toFixed(1)]] : stretches(gaps(start, end, tree.cover(place)), scale, to - from < LEAST_PX * 2);
    if (own.length) {
      drawn.push(svg("path", {class: `own hue-${hue}`, d: own.map(([a, b]) => `M${a} ${TOP}H${b}V${TOP + TALL}H${a}Z`).join("")}));
    }
    const path = stretches(tree.path(place), scale, true);
    if (path.length) {
      drawn.push(svg("path", {class: "critical", d: path.map(([a, b]) => `M${a} ${TOP + TALL + 2.5}H${b}`).join("")}));
    }
  }
  drawn.push(...label(tree, place, scale, left, right));
  return drawn;
}

function label(tree, place, scale, left, right) {
  const text = `${duration(tree.durations[place] / 1e6)}${tree.has(place, MARK.running) ? " …" : ""}`;
  const room = text.length * DIGIT_PX;
  const y = TOP + TALL - 2;
  if (right < 0) {
    return [svg("text", {class: "away", x: 4, y}, `← ${text}`)];
  }
  if (left > scale.width) {
    return [svg("text", {class: "away", x: scale.width - 4, y, "text-anchor": "end"}, `${text} →`)];
  }
  if (right + GAP_PX + room < scale.width) {
    return [svg("text", {x: Math.max(right, left + LEAST_PX) + GAP_PX, y}, text)];
  }
  if (left - GAP_PX - room > 0) {
    return [svg("text", {x: left - GAP_PX, y, "text-anchor": "end"}, text)];
  }
  return [
    svg("rect", {class: "ground", x: Math.max(0, left) + 3, y: TOP, width: room + 8, height: TALL, rx: 2}),
    svg("text", {x: Math.max(0, left) + GAP_PX, y}, text),
  ];
}

/** What of a stretch of time lies between the stretches of a list. */
function gaps(start, end, cover) {
  const left = [start, ...cover, end];
  const found = [];
  for (let at = 0; at < left.length; at += 2) {
    if (left[at] < left[at + 1]) {
      found.push(left[at], left[at + 1]);
    }
  }
  return found;
}

/** Stretches of time in pixels, of which those go together that no eye tells apart. */
function stretches(times, scale, isWidened) {
  const found = [];
  for (let at = 0; at < times.length; at += 2) {
    const a = Math.max(-4, scale.x(times[at]));
    const b = Math.min(scale.width + 4, Math.max(scale.x(times[at + 1]), isWidened ? a + 1 : a));
    if (b <= a || b < 0 || a > scale.width) {
      continue;
    }
    if (found.length && a - found.at(-1)[1] < 0.4) {
      found.at(-1)[1] = Math.max(b, found.at(-1)[1]);
    } else {
      found.push([a, b]);
    }
  }
  return found.map(([a, b]) => [a.toFixed(1), b.toFixed(1)]);
}
