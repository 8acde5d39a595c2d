/** Talking to the service. The access key, where one is needed, lives in this module's one object and nowhere else. */

/** @import { Clinic, FollowUp, Model, Prediction, Upload } from "./types.js" */

/** So long, in milliseconds, may nothing of an upload move. */
const STALL = 30_000;

/** What went wrong, in the service's words (RFC 9457), or `unreachable`. */
export class Problem extends Error {
  /**
   * @param {string} kind Last part of the problem's type.
   * @param {number} status 0 when there was no answer.
   * @param {string} detail
   * @param {number | null} retryAfter Seconds.
   */
  constructor(kind, status, detail = "", retryAfter = null) {
    super(detail || kind);
    this.kind = kind;
    this.status = status;
    this.detail = detail;
    this.retryAfter = retryAfter;
  }
}

/** The request was given up: its answer is no longer wanted. */
export const isAbort = (/** @type {unknown} */ error) => error instanceof DOMException && error.name === "AbortError";

export class Api {
  /** @type {string | null} */
  #key = null;
  /** @type {Promise<string> | null} */
  #asking = null;
  #askForKey;

  /** @param {(refused: boolean) => Promise<string>} askForKey Resolves with the key that was typed. */
  constructor(askForKey) {
    this.#askForKey = askForKey;
  }

  /** @returns {Promise<Model>} */
  model() {
    return this.json("/v1/model");
  }

  /** @param {string} address @returns {Promise<any>} */
  async json(address) {
    return (await this.fetch(address)).json();
  }

  /** @param {string} address @param {string} [kind] Which one, of those that it can have. @returns {Promise<Blob>} */
  async blob(address, kind) {
    return (await this.fetch(address, kind ? { headers: { Accept: kind } } : {})).blob();
  }

  /** A kept answer for another clinic; nothing is uploaded. @param {string} id @param {Clinic} clinic @returns {Promise<Prediction>} */
  view(id, clinic) {
    return this.json(`/v1/predictions/${id}${queryOf(clinic)}`);
  }

  /**
   * Deletes what the service keeps of an image; what is gone already is no problem.
   * @param {string} id
   * @param {boolean} [leaving] Whether the page is about to go.
   */
  async forget(id, leaving = false) {
    try {
      await this.fetch(`/v1/predictions/${id}`, { method: "DELETE", keepalive: leaving });
    } catch (error) {
      if (!(error instanceof Problem && error.status === 404)) throw error;
    }
  }

  /**
   * @param {Blob} file
   * @param {Upload} options
   * @returns {Promise<Prediction>}
   */
  async predict(file, options) {
    for (;;) {
      const key = this.#key;
      try {
        return await this.#send(file, options);
      } catch (error) {
        await this.#unlock(error, key);
      }
    }
  }

  /**
   * With XMLHttpRequest, because fetch does not tell how much was sent.
   * @param {Blob} file
   * @param {Upload} options
   * @returns {Promise<Prediction>}
   */
  #send(file, { clinic, followUp, idempotencyKey, onProgress, signal }) {
    signal.throwIfAborted(); // perhaps while a key was asked for
    const form = new FormData();
    form.append("image", file, "image"); // names of files often name patients
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", `/v1/predictions${queryOf(clinic, followUp)}`);
      for (const [name, value] of Object.entries({ ...this.#headers(), "Idempotency-Key": idempotencyKey })) request.setRequestHeader(name, value);
      let stalled = false;
      const stall = () => {
        stalled = true;
        request.abort();
      };
      // Slow is no fault: an upload has as long as it needs while anything of it moves.
      let timer = setTimeout(stall, STALL);
      request.upload.onprogress = ({ loaded, total }) => {
        clearTimeout(timer);
        if (loaded < total) timer = setTimeout(stall, STALL);
        onProgress(total ? loaded / total : 1);
      };
      request.upload.onload = () => clearTimeout(timer); // the service has a limit of its own for the rest
      request.onloadend = () => clearTimeout(timer);
      request.onerror = () => reject(new Problem("unreachable", 0));
      request.onabort = () => reject(stalled ? new Problem("stalled", 0) : new DOMException("given up", "AbortError"));
      request.onload = () => {
        if (request.status < 300) resolve(JSON.parse(request.responseText));
        else reject(problemOf(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      };
      signal.addEventListener("abort", () => request.abort(), { once: true });
      request.send(form);
    });
  }

  /**
   * @param {string} address
   * @param {RequestInit & { headers?: Record<string, string> }} [options]
   */
  async fetch(address, options = {}) {
    for (;;) {
      const key = this.#key;
      try {
        const response = await fetch(address, { ...options, headers: { ...options.headers, ...this.#headers() } }).catch((error) => {
          throw isAbort(error) ? error : new Problem("unreachable", 0);
        });
        if (response.ok) return response;
        throw problemOf(response.status, await response.text(), response.headers.get("Retry-After"));
      } catch (error) {
        await this.#unlock(error, key);
      }
    }
  }

  /** @returns {Record<string, string>} */
  #headers() {
    return this.#key ? { Authorization: `Bearer ${this.#key}` } : {};
  }

  /**
   * Returns once there is another key to try; throws what is not about keys.
   * @param {unknown} error
   * @param {string | null} used
   */
  async #unlock(error, used) {
    if (!(error instanceof Problem && error.status === 401)) throw error;
    if (this.#key !== used) return; // another one was typed meanwhile
    this.#asking ??= this.#askForKey(used !== null).finally(() => (this.#asking = null));
    this.#key = await this.#asking;
  }
}

/** @param {Clinic} clinic @param {FollowUp} [followUp] */
function queryOf({ operatingPoint, prevalence }, { lesion, visit } = { lesion: "", visit: "" }) {
  const asked = Object.entries({ operating_point: operatingPoint, prevalence, lesion, visit: lesion && visit }).filter(([, value]) => value);
  const query = new URLSearchParams(asked.map(([name, value]) => [name, String(value)]));
  return String(query) && `?${query}`;
}

/** Random; `crypto.randomUUID` is for https alone, and clinics have plain http in their own networks. */
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** @param {number} status @param {string} body @param {string | null} retryAfter */
function problemOf(status, body, retryAfter) {
  const seconds = retryAfter && /^\d+$/.test(retryAfter) ? Number(retryAfter) : null;
  try {
    const { type, detail } = JSON.parse(body);
    return new Problem(String(type).split(":").pop() ?? "", status, String(detail), seconds);
  } catch {
    return new Problem("unknown", status, "", seconds);
  }
}
