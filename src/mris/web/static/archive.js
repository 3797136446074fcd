// Radiographs from the archive: a study is looked up, and an instance of it taken as if it were dropped.

import { get } from "./api.js";
import { fill, find, make } from "./dom.js";

export class Archive {
  // `onTake(name, instance)` is told of an instance that was chosen.
  constructor(root, { onTake }) {
    this.root = root;
    this.onTake = onTake;
    this.told = find("p[role=status]", root);
    this.list = find(".studies", root);
    find("form", root).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#tell(() => this.#look(new FormData(event.target)));
    });
  }

  async #tell(work) {
    this.told.textContent = "asking …";
    try {
      this.told.textContent = await work();
    } catch (error) {
      this.told.textContent = error.message;
    }
  }

  async #look(wanted) {
    const { studies } = await get(`archive/studies?${new URLSearchParams(wanted)}`);
    fill(this.list, ...studies.map((study) => this.#study(study)));
    return studies.length ? "" : "no study is like that";
  }

  #study(study) {
    const inside = make("ul");
    const name = [study.date, study.patient_id, study.modalities.join(" "), study.description].filter(Boolean).join(" · ");
    const button = make("button", { type: "button", className: "plain", textContent: name });
    button.addEventListener("click", () => this.#tell(async () => {
      const { instances } = await get(`archive/studies/${encodeURIComponent(study.uid)}/instances`);
      fill(inside, ...instances.map((instance) => this.#instance(study, instance)));
      return "";
    }));
    return make("li", {}, button, inside);
  }

  #instance(study, { study_uid, series_uid, uid, modality, kind }) {
    const name = [modality, kind].filter(Boolean).join(" · ") || uid;
    const button = make("button", { type: "button", textContent: name });
    button.addEventListener("click", () => this.onTake(`${study.patient_id} ${study.date} ${name}`, { study_uid, series_uid, uid }));
    return make("li", {}, button);
  }
}
