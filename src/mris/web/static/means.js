// What the maps come to: the mean of each region and part with its interval, and what is usual for people by label.

import { ticksOf } from "./colormap.js";
import { draw, fill, find, make, show } from "./dom.js";
import { interval, percent, value } from "./numbers.js";

const WIDTH = 300; // of a plot, in its own units
const LINE = 10; // a group of people

export class Means {
  constructor(root) {
    this.root = root;
    this.label = null;
    this.choice = find("select", root);
    this.choice.addEventListener("change", () => {
      this.label = this.choice.value;
      this.#draw();
    });
  }

  show(synthesis) {
    this.synthesis = synthesis;
    const labels = [...new Set(synthesis.means.flatMap(({ usual }) => usual.map(({ label }) => label)))];
    if (!labels.includes(this.label)) this.label = labels.find((label) => !label.startsWith("age")) ?? labels[0] ?? null;
    show(find(".usual", this.root), labels.length > 0);
    fill(this.choice, ...labels.map((label) => make("option", { value: label, textContent: label, selected: label === this.label })));
    this.#draw();
  }

  #draw() {
    const { means, unit, level } = this.synthesis;
    const groups = (row) => row.usual.filter(({ label }) => label === this.label);
    const limits = limitsOf(means, groups);
    const heads = [
      ["Region", ""],
      [`Mean (${unit})`, "number"],
      [level ? `${percent(level, { digits: 0 })} interval` : "Interval", "number"],
      ...(limits ? [[this.label ? `Usual for people by ${this.label} (${unit})` : "", "plotted"]] : []),
    ];
    fill(
      find("thead tr", this.root),
      ...heads.map(([textContent, className]) => make("th", { textContent, className, attributes: { scope: "col" } })),
    );
    fill(
      find("tbody", this.root),
      ...means.map((row) =>
        make(
          "tr",
          {},
          make("th", { className: row.part ? "part" : "", textContent: row.part || row.region, attributes: { scope: "row" } }),
          make("td", { className: "number", textContent: value(row.mean ?? NaN) }),
          make("td", { className: "number", textContent: interval(row.lower ?? NaN, row.upper ?? NaN) || "not calibrated" }),
          limits ? make("td", { className: "plotted" }, plot(row, groups(row), limits, unit)) : null,
        ),
      ),
      limits ? make("tr", { className: "axis" }, make("td", { colSpan: 3 }), make("td", { className: "plotted" }, axis(limits))) : null,
    );
    this.root.classList.toggle("with-plot", limits !== null);
    show(find(".legend", this.root), limits !== null && this.label !== null);
  }
}

// Least and largest number of all plots; null where nothing is there to plot.
function limitsOf(means, groups) {
  const numbers = means
    .flatMap((row) => [row.mean, row.lower, row.upper, ...groups(row).flatMap(({ low, high }) => [low, high])])
    .filter(Number.isFinite);
  if (numbers.length < 2) return null;
  const [least, largest] = [Math.min(...numbers), Math.max(...numbers)];
  const margin = 0.05 * (largest - least || 1);
  return [least - margin, largest + margin];
}

const placeIn = ([least, largest]) => (number) => (WIDTH * (number - least)) / (largest - least);

// The interval of a mean as a band with a line, across the ranges that are usual.
function plot(row, groups, limits, unit) {
  const x = placeIn(limits);
  const height = LINE * Math.max(groups.length, 2) + 4;
  const shapes = groups.flatMap(({ low, median, high }, i) => [
    draw("rect", { class: "range", x: x(low), y: 3 + LINE * i, width: x(high) - x(low), height: LINE - 2 }),
    draw("rect", { class: "median", x: x(median) - 1, y: 3 + LINE * i, width: 2, height: LINE - 2 }),
  ]);
  if (Number.isFinite(row.lower)) {
    shapes.unshift(draw("rect", { class: "interval", x: x(row.lower), y: 0, width: x(row.upper) - x(row.lower), height }));
  }
  if (Number.isFinite(row.mean)) shapes.push(draw("rect", { class: "mean", x: x(row.mean) - 1, y: 0, width: 2, height }));
  const told = groups.map(({ label, value: of, n_people: n, low, median, high }) =>
    `${label} ${of}: ${value(median)} (${interval(low, high)}) ${unit}, ${n} people`);
  const names = groups.map(({ value: of }, i) => draw("text", { x: WIDTH + 6, y: LINE * (i + 1) + 1 }, of));
  return draw(
    "svg",
    { class: "usual-plot", viewBox: `0 0 ${WIDTH + 40} ${height}`, role: "img", "aria-label": told.join("; ") || "the interval" },
    draw("title", {}, told.join("\n")),
    ...shapes,
    ...names,
  );
}

function axis(limits) {
  const x = placeIn(limits);
  return draw(
    "svg",
    { class: "usual-plot", viewBox: `0 0 ${WIDTH + 40} 16`, "aria-hidden": "true" },
    draw("rect", { class: "tick", x: 0, y: 0, width: WIDTH, height: 0.7 }),
    ...ticksOf(limits, 6).flatMap(({ value: number, text }) => [
      draw("rect", { class: "tick", x: x(number), y: 0, width: 0.7, height: 3 }),
      draw("text", { x: x(number), y: 13, "text-anchor": "middle" }, text),
    ]),
  );
}
