/** Talking to the service. The access key, where one is needed, lives in this module's one object and nowhere else. */

/** @import { Model, Prediction, Summary } from "./types.js" */

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

/** The request was given up because nobody waits for it any more. */
export const isAbort = (/** @type {unknown} */ error) => error instanceof DOMException && error.name === "AbortError";

export class Api {
  /** @type {string | null} */
  #key = null;
  /** @type {Promise<string> | null} */
  #asking = null;
  #askForKey;

  /** @param {(refused: boolean) => Promise<string>} askForKey Resolves with the key that somebody typed. */
  constructor(askForKey) {
    this.#askForKey = askForKey;
  }

  /** @returns {Promise<Model>} */
  async model() {
    return (await this.#fetch("/model")).json();
  }

  /** @param {string} address @returns {Promise<Blob>} */
  async picture(address) {
    return (await this.#fetch(address)).blob();
  }

  /** @param {string} address @returns {Promise<Summary>} */
  async summary(address) {
    return (await this.#fetch(address)).json();
  }

  /** Deletes what the service keeps of a picture; what is gone already is no problem. @param {string} id */
  async forget(id) {
    try {
      await this.#fetch(`/predictions/${id}`, { method: "DELETE" });
    } catch (error) {
      if (!(error instanceof Problem && error.status === 404)) throw error;
    }
  }

  /**
   * @param {Blob} file
   * @param {object} options
   * @param {string} [options.operatingPoint]
   * @param {(share: number) => void} options.onProgress Share of the bytes that were sent.
   * @param {AbortSignal} options.signal
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
   * @param {{ operatingPoint?: string, onProgress: (share: number) => void, signal: AbortSignal }} options
   * @returns {Promise<Prediction>}
   */
  #send(file, { operatingPoint, onProgress, signal }) {
    signal.throwIfAborted(); // perhaps while a key was asked for
    const form = new FormData();
    form.append("image", file, "picture"); // names of files often name patients
    const query = operatingPoint ? `?operating_point=${encodeURIComponent(operatingPoint)}` : "";
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", `/predict${query}`);
      for (const [name, value] of Object.entries(this.#headers())) request.setRequestHeader(name, value);
      request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 1);
      request.onerror = () => reject(new Problem("unreachable", 0));
      request.onabort = () => reject(new DOMException("given up", "AbortError"));
      request.onload = () => {
        if (request.status === 200) resolve(JSON.parse(request.responseText));
        else reject(problemOf(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      };
      signal.addEventListener("abort", () => request.abort(), { once: true });
      request.send(form);
    });
  }

  /**
   * @param {string} address
   * @param {RequestInit} [options]
   */
  async #fetch(address, options = {}) {
    for (;;) {
      const key = this.#key;
      try {
        const response = await fetch(address, { ...options, headers: this.#headers() }).catch((error) => {
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
    if (this.#key !== used) return; // somebody has typed it meanwhile
    this.#asking ??= this.#askForKey(used !== null).finally(() => (this.#asking = null));
    this.#key = await this.#asking;
  }
}

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
