/** The model card's Markdown as elements: headings, paragraphs, lists, tables, bold and code; that is all a card has. */

import { byId, h } from "./dom.js";

/** @import { Child } from "./types.js" */

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

/** @param {string} markdown @returns {HTMLElement[]} */
export function cardOf(markdown) {
  const blocks = markdown.split(/\n\s*\n/).map((block) => block.trim());
  return blocks.flatMap((block) => {
    const lines = block.split("\n").filter((line) => !/^!\[.*\]\(.*\)$/.test(line)); // the plots are not served
    if (lines.length === 0 || !lines[0]) return [];
    const heading = /^(#{1,4}) (.*)$/.exec(lines[0]);
    if (heading) {
      const level = /** @type {"h3" | "h4" | "h5"} */ (`h${Math.min(heading[1].length + 2, 5)}`);
      return [h(level, {}, ...spans(heading[2])), ...(lines.length > 1 ? cardOf(lines.slice(1).join("\n")) : [])];
    }
    if (lines.every((line) => line.startsWith("|"))) return [tableOf(lines)];
    if (lines.every((line) => /^(- | {2})/.test(line))) return [listOf(lines)];
    return [h("p", ...spans(lines.join(" ")))];
  });
}

/** @param {string[]} lines */
function listOf(lines) {
  const items = lines.join("\n").split(/^- /m).filter(Boolean);
  return h("ul", ...items.map((item) => h("li", ...spans(item.replaceAll(/\s+/g, " ").trim()))));
}

/** @param {string[]} lines */
function tableOf(lines) {
  const cells = (line = "") => line.replaceAll(/^\||\|$/g, "").split("|").map((cell) => spans(cell.trim()));
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

/** @param {string} line @returns {Child[]} */
function spans(line) {
  return line.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part) => {
    if (part.startsWith("**")) return h("strong", part.slice(2, -2));
    if (part.startsWith("`")) return h("code", part.slice(1, -1));
    return part;
  });
}
