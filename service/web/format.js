/** Numbers, shares, dates and names, as the page's language writes them. */

import { preferences } from "./preferences.js";

/** The languages of the page and how each writes numbers and dates. @type {Record<string, string>} */
export const LOCALES = { en: "en-GB", de: "de-DE", es: "es-ES" };

/** `?lang=`, else what was chosen here before, else the browser's. */
export const language =
  [new URLSearchParams(location.search).get("lang"), preferences.language, ...navigator.languages]
    .map((tag) => (tag ?? "").slice(0, 2).toLowerCase())
    .find((tag) => Object.hasOwn(LOCALES, tag)) ?? "en";

const locale = LOCALES[language];
const wholePercentage = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0 });
const shortest = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 2 });
const decimal = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
const rounded = new Intl.NumberFormat(locale, { maximumSignificantDigits: 2 });
const signs = new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1, signDisplay: "exceptZero" });
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(locale, { dateStyle: "long", timeStyle: "short" });
const calendarDay = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeZone: "UTC" });
const conjunction = new Intl.ListFormat(locale, { type: "conjunction" });
const disjunction = new Intl.ListFormat(locale, { type: "disjunction" });

/** A share as a percentage; what is not quite nothing, or not quite all, never reads so. */
export function percent(share = 0, digits = 1) {
  const format = new Intl.NumberFormat(locale, { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits });
  const least = 0.01 / 10 ** digits;
  if (share > 0 && share < least / 2) return `<${format.format(least)}`;
  if (share < 1 && share > 1 - least / 2) return `>${format.format(1 - least)}`;
  return format.format(share);
}
/** A share without more digits than it is worth: whole percentages from 10 to 90, tenths nearer to none and all. */
export const rough = (share = 0) => percent(share, share >= 0.0995 && share <= 0.9005 ? 0 : 1);
/** Two shares, roughly, with as many digits as it takes to tell them apart. */
export function apart(a = 0, b = 0) {
  const digits = [1, 2, 3, 4, 5].find((count) => percent(a, count) !== percent(b, count));
  return rough(a) === rough(b) ? [percent(a, digits), percent(b, digits)] : [rough(a), rough(b)];
}
/** A share with the digits that it has. */
export const short = (share = 0) => shortest.format(share);
/** A share as a whole percentage. */
export const wholePercent = (share = 0) => wholePercentage.format(share);
export const number = (value = 0) => decimal.format(value);
export const twoDigits = (value = 0) => rounded.format(value);
/** A share in the digits of an input: percent, with a dot. */
export const typed = (share = 0) => String(Number((share * 100).toPrecision(4)));
/** A difference, with its sign. */
export const signed = (value = 0) => signs.format(value);
/** One of two shares, in percentage points. */
export const difference = (shares = 0) => signed(shares * 100);
export const time = (iso = "") => clock.format(new Date(iso));
export const date = (iso = "") => day.format(new Date(iso));
/** A date without a time, from its ISO form. */
export const dayOf = (iso = "") => calendarDay.format(new Date(iso));
/** a, b and c. @param {string[]} names */
export const allOf = (names) => conjunction.format(names);
/** a, b or c. @param {string[]} names */
export const anyOf = (names) => disjunction.format(names);
/** A name of the model's, for people. */
export const plain = (name = "") => name.replaceAll(/[-_]/g, " ");
