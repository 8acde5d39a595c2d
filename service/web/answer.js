/** The answer to one picture in words, figures and bars. Elements out of data; nothing here talks to the service. */

import { button, h, icon } from "./dom.js";
import { date, difference, number, percent, plain } from "./format.js";
import { predictiveValues } from "./prevalence.js";
import { text } from "./strings.js";

/** @import { Actions, Child, Interval, Model, OperatingPoint, Prediction, Result, Settings, Shares } from "./types.js" */

/** @param {Prediction} prediction @returns {"refer" | "no_referral" | "abstained"} */
export function verdict({ decision }) {
  if (decision.status === "abstained") return "abstained";
  return decision.refer ? "refer" : "no_referral";
}

/** @param {Result} result @param {Settings} choices @param {Actions} actions */
export function answerOf(result, choices, actions) {
  const { prediction, model } = result;
  const point = model.manifest.operating_points.find(({ name }) => name === prediction.decision.operating_point);
  const shown = prediction.decision.status !== "abstained";
  return [
    decisionOf(result),
    ...(shown ? [probabilitiesOf(prediction, model)] : []),
    ...(shown && point ? [pointOf(point, model, actions), prevalenceOf(point, choices)] : []),
    doneTo(prediction, model),
    modelOf(prediction, actions),
    noteOf(result),
  ];
}

/** What the answer is, for a screen reader's first word. @param {Result} result */
export function inWords({ prediction, model }) {
  const kind = verdict(prediction);
  const reasons = reasonsOf(prediction).map(([title, names]) => `${title}: ${names.join(" ")}`);
  return [`${text.decision[kind]}.`, ...(kind === "abstained" ? [] : [because(prediction, model)]), ...reasons].join(" ");
}

/** Each title with its reasons; what abstains comes first. @param {Prediction} prediction @returns {[string, string[]][]} */
function reasonsOf({ decision: { status, reasons, abstained_because: abstaining } }) {
  const words = text.decision;
  const others = reasons.filter((name) => !abstaining.includes(name));
  /** @type {[string, string[]][]} */
  const all = [[words.abstainedBecause, abstaining], [status === "abstained" ? words.also : words.caution, others]];
  return all.filter(([, names]) => names.length).map(([title, names]) => [title, names.map((name) => words.reasons[name] ?? plain(name))]);
}

/** @param {string} name @param {string} title @param {...Child} children */
const section = (name, title, ...children) =>
  h("section", { class: name, "aria-labelledby": `${name}-title` }, h("h3", { id: `${name}-title` }, title), ...children);

/** @param {Prediction} prediction @param {Model} model */
function because({ decision }, { manifest }) {
  const malignant = manifest.classes.filter((each) => each.malignant).map(({ label }) => label);
  return text.decision.because(malignant.join(" + "), decision.malignant_probability, decision.threshold, Boolean(decision.refer));
}

/** @param {Result} result */
function decisionOf({ prediction, model, impression, example }) {
  const kind = verdict(prediction);
  return h(
    "section",
    { class: `decision ${kind}`, "aria-labelledby": "decision-title" },
    h("h3", { id: "decision-title", tabindex: -1 }, icon(kind), h("span", text.decision[kind])),
    kind !== "abstained" && h("p", because(prediction, model)),
    kind === "no_referral" && h("p", { class: "fine" }, text.decision.noReferralMeans),
    ...reasonsOf(prediction).map(([title, names]) => h("div", { class: "reasons" }, h("h4", title), h("ul", ...names.map((name) => h("li", name))))),
    kind === "abstained" && h("p", text.decision.abstainedWhatNext),
    impression && h("p", { class: "impression" }, text.impression.yours(text.impression.choices[impression])),
    example && h("p", { class: "fine" }, text.examples[example].known),
  );
}

