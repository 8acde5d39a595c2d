/** The answer to one picture in words, figures and bars. Elements out of data; nothing here talks to the service. */

import { element, icon } from "./dom.js";
import { predictiveValues } from "./prevalence.js";
import { date, difference, number, percent, plain, text } from "./strings.js";

/** @typedef {import("./types.js").Result} Result */
/** @typedef {import("./types.js").Prediction} Prediction */
/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").OperatingPoint} OperatingPoint */

/**
 * @typedef {object} Choices What a reader may set; shared by all answers of the tab.
 * @property {number} prevalence Share of malignant lesions among those that the reader sees.
 * @property {string} note
 */

/**
 * @typedef {object} Actions
 * @property {(point: string) => void} judgeAt
 * @property {() => void} showCard
 */

/** @param {Prediction} prediction @returns {"refer" | "no_referral" | "abstained"} */
export function verdict({ decision }) {
  if (decision.status === "abstained") return "abstained";
  return decision.refer ? "refer" : "no_referral";
}

/**
 * @param {Result} result
 * @param {Model} model
 * @param {Choices} choices
 * @param {Actions} actions
 */
export function answerOf(result, model, choices, actions) {
  const { prediction } = result;
  const point = model.manifest.operating_points.find(({ name }) => name === prediction.decision.operating_point);
  const shown = prediction.decision.status !== "abstained";
  return [
    decisionOf(result, model),
    ...(shown ? [probabilitiesOf(prediction, model)] : []),
    ...(shown && point ? [pointOf(point, model, actions), prevalenceOf(point, choices)] : []),
    doneTo(prediction, model),
    modelOf(prediction, actions),
    noteOf(choices),
  ];
}

/** What the answer is, for a screen reader's first word. @param {Prediction} prediction @param {Model} model */
export function inWords(prediction, model) {
  const kind = verdict(prediction);
  return `${text.decision[kind]}. ${kind === "abstained" ? "" : because(prediction, model)}`.trim();
}

/** @param {Prediction} prediction @param {Model} model */
function because({ decision }, { manifest }) {
  const malignant = manifest.classes.filter((each) => each.malignant).map(({ label }) => label);
  return text.decision.because(malignant.join(" + "), decision.malignant_probability, decision.threshold, Boolean(decision.refer));
}

/** @param {Result} result @param {Model} model */
function decisionOf({ prediction, impression, example }, model) {
  const kind = verdict(prediction);
  const { reasons, abstained_because: abstaining = [] } = prediction.decision;
  const listed = (/** @type {string} */ title, /** @type {string[]} */ names) =>
    names.length > 0 && element("div", { class: "reasons" }, element("h4", {}, title), element("ul", {}, ...names.map((name) => element("li", {}, text.decision.reasons[name] ?? plain(name)))));
  return element(
    "section",
    { class: `decision ${kind}`, "aria-labelledby": "decision-title" },
    element("h3", { id: "decision-title", tabindex: -1 }, icon(kind), element("span", {}, text.decision[kind])),
    kind !== "abstained" && element("p", {}, because(prediction, model)),
    kind === "no_referral" && element("p", { class: "fine" }, text.decision.noReferralMeans),
    listed(text.decision.abstainedBecause, abstaining),
    kind === "abstained" && element("p", {}, text.decision.abstainedWhatNext),
    listed(kind === "abstained" ? text.decision.also : text.decision.caution, reasons.filter((name) => !abstaining.includes(name))),
    impression && element("p", { class: "impression" }, text.impression.yours(text.impression.choices[impression])),
    example && element("p", { class: "fine" }, text.examples[example].known),
  );
}

