// The reader: a radiograph is dropped, its map appears beside it with the people behind it and how sure it is.

import { Refusal, synthesizeFiles } from "./api.js";
import { Archive } from "./archive.js";
import { Connection } from "./connection.js";
import { fill, find, make, show } from "./dom.js";
import { takeFiles } from "./drop.js";
import { Entry } from "./entry.js";
import { Maps } from "./maps.js";
import { Means } from "./means.js";
import { People } from "./people.js";
import { Query } from "./query.js";
import { Queue } from "./queue.js";
import { Saving } from "./saving.js";
import { openSynthesis } from "./synthesis.js";

const reader = find(".reader");
const area = find("#result");
const sides = find("#sides");
let shown = null; // the side whose result is shown, where an entry has several

const people = new People(find("#people"), {
  onChoose: (person) => maps.showPerson(person),
  onWithout: (subject) => change(queue.selected, (entry) => (entry.excluded = subject)),
});
const maps = new Maps(find("#maps"), {
  difference: find("#people .difference"),
  onPoint: (point) => people.read(point),
});
const means = new Means(find("#means"));
const saving = new Saving(find("#saving"), { again: (result) => queue.selected.again(result) });
const query = new Query(find("#radiograph"), {
  onSet: (settings) => work(queue.selected, async (entry) => {
    await entry.set(settings);
    await compute(entry);
  }),
  onPlace: (changes) => change(queue.selected, (entry) => Object.assign(entry, changes)),
});
const queue = new Queue(find("#queue"), { onSelect: (entry) => work(entry, select) });
new Connection({ onBack: () => resume() });
takeFiles(find("#drop"), take);
if (find("#archive")) {
  new Archive(find("#archive"), {
    onTake: (name, instance) => begin(new Entry(name, { instance })),
  });
}
find("#excluded button").addEventListener("click", () => change(queue.selected, (entry) => (entry.excluded = null)));

// Files were dropped or chosen: one is shown at once; several go together and are told of as they are done.
function take(files) {
  const entries = files.map((file) => new Entry(file.name, { file }));
  if (entries.length === 1) return begin(entries[0]);
  queue.add(entries);
  return sendAll(entries);
}

function begin(entry) {
  queue.add([entry]);
  queue.select(entry);
}

// Do something for an entry, and say why where it cannot be done.
async function work(entry, doing) {
  try {
    await doing(entry);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    entry.problem = error.message;
    entry.state = error.kind === "Unreachable" ? "waiting" : "refused";
  }
  queue.draw();
  if (entry === queue.selected) tell(entry);
}

// Change what is asked for an entry, and ask.
const change = (entry, how) => {
  how(entry);
  return work(entry, compute);
};

// Show an entry: send it first where that was not done.
async function select(entry) {
  if (entry !== queue.selected) return;
  tell(entry);
  show(area, false);
  show(find("#radiograph"), false);
  find("#query-name").textContent = entry.name;
  reader.classList.remove("empty");
  if (!entry.image) await entry.send();
  await query.show(entry);
  if (entry.results) await showResults(entry);
  else await compute(entry);
}

async function compute(entry) {
  if (!entry.image) await entry.send();
  entry.problem = entry.missing;
  if (entry.problem) {
    entry.state = "asking";
    if (entry === queue.selected) {
      show(area, false);
      await query.show(entry);
    }
    return;
  }
  entry.state = "working";
  queue.draw();
  if (entry === queue.selected) tell(entry);
  if ((await entry.synthesize()) && entry === queue.selected) await showResults(entry);
}

async function showResults(entry) {
  const result = entry.results.find(({ query: { side } }) => side === shown) ?? entry.results[0];
  show(sides, entry.results.length > 1);
  fill(sides, find("legend", sides), ...entry.results.map((one) => sideChoice(entry, one, one === result)));
  let synthesis;
  try {
    synthesis = await openSynthesis(result);
  } catch (error) {
    if (!["GoneError", "NotFoundError"].includes(error.kind)) throw error;
    synthesis = await openSynthesis(await entry.again(result));
  }
  if (entry !== queue.selected || !entry.results.includes(result)) return;
  show(area);
  maps.show(synthesis);
  means.show(synthesis);
  people.show(synthesis);
  saving.show(synthesis, entry.image);
  await query.show(entry, synthesis);
  show(find("#excluded"), entry.excluded !== null);
  find("#excluded span").textContent = `Without ${entry.excluded}: their maps do not count.`;
  tell(entry, synthesis);
}

function sideChoice(entry, result, checked) {
  const { side } = result.query;
  const input = make("input", { type: "radio", name: "shown-side", value: side, checked });
  input.addEventListener("change", () => {
    shown = side;
    work(entry, showResults);
  });
  return make("label", {}, input, `${side[0].toUpperCase()}${side.slice(1)}`);
}

// Say at the top what must be known of an entry and of its result.
function tell(entry, synthesis = null) {
  const working = { sending: "Sending the file …", working: "Synthesizing …", waiting: "Waiting for the server …" };
  find("#working").textContent = working[entry.state] ?? "";
  area.setAttribute("aria-busy", String(entry.state === "working"));
  reader.classList.toggle("busy", entry.state in working);
  const result = synthesis ?? entry.results?.find(({ query: { side } }) => side === shown) ?? entry.results?.[0];
  const said = [
    ...(entry.problem ? [[entry.problem, entry.state === "asking" ? "note" : "note bad"]] : []),
    ...(result && !entry.problem ? result.notes.map((note) => [note, result.unusual ? "note bad" : "note"]) : []),
    ...(result?.query.notes ?? entry.image?.notes ?? []).map((note) => [note, "note plain"]),
  ];
  const unique = [...new Map(said)];
  fill(find("#notes"), ...unique.map(([textContent, className]) => make("p", { textContent, className })));
}

// Send several files together. Those of which nothing was heard, as the server died, wait.
async function sendAll(entries) {
  for (const entry of entries) entry.state = "working";
  queue.draw();
  try {
    await synthesizeFiles(entries.map(({ file }) => file), (event, data) => {
      const entry = entries[data.index];
      if (event === "file") {
        if (data.image) entry.take(data.image);
        Object.assign(entry, { results: data.results, state: "done" });
      } else if (event === "problem") {
        Object.assign(entry, { problem: data.detail, state: "refused" });
      }
      queue.draw();
      if (entry && queue.selected === null) queue.select(entry);
    });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const state = error.kind === "Unreachable" ? "waiting" : "refused";
    for (const entry of entries.filter((one) => one.state === "working")) {
      Object.assign(entry, { state, problem: error.message });
    }
    queue.draw();
    if (queue.selected === null) queue.select(entries[0]);
  }
}

// The server is back: go on with what waits.
function resume() {
  const waiting = queue.entries.filter(({ state }) => state === "waiting");
  for (const entry of waiting) entry.problem = null;
  if (waiting.length > 1) sendAll(waiting.filter(({ file }) => file));
  else for (const entry of waiting) work(entry, entry === queue.selected ? select : compute);
}

find("#file").required = false;
