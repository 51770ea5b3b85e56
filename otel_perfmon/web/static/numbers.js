// Figures as the server writes them (quantities.py): three significant digits, and the unit that suits them.

const GROUPED = new Intl.NumberFormat("en"); // made once: toLocaleString makes one for each number
const UNITS_MS = [["s", 1e3], ["ms", 1], ["µs", 1e-3], ["ns", 1e-6]];

function threeDigits(value) {
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : GROUPED.format(Math.round(value));
}

/** A duration: "1.64 s", "420 µs". */
export function duration(milliseconds) {
  const rounded = Number(milliseconds.toPrecision(3));
  if (rounded >= 1e7) {
    return `${threeDigits(rounded / 3.6e6)} h`;
  }
  const found = UNITS_MS.find(([, size]) => rounded >= size * (1 - 1e-12));
  if (found) {
    return `${threeDigits(rounded / found[1])} ${found[0]}`;
  }
  return rounded ? `${Number((rounded * 1e6).toPrecision(3))} ns` : "0 µs";
}

/** The same of a round number, without zeros behind the point: "100 ms". */
export function roundDuration(milliseconds) {
  const [number, unit] = duration(milliseconds).split(" ");
  return `${number.includes(".") ? number.replace(/\.?0+$/, "") : number} ${unit}`;
}

const LAPSES = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];

/** How long something goes on already, in whole seconds and two units at most: [["3", "min"], ["05", "s"]]. */
export function lapse(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const at = Math.max(0, LAPSES.findIndex(([, size]) => whole >= size));
  if (whole < 60) {
    return [[String(whole), "s"]];
  }
  const [[unit, size], [less, part]] = LAPSES.slice(at, at + 2);
  return [[count(Math.floor(whole / size)), unit], [String(Math.floor((whole % size) / part)).padStart(2, "0"), less]];
}

/** All digits, in groups of three. */
export const count = (number) => GROUPED.format(number);

/** A share between 0 and 1 in percent, with two significant digits below ten. */
export function share(part) {
  const percent = Number((part * 100).toPrecision(2));
  return percent >= 10 ? `${Math.round(part * 100)}%` : `${percent}%`;
}

/** How often: "5.06/s", in a second, a minute, an hour or a day, whichever suits it; round ones without zeros. */
export function rate(perSecond, isRound = false) {
  for (const [unit, seconds] of [["s", 1], ["min", 60], ["h", 3_600], ["d", 86_400]]) {
    const number = Number((perSecond * seconds).toPrecision(3));
    if (number >= 1 || (number && unit === "d")) {
      return `${isRound ? number.toLocaleString("en") : threeDigits(number)}/${unit}`;
    }
  }
  return "0/s";
}

/** Bytes; a kilobyte has 1024. */
export function size(bytes) {
  const found = [["GB", 1024 ** 3], ["MB", 1024 ** 2], ["kB", 1024]].find(([, factor]) => bytes >= 0.9995 * factor);
  return found ? `${threeDigits(bytes / found[1])} ${found[0]}` : `${count(bytes)} bytes`;
}

const HIDDEN = /[\p{C}\p{Zl}\p{Zp}\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180F\u2800\u3164\uFE00-\uFE0E\uFFA0]|(?! )\p{Zs}/gu;

/** Text from data in one line, what cannot be seen escaped (visible.py). */
export const visible = (text) => String(text).replace(HIDDEN, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
