// Saving a result: a zip of files, the archive, or the command that gives the same.

import { ask, post } from "./api.js";
import { find, findAll, make } from "./dom.js";
import { counted } from "./numbers.js";

export class Saving {
  // `again()` gives the result anew where the server has dropped it.
  constructor(root, { again }) {
    this.root = root;
    this.again = again;
    this.form = find("form", root);
    this.done = find(".done", root);
    this.code = find(".command code", root);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#tell(() => this.#download());
    });
    find("#store", root)?.addEventListener("click", () => this.#tell(() => this.#store()));
    find(".command button", root).addEventListener("click", () => this.#copy());
  }

  show(result, image) {
    this.result = result;
    this.code.textContent = result.command;
    this.done.textContent = "";
    for (const input of findAll(".dicom input", this.root)) {
      input.disabled = !image?.dicom;
      input.closest("label").title = image?.dicom ? "" : "only for a DICOM radiograph: the results go into its study";
    }
  }

  async #tell(work) {
    this.done.textContent = "working …";
    try {
      this.done.textContent = await work();
    } catch (error) {
      this.done.textContent = error.message;
    }
  }

  async #download() {
    const chosen = new FormData(this.form);
    const formats = chosen.getAll("formats").join(",");
    if (!formats) return "choose a format";
    const options = new URLSearchParams({ formats, ...(chosen.has("deidentify") ? { deidentify: "true" } : {}) });
    const path = () => `results/${this.result.id}/download?${options}`;
    const response = await ask(path()).catch(async (error) => {
      if (!["GoneError", "NotFoundError"].includes(error.kind)) throw error;
      this.result = await this.again(this.result);
      return ask(path());
    });
    const url = URL.createObjectURL(await response.blob());
    make("a", { href: url, download: `${this.result.stem}.zip` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    return "saved";
  }

  async #store() {
    const deidentify = new FormData(this.form).has("deidentify");
    const { stored, problems, warnings } = await post("archive/store", { results: [this.result.id], deidentify });
    return [`${counted(stored, "object")} stored`, ...problems, ...warnings].join("; ");
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.code.textContent);
      this.done.textContent = "command copied";
    } catch {
      getSelection().selectAllChildren(this.code); // no leave to write: the person copies it by hand
      this.done.textContent = "command selected; copy it with the keyboard";
    }
  }
}
