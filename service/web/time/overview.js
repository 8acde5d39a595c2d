/** What waits for a clinician, which lesions are due, and which there are. Elements out of data. */

import { button, h, icon } from "../dom.js";
import { dayOf } from "../format.js";
import { feedbackForm, folded } from "./forms.js";
import { adviceInWords, words } from "./words.js";

/** @import { LesionSummary, Manifest, Recall, Said, WorkItem } from "../types.js" */

/** So many lesions are listed at a time. */
const MOST = 50;

/**
 * @typedef {object} Actions
 * @property {(lesion: string) => void} show
 * @property {(address: string, kind: string, name: string) => void} save
 * @property {(id: string, said: Partial<Said>) => Promise<void>} send
 */

/** @param {string} name @param {Record<string, () => void>} files @param {...(Node | null | false)} parts */
const part = (name, files, ...parts) =>
  h("section", { class: "due" }, h("div", { class: "row" }, h("h3", name), h("div", { class: "actions" }, ...Object.entries(files).map(([kind, save]) => button(kind, save, { "aria-label": `${name}: ${kind}` })))), ...parts.filter((each) => each !== null && each !== false));

/** @param {WorkItem[]} items @param {Manifest} manifest @param {Actions} actions */
export function worklistOf(items, manifest, { show, save, send }) {
  const row = (/** @type {WorkItem} */ { lesion, visit, advice, malignant_probability: risk, ids }) => {
    const kind = advice === "refer" ? "refer" : "abstained";
    const line = h("li", { class: "waiting" }, h("p", h("span", { class: `verdict ${kind}` }, icon(kind), h("span", adviceInWords({ refer: advice === "refer" || null, malignant_probability: risk })))));
    line.append(
      lesion ? button(lesion, () => show(lesion), { class: "link", "aria-label": words.timelineOf(lesion) }) : h("span", words.unlabelled),
      h("span", { class: "fine" }, dayOf(visit)),
      folded(words.answer, () => [feedbackForm(manifest, [], async (said) => {
        await send(ids[0], said);
        line.classList.add("done");
      })]),
    );
    return line;
  };
  return part(
    words.worklist(items.length),
    { CSV: () => save("/v1/worklist", "text/csv", "worklist.csv") },
    h("p", { class: "fine" }, items.length ? `${words.worklistMeans} ${words.calibrated}` : words.nothingWaits),
    h("ul", ...items.map(row)),
  );
}

/** @param {Recall[]} all @param {boolean} onlyDue @param {Actions & { only: (due: boolean) => void }} actions */
export function recallsOf(all, onlyDue, { show, save, only }) {
  const items = all.filter((item) => item.is_due || !onlyDue);
  const address = `/v1/recalls${onlyDue ? "?only_due=true" : ""}`;
  const files = { CSV: () => save(address, "text/csv", "recalls.csv"), [words.calendar]: () => save(address, "text/calendar", "recalls.ics") };
  const due = h("input", { type: "checkbox", role: "switch", id: "only-due", checked: onlyDue, onchange: () => only(due.checked) });
  return part(
    words.recalls(all.filter((item) => item.is_due).length),
    files,
    h("label", { class: "switch" }, due, words.onlyDue),
    items.length === 0 && h("p", { class: "fine" }, words.nothingDue),
    h("ul", ...items.map(({ lesion, last_visit: last, months, due: day, is_due: isDue }) => h("li", button(lesion, () => show(lesion), { class: "link", "aria-label": words.timelineOf(lesion) }), h("strong", { class: isDue ? "late" : "" }, words.due(dayOf(day), isDue)), h("span", { class: "fine" }, words.since(months, dayOf(last)))))),
  );
}

/** @param {LesionSummary[]} items @param {Actions} actions */
export function lesionsOf(items, { show }) {
  const list = h("ul", { class: "lesions" });
  const left = h("p", { class: "fine" });
  const search = h("input", { type: "search", class: "lesion", autocomplete: "off", oninput: () => fill() });
  const fill = () => {
    const found = items.filter(({ lesion }) => lesion.toLowerCase().includes(search.value.trim().toLowerCase()));
    list.replaceChildren(...found.slice(0, MOST).map(({ lesion, last_visit: last, num_visits: visits, num_images: images }) => h("li", button(lesion, () => show(lesion), { class: "link", "aria-label": words.timelineOf(lesion) }), h("span", { class: "fine" }, words.visits(visits, images, dayOf(last))))));
    left.textContent = found.length > MOST ? words.more(found.length - MOST) : "";
  };
  fill();
  return part(words.lesions(items.length), {}, items.length > 5 && h("label", { class: "named" }, h("span", { class: "fine" }, words.search), search), list, left);
}