/** @param {Prediction} prediction @param {Model} model */
function probabilitiesOf({ probabilities, branches, decision }, { manifest }) {
  const classes = manifest.classes.toSorted((a, b) => probabilities[b.name] - probabilities[a.name]);
  const malignant = manifest.classes.filter((each) => each.malignant);
  const sum = (/** @type {Shares} */ shares) => malignant.reduce((all, { name }) => all + shares[name], 0);
  const words = text.probabilities;
  const row = (label = "", isMalignant = false, mean = 0, /** @type {number[]} */ each, /** @type {number | null} */ threshold) =>
    h(
      "tr",
      { class: isMalignant && "malignant" },
      h("th", { scope: "row" }, h("span", { class: "class" }, label), " ", isMalignant && threshold === null && h("span", { class: "tag" }, words.malignant), bar(mean, each, threshold)),
      h("td", { class: "mean" }, percent(mean)),
      ...each.map((share) => h("td", percent(share))),
    );
  const [one, two] = branches.map((branch) => highest(branch.probabilities));
  const label = (name = "") => (manifest.classes.find((each) => each.name === name)?.label ?? plain(name)).toLowerCase();
  const apart = manifest.classes
    .map(({ name }) => ({ name, by: Math.abs(branches[0].probabilities[name] - branches[1].probabilities[name]) }))
    .reduce((most, each) => (each.by > most.by ? each : most));
  const mix = manifest.prevalence;
  return section(
    "probabilities",
    words.title,
    h(
      "table",
      { class: "bars" },
      h("caption", { class: "unseen" }, words.caption),
      h(
        "thead",
        h("tr", h("th", { scope: "col", rowspan: 2 }, words.class), h("th", { scope: "col", rowspan: 2 }, words.mean), h("th", { scope: "colgroup", colspan: branches.length }, words.branch)),
        h("tr", ...branches.map((_, index) => h("th", { scope: "col" }, h("span", { class: `glyph branch-${index + 1}`, "aria-hidden": "true" }), String(index + 1)))),
      ),
      h("tbody", ...classes.map(({ name, label, malignant }) => row(label, malignant, probabilities[name], branches.map((branch) => branch.probabilities[name]), null))),
      h("tfoot", row(words.sum, true, decision.malignant_probability, branches.map((branch) => sum(branch.probabilities)), decision.threshold)),
    ),
    h("p", one === two ? words.agree(label(one)) : words.disagree(label(one), label(two)), " ", words.apart(label(apart.name), apart.by)),
    mix && h("p", { class: "fine" }, words.mix(manifest.classes.map(({ name, label }) => `${label.toLowerCase()} ${percent(mix[name])}`).join(", "))),
  );
}

/** @param {number} mean @param {number[]} branches @param {number | null} threshold */
function bar(mean, branches, threshold) {
  return h(
    "span",
    { class: "bar", "aria-hidden": "true" },
    h("span", { class: "fill", style: { "--share": mean } }),
    ...branches.map((share, index) => h("span", { class: `glyph branch-${index + 1}`, style: { "--share": share } })),
    threshold !== null && h("span", { class: "threshold", style: { "--share": threshold } }, h("span", text.probabilities.threshold(threshold))),
  );
}

/** @param {Shares} shares */
export const highest = (shares) => Object.entries(shares).reduce((most, each) => (each[1] > most[1] ? each : most))[0];

/** @param {OperatingPoint} point @param {Model} model @param {Actions} actions */
function pointOf(point, { manifest }, { judgeAt }) {
  const words = text.point;
  const options = manifest.operating_points.map(({ name }) => h("option", { value: name, selected: name === point.name }, plain(name)));
  const rate = (name = "", /** @type {Interval} */ { value, low, high }, meaning = "") => [
    h("dt", name),
    h("dd", h("strong", percent(value)), ` (${words.interval(low, high)}) `, h("span", { class: "fine" }, meaning)),
  ];
  return section(
    "point",
    words.title,
    h("label", { class: "pick" }, h("span", words.choose), h("select", { id: "point", onchange: (/** @type {Event} */ { target }) => judgeAt(/** @type {HTMLSelectElement} */ (target).value) }, ...options)),
    h("span", { class: "print-only" }, plain(point.name)),
    h("p", words.refers(point.threshold)),
    h("dl", { class: "rates" }, ...rate(words.sensitivity, point.sensitivity, words.sensitivityMeans), ...rate(words.specificity, point.specificity, words.specificityMeans)),
    h("p", { class: "fine" }, words.measured(point.measured_on)),
  );
}