/** @param {Prediction} prediction @param {Model} model */
function probabilitiesOf({ probabilities, branches, decision }, { manifest }) {
  const classes = manifest.classes.toSorted((a, b) => probabilities[b.name] - probabilities[a.name]);
  const malignant = manifest.classes.filter((each) => each.malignant);
  const sum = (/** @type {import("./types.js").Shares} */ shares) => malignant.reduce((all, { name }) => all + shares[name], 0);
  const words = text.probabilities;
  const row = (/** @type {string} */ label, /** @type {boolean} */ isMalignant, /** @type {number} */ mean, /** @type {number[]} */ each, /** @type {number | null} */ threshold) =>
    element(
      "tr",
      { class: isMalignant && "malignant" },
      element("th", { scope: "row" }, element("span", { class: "class" }, label), " ", isMalignant && threshold === null && element("span", { class: "tag" }, words.malignant), bar(mean, each, threshold)),
      element("td", { class: "mean" }, percent(mean)),
      ...each.map((share) => element("td", {}, percent(share))),
    );
  const [one, two] = branches.map((branch) => highest(branch.probabilities));
  const label = (/** @type {string} */ name) => manifest.classes.find((each) => each.name === name)?.label ?? plain(name);
  const apart = manifest.classes
    .map(({ name }) => ({ name, by: Math.abs(branches[0].probabilities[name] - branches[1].probabilities[name]) }))
    .reduce((most, each) => (each.by > most.by ? each : most));
  const mix = manifest.prevalence;
  return element(
    "section",
    { class: "probabilities", "aria-labelledby": "probabilities-title" },
    element("h3", { id: "probabilities-title" }, words.title),
    element(
      "table",
      { class: "bars" },
      element("caption", { class: "unseen" }, words.caption),
      element(
        "thead",
        {},
        element("tr", {}, element("th", { scope: "col", rowspan: 2 }, words.class), element("th", { scope: "col", rowspan: 2 }, words.mean), element("th", { scope: "colgroup", colspan: branches.length }, words.branch)),
        element("tr", {}, ...branches.map((_, index) => element("th", { scope: "col" }, element("span", { class: `glyph branch-${index + 1}`, "aria-hidden": "true" }), String(index + 1)))),
      ),
      element("tbody", {}, ...classes.map(({ name, label, malignant }) => row(label, malignant, probabilities[name], branches.map((branch) => branch.probabilities[name]), null))),
      element("tfoot", {}, row(words.sum, true, decision.malignant_probability, branches.map((branch) => sum(branch.probabilities)), decision.threshold)),
    ),
    element("p", {}, one === two ? words.agree(label(one).toLowerCase()) : words.disagree(label(one).toLowerCase(), label(two).toLowerCase()), " ", words.apart(label(apart.name).toLowerCase(), apart.by)),
    mix && element("p", { class: "fine" }, words.mix(manifest.classes.map(({ name, label }) => `${label.toLowerCase()} ${percent(mix[name])}`).join(", "))),
  );
}

/**
 * @param {number} mean
 * @param {number[]} branches
 * @param {number | null} threshold
 */
function bar(mean, branches, threshold) {
  return element(
    "span",
    { class: "bar", "aria-hidden": "true" },
    element("span", { class: "fill", style: { "--share": mean } }),
    ...branches.map((share, index) => element("span", { class: `glyph branch-${index + 1}`, style: { "--share": share } })),
    threshold !== null && element("span", { class: "threshold", style: { "--share": threshold } }, element("span", {}, text.probabilities.threshold(threshold))),
  );
}

/** @param {import("./types.js").Shares} shares */
export const highest = (shares) => Object.entries(shares).reduce((most, each) => (each[1] > most[1] ? each : most))[0];

/**
 * @param {OperatingPoint} point
 * @param {Model} model
 * @param {Actions} actions
 */
function pointOf(point, { manifest }, { judgeAt }) {
  const words = text.point;
  const options = manifest.operating_points.map(({ name }) => element("option", { value: name, selected: name === point.name }, plain(name)));
  const rate = (/** @type {string} */ name, /** @type {import("./types.js").Interval} */ { value, low, high }, /** @type {string} */ meaning) => [
    element("dt", {}, name),
    element("dd", {}, element("strong", {}, percent(value)), ` (${words.interval(low, high)}) `, element("span", { class: "fine" }, meaning)),
  ];
  return element(
    "section",
    { class: "point", "aria-labelledby": "point-title" },
    element("h3", { id: "point-title" }, words.title),
    element("label", { class: "pick" }, element("span", {}, words.choose), element("select", { id: "point", onchange: (/** @type {Event} */ { target }) => judgeAt(/** @type {HTMLSelectElement} */ (target).value) }, ...options)),
    element("span", { class: "print-only" }, plain(point.name)),
    element("p", {}, words.refers(point.threshold)),
    element("dl", { class: "rates" }, ...rate(words.sensitivity, point.sensitivity, words.sensitivityMeans), ...rate(words.specificity, point.specificity, words.specificityMeans)),
    element("p", { class: "fine" }, words.measured(point.measured_on)),
  );
}

