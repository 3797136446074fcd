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
  // `onMove(centers)` is told of centers by hand, `[{side, center}]`, once one has been moved or added; `onAdding(side)`
  // of the side whose center is being added, null when that is over.
  constructor(root, { onMove = () => {}, onAdding = () => {} } = {}) {
    this.root = root;
    this.onMove = onMove;
    this.onAdding = onAdding;
    this.adding = null;
    this.settling = null;
    this.centers = [];
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
      this.#endAdding();
      this.#settle();
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

  // Put handles at centers, but not while the arrow keys move one: where that comes to is told soon.
  place(centers) {
    if (this.settling) return;
    this.centers = centers.map((one) => ({ ...one }));
    if (this.centers.some(({ side }) => side === this.adding?.side)) this.#endAdding();
    this.#drawHandles();
  }

  // Let a person put the center of a side on the picture: by a click, or by the arrow keys and Enter.
  add(side) {
    if (this.adding?.side === side) {
      this.#giveUp();
      return;
    }
    this.adding = { side, center: this.#guessed(side) };
    this.stage.classList.add("adding");
    this.onAdding(side);
    this.#drawHandles();
    find(".handle.new", this.handles).focus();
  }

  // Where it probably is: opposite the other, or where the knees of a frontal plate usually are.
  #guessed(side) {
    const { rows, columns, mirrored } = this.image;
    const [other] = this.centers;
    if (other) return [other.center[0], columns - 1 - other.center[1]];
    return [rows / 2, ((side === "right") !== mirrored ? 0.25 : 0.75) * columns];
  }

  #endAdding() {
    if (!this.adding) return;
    this.adding = null;
    this.stage.classList.remove("adding");
    this.onAdding(null);
  }

  #giveUp() {
    this.#endAdding();
    this.#drawHandles();
  }

  // The new center counts from now on.
  #added() {
    const { side, center } = this.adding;
    this.#endAdding();
    this.centers = [...this.centers, { side, center }].sort(({ side: of }) => (of === "right" ? -1 : 1));
    this.#drawHandles();
    this.#moved();
  }

  #drawHandles() {
    const shown = this.adding ? [...this.centers, this.adding] : this.centers;
    const focused = this.handles.contains(document.activeElement) ? document.activeElement.dataset.side : null;
    fill(this.handles, ...shown.map((one) => this.#handle(one)));
    if (focused !== null) find(`[data-side="${focused}"]`, this.handles)?.focus({ preventScroll: true });
    this.#drawSquares();
  }

  #settle(then = null) {
    clearTimeout(this.settling);
    this.settling = then && setTimeout(() => { this.settling = null; then(); }, SETTLED);
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
    const isNew = one === this.adding;
    const how = isNew ? "the arrow keys move it, Enter adds it" : "the arrow keys move it";
    const handle = make("button", {
      type: "button",
      className: isNew ? "handle new" : "handle",
      dataset: { side: one.side ?? "" },
      textContent: one.side ? one.side[0].toUpperCase() : "",
      title: "Drag to the middle of the joint; the arrow keys move it too",
      attributes: { "aria-label": `Center of the ${one.side ?? ""} joint: ${how}` },
    });
    this.#position(handle, one.center);
    const moveTo = (row, column) => {
      one.center = this.#inside(row, column);
      this.#position(handle, one.center);
      this.#drawSquares();
    };
    const done = () => (isNew ? this.#added() : this.#moved());
    handle.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      handle.setPointerCapture(event.pointerId);
      handle.classList.add("held");
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      moveTo(...this.#pointed(event));
    });
    handle.addEventListener("pointerup", (event) => {
      handle.classList.remove("held");
      if (handle.hasPointerCapture(event.pointerId)) done();
    });
    handle.addEventListener("keydown", (event) => {
      if (isNew && ["Enter", " ", "Escape"].includes(event.key)) {
        event.preventDefault();
        if (event.key === "Escape") this.#giveUp();
        else done();
        return;
      }
      const nudge = NUDGES[event.key];
      if (!nudge) return;
      event.preventDefault();
      const far = (event.shiftKey ? 10 : 1) * Math.max(1, Math.round(this.image.rows / 500));
      moveTo(one.center[0] + far * nudge[0], one.center[1] + far * nudge[1]);
      if (!isNew) this.#settle(done);
    });
    return handle;
  }

  #inside(row, column) {
    const { rows, columns } = this.image;
    return [Math.min(rows - 1, Math.max(0, row)), Math.min(columns - 1, Math.max(0, column))];
  }

  // Row and column of the picture under the pointer.
  #pointed({ clientX, clientY }) {
    const box = this.stage.getBoundingClientRect();
    const { rows, columns } = this.image;
    return [((clientY - box.top) / box.height) * rows - 0.5, ((clientX - box.left) / box.width) * columns - 0.5];
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
    const known = edge && spacing ? this.centers : []; // of an added one once it counts
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
      if (this.adding) {
        event.preventDefault();
        this.adding.center = this.#inside(...this.#pointed(event));
        this.#added();
        return;
      }
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
