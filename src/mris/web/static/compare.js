// Two bundles on one radiograph: their maps in one color scale, how they differ, and their means side by side.

import { DIFFERENCES } from "./colormap.js";
import { Desk } from "./desk.js";
import { fill, find, findAll, make, show } from "./dom.js";
import { at, LAYERS, minus, reading } from "./layers.js";
import { MapRow } from "./map_row.js";
import { interval, percent, value } from "./numbers.js";

const area = find("#result");
const difference = find("#difference");
const places = findAll(".of-bundle");
const names = places.map(({ dataset }) => dataset.bundle);
const readers = { onPoint: (point, byKey) => read(point, byKey) };
const rows = places.map((place) => new MapRow(find(".maps", place), readers));
const differenceRow = new MapRow(find(".maps", difference), readers);
let syntheses = [];
let layer = "value";

new Desk({
  bundles: names,
  draw: (_, both) => {
    syntheses = both;
    rows.forEach((row, i) => row.prepare(both[i]));
    differenceRow.prepare(both[0]);
    drawMaps();
    drawMeans();
  },
});
for (const choice of findAll("input[name=layer]", area)) {
  choice.addEventListener("change", () => {
    layer = choice.value;
    drawMaps();
  });
}

const mapsOf = (synthesis) => synthesis.regions.map((region) => LAYERS[layer].of(region));
const comparable = () => {
  const shapes = syntheses.map(({ regions }) => regions.map(({ name, value: { height, width } }) => `${name} ${height} ${width}`));
  return shapes[0].join() === shapes[1].join();
};
const differences = () => syntheses[1].regions.map((region, i) => minus(region.value, syntheses[0].regions[i].value));

function drawMaps() {
  const { scale, colors, what } = LAYERS[layer];
  const limits = [0, 1].map((end) => Math[end ? "max" : "min"](...syntheses.map((one) => one.scale[scale][end])));
  for (const choice of findAll("input[name=layer]", area)) {
    choice.disabled = !syntheses.some(({ regions }) => LAYERS[choice.value].of(regions[0]));
  }
  const level = syntheses.find((one) => one.level)?.level;
  find(".what", area).textContent = what(level ? percent(level, { digits: 0 }) : "");
  rows.forEach((row, i) => row.show(mapsOf(syntheses[i]), limits, colors, syntheses[i].unit));
  show(difference, comparable());
  if (!comparable()) return;
  find("h3", difference).textContent = `${names[1]} minus ${names[0]}`;
  const largest = Math.max(...syntheses.map((one) => one.scale.difference[1]));
  differenceRow.show(differences(), [-largest, largest], DIFFERENCES, syntheses[0].unit);
}

function read(point, byKey) {
  const texts = syntheses.map(({ regions, unit }) => regions.map((region) => (point ? reading(region, point, unit) : "")));
  rows.forEach((row, i) => row.mark(point, texts[i]));
  if (comparable()) {
    differenceRow.mark(point, point ? differences().map((map) => `${value(at(map, point))} ${syntheses[0].unit}`) : []);
  }
  if (byKey) find(".said", area).textContent = texts.map((said, i) => `${names[i]}: ${said.join("; ")}`).join(". ");
}

function drawMeans() {
  const [first, second] = syntheses;
  const keyOf = ({ region, part }) => `${region}/${part}`;
  const others = new Map(second.means.map((row) => [keyOf(row), row]));
  const heads = [["Region", ""], ...names.flatMap((name) => [[`${name} (${first.unit})`, "number"], ["Interval", "number"]]), ["Difference", "number"]];
  fill(
    find("#both thead tr"),
    ...heads.map(([textContent, className]) => make("th", { textContent, className, attributes: { scope: "col" } })),
  );
  const cell = (textContent) => make("td", { className: "number", textContent });
  fill(
    find("#both tbody"),
    ...first.means.map((row) => {
      const other = others.get(keyOf(row));
      return make(
        "tr",
        {},
        make("th", { textContent: row.part || row.region, className: row.part ? "part" : "", attributes: { scope: "row" } }),
        ...[row, other].flatMap((one) => [cell(value(one?.mean ?? NaN)), cell(interval(one?.lower ?? NaN, one?.upper ?? NaN))]),
        cell(value((other?.mean ?? NaN) - (row.mean ?? NaN))),
      );
    }),
  );
}
