/** Asks for the access key. The field is cleared at once; the key is kept by who asked. */

import { Problem } from "./api.js";
import { byId, input } from "./dom.js";

/**
 * @param {boolean} refused Whether another key was tried before.
 * @returns {Promise<string>} Rejects with a {@link Problem} when none is given.
 */
export function askForKey(refused) {
  const dialog = byId("key", HTMLDialogElement);
  const field = input("key-field");
  const form = byId("key-form", HTMLFormElement);
  byId("key-refused").hidden = !refused;
  return new Promise((resolve, reject) => {
    const done = new AbortController();
    const listen = { signal: done.signal };
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      const key = field.value.trim();
      if (!key) return;
      dialog.close();
      resolve(key);
    };
    form.addEventListener("submit", submit, listen);
    byId("key-cancel").addEventListener("click", () => dialog.close(), listen);
    dialog.addEventListener(
      "close",
      () => {
        field.value = "";
        done.abort();
        reject(new Problem("unauthorized", 401)); // nothing, once it is resolved
      },
      listen,
    );
    dialog.showModal();
    field.focus();
  });
}
