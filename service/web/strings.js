/** Every word of the page, in the reader's language. The English catalogue is the one that the others are checked against. */

import { language } from "./format.js";

/** @typedef {typeof import("./strings/en/page.js").text & typeof import("./strings/en/answer.js").text} Catalogue */

/** @type {Record<string, () => Promise<{ text: Partial<Catalogue> }[]>>} */
const CATALOGUES = {
  en: () => Promise.all([import("./strings/en/page.js"), import("./strings/en/answer.js")]),
  de: () => Promise.all([import("./strings/de/page.js"), import("./strings/de/answer.js")]),
  es: () => Promise.all([import("./strings/es/page.js"), import("./strings/es/answer.js")]),
};

const parts = await CATALOGUES[language]();

export const text = /** @type {Catalogue} */ (Object.assign({}, ...parts.map((part) => part.text)));

/** The page's name of a class of the model's. @param {{ name: string, label: string }} diagnosis */
export const className = ({ name, label }) => text.classes[name] ?? label;

/** The same within a sentence. @param {{ name: string, label: string }} diagnosis */
export const classWithin = (diagnosis) => text.within(className(diagnosis));

/**
 * The words at a dotted path, for the elements of index.html.
 * @param {string} path
 * @returns {string}
 */
export function words(path) {
  /** @type {any} */
  let found = text;
  for (const part of path.split(".")) found = found?.[part];
  if (typeof found !== "string") throw new Error(`no words for ${path}`);
  return found;
}
