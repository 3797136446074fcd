// The maps of a synthesis: one panel a region in one color scale, and the layer that they show.
// The point that is read is the same on all panels.

import { ColorBar } from "./color_bar.js";
import { DIFFERENCES, ERRORS, VALUES } from "./colormap.js";
import { fill, find, findAll, make, show } from "./dom.js";
import { MapPanel } from "./map_panel.js";
import { interval, percent, value } from "./numbers.js";

// How two maps differ at each pixel; null where one of them is missing.
export const minus = (one, other) =>
  one && other ? { ...one, values: one.values.map((number, i) => number - other.values[i]) } : null;

// The layers: the scale that each is drawn in, and its map of a region, given the chosen person's own.
const LAYERS = {
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

const at = (map, { row, column }) => (map ? map.values[row * map.width + column] : NaN);

export class Maps {
  // `difference` is where a person's difference to the synthesis goes; `onPoint(point)` is told of the point that is read on all panels; null if there is none.
  constructor(root, { difference, onPoint = () => {} }) {
    this.root = root;
    this.difference = difference;
    this.onPoint = onPoint;
    this.layer = "value";
    this.person = null;
    this.bar = new ColorBar();
    this.differenceBar = new ColorBar();
    for (const choice of findAll("input[name=layer]", root)) {
      choice.addEventListener("change", () => this.choose(choice.value));
    }
  }

  // Show another synthesis; the layer stays if it has it.
  show(synthesis) {
    this.synthesis = synthesis;
    this.person = null;
    this.panels = synthesis.regions.map((region) => this.#panel(region, region.name));
    this.differences = synthesis.regions.map((region) => this.#panel(region, region.name));
    placeBeside(find(".maps", this.root), this.panels, this.bar);
    placeBeside(find(".maps", this.difference), this.differences, this.differenceBar);
    if (this.layer === "person" || !this.#has(this.layer)) this.layer = "value";
    this.#draw();
  }

  // Show a person's own maps, one a region and null where theirs is another database's; null takes them away.
  showPerson(person) {
    this.person = person;
    this.layer = person ? "person" : this.layer === "person" ? "value" : this.layer;
    this.#draw();
  }

  choose(layer) {
    this.layer = layer;
    this.#draw();
  }

  // Read the maps at a point; by the keyboard it is also said aloud.
  read(point, byKey = false) {
    this.panels.forEach((panel, i) => panel.mark(point, point && this.#reading(i, point)));
    this.differences.forEach((panel, i) => {
      const difference = point && at(this.#difference(i), point);
      panel.mark(point, point && `${value(difference)} ${this.synthesis.unit}`);
    });
    if (byKey) {
      const said = point ? this.synthesis.regions.map(({ name }, i) => `${name}: ${this.#reading(i, point)}`) : [];
      find(".said", this.root).textContent = said.join("; ");
    }
    this.onPoint(point);
  }

  #panel(region, title) {
    const { height, width } = region.value;
    const aspect = this.synthesis.spacing ? this.synthesis.spacing[0] / this.synthesis.spacing[1] : 1;
    return new MapPanel({
      title, height, width, aspect, edges: region.edges, onPoint: (point, byKey) => this.read(point, byKey),
    });
  }

  #own(i) {
    return this.person?.maps[i] ?? null;
  }

  #difference(i) {
    return minus(this.#own(i), this.synthesis.regions[i].value);
  }

  #has(layer) {
    return this.synthesis.regions.some((region, i) => LAYERS[layer].of(region, this.#own(i)));
  }

  #reading(i, point) {
    const region = this.synthesis.regions[i];
    if (!Number.isFinite(at(region.value, point))) return "no value here";
    const parts = [`${value(at(region.value, point))} ${this.synthesis.unit}`];
    const ends = interval(at(region.lower, point), at(region.upper, point));
    if (ends) parts[0] += ` (${ends})`;
    parts.push(`spread ${value(at(region.spread, point))}`);
    if (this.#own(i)) parts.push(`${this.person.name} ${value(at(this.#own(i), point))}`);
    return parts.join(" · ");
  }

  #draw() {
    const { regions, scale: scales, unit, level } = this.synthesis;
    for (const choice of findAll("input[name=layer]", this.root)) {
      choice.disabled = !this.#has(choice.value);
      choice.checked = choice.value === this.layer;
    }
    const { scale, colors, of, what } = LAYERS[this.layer];
    const share = level ? percent(level, { digits: 0 }) : "";
    find(".what", this.root).textContent = what(share, this.person?.name);
    regions.forEach((region, i) => {
      this.panels[i].show(of(region, this.#own(i)), scales[scale], colors);
    });
    this.bar.show(scales[scale], colors, unit);
    show(this.difference, this.person !== null);
    if (this.person) this.#drawDifferences();
  }

  #drawDifferences() {
    const { regions, scale, unit } = this.synthesis;
    regions.forEach((_, i) => this.differences[i].show(this.#difference(i), scale.difference, DIFFERENCES));
    this.differenceBar.show(scale.difference, DIFFERENCES, unit);
    find("h3", this.difference).textContent = `${this.person.name} minus the synthesis`;
  }
}

function placeBeside(grid, panels, bar) {
  grid.style.gridTemplateColumns = `repeat(${panels.length}, minmax(0, 30rem)) 3.2rem`;
  fill(grid, ...panels.map((panel) => panel.element), bar.element);
}
