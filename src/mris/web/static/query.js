// The query's side of the page: the radiograph, what it shows, and what the file does not tell.

import { fill, find, findAll, make, show } from "./dom.js";
import { percent, value } from "./numbers.js";
import { Radiograph } from "./radiograph.js";

export class Query {
  // `onSet(settings)` is told of a spacing, side or mode, `onPlace(changes)` of centers by hand.
  constructor(root, { onSet, onPlace }) {
    this.root = root;
    this.radiograph = new Radiograph(root, {
      onMove: (centers) => onPlace({ centers }),
      onAdding: (side) => this.#drawAdding(side),
    });
    for (const choice of findAll("input[name=mode]", root)) {
      choice.addEventListener("change", () => onSet({ mode: choice.value, centers: null }));
    }
    for (const choice of findAll("input[name=side]", root)) {
      choice.addEventListener("change", () => onSet({ side: choice.value }));
    }
    find(".enlarge", root).addEventListener("click", ({ currentTarget: button }) => {
      button.setAttribute("aria-pressed", String(root.closest(".reader").classList.toggle("large")));
    });
    for (const button of findAll("#placing [data-side]", root)) {
      button.addEventListener("click", () => this.radiograph.add(button.dataset.side));
    }
    find("#detect", root).addEventListener("click", () => onPlace({ centers: null }));
    find("#spacing", root).addEventListener("submit", (event) => {
      event.preventDefault();
      onSet({ spacing: Number(find("#spacing-mm", root).value) });
    });
  }

  async show(entry, result = null) {
    this.entry = entry;
    const { image, mode } = entry;
    show(this.root, image !== null);
    if (!image) return;
    this.#drawSettings(entry, mode, image);
    this.#drawFacts(image, result);
    await this.radiograph.show(image, entry.shownCenters);
  }

  #drawSettings(entry, mode, image) {
    for (const choice of findAll("input[name=mode]", this.root)) choice.checked = choice.value === mode;
    for (const choice of findAll("input[name=side]", this.root)) choice.checked = choice.value === entry.shownSide;
    show(find("#side", this.root), entry.ofOneSide);
    for (const button of findAll("#placing [data-side]", this.root)) {
      show(button, entry.missingSides.includes(button.dataset.side));
    }
    find("#placing", this.root).classList.toggle("asked", mode === "find" && entry.missingSides.length === 2);
    show(find("#detect", this.root), mode === "find" && entry.centers !== null);
    find("#side", this.root).classList.toggle("asked", image.needs.includes("side"));
    find("#spacing", this.root).classList.toggle("asked", image.needs.includes("spacing"));
    show(find("#spacing", this.root), image.spacing === null || entry.spacing !== null);
    find("#spacing-mm", this.root).value = entry.spacing ?? "";
  }

  #drawFacts(image, result) {
    const query = result?.query;
    const [high, wide] = image.extent_mm ?? [];
    const facts = [
      ["Size", `${image.rows} x ${image.columns} pixels${high ? `, ${value(high, 0)} x ${value(wide, 0)} mm` : ""}`],
      ["Pixel", image.spacing && `${value(image.spacing[0], 3)} mm (${image.spacing_source ?? "given"})`],
      ["View", image.view],
      ["Side", query?.side && `${query.side} (${query.side_source})`],
      ["Center", query?.center && `${query.center.map((at) => Math.round(at)).join(", ")} (${query.center_source})`],
      ["Found with", query?.confidence && percent(query.confidence, { digits: 0 })],
      ["Outside the picture", query?.outside && `${percent(query.outside, { digits: 0 })} of the square`],
    ];
    fill(
      find("#facts", this.root),
      ...facts.filter(([, told]) => told).flatMap(([name, told]) => [
        make("dt", { textContent: name }),
        make("dd", { textContent: told }),
      ]),
    );
  }

  // Say how a center is added, while one is.
  #drawAdding(side) {
    for (const button of findAll("#placing [data-side]", this.root)) {
      button.setAttribute("aria-pressed", String(button.dataset.side === side));
    }
    find("#adding", this.root).textContent = side
      ? `Click on the middle of the ${side} joint, or move the mark by the arrow keys and press Enter; Escape gives up.`
      : "";
  }
}
