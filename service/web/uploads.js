/** Sends images, a few at a time; waits and sends again by itself where the service is busy. */

import { newKey, Problem } from "./api.js";

/** @import { Item } from "./types.js" */

/** Enough to keep a connection in use while the network computes. */
const AT_ONCE = 2;
/** Seconds, where a busy service names none; doubled each time. */
const PATIENCE = 2;

/** @typedef {(item: Item, options: { onProgress: (share: number) => void, signal: AbortSignal }) => Promise<void>} Send */

export class Uploads {
  /** @type {Item[]} */
  #waiting = [];
  /** @type {Map<Item, AbortController>} */
  #underWay = new Map();
  /** @type {WeakMap<Item, number>} */
  #refused = new WeakMap();
  #ticking = 0;

  /**
   * @param {object} listeners
   * @param {Send} listeners.send Gets the answer and puts it into the item.
   * @param {(item: Item) => void} listeners.onState The item has another state, or another second to wait.
   * @param {(item: Item) => void} listeners.onShare More of it was sent.
   */
  constructor({ send, onState, onShare }) {
    this.send = send;
    this.onState = onState;
    this.onShare = onShare;
  }

  get busy() {
    return this.#waiting.length + this.#underWay.size > 0;
  }

  /** @param {Item} item */
  add(item) {
    // The service may still have an answer under the old key; another one is wanted.
    const { problem } = item;
    if (item.prediction || (problem instanceof Problem && (problem.status >= 400 || problem.kind === "changed"))) item.key = newKey();
    Object.assign(item, { state: "waiting", problem: null, retryAt: null, share: 0 });
    this.#waiting.push(item);
    this.onState(item);
    this.#next();
  }

  /** @param {Item} item */
  cancel(item) {
    this.#waiting = this.#waiting.filter((each) => each !== item);
    this.#underWay.get(item)?.abort();
  }

  #next() {
    const now = Date.now();
    const paused = this.#waiting.some(({ retryAt }) => retryAt !== null && retryAt > now);
    if (paused) this.#tick();
    while (!paused && this.#waiting.length && this.#underWay.size < AT_ONCE) this.#start(/** @type {Item} */ (this.#waiting.shift()));
  }

  /** @param {Item} item */
  async #start(item) {
    const control = new AbortController();
    this.#underWay.set(item, control);
    Object.assign(item, { state: "sending", retryAt: null, share: 0 });
    this.onState(item);
    const onProgress = (/** @type {number} */ share) => {
      item.share = share;
      this.onShare(item);
    };
    try {
      await this.send(item, { onProgress, signal: control.signal });
      item.state = "answered";
    } catch (error) {
      if (!control.signal.aborted) this.#failed(item, error);
    } finally {
      this.#underWay.delete(item);
      if (!control.signal.aborted) this.onState(item);
      this.#next();
    }
  }

  /** @param {Item} item @param {unknown} error */
  #failed(item, error) {
    const busy = error instanceof Problem && (error.status === 429 || (error.status === 409 && error.retryAfter !== null));
    if (!busy) {
      Object.assign(item, { state: "failed", problem: error });
      return;
    }
    const times = this.#refused.get(item) ?? 0;
    this.#refused.set(item, times + 1);
    const seconds = Math.min(Math.max(error.retryAfter ?? 0, times && PATIENCE * 2 ** (times - 1), 1), 60);
    Object.assign(item, { state: "waiting", retryAt: Date.now() + seconds * 1000 });
    this.#waiting.unshift(item);
  }

  /** Counts down, second by second. */
  #tick() {
    if (this.#ticking) return;
    this.#ticking = setInterval(() => {
      const counting = this.#waiting.filter(({ retryAt }) => retryAt !== null);
      if (counting.every(({ retryAt }) => Number(retryAt) <= Date.now())) {
        clearInterval(this.#ticking);
        this.#ticking = 0;
        this.#next();
      } else for (const item of counting) this.onState(item);
    }, 1000);
  }
}

/** Seconds until an item is sent again; 0 when it does not wait for a busy service. @param {Item} item */
export const secondsLeft = ({ state, retryAt }) => (state === "waiting" && retryAt !== null ? Math.max(1, Math.ceil((retryAt - Date.now()) / 1000)) : 0);
