/** What is around every section: the words of index.html, language, theme, and the warning before leaving. */

import { byId, h, icon, input } from "./dom.js";
import { language, LOCALES } from "./format.js";
import { preferences, remember } from "./preferences.js";
import { words } from "./strings.js";

/** Each in its own language. @type {Record<string, string>} */
const LANGUAGES = { en: "English", de: "Deutsch", es: "Español" };

/** @param {() => boolean} wouldLose Whether leaving the page loses something. */
export function setUpFrame(wouldLose) {
  document.documentElement.lang = LOCALES[language];
  for (const place of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-text], [data-label], [data-icon]"))) {
    const { text: said, label, icon: drawn } = place.dataset;
    if (drawn) place.append(icon(drawn));
    if (said) place.append(drawn ? h("span", words(said)) : words(said));
    if (label) place.setAttribute("aria-label", words(label));
    if (label && place instanceof HTMLButtonElement) place.title = words(label);
  }
  setTheme();
  byId("theme").addEventListener("click", () => {
    const dark = preferences.theme ? preferences.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    remember({ theme: dark ? "light" : "dark" });
    setTheme();
  });
  const chooser = byId("language", HTMLSelectElement);
  chooser.append(...Object.entries(LANGUAGES).map(([code, name]) => h("option", { value: code, lang: code, selected: code === language }, name)));
  chooser.addEventListener("change", () => {
    remember({ language: chooser.value });
    const address = new URL(location.href);
    address.searchParams.delete("lang");
    if (address.href === location.href) location.reload();
    else location.assign(address);
  });
  const switched = input("impression-first");
  switched.checked = preferences.impressionFirst === true;
  switched.addEventListener("change", () => remember({ impressionFirst: switched.checked }));
  addEventListener("beforeunload", (event) => {
    if (wouldLose()) event.preventDefault();
  });
}

/** @typedef {"start" | "reading" | "list" | "comparison" | "time"} Section */

/** @param {Section} section */
export function showSection(section) {
  for (const id of ["start", "reading", "comparison", "time"]) byId(id).hidden = id !== section;
  document.body.dataset.section = section;
  byId("session").classList.toggle("page", section === "list");
  byId("notice").hidden = true;
}

/** The dark colours are the first rule of the first style sheet with a condition, which the reader's choice replaces. */
function setTheme() {
  const dark = [...document.styleSheets[0].cssRules].find((rule) => rule instanceof CSSMediaRule);
  if (dark && preferences.theme) dark.media.mediaText = preferences.theme === "dark" ? "screen" : "not all";
}
