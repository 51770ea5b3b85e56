// Scales: where a value stands, and the round values that are written beside them.

const ROUND = [1, 2, 5, 10];

/** From zero to something round above `most`: {y(value), ticks: [{value, y}], least, most}. */
export function linearScale(most, low, high) {
  const step = roundAbove((most || 1) / 3);
  const top = Math.max(step, Math.ceil((most / step) * (1 - 1e-9)) * step);
  const y = (value) => low + (value / top) * (high - low);
  const ticks = Array.from({length: Math.round(top / step) + 1}, (_, place) => ({value: place * step, y: y(place * step)}));
  return {y, ticks, least: 0, most: top};
}

/** Logarithmic, between round values around all of `values`, which are above zero. */
export function logScale(values, low, high) {
  const [smallest, largest] = values.length ? [Math.min(...values), Math.max(...values)] : [1, 10];
  const [least, most] = [roundBelow(smallest / 1.05), roundAbove(largest * 1.05)];
  const share = (value) => Math.log(Math.max(value, least) / least) / Math.log(most / least);
  const y = (value) => low + share(value) * (high - low);
  const decades = Math.log10(most / least);
  const between = decades > 3 ? [1] : decades > 1.3 ? [1, 3] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power++) {
    ticks.push(...between.map((each) => each * 10 ** power).filter((value) => value >= least * 0.999 && value <= most * 1.001));
  }
  return {y, ticks: ticks.map((value) => ({value, y: y(value)})), least, most};
}

function roundAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return ROUND.find((each) => each * power >= value * (1 - 1e-9)) * power;
}

function roundBelow(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return ROUND.findLast((each) => each * power <= value * (1 + 1e-9)) * power;
}
