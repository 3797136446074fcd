// One map on a canvas: its pixels, what lies at its edges, and a cross at the point that is read.
// A point is a row and a column of the map; the pointer or the arrow keys choose it.

import { paint } from "./colormap.js";
import { make } from "./dom.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class MapPanel {
  // `onPoint(point, byKey)` is told of each point that is chosen, and null when the pointer leaves.
  constructor({ title, height, width, aspect = 1, edges = null, onPoint = () => {} }) {
    this.size = { height, width };
    this.onPoint = onPoint;
    this.point = null;
    this.canvas = make("canvas", { height, width, attributes: { "aria-hidden": "true" } });
    this.canvas.style.aspectRatio = `${width} / ${height * aspect}`;
    this.cross = make("span", { className: "cross", hidden: true });
    this.field = make(
      "div",
      {
        className: "field",
        tabIndex: 0,
        attributes: {
          role: "application",
          "aria-roledescription": "map",
          "aria-label": `${title}: the arrow keys move the point that is read`,
        },
      },
      this.canvas,
      this.cross,
    );
    this.title = make("h3", { textContent: title });
    this.reading = make("p", { className: "reading", textContent: "\u00a0" });
    const letters = edges
      ? ["top", "bottom", "left", "right"].map((side) => make("span", { className: `edge at-${side}`, textContent: edges[side] }))
      : [];
    this.element = make(
      "section",
      { className: "map" },
      this.title,
      make("div", { className: "well" }, this.field, ...letters),
      this.reading,
    );
    this.#listen();
  }

  // Draw a map, null for none; `limits` and `colors` are those of its scale.
  show(map, limits, colors) {
    const context = this.canvas.getContext("2d");
    if (map) context.putImageData(paint(map, limits, colors), 0, 0);
    else context.clearRect(0, 0, this.size.width, this.size.height);
  }

  // Put the cross at a point and write what is read there; null takes it away.
  mark(point, text = "\u00a0") {
    this.point = point;
    this.cross.hidden = point === null;
    this.reading.textContent = text || "\u00a0";
    if (point === null) return;
    this.cross.style.left = `${(100 * (point.column + 0.5)) / this.size.width}%`;
    this.cross.style.top = `${(100 * (point.row + 0.5)) / this.size.height}%`;
  }

  #listen() {
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const row = Math.floor(((event.clientY - box.top) / box.height) * this.size.height);
      const column = Math.floor(((event.clientX - box.left) / box.width) * this.size.width);
      return this.#within({ row, column });
    };
    this.field.addEventListener("pointermove", (event) => this.onPoint(at(event), false));
    this.field.addEventListener("pointerdown", (event) => this.onPoint(at(event), false));
    this.field.addEventListener("pointerleave", () => this.onPoint(null, false));
    this.field.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (event.key === "Escape") this.onPoint(null, true);
      if (!step) return;
      event.preventDefault();
      const far = event.shiftKey ? 5 : 1;
      const from = this.point ?? { row: this.size.height >> 1, column: this.size.width >> 1 };
      this.onPoint(this.#within({ row: from.row + far * step[0], column: from.column + far * step[1] }), true);
    });
  }

  #within({ row, column }) {
    const { height, width } = this.size;
    return { row: Math.min(height - 1, Math.max(0, row)), column: Math.min(width - 1, Math.max(0, column)) };
  }
}
