// Axes: round times in the reader's zone, and round durations on a logarithmic scale.
import {duration, roundDuration} from "./numbers.js";
import {svg} from "./svg.js";
import {day, timeOfDay} from "./times.js";

const LABEL_WIDTH = 90;
const STEPS_SECONDS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
];

/** Round moments between two, in ms since 1970, at most about `most` of them: [{ms, label}]. */
function timeTicks(startMs, endMs, most) {
  const least = (endMs - startMs) / 1000 / Math.max(1, most);
  const step = (STEPS_SECONDS.find((each) => each >= least) ?? Math.ceil(least / 604_800) * 604_800) * 1000;
  const shift = new Date(startMs).getTimezoneOffset() * 60_000; // round here, not in UTC
  const ticks = [];
  for (let ms = Math.ceil((startMs - shift) / step) * step + shift; ms <= endMs; ms += step) {
    const date = new Date(ms);
    const time = timeOfDay(date);
    const label = step >= 86_400_000 ? day(date).slice(5) : step < 60_000 ? time : time.slice(0, 5);
    ticks.push({ms, label: label === "00:00" ? day(date).slice(5) : label});
  }
  return ticks;
}

/** The same as labels below a picture, whose times stand from `left` to `right`: elements of SVG. */
export function timeLabels(startMs, endMs, {left, right, y}) {
  return timeTicks(startMs, endMs, (right - left) / LABEL_WIDTH).map(({ms, label}) => {
    const x = left + ((ms - startMs) / (endMs - startMs)) * (right - left);
    const anchor = x < left + 16 ? "start" : x > right - 16 ? "end" : "middle";
    return svg("text", {x, y, "text-anchor": anchor}, label);
  });
}

/** Round durations between two in ms: powers of ten, the fives and twos between them where there are few: [{ms, label}]. */
export function decadeTicks(leastMs, mostMs) {
  const between = (steps) => {
    const ticks = [];
    for (let power = Math.floor(Math.log10(leastMs)); power <= Math.log10(mostMs) + 1e-9; power++) {
      for (const ms of steps.map((step) => step * 10 ** power)) {
        if (ms >= leastMs * (1 - 1e-9) && ms <= mostMs * (1 + 1e-9)) {
          ticks.push({ms, label: roundDuration(ms)});
        }
      }
    }
    return ticks;
  };
  const found = [[1], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]].map(between).find((ticks) => ticks.length > 1);
  return found ?? [leastMs, mostMs].map((ms) => ({ms, label: duration(ms)}));
}