/** @param {OperatingPoint} point @param {Settings} choices */
function prevalenceOf(point, choices) {
  const words = text.prevalence;
  const values = h("dl", { class: "rates" });
  const none = h("p", { id: "no-values" });
  const field = h("input", { type: "number", id: "prevalence", min: 0.1, max: 99, step: "any", required: true, "aria-describedby": "no-values" });
  const slider = h("input", { type: "range", min: 0.5, max: 50, step: 0.5, "aria-label": words.label });
  const inBrackets = (/** @type {Interval} */ { value, low, high }) => [h("strong", percent(value)), ` (${text.point.interval(low, high)})`];
  const show = () => {
    const found = field.validity.valid ? predictiveValues(point, choices.percent / 100) : null;
    none.textContent = found ? "" : field.validity.valid ? words.none : words.invalid;
    values.replaceChildren(
      ...(found
        ? [h("dt", words.positive), h("dd", ...inBrackets(found.positive)), h("dt", words.negative), h("dd", ...inBrackets(found.negative))]
        : []),
    );
    slider.setAttribute("aria-valuetext", percent(choices.percent / 100));
  };
  const take = (/** @type {HTMLInputElement} */ from, /** @type {HTMLInputElement} */ to) => {
    if (from.validity.valid) choices.percent = Number((to.value = from.value));
    show();
  };
  field.value = slider.value = String(choices.percent);
  field.addEventListener("input", () => take(field, slider));
  slider.addEventListener("input", () => take(slider, field));
  show();
  return section(
    "prevalence",
    words.title,
    h("div", { class: "prevalence-input" }, h("label", { for: "prevalence" }, words.label), h("span", { class: "unit" }, field, words.unit), slider),
    values,
    none,
    h("p", { class: "fine" }, words.ends),
  );
}

/** @param {Prediction} prediction @param {Model} model */
function doneTo({ image, lesion, timings_ms: times }, { manifest }) {
  const words = text.done;
  const { crop_box: box } = lesion;
  const share = ((box.x1 - box.x0) * (box.y1 - box.y0)) / (image.width * image.height);
  const size = manifest.frame_size;
  const same = image.width === size && image.height === size;
  return section(
    "done",
    words.title,
    h(
      "ol",
      h("li", words.read(image.format, image.width, image.height)),
      ...image.notes.map((note) => h("li", words.notes[note] ?? note)),
      h("li", same ? words.kept(size) : words.squashed(size, manifest.frame_jpeg_quality)),
      h("li", lesion.found ? words.lesion(lesion.fraction) : words.noLesion),
      lesion.found && h("li", words.cropped(box, share)),
    ),
    h("h4", words.times),
    h("dl", { class: "times" }, ...Object.entries(words.stages).map(([stage, name]) => h("div", h("dt", name), h("dd", number(times[/** @type {keyof typeof times} */ (stage)]))))),
  );
}

/** @param {Prediction} prediction @param {Actions} actions */
function modelOf({ model, created_at: at, id, notice }, { showCard }) {
  const words = text.model;
  const entry = (name = "", value = "", code = false) => [h("dt", name), h("dd", code ? h("code", value) : value)];
  return section(
    "model",
    words.title,
    h("dl", ...entry(words.name, `${model.name} ${model.version}`), ...entry(words.runs, `${model.variant}, ${model.provider}`), ...entry(words.answered, date(at)), ...entry(words.digest, model.sha256, true), ...entry(words.id, id, true)),
    button(words.card, showCard, { class: "link" }),
    h("p", { class: "notice" }, notice),
  );
}

/** @param {Result} result */
function noteOf(result) {
  const field = h("input", { type: "text", id: "note", maxlength: 80, autocomplete: "off", "aria-describedby": "note-why" });
  field.value = result.note;
  field.addEventListener("input", () => (result.note = field.value));
  return h("section", { class: "note" }, h("label", { for: "note" }, text.note.label), field, h("p", { class: "fine", id: "note-why" }, text.note.why));
}

/**
 * Both pictures' probabilities beside each other.
 * @param {Result} one
 * @param {Result} two
 */
export function differenceOf({ prediction: a, model: { manifest } }, { prediction: b }) {
  const words = text.compare;
  const comparable = [a, b].every(({ decision }) => decision.status !== "abstained") && a.model.sha256 === b.model.sha256;
  const cell = (/** @type {Prediction} */ { probabilities, decision }, name = "") => h("td", decision.status === "abstained" ? words.abstained : name in probabilities ? percent(probabilities[name]) : "–");
  const rows = manifest.classes.map(({ name, label, malignant }) =>
    h("tr", h("th", { scope: "row" }, label, " ", malignant && h("span", { class: "tag" }, text.probabilities.malignant)), cell(a, name), cell(b, name), h("td", { class: "mean" }, comparable ? difference(b.probabilities[name] - a.probabilities[name]) : "–")),
  );
  return [
    h(
      "table",
      { class: "differences" },
      h("caption", words.caption),
      h("thead", h("tr", h("th", { scope: "col" }, text.probabilities.class), ...["A", "B", words.difference].map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", ...rows),
    ),
    !comparable && h("p", a.model.sha256 === b.model.sha256 ? words.noDifference : words.models),
    h("p", { class: "fine" }, words.linked),
  ];
}