/** @param {OperatingPoint} point @param {Choices} choices */
function prevalenceOf(point, choices) {
  const words = text.prevalence;
  const values = element("dl", { class: "rates" });
  const none = element("p", { hidden: true }, words.none);
  const field = element("input", { type: "number", id: "prevalence", min: 0.1, max: 99, step: 0.1, inputmode: "decimal" });
  const slider = element("input", { type: "range", min: 0.5, max: 50, step: 0.5, "aria-label": words.slider });
  const inBrackets = (/** @type {import("./types.js").Interval} */ { value, low, high }) => [element("strong", {}, percent(value)), ` (${text.point.interval(low, high)})`];
  const show = () => {
    const found = predictiveValues(point, choices.prevalence);
    none.hidden = found !== null;
    values.replaceChildren(
      ...(found
        ? [element("dt", {}, words.positive), element("dd", {}, ...inBrackets(found.positive)), element("dt", {}, words.negative), element("dd", {}, ...inBrackets(found.negative))]
        : []),
    );
    slider.setAttribute("aria-valuetext", percent(choices.prevalence));
  };
  const take = (/** @type {HTMLInputElement} */ from, /** @type {HTMLInputElement} */ to) => {
    if (!from.validity.valid || from.value === "") return;
    choices.prevalence = Number(from.value) / 100;
    to.value = from.value;
    show();
  };
  field.value = slider.value = String(choices.prevalence * 100);
  field.addEventListener("input", () => take(field, slider));
  slider.addEventListener("input", () => take(slider, field));
  show();
  return element(
    "section",
    { class: "prevalence", "aria-labelledby": "prevalence-title" },
    element("h3", { id: "prevalence-title" }, words.title),
    element("div", { class: "prevalence-input" }, element("label", { for: "prevalence" }, words.label), element("span", { class: "unit" }, field, words.unit), slider),
    values,
    none,
    element("p", { class: "fine" }, words.ends),
  );
}

/** @param {Prediction} prediction @param {Model} model */
function doneTo({ image, lesion, timings_ms: times }, { manifest }) {
  const words = text.done;
  const { crop_box: box } = lesion;
  const share = ((box.x1 - box.x0) * (box.y1 - box.y0)) / (image.width * image.height);
  const size = manifest.frame_size;
  const same = image.width === size && image.height === size;
  return element(
    "section",
    { class: "done", "aria-labelledby": "done-title" },
    element("h3", { id: "done-title" }, words.title),
    element(
      "ol",
      {},
      element("li", {}, words.read(image.format, image.width, image.height)),
      element("li", {}, same ? words.kept(size) : words.squashed(size, manifest.frame_jpeg_quality)),
      element("li", {}, lesion.found ? words.lesion(lesion.fraction) : words.noLesion),
      lesion.found && element("li", {}, words.cropped(box, share)),
    ),
    element("h4", {}, words.times),
    element("dl", { class: "times" }, ...Object.entries(words.stages).map(([stage, name]) => element("div", {}, element("dt", {}, name), element("dd", {}, number(times[/** @type {keyof typeof times} */ (stage)]))))),
  );
}

/** @param {Prediction} prediction @param {Actions} actions */
function modelOf({ model, created_at: at, id, notice }, { showCard }) {
  const words = text.model;
  const entry = (/** @type {string} */ name, /** @type {string} */ value, code = false) => [element("dt", {}, name), element("dd", {}, code ? element("code", {}, value) : value)];
  return element(
    "section",
    { class: "model", "aria-labelledby": "model-title" },
    element("h3", { id: "model-title" }, words.title),
    element("dl", {}, ...entry(words.name, `${model.name} ${model.version}`), ...entry(words.runs, `${model.variant}, ${model.provider}`), ...entry(words.answered, date(at)), ...entry(words.digest, model.sha256, true), ...entry(words.id, id, true)),
    element("button", { type: "button", class: "link", onclick: showCard }, words.card),
    element("p", { class: "notice" }, notice),
  );
}

/** @param {Choices} choices */
function noteOf(choices) {
  const field = element("input", { type: "text", id: "note", maxlength: 80, autocomplete: "off", "aria-describedby": "note-why" });
  field.value = choices.note;
  field.addEventListener("input", () => (choices.note = field.value));
  return element("section", { class: "note" }, element("label", { for: "note" }, text.note.label), field, element("p", { class: "fine", id: "note-why" }, text.note.why));
}

/**
 * Both pictures' probabilities beside each other.
 * @param {Prediction} a
 * @param {Prediction} b
 * @param {Model} model
 */
export function differenceOf(a, b, { manifest }) {
  const words = text.compare;
  const comparable = [a, b].every(({ decision }) => decision.status !== "abstained") && a.model.sha256 === b.model.sha256;
  const cell = (/** @type {Prediction} */ { probabilities, decision }, /** @type {string} */ name) => element("td", {}, decision.status === "abstained" ? words.abstained : percent(probabilities[name]));
  const rows = manifest.classes.map(({ name, label, malignant }) =>
    element("tr", {}, element("th", { scope: "row" }, label, " ", malignant && element("span", { class: "tag" }, text.probabilities.malignant)), cell(a, name), cell(b, name), element("td", { class: "mean" }, comparable ? difference(b.probabilities[name] - a.probabilities[name]) : "–")),
  );
  return [
    element(
      "table",
      { class: "differences" },
      element("caption", {}, words.caption),
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, text.probabilities.class), ...["A", "B", words.difference].map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...rows),
    ),
    !comparable && element("p", {}, a.model.sha256 === b.model.sha256 ? words.noDifference : words.models),
    element("p", { class: "fine" }, words.linked),
  ];
}
