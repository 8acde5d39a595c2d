/** The clinic's share of malignant lesions and its operating point: set once, used for every answer; which answers were made for others. */

import { button, h } from "./dom.js";
import { percent, short, typed } from "./format.js";
import { preferences } from "./preferences.js";
import { text } from "./strings.js";
import { malignantNames, ownPrevalence, pointName, pointOf, predictiveValues, riskOf } from "./wording.js";

/** @import { Actions, Clinic, Interval, Model, OperatingPoint, Result } from "./types.js" */

const LEAST = 0.1; // percent
const MOST = 99;

/** Open once, open for the next answer as well. */
let open = false;

/** @param {Result} result @param {Actions} actions */
export function clinicOf(result, actions) {
  const words = text.clinic;
  const { prediction, model: { manifest } } = result;
  const point = pointOf(prediction, manifest);
  if (riskOf(prediction) === null || !point) return null;
  const options = manifest.operating_points.map(({ name }) => h("option", { value: name, selected: name === point.name }, pointName(name)));
  const choose = (/** @type {Event} */ { target }) => actions.adjust({ operatingPoint: /** @type {HTMLSelectElement} */ (target).value });
  const folded = h(
    "details",
    { class: "clinic", id: "clinic", open, ontoggle: () => (open = folded.open) },
    h("summary", h("h3", words.title), h("span", { class: "fine" }, [preferences.prevalence && short(preferences.prevalence), pointName(point.name)].filter(Boolean).join(" · "))),
    ...(ownPrevalence(manifest) === null ? [] : prevalenceOf(result, actions)),
    h("label", { class: "pick" }, h("span", words.point), h("select", { id: "point", onchange: choose }, ...options)),
    h("p", { class: "fine" }, words.remembered),
    h("h4", words.values),
    ...valuesOf(point, prediction.decision.prevalence, malignantNames(manifest)),
  );
  return folded;
}

/** @param {Result} result @param {Actions} actions */
function prevalenceOf({ model: { manifest } }, { adjust }) {
  const words = text.clinic;
  const field = h("input", { type: "number", id: "prevalence", min: LEAST, max: MOST, step: "any", "aria-describedby": "prevalence-invalid" });
  const invalid = h("p", { id: "prevalence-invalid", class: "refused" });
  field.value = preferences.prevalence ? typed(preferences.prevalence) : "";
  field.placeholder = typed(ownPrevalence(manifest) ?? 0);
  field.addEventListener("change", () => {
    invalid.textContent = field.validity.valid ? "" : words.invalid;
    if (!field.validity.valid) return;
    adjust({ prevalence: field.value === "" ? undefined : Number(field.value) / 100 });
  });
  return [
    h("label", { class: "pick", for: "prevalence" }, h("span", words.prevalence(malignantNames(manifest).join(" + "))), h("span", { class: "unit" }, field, "%")),
    invalid,
    preferences.prevalence !== undefined && button(words.own, () => adjust({ prevalence: undefined }), { class: "link", id: "own-mix" }),
  ];
}

/** @param {OperatingPoint} point @param {number | null} prevalence @param {string[]} names */
function valuesOf(point, prevalence, names) {
  const words = text.clinic;
  if (prevalence === null) return [];
  const found = predictiveValues(point, prevalence);
  if (!found) return [h("p", words.none)];
  const entry = (name = "", /** @type {Interval} */ { value, low, high }) => [h("dt", name), h("dd", h("strong", percent(value)), ` (${text.performance.interval(low, high)})`)];
  return [
    h("dl", { class: "rates values" }, ...entry(words.positive(names), found.positive), ...entry(words.negative(names), found.negative)),
    h("p", { class: "fine" }, words.at(short(prevalence)), " ", words.ends),
  ];
}

/** The reader's choices, as far as a model has them. @param {Model} model @returns {Clinic} */
export function clinicFor({ manifest }) {
  const { prevalence, operatingPoint } = preferences;
  return {
    prevalence: ownPrevalence(manifest) === null ? undefined : prevalence,
    operatingPoint: manifest.operating_points.some(({ name }) => name === operatingPoint) ? operatingPoint : undefined,
  };
}

/** Whether an answer is for other choices than the reader's. @param {Result} result */
export function isStale({ prediction: { decision }, model }) {
  const { prevalence = ownPrevalence(model.manifest), operatingPoint = model.operating_point } = clinicFor(model);
  const near = decision.prevalence === prevalence || Math.abs((decision.prevalence ?? 0) - (prevalence ?? 0)) < 1e-6;
  return decision.operating_point !== operatingPoint || !near;
}
