// Moments in the reader's zone; to the nanosecond for who points at one.

const pad = (number, digits = 2) => String(number).padStart(digits, "0");

/** The time of day, with `digits` of the second's fraction. */
export function timeOfDay(date, digits = 0) {
  const fraction = digits ? `.${pad(date.getMilliseconds(), 3).slice(0, digits)}` : "";
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}${fraction}`;
}

/** The day: 2026-01-31. */
export const day = (date) => `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;

/** As much of a moment as tells it from others near now. */
export function stamp(date, now = new Date(), digits = 3) {
  return day(date) === day(now) ? timeOfDay(date, digits) : `${day(date)} ${timeOfDay(date, digits)}`;
}

/** How long before now: now, 12 s ago, 3 min ago. */
export function ago(date, now = new Date()) {
  const seconds = (now - date) / 1000;
  if (Math.abs(seconds) < 1) {
    return "now";
  }
  const [size, unit] = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]].find(([each]) => Math.abs(seconds) >= each);
  const text = `${Math.floor(Math.abs(seconds) / size).toLocaleString("en")} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

const FORMS = {ago, clock: stamp, second: (date, now) => stamp(date, now, 0)};

/** Write every moment that the server told. */
export function writeTimes(root) {
  const now = new Date();
  for (const element of root.querySelectorAll("time[data-unix-nano]")) {
    const date = new Date(element.dateTime);
    const text = FORMS[element.dataset.form](date, now);
    if (element.textContent !== text) {
      element.textContent = text;
    }
    if (!element.title) {
      const nano = element.dataset.unixNano;
      element.title = `${day(date)} ${timeOfDay(date)}.${nano.slice(-9).padStart(9, "0")} (${nano} ns since 1970)`;
    }
  }
}
