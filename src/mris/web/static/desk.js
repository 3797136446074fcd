// The work on files: each is sent, what it does not tell is asked for, it is synthesized from one bundle or several,
// and what must be known of it is said at the top of the page.

import { Refusal, synthesizeFiles } from "./api.js";
import { Connection } from "./connection.js";
import { fill, find, make, show } from "./dom.js";
import { takeFiles } from "./drop.js";
import { Entry } from "./entry.js";
import { sentencesOf } from "./notes.js";
import { Query } from "./query.js";
import { Queue } from "./queue.js";
import { openSynthesis } from "./synthesis.js";

const WORKING = { sending: "Sending the file …", working: "Synthesizing …", waiting: "Waiting for the server …" };
const DROPPED = ["GoneError", "NotFoundError"];

export class Desk {
  // `bundles` are their names; `draw(entry, syntheses)` shows the results of an entry, one a bundle.
  constructor({ bundles, draw }) {
    this.bundles = bundles;
    this.draw = draw;
    this.side = null; // whose result is shown, where an entry has several
    this.reader = find(".reader");
    this.area = find("#result");
    this.sides = find("#sides");
    this.query = new Query(find("#radiograph"), {
      onSet: (settings) => this.work(this.entry, async (entry) => {
        await entry.set(settings);
        await this.#compute(entry);
      }),
      onPlace: (changes) => this.change(changes),
    });
    this.queue = new Queue(find("#queue"), { onSelect: (entry) => this.work(entry, () => this.#select(entry)) });
    takeFiles(find("#drop"), (files) => this.take(files));
    new Connection({ onBack: () => this.#resume() });
  }

  // The entry that is shown.
  get entry() {
    return this.queue.selected;
  }

  // Files were dropped or chosen: one is shown at once; several go together and are told of as they are done.
  take(files) {
    const entries = files.map((file) => new Entry(file.name, { file }));
    if (entries.length === 1 || this.bundles.length > 1) this.begin(...entries);
    else {
      this.queue.add(entries);
      this.#sendAll(entries);
    }
  }

  // Show the first of some entries; the others wait until they are chosen.
  begin(...entries) {
    this.queue.add(entries);
    this.queue.select(entries[0]);
  }

  // Change what is asked for the entry that is shown, and ask.
  change(changes) {
    Object.assign(this.entry, changes);
    return this.work(this.entry, (entry) => this.#compute(entry));
  }

  // Do something for an entry, and say why where it cannot be done.
  async work(entry, doing) {
    try {
      await doing(entry);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      entry.fail(error);
    }
    this.queue.draw();
    if (entry !== this.entry) return;
    if (entry.state === "refused") show(this.area, false); // a map of what was asked before would mislead
    this.#tell(entry);
  }

  // Show an entry: it is sent first where that was not done.
  async #select(entry) {
    if (!entry.image) entry.state = "sending";
    this.#tell(entry);
    show(this.area, false);
    show(find("#radiograph"), false);
    find("#query-name").textContent = entry.name;
    this.reader.classList.remove("empty");
    if (!entry.image) await entry.send();
    if (entry !== this.entry) return;
    await this.query.show(entry).catch(async (error) => {
      if (!DROPPED.includes(error.kind)) throw error;
      await entry.send();
      await this.query.show(entry);
    });
    if (entry.answers) await this.#showAnswers(entry);
    else await this.#compute(entry);
  }

  async #compute(entry) {
    if (!entry.image) await entry.send();
    entry.problem = entry.missing;
    entry.state = entry.problem ? "asking" : "working";
    this.queue.draw();
    if (entry === this.entry) {
      this.#tell(entry);
      await this.query.show(entry);
    }
    if (entry.problem && entry === this.entry) show(this.area, false);
    if (!entry.problem && (await entry.synthesize(this.bundles)) && entry === this.entry) await this.#showAnswers(entry);
  }

  // Show the results of an entry; once anew where the server has dropped them.
  async #showAnswers(entry, again = true) {
    const [first] = entry.answers;
    const wanted = first.find(({ query }) => query.side === this.side) ?? first[0];
    const results = entry.answers.map((answer) => answer.find(({ query }) => query.side === wanted.query.side) ?? answer[0]);
    let syntheses;
    try {
      syntheses = await Promise.all(results.map((result) => openSynthesis(result)));
    } catch (error) {
      if (!again || !DROPPED.includes(error.kind)) throw error;
      if (await entry.synthesize(this.bundles)) await this.#showAnswers(entry, false);
      return;
    }
    if (entry !== this.entry || entry.answers[0] !== first) return;
    show(this.sides, first.length > 1);
    fill(this.sides, find("legend", this.sides), ...first.map((result) => this.#sideChoice(result, result === wanted)));
    show(this.area);
    this.draw(entry, syntheses);
    await this.query.show(entry, syntheses[0]);
    this.#tell(entry, syntheses);
  }

  #sideChoice(result, checked) {
    const { side } = result.query;
    const input = make("input", { type: "radio", name: "shown-side", value: side, checked });
    input.addEventListener("change", () => {
      this.side = side;
      this.work(this.entry, (entry) => this.#showAnswers(entry));
    });
    return make("label", {}, input, `${side[0].toUpperCase()}${side.slice(1)}`);
  }

  // Say how far an entry is, and what must be known of it and of its results.
  #tell(entry, syntheses = []) {
    find("#working").textContent = WORKING[entry.state] ?? "";
    this.area.setAttribute("aria-busy", String(entry.state === "working"));
    this.reader.classList.toggle("busy", entry.state in WORKING);
    if (entry.state === "done" && !syntheses.length) return; // said already, or about to be
    const lines = sentencesOf(entry, syntheses).map(([textContent, className]) => make("p", { textContent, className }));
    fill(find("#notes"), ...lines);
  }

  // Send several files together. Those of which nothing was heard, as the server died, wait.
  async #sendAll(entries) {
    for (const entry of entries) entry.state = "working";
    this.queue.draw();
    const told = (event, { index, image, results, detail }) => {
      const entry = entries[index];
      if (image) entry.take(image);
      if (event === "file") Object.assign(entry, { answers: [results], state: "done" });
      if (event === "problem") Object.assign(entry, { problem: detail, state: entry.missing ? "asking" : "refused" });
      this.queue.draw();
      if (entry && this.entry === null) this.queue.select(entry);
    };
    try {
      await synthesizeFiles(entries.map(({ file }) => file), told);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      for (const entry of entries.filter(({ state }) => state === "working")) entry.fail(error);
      this.queue.draw();
      if (this.entry === null) this.queue.select(entries[0]);
    }
  }

  // The server is back: go on with what waits.
  #resume() {
    const waiting = this.queue.entries.filter(({ state }) => state === "waiting");
    for (const entry of waiting) {
      this.work(entry, () => (entry === this.entry ? this.#select(entry) : this.#compute(entry)));
    }
  }
}
