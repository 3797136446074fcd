// The people behind a synthesis: a strip of their maps with weight and sign; one of them can be chosen.

import { paint, VALUES } from "./colormap.js";
import { draw, fill, find, make, show } from "./dom.js";
import { at } from "./layers.js";
import { counted, percent, value } from "./numbers.js";

const labelsOf = (person) =>
  Object.entries(person.labels).map(([name, label]) => `${name}\u00a0${label}`).join(", ");

export class People {
  // `onChoose(person)` is told of the person chosen, null for nobody; `onWithout(subject)` of a wish to do without.
  constructor(root, { onChoose, onWithout }) {
    this.root = root;
    this.onChoose = onChoose;
    this.chosen = null;
    this.without = find(".without", root);
    this.without.addEventListener("click", () => onWithout(this.chosen.subject));
    find(".nobody", root).addEventListener("click", () => this.choose(null));
  }

  show(synthesis) {
    this.synthesis = synthesis;
    this.cards = new Map();
    const largest = Math.max(...synthesis.groups.flatMap(({ people }) => people.map(({ weight }) => Math.abs(weight))));
    fill(find(".strips", this.root), ...synthesis.groups.map((group) => this.#strip(group, largest)));
    this.choose(null);
  }

  choose(person) {
    this.chosen = person;
    for (const [one, { button }] of this.cards) button.setAttribute("aria-pressed", String(one === person));
    show(find(".chosen", this.root), person !== null);
    if (person) find(".chosen .who", this.root).textContent = this.#described(person);
    if (person) this.without.textContent = `Without ${person.subject}`;
    this.onChoose(person);
  }

  // Write under each map what it has at a point; null for none.
  read(point) {
    for (const [person, { reading }] of this.cards) {
      const values = point ? person.maps.filter(Boolean).map((map) => value(at(map, point))) : [];
      reading.textContent = values.join("  ") || "\u00a0";
    }
  }

  #described(person) {
    const labels = labelsOf(person);
    const known = `${person.key}: weight ${person.weight_text}, similarity ${value(person.similarity, 3)}`;
    return labels ? `${known}, ${labels}` : known;
  }

  #strip(group, largest) {
    const several = this.synthesis.groups.length > 1;
    const share = percent(group.shown_share, { digits: 0 });
    const told =
      group.people.length < group.n_contributors
        ? `These ${group.people.length} of the ${counted(group.n_contributors, "entry", "entries")} that count hold ${share} of all weight.`
        : `These are all that count.`;
    return make(
      "section",
      { className: "strip" },
      make("p", { className: "soft", textContent: `${several ? `${group.regions.join(", ")}: ` : ""}${told} Readout: ${group.readout}.` }),
      make("ul", { className: "cards" }, ...group.people.map((person) => make("li", {}, this.#card(person, largest)))),
    );
  }

  #card(person, largest) {
    const reading = make("span", { className: "reading", textContent: "\u00a0" });
    const thumbnails = person.maps.filter(Boolean).map((map) => {
      const canvas = make("canvas", { height: map.height, width: map.width, attributes: { "aria-hidden": "true" } });
      canvas.getContext("2d").putImageData(paint(map, this.synthesis.scale.value, VALUES), 0, 0);
      return canvas;
    });
    const button = make(
      "button",
      { type: "button", className: "person", attributes: { "aria-pressed": "false" } },
      make("span", { className: "thumbnails" }, ...thumbnails),
      weightBar(person.weight, largest),
      make("span", { className: "key", textContent: person.key }),
      make(
        "span",
        { className: "weight-text" },
        person.weight_text,
        make("span", { textContent: `cos ${value(person.similarity)}`, title: "similarity to the radiograph" }),
      ),
      make("span", { className: "labels", textContent: labelsOf(person) }),
      reading,
    );
    button.addEventListener("click", () => this.choose(this.chosen === person ? null : person));
    this.cards.set(person, { button, reading });
    return button;
  }
}

// A weight to the right of the middle if the map was moved towards a person, to the left if away.
function weightBar(weight, largest) {
  const length = (50 * Math.abs(weight)) / (largest || 1);
  return draw(
    "svg",
    { class: "weight", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: weight < 0 ? "away" : "towards", x: weight < 0 ? 50 - length : 50, y: 0, width: length, height: 4 }),
    draw("rect", { class: "middle", x: 49.7, y: 0, width: 0.6, height: 4 }),
  );
}
