// The maps of a synthesis, in the layer that is chosen, and a person's difference to it.
// The point that is read is the same on all of them.

import { DIFFERENCES } from "./colormap.js";
import { find, findAll, show } from "./dom.js";
import { at, LAYERS, minus, reading } from "./layers.js";
import { MapRow } from "./map_row.js";
import { percent, value } from "./numbers.js";

export class Maps {
  // `difference` is where a person's difference to the synthesis goes; `onPoint(point)` is told of the point that is
  // read on all panels, null if there is none.
  constructor(root, { difference, onPoint = () => {} }) {
    const read = { onPoint: (point, byKey) => this.read(point, byKey) };
    this.root = root;
    this.difference = difference;
    this.onPoint = onPoint;
    this.layer = "value";
    this.person = null;
    this.row = new MapRow(find(".maps", root), read);
    this.differenceRow = new MapRow(find(".maps", difference), read);
    for (const choice of findAll("input[name=layer]", root)) {
      choice.addEventListener("change", () => this.choose(choice.value));
    }
  }

  // Show another synthesis; the layer stays if it has it.
  show(synthesis) {
    this.synthesis = synthesis;
    this.person = null;
    this.row.prepare(synthesis);
    this.differenceRow.prepare(synthesis);
    if (!this.#has(this.layer)) this.layer = "value";
    this.#draw();
  }

  // Show a person's own maps, one a region and null where theirs is another database's; null takes them away.
  showPerson(person) {
    this.person = person;
    if (person) this.layer = "person";
    else if (this.layer === "person") this.layer = "value";
    this.#draw();
  }

  choose(layer) {
    this.layer = layer;
    this.#draw();
  }

  // Read the maps at a point; by the keyboard it is also said aloud.
  read(point, byKey = false) {
    const { regions, unit } = this.synthesis;
    const texts = point ? regions.map((region, i) => this.#reading(region, i, point)) : [];
    this.row.mark(point, texts);
    this.differenceRow.mark(point, point ? regions.map((_, i) => `${value(at(this.#difference(i), point))} ${unit}`) : []);
    if (byKey) find(".said", this.root).textContent = texts.map((text, i) => `${regions[i].name}: ${text}`).join("; ");
    this.onPoint(point);
  }

  #reading(region, i, point) {
    const own = at(this.#own(i), point);
    const text = reading(region, point, this.synthesis.unit);
    return Number.isFinite(own) ? `${text} · ${this.person.name} ${value(own)}` : text;
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

  #draw() {
    const { regions, scale: scales, unit, level } = this.synthesis;
    for (const choice of findAll("input[name=layer]", this.root)) {
      choice.disabled = !this.#has(choice.value);
      choice.checked = choice.value === this.layer;
    }
    const { scale, colors, of, what } = LAYERS[this.layer];
    find(".what", this.root).textContent = what(level ? percent(level, { digits: 0 }) : "", this.person?.name);
    this.row.show(regions.map((region, i) => of(region, this.#own(i))), scales[scale], colors, unit);
    show(this.difference, this.person !== null);
    if (!this.person) return;
    this.differenceRow.show(regions.map((_, i) => this.#difference(i)), scales.difference, DIFFERENCES, unit);
    find("h3", this.difference).textContent = `${this.person.name} minus the synthesis`;
  }
}
