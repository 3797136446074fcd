// What maps can show: the layers, each with its colors and scale, and what is read at a point.

import { ERRORS, VALUES } from "./colormap.js";
import { interval, value } from "./numbers.js";

// How two maps differ at each pixel; null where one of them is missing.
export const minus = (one, other) =>
  one && other ? { ...one, values: one.values.map((number, i) => number - other.values[i]) } : null;

// What a map has at a point; NaN outside.
export const at = (map, { row, column }) => (map ? map.values[row * map.width + column] : NaN);

// `of` gives a region's map of the layer, given the chosen person's own; `what` says what is shown.
export const LAYERS = {
  value: { scale: "value", colors: VALUES, of: (region) => region.value, what: () => "The synthesis" },
  lower: { scale: "value", colors: VALUES, of: (region) => region.lower, what: (level) => `Lower end of the ${level} interval` },
  upper: { scale: "value", colors: VALUES, of: (region) => region.upper, what: (level) => `Upper end of the ${level} interval` },
  width: {
    scale: "width",
    colors: ERRORS,
    of: (region) => minus(region.upper, region.lower),
    what: (level) => `Width of the ${level} interval`,
  },
  spread: {
    scale: "spread",
    colors: ERRORS,
    of: (region) => region.spread,
    what: () => "Spread: how far the people behind it are apart; no interval",
  },
  person: { scale: "value", colors: VALUES, of: (region, own) => own, what: (_, person) => `The own map of ${person}` },
};

// Value, interval and spread of a region at a point, in words.
export function reading(region, point, unit) {
  const here = at(region.value, point);
  if (!Number.isFinite(here)) return "no value here";
  const ends = interval(at(region.lower, point), at(region.upper, point));
  return `${value(here)} ${unit}${ends ? ` (${ends})` : ""} · spread ${value(at(region.spread, point))}`;
}
