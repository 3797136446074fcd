// A row of maps in one color scale: a panel a region, and the color bar.

import { ColorBar } from "./color_bar.js";
import { fill } from "./dom.js";
import { MapPanel } from "./map_panel.js";

export class MapRow {
  // `onPoint(point, byKey)` is told of the point that is chosen on any of its panels.
  constructor(grid, { onPoint }) {
    this.grid = grid;
    this.onPoint = onPoint;
    this.bar = new ColorBar();
    this.panels = [];
  }

  // Make panels for the regions of a synthesis.
  prepare({ regions, spacing }) {
    const aspect = spacing ? spacing[0] / spacing[1] : 1;
    this.panels = regions.map(({ name, edges, value: { height, width } }) =>
      new MapPanel({ title: name, edges, height, width, aspect, onPoint: this.onPoint }));
    this.grid.style.gridTemplateColumns = `repeat(${regions.length}, minmax(0, 30rem)) 3.2rem`;
    fill(this.grid, ...this.panels.map((panel) => panel.element), this.bar.element);
  }

  // Draw a map a region, null for none.
  show(maps, limits, colors, unit) {
    maps.forEach((map, i) => this.panels[i].show(map, limits, colors));
    this.bar.show(limits, colors, unit);
  }

  // Mark a point on all panels, with what is read there, a text a region; null takes it away.
  mark(point, texts = []) {
    this.panels.forEach((panel, i) => panel.mark(point, point ? texts[i] : undefined));
  }
}
