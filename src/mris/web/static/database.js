// The people of the database: search while typing, pages and sorting in place, and a removal that is typed.
// The server makes the list, the same as without scripts; it is exchanged here without leaving the page.

import { ask, post } from "./api.js";
import { Connection } from "./connection.js";
import { find, make } from "./dom.js";
import { counted } from "./numbers.js";

const PAUSE = 250; // ms after the last key

let latest = null;
let pause;

// Take the list at another address into this page.
async function open(address) {
  latest?.abort();
  const wish = new AbortController();
  latest = wish;
  try {
    const response = await ask(address, { signal: wish.signal });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const found = find("#found", page);
    if (!found) return location.assign(address); // to sign in, for instance
    find("#found").replaceWith(document.adoptNode(found));
    history.replaceState(null, "", address);
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, "note bad");
  }
  return undefined;
}

function say(textContent, className = "note plain") {
  find("#found > .note")?.remove();
  find("#found").prepend(make("p", { textContent, className, attributes: { role: "status" } }));
}

async function remove(form) {
  const { subject, confirmation } = Object.fromEntries(new FormData(form));
  const button = find("button", form);
  button.disabled = true;
  try {
    const removed = await post("subjects/remove", { subject, confirmation });
    await open(location.pathname + location.search);
    say(`${removed.subjects.join(", ")} removed and purged: ${counted(removed.n_entries, "entry", "entries")}.`);
  } catch (error) {
    find(".note", form)?.remove();
    form.append(make("p", { textContent: error.message, className: "note bad", attributes: { role: "alert" } }));
    button.disabled = false;
  }
}

const search = find("#search");
const look = () => open(`${search.getAttribute("action")}?${new URLSearchParams(new FormData(search))}`);
search.addEventListener("submit", (event) => {
  event.preventDefault();
  look();
});
search.addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(look, PAUSE);
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("#found a[href^='/database']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(link.getAttribute("href"));
});
document.addEventListener("submit", (event) => {
  if (!event.target.closest(".removal")) return;
  event.preventDefault();
  remove(event.target);
});
// "é" may be one sign, or two as some keyboards write it.
const plain = (name) => name.normalize("NFC").trim();
// A removal can only be sent once the person's name is typed.
document.addEventListener("input", (event) => {
  const form = event.target.closest(".removal form");
  if (form) find("button", form).disabled = plain(event.target.value) !== plain(form.elements.subject.value);
});
document.addEventListener("toggle", (event) => {
  if (!event.target.matches?.(".removal[open]")) return;
  find("button", event.target).disabled = true;
  find("input[name=confirmation]", event.target).focus();
}, true);
new Connection();
