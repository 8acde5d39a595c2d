/** What a reader enters: which lesion at which visit, and what became of an answer. */

import { h, icon } from "../dom.js";
import { problemText, say } from "../panels.js";
import { diagnosisName, OTHERS, saidInWords, words } from "./words.js";

/** @import { FollowUp, Manifest, Said } from "../types.js" */

/** As the service has it: letters and signs before a digit, so that most names are none. */
const LABEL = "([A-Za-z][A-Za-z._\\-]{0,62})?[0-9][A-Za-z0-9._\\-]{0,63}";

/** As a date of this place. */
export const today = () => new Date().toLocaleDateString("sv");

/** A field with its name above it. @param {string} name @param {HTMLElement} field */
const named = (name, field) => h("label", { class: "named" }, h("span", { class: "fine" }, name), field);

/** @param {FollowUp} [now] */
export function followUpFields({ lesion, visit } = { lesion: "", visit: "" }) {
  const label = h("input", { type: "text", class: "lesion", pattern: LABEL, maxlength: 64, autocomplete: "off", spellcheck: "false", list: "lesions", title: words.labelRule, value: lesion });
  const day = h("input", { type: "date", class: "visit", min: "1970-01-01", max: today(), value: visit || today() });
  return { label, day, fields: h("div", { class: "fields" }, named(words.lesion, label), named(words.visit, day)) };
}

/** Which lesion an image shows. @param {FollowUp | null} now @param {(chosen: FollowUp) => void} onChosen */
export function followUpForm(now, onChosen) {
  const { label, day, fields } = followUpFields(now ?? undefined);
  label.required = day.required = true;
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    onChosen({ lesion: label.value, visit: day.value });
  };
  return h("form", { class: "entry", onsubmit: submit }, fields, h("p", { class: "fine" }, words.labelRule), h("div", { class: "actions" }, h("button", now ? words.change : words.follow)));
}

/**
 * The clinician's answer to one of the service's.
 * @param {Manifest} manifest
 * @param {Partial<Said>[]} before What was said of it.
 * @param {(said: Partial<Said>) => Promise<void>} send Rejects when it was not written down; the form then stays as it is.
 */
export function feedbackForm(manifest, before, send) {
  const choices = (/** @type {[string, string][]} */ options) => h("select", ...[["", "–"], ...options].map(([value, label]) => h("option", { value }, label)));
  const names = [...new Set([...manifest.classes.map(({ name }) => name), ...OTHERS])];
  const [diagnosis, histology] = [0, 1].map(() => choices(names.map((name) => [name, diagnosisName(name)])));
  const recall = choices([3, 6, 12, 0].map((months) => [String(months), words.months[months]]));
  const day = h("input", { type: "date", min: "1970-01-01", max: today(), value: today(), required: true });
  const refused = h("p", { class: "refused", role: "alert" });
  const record = h("ul", { class: "said" }, ...before.map((said) => h("li", saidInWords(said))));
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const opinion = /** @type {Said["opinion"]} */ (new FormData(form).get("opinion"));
    /** @type {Partial<Said>} */
    const said = { ...(opinion && { opinion }), ...(diagnosis.value && { diagnosis: diagnosis.value }), ...(histology.value && { histology: histology.value }), ...(recall.value && { recall_months: Number(recall.value) }) };
    refused.textContent = Object.keys(said).length ? "" : words.nothing;
    if (refused.textContent) return;
    said.date = day.value;
    submitting.disabled = true;
    try {
      await send(said);
      record.append(h("li", saidInWords(said)));
      form.reset();
      say(`${words.written} ${saidInWords(said)}`);
    } catch (error) {
      const { title, what } = problemText(error);
      refused.textContent = `${title}. ${what}`;
    }
    submitting.disabled = false;
  };
  const submitting = h("button", { class: "primary" }, words.write);
  const form = h(
    "form",
    { class: "entry", onsubmit: submit },
    h("fieldset", { class: "choices" }, h("legend", words.opinion), ...Object.entries(words.opinions).map(([value, label]) => h("label", h("input", { type: "radio", name: "opinion", value }), h("span", label)))),
    h("div", { class: "fields" }, named(words.diagnosis, diagnosis), named(words.histology, histology), named(words.date, day), named(words.recall, recall)),
    refused,
    h("div", { class: "actions" }, submitting),
  );
  return h("div", { class: "word" }, record, form);
}

/** Something to unfold, made when it is. @param {string} title @param {() => Node[]} made */
export function folded(title, made) {
  const details = h("details", { class: "unfold", ontoggle: () => details.childElementCount === 1 && details.append(...made()) }, h("summary", title));
  return details;
}

/** Deleting takes two steps. @param {string} title @param {string} means @param {string} name @param {() => void} erase */
export const erasing = (title, means, name, erase) => folded(title, () => [h("p", { class: "fine" }, means), h("div", { class: "actions" }, h("button", { type: "button", onclick: erase }, icon("close"), h("span", name)))]);
