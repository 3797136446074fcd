// Numbers as people read them: a minus sign that is one, units, percent.

const minus = (text) => text.replace("-", "\u2212");

// A value with two digits; a dash where there is none.
export const value = (number, digits = 2) => (Number.isFinite(number) ? minus(number.toFixed(digits)) : "\u2013");

export const interval = (lower, upper) =>
  Number.isFinite(lower) && Number.isFinite(upper) ? `${value(lower)} to ${value(upper)}` : "";

export const percent = (share, { signed = false, digits = 1 } = {}) =>
  `${signed && share > 0 ? "+" : ""}${minus((100 * share).toFixed(digits))}\u00a0%`;

export const counted = (n, one, many = `${one}s`) => `${n.toLocaleString("en-US")} ${n === 1 ? one : many}`;
