// Whether the server answers: the page says when it stops, asks again until it is back, and says so then.

import { find, show } from "./dom.js";

const EVERY = 15_000; // ms, while all is well
const AGAIN = 1_000; // while nobody answers
const PATIENCE = 5_000; // for an answer

export class Connection {
  // `onBack()` is called once the server answers again.
  constructor({ onBack = () => {} } = {}) {
    this.onBack = onBack;
    this.line = find("#connection");
    this.lost = false;
    addEventListener("unreachable", () => this.#lose());
    this.#plan(EVERY);
  }

  #plan(wait) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#look(), wait);
  }

  #lose() {
    if (this.lost) return;
    this.lost = true;
    this.line.textContent =
      "The server does not answer. What is shown here stays; the page asks every second and goes on when it is back.";
    this.line.className = "note bad";
    show(this.line);
    this.#plan(AGAIN);
  }

  async #look() {
    let told;
    try {
      const response = await fetch("/api/v1/health", { signal: AbortSignal.timeout(PATIENCE) });
      told = await response.json();
    } catch {
      this.#lose();
      this.#plan(AGAIN);
      return;
    }
    const wasLost = this.lost;
    this.lost = false;
    if (told.problem) {
      this.line.textContent = told.problem;
      this.line.className = "note bad";
      show(this.line);
    } else if (wasLost) {
      this.line.textContent = "The server is back.";
      this.line.className = "note plain";
      setTimeout(() => this.lost || show(this.line, false), 4000);
    } else {
      show(this.line, false);
    }
    this.#plan(EVERY);
    if (wasLost) this.onBack();
  }
}
