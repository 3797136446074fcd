// The color bar of a scale, with ticks in the unit of the maps.

import { colorTable, ticksOf } from "./colormap.js";
import { fill, make } from "./dom.js";

export class ColorBar {
  constructor() {
    this.canvas = make("canvas", { width: 1, height: 256, attributes: { "aria-hidden": "true" } });
    this.ticks = make("div", { className: "ticks" });
    this.unit = make("p", { className: "unit" });
    this.element = make(
      "div",
      { className: "color-bar", attributes: { role: "img" } },
      this.unit,
      make("div", { className: "colors" }, this.canvas),
      this.ticks,
    );
  }

  show(limits, colors, unit) {
    const table = colorTable(colors);
    const pixels = new ImageData(1, 256);
    for (let i = 0; i < 256; i += 1) {
      const from = 3 * (255 - i);
      pixels.data.set([table[from], table[from + 1], table[from + 2], 255], 4 * i);
    }
    this.canvas.getContext("2d").putImageData(pixels, 0, 0);
    const [least, largest] = limits;
    const marks = ticksOf(limits).map(({ value, text }) => {
      const mark = make("span", { textContent: text.replace("-", "\u2212") });
      mark.style.bottom = `${(100 * (value - least)) / (largest - least)}%`;
      return mark;
    });
    fill(this.ticks, ...marks);
    this.unit.textContent = unit;
    this.element.setAttribute("aria-label", `colors from ${least.toFixed(2)} to ${largest.toFixed(2)} ${unit}`);
  }
}
