/** What the reader chose, kept in this browser between visits: never an image, an answer, a name or a key. */

/** @import { Preferences } from "./types.js" */

const PLACE = "clinical-inspired-network";

/** @type {Preferences} */
export const preferences = kept();

/** @returns {Preferences} */
function kept() {
  try {
    const { language, theme, prevalence, operatingPoint, impressionFirst } = JSON.parse(localStorage.getItem(PLACE) ?? "{}");
    return {
      language: typeof language === "string" ? language : undefined,
      theme: theme === "light" || theme === "dark" ? theme : undefined,
      prevalence: prevalence > 0 && prevalence < 1 ? Number(prevalence) : undefined,
      operatingPoint: typeof operatingPoint === "string" ? operatingPoint : undefined,
      impressionFirst: impressionFirst === true,
    };
  } catch {
    return {}; // a browser may forbid to keep anything
  }
}

/** @param {Preferences} changes An undefined one is forgotten. */
export function remember(changes) {
  Object.assign(preferences, changes);
  try {
    localStorage.setItem(PLACE, JSON.stringify(preferences));
  } catch {
    // as above: they hold until the tab is closed
  }
}
