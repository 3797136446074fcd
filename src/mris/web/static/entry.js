// One file on its way: sent, its regions placed, synthesized. Whatever the server has dropped meanwhile is sent again.

import { post, Refusal, sendImage, setImage, synthesize } from "./api.js";

// Where an entry stands: waiting, sending, asking (something must be told or placed by hand), working, done, refused.
export class Entry {
  // Either a file, or what names an instance of the archive.
  constructor(name, { file = null, instance = null } = {}) {
    Object.assign(this, { name, file, instance, state: "waiting", image: null, answers: null, problem: null });
    Object.assign(this, { mode: null, side: null, spacing: null, centers: null, excluded: null });
  }

  // Send the file, and take what the server sees in it.
  async send() {
    this.state = "sending";
    const { spacing, side } = this;
    this.take(await (this.file
      ? sendImage(this.file, { spacing, side })
      : post("archive/fetch", { ...this.instance, spacing, side })));
    this.state = this.answers ? "done" : "waiting";
  }

  take(image) {
    this.image = image;
    this.mode ??= image.suggested;
  }

  // Tell the server the spacing, the side, or whether regions are to be found.
  async set(settings) {
    Object.assign(this, settings);
    if (settings.side && this.centers?.length === 1) this.centers = [{ ...this.centers[0], side: settings.side }];
    await this.#held(async () => {
      const { spacing } = this;
      this.take(await setImage(this.image.id, { spacing, find: this.#find(), ...this.#sideOrCenters() }));
    });
  }

  #find() {
    return this.mode === "find" ? "true" : "false";
  }

  // Whether something must be told or placed by hand first, and what.
  get missing() {
    if (!this.image) return null;
    if (this.image.needs.length) return `Tell the ${this.image.needs.map((need) => WORDS[need] ?? need).join(" and the ")}.`;
    const placed = this.mode === "find" && this.centers?.length;
    return this.image.problem && !placed ? this.image.problem : null;
  }

  // The centers that are shown: those by hand, or those found; the middle of a picture that is one query.
  get shownCenters() {
    if (this.centers) return this.centers;
    if (this.mode === "find") return this.image.regions;
    const { region_mm: edge, spacing, rows, columns } = this.image;
    return edge && spacing ? [{ side: this.shownSide, center: [(rows - 1) / 2, (columns - 1) / 2] }] : [];
  }

  get shownSide() {
    return this.side ?? this.image?.laterality ?? null;
  }

  // Whether the picture shows one side of the body, whose name can be told.
  get ofOneSide() {
    return this.mode === "whole" || this.shownCenters.length === 1;
  }

  // What the server is asked for.
  request(bundle) {
    const { image, mode, side, spacing, excluded } = this;
    const asked = { image: image.id, bundle, spacing, exclude_subject: excluded, find: this.#find() };
    if (mode !== "find") return { ...asked, side, center: this.centers?.[0]?.center ?? null };
    return { ...asked, ...this.#sideOrCenters() };
  }

  // The side of a picture of one, and the centers by hand of a plate.
  #sideOrCenters() {
    const told = this.ofOneSide ? { side: this.side } : {};
    if (this.mode === "find") for (const { side, center } of this.centers ?? []) told[side] = center;
    return told;
  }

  // The sides of a plate whose centers are not shown; a person can add them.
  get missingSides() {
    if (this.mode !== "find" || !this.image?.spacing) return [];
    return SIDES.filter((side) => !this.shownCenters.some((one) => one.side === side));
  }

  // Synthesize from some bundles; the answer to an earlier wish never replaces that to a later one: null then.
  async synthesize(bundles) {
    this.wish?.abort();
    const wish = new AbortController();
    this.wish = wish;
    this.state = "working";
    try {
      const ask = (bundle) => synthesize(this.request(bundle), { signal: wish.signal });
      const answers = await this.#held(() => Promise.all(bundles.map(ask)));
      if (this.wish !== wish) return null;
      return Object.assign(this, { state: "done", answers, problem: null }).answers;
    } catch (error) {
      if (error.name === "AbortError" || this.wish !== wish) return null;
      throw error;
    }
  }

  // A result anew, where the server has dropped it.
  async again(result, bundles) {
    const answers = await this.synthesize(bundles);
    if (!answers) throw new Refusal("GoneError", "something else was asked for meanwhile");
    return answers[0].find(({ stem }) => stem === result.stem) ?? answers[0][0];
  }

  // It could not be done; if nobody answered, it waits.
  fail({ kind, message }) {
    Object.assign(this, { state: kind === "Unreachable" ? "waiting" : "refused", problem: message });
  }

  async #held(work) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Refusal) || !["GoneError", "NotFoundError"].includes(error.kind)) throw error;
      await this.send();
      return work();
    }
  }
}

const SIDES = ["right", "left"];
const WORDS = { spacing: "size of a pixel", side: "side of the body" };
