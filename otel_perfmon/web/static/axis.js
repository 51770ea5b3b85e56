// Axes: round times in the reader's zone, and round durations on a logarithmic scale.
import {roundDuration} from "./numbers.js";
import {day, timeOfDay} from "./times.js";

const STEPS_SECONDS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
];

/** Round moments between two, in ms since 1970, at most about `most` of them: [{ms, label}]. */
export function timeTicks(startMs, endMs, most) {
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

/** Powers of ten between two durations in ms, and where there are few also twice and five times those: [{ms, label}]. */
export function decadeTicks(leastMs, mostMs) {
  const factors = Math.log10(mostMs / leastMs) < 1.7 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = Math.floor(Math.log10(leastMs)); power <= Math.log10(mostMs) + 1e-9; power++) {
    for (const factor of factors) {
      const ms = factor * 10 ** power;
      if (ms >= leastMs * (1 - 1e-9) && ms <= mostMs * (1 + 1e-9)) {
        ticks.push({ms, label: roundDuration(ms)});
      }
    }
  }
  return ticks;
}
