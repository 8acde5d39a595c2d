/** The dialogs: for the access key, and with the model card. */

import { Problem } from "./api.js";
import { byId, h, input } from "./dom.js";

/** @import { Child } from "./types.js" */

/**
 * The field is cleared at once; the key is kept by who asked.
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

/** @param {string} markdown */
export function showCard(markdown) {
  const dialog = byId("card", HTMLDialogElement);
  byId("card-text").replaceChildren(...cardOf(markdown));
  dialog.showModal();
  byId("card-title").focus();
}

export function setUpCard() {
  const dialog = byId("card", HTMLDialogElement);
  byId("card-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
}

/** Headings, paragraphs, lists, tables, bold, italics and code: that is all the Markdown of a card has. @param {string} markdown @returns {HTMLElement[]} */
export function cardOf(markdown) {
  const blocks = markdown.replaceAll(/<!--.*?-->/gs, "").split(/\n\s*\n/);
  return blocks.flatMap((block) => blockOf(block.split("\n").filter((line) => line.trim() && !PLOT.test(line.trim()))));
}

/** The plots are not served. */
const PLOT = /^!\[.*\]\(.*\)$/;
/** What a line is, by how it begins. @type {[string, RegExp][]} */
const KINDS = [
  ["heading", /^#{1,6} /],
  ["table", /^\|/],
  ["ul", /^\s*[-*] /],
  ["ol", /^\s*\d+\. /],
];
const kindOf = (line = "") => KINDS.find(([, begins]) => begins.test(line))?.[0] ?? "p";

/** @param {string[]} lines @returns {HTMLElement[]} */
function blockOf(lines) {
  if (lines.length === 0) return [];
  const kind = kindOf(lines[0]);
  // A list goes on over lines that are no list's; everything else ends where another kind begins.
  const ends = lines.findIndex((line, at) => at > 0 && (kind === "heading" || (kindOf(line) !== kind && !(/^[uo]l$/.test(kind) && kindOf(line) === "p"))));
  const [mine, others] = ends < 0 ? [lines, []] : [lines.slice(0, ends), lines.slice(ends)];
  return [elementOf(kind, mine), ...blockOf(others)];
}

/** @param {string} kind @param {string[]} lines */
function elementOf(kind, lines) {
  if (kind === "table") return tableOf(lines);
  if (kind === "ul" || kind === "ol") return listOf(kind, lines);
  if (kind === "p") return h("p", ...spans(lines.map((line) => line.trim()).join(" ")));
  const [marks, ...said] = lines[0].split(" ");
  return h(/** @type {"h3" | "h4" | "h5"} */ (`h${Math.min(marks.length + 2, 5)}`), {}, ...spans(said.join(" ")));
}

/** @param {"ul" | "ol"} kind @param {string[]} lines */
function listOf(kind, lines) {
  /** @type {string[]} */
  const items = [];
  for (const line of lines) {
    if (kindOf(line) === kind) items.push(line.replace(/^\s*([-*]|\d+\.) /, ""));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return h(kind, {}, ...items.map((item) => h("li", ...spans(item))));
}

/** @param {string[]} lines */
function tableOf(lines) {
  const cells = (line = "") => line.trim().replaceAll(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => spans(cell.trim().replaceAll("\\|", "|")));
  const [head, , ...rows] = lines;
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group" },
    h(
      "table",
      h("thead", h("tr", ...cells(head).map((cell) => h("th", { scope: "col" }, ...cell)))),
      h("tbody", ...rows.map((row) => h("tr", ...cells(row).map((cell) => h("td", ...cell))))),
    ),
  );
}

/** Bold (with code inside), italics, code and links, of which the words stay. @param {string} line @returns {Child[]} */
function spans(line) {
  return line.split(/(\*\*.+?\*\*|`[^`]+`|\*[^*\s][^*]*\*|\[[^\]]+\]\([^)]*\))/).filter(Boolean).map((part) => {
    if (/^\*\*.+\*\*$/s.test(part)) return h("strong", {}, ...spans(part.slice(2, -2)));
    if (/^`.+`$/s.test(part)) return h("code", part.slice(1, -1));
    if (/^\*.+\*$/s.test(part)) return h("em", {}, ...spans(part.slice(1, -1)));
    const link = /^\[([^\]]+)\]\([^)]*\)$/.exec(part);
    return link ? link[1] : part;
  });
}
