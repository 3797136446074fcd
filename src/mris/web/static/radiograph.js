// The radiograph: gray values by window and level, and the centers of regions as handles to drag.
// Centers are (row, column) in pixels of the file, whose picture may be smaller by a whole step.

import { shorts } from "./api.js";
import { draw, fill, find, make } from "./dom.js";

const NUDGES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const SETTLED = 350; // ms after the last key before a moved center counts

// Pixels of 16-bit values: black below the window, white above. A plate has millions, so each is one look-up.
function windowed(values, { level, width }) {
  const colors = new Uint32Array(65536);
  for (let i = 0; i < 65536; i += 1) {
    const gray = Math.min(255, Math.max(0, Math.round((255 * (i - level + width / 2)) / width)));
    colors[i] = (0xff000000 | (gray << 16) | (gray << 8) | gray) >>> 0;
  }
  const pixels = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i += 1) pixels[i] = colors[values[i]];
  return new Uint8ClampedArray(pixels.buffer);
}

export class Radiograph {
  // `onMove(centers)` is told of centers by hand, `[{side, center}]`, once one has been moved.
  constructor(root, { onMove = () => {} } = {}) {
    this.root = root;
    this.onMove = onMove;
    this.stage = find(".stage", root);
    this.canvas = find("canvas", root);
    this.squares = find("svg", root);
    this.handles = find(".handles", root);
    this.sliders = { level: find("input[name=level]", root), width: find("input[name=width]", root) };
    this.#listen();
  }

  // Show a picture with its centers; the window is the file's own, or that of the same picture before.
  async show(image, centers, options) {
    if (this.image?.picture.url !== image.picture.url) {
      this.values = await shorts(image.picture.url, options);
      this.image = image;
      this.canvas.width = image.picture.columns;
      this.canvas.height = image.picture.rows;
      this.reset();
    }
    this.image = image;
    const [high, wide] = image.spacing ?? [1, 1];
    this.stage.style.setProperty("--ratio", (image.columns * wide) / (image.rows * high));
    this.canvas.setAttribute("aria-label", `The radiograph, ${image.rows} x ${image.columns} pixels`);
    this.place(centers);
  }

  // Put handles at centers.
  place(centers) {
    this.centers = centers.map((one) => ({ ...one }));
    fill(this.handles, ...this.centers.map((one) => this.#handle(one)));
    this.#drawSquares();
  }

  // The window that the server proposes.
  reset() {
    const { least, largest, low, high } = this.image.picture;
    const scale = 65535 / (largest - least || 1);
    this.setWindow({ level: ((low + high) / 2 - least) * scale, width: (high - low) * scale });
  }

  setWindow({ level, width }) {
    this.window = {
      level: Math.min(65535, Math.max(0, level)),
      width: Math.min(131070, Math.max(64, width)),
    };
    const { least, largest } = this.image.picture;
    const scale = (largest - least || 1) / 65535;
    const unit = largest - least > 20 ? 0 : 2;
    this.sliders.level.value = this.window.level;
    this.sliders.width.value = this.window.width;
    find(".window", this.root).textContent =
      `level ${(least + this.window.level * scale).toFixed(unit)}, width ${(this.window.width * scale).toFixed(unit)}`;
    const pixels = new ImageData(windowed(this.values, this.window), this.canvas.width);
    this.canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  #handle(one) {
    const handle = make("button", {
      type: "button",
      className: "handle",
      textContent: one.side ? one.side[0].toUpperCase() : "",
      title: "Drag to the middle of the joint; the arrow keys move it too",
      attributes: { "aria-label": `Center of the ${one.side ?? ""} joint: the arrow keys move it` },
    });
    this.#position(handle, one.center);
    const moveTo = (row, column) => {
      one.center = [
        Math.min(this.image.rows - 1, Math.max(0, row)),
        Math.min(this.image.columns - 1, Math.max(0, column)),
      ];
      this.#position(handle, one.center);
      this.#drawSquares();
    };
    handle.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      handle.setPointerCapture(event.pointerId);
      handle.classList.add("held");
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = this.stage.getBoundingClientRect();
      moveTo(
        ((event.clientY - box.top) / box.height) * this.image.rows - 0.5,
        ((event.clientX - box.left) / box.width) * this.image.columns - 0.5,
      );
    });
    handle.addEventListener("pointerup", (event) => {
      handle.classList.remove("held");
      if (handle.hasPointerCapture(event.pointerId)) this.#moved();
    });
    let settling;
    handle.addEventListener("keydown", (event) => {
      const nudge = NUDGES[event.key];
      if (!nudge) return;
      event.preventDefault();
      const far = (event.shiftKey ? 10 : 1) * Math.max(1, Math.round(this.image.rows / 500));
      moveTo(one.center[0] + far * nudge[0], one.center[1] + far * nudge[1]);
      clearTimeout(settling);
      settling = setTimeout(() => this.#moved(), SETTLED);
    });
    return handle;
  }

  #moved() {
    this.onMove(this.centers.map(({ side, center }) => ({ side, center })));
  }

  #position(handle, [row, column]) {
    handle.style.top = `${(100 * (row + 0.5)) / this.image.rows}%`;
    handle.style.left = `${(100 * (column + 0.5)) / this.image.columns}%`;
  }

  // The squares that are cut, where the size of a pixel is known.
  #drawSquares() {
    const { rows, columns, region_mm: edge, spacing } = this.image;
    this.squares.setAttribute("viewBox", `0 0 ${columns} ${rows}`);
    const known = edge && spacing ? this.centers : [];
    fill(
      this.squares,
      ...known.map(({ center: [row, column] }) => {
        const [high, wide] = [edge / spacing[0], edge / spacing[1]];
        return draw("rect", { x: column + 0.5 - wide / 2, y: row + 0.5 - high / 2, width: wide, height: high });
      }),
    );
  }

  #listen() {
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.held = { x: event.clientX, y: event.clientY, ...this.window };
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!this.held || !this.canvas.hasPointerCapture(event.pointerId)) return;
      const perPixel = 65535 / 400;
      this.setWindow({
        width: this.held.width + perPixel * (event.clientX - this.held.x),
        level: this.held.level + perPixel * (event.clientY - this.held.y),
      });
    });
    for (const name of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(name, () => {
        this.held = null;
      });
    }
    this.canvas.addEventListener("dblclick", () => this.reset());
    find(".reset", this.root).addEventListener("click", () => this.reset());
    for (const [name, slider] of Object.entries(this.sliders)) {
      slider.addEventListener("input", () => this.setWindow({ ...this.window, [name]: Number(slider.value) }));
    }
  }
}
