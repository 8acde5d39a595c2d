/** The images of this tab, with an undo for what was deleted. In memory only. */

import { newKey } from "./api.js";
import { preferences } from "./preferences.js";
import { isAnswered, verdict } from "./wording.js";

/** @import { Item, Result } from "./types.js" */
/** @import { Api } from "./api.js" */
/** @import { Figures } from "./figures.js" */

/** So many are kept. */
export const MOST = 100;
/** So long, in milliseconds, can a deletion be undone. */
const UNDO = 8000;

/** Whether an answer belongs to a lesion's record, which outlives this tab. @param {Item} item */
export const isFollowed = ({ prediction, said }) => said.length > 0 || Boolean(prediction?.follow_up);

export class Session {
  /** @type {Item[]} */
  items = [];
  /** Deleted here, and not yet in the service. @type {Item[]} */
  #trash = [];
  #timer = 0;
  #count = 0;

  /**
   * @param {Api} api
   * @param {Figures} figures
   * @param {(items: Item[], confirmed: boolean) => void} onGone Deleted for good; `confirmed` by the service.
   */
  constructor(api, figures, onGone) {
    this.api = api;
    this.figures = figures;
    this.onGone = onGone;
    addEventListener("pagehide", () => this.#trash.forEach((item) => item.prediction && !isFollowed(item) && api.forget(item.prediction.id, true).catch(() => {})));
  }

  /** @param {Blob} file @param {string} name @param {string | null} example @returns {Item} */
  create(file, name, example) {
    const url = URL.createObjectURL(file);
    /** @type {Item} */
    const item = {
      number: ++this.#count, file, name, url, shown: url, example, key: newKey(),
      state: "waiting", share: 0, problem: null, retryAt: null,
      prediction: null, recorded: null, model: null, reference: "", site: "", millimetresWide: null, outline: [], impression: null, lesion: "", visit: "", said: [], covered: preferences.impressionFirst === true,
    };
    this.items.push(item);
    return item;
  }

  /** Answered and not covered, newest first. @returns {Result[]} */
  get results() {
    return this.items.filter(isAnswered).sort((a, b) => b.number - a.number);
  }

  /** How often the reader's impression was the advice. */
  get agreement() {
    const judged = this.results.filter(({ impression, prediction }) => impression && impression !== "unsure" && verdict(prediction) !== "abstained");
    return { same: judged.filter(({ impression, prediction }) => impression === verdict(prediction)).length, of: judged.length };
  }

  /** Takes images out; {@link undo} brings them back for a while. @param {Item[]} gone */
  remove(gone) {
    this.settle();
    this.items = this.items.filter((item) => !gone.includes(item));
    this.#trash = gone;
    this.#timer = setTimeout(() => this.settle(), UNDO);
  }

  /** @returns {Item[]} What is back. */
  undo() {
    const back = this.#trash;
    this.#trash = [];
    clearTimeout(this.#timer);
    this.items.push(...back);
    return back;
  }

  /** Ends the time to undo: what was deleted is gone. */
  async settle() {
    const gone = this.#trash;
    if (!gone.length) return;
    this.#trash = [];
    clearTimeout(this.#timer);
    for (const { url, shown } of gone) for (const each of [url, shown]) URL.revokeObjectURL(each);
    const answers = await Promise.allSettled(gone.map((item) => this.forget(item)));
    this.onGone(gone, answers.every(({ status }) => status === "fulfilled"));
  }

  /** Deletes an answer in the service, unless it is followed, and what was fetched of it. @param {Item} item */
  async forget(item) {
    if (!item.prediction) return;
    this.figures.forget(item.prediction, item.shown);
    if (!isFollowed(item)) await this.api.forget(item.prediction.id);
  }
}
