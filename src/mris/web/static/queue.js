// The files that were dropped, and what became of each.

import { fill, find, make, show } from "./dom.js";

const STATES = { waiting: "waiting", sending: "sending", asking: "needs you", working: "working", done: "done", refused: "not done" };

export class Queue {
  constructor(list, { onSelect }) {
    this.list = list;
    this.onSelect = onSelect;
    this.entries = [];
    this.selected = null;
  }

  add(entries) {
    this.entries.push(...entries);
    this.draw();
  }

  select(entry) {
    this.selected = entry;
    this.draw();
    this.onSelect(entry);
  }

  // Draw it anew; a single file needs no list.
  draw() {
    show(this.list, this.entries.length > 1);
    const focused = document.activeElement?.dataset?.place;
    fill(this.list, ...this.entries.map((entry, place) => this.#line(entry, place)));
    if (focused !== undefined && this.list.children.length) find(`[data-place="${focused}"]`, this.list)?.focus();
  }

  #line(entry, place) {
    const button = make(
      "button",
      { type: "button", dataset: { place }, attributes: { "aria-current": entry === this.selected ? "true" : null } },
      make("span", { className: "file", textContent: entry.name }),
      make("span", { className: `state ${entry.state}`, textContent: STATES[entry.state] }),
    );
    button.addEventListener("click", () => this.select(entry));
    return make("li", {}, button);
  }
}
