/** The evidence behind an answer, in the order in which a clinician asks; folded until wanted. */

import { button, h } from "./dom.js";
import { date, number, percent, rough, short } from "./format.js";
import { scaleOf } from "./geometry.js";
import { className, classWithin, text } from "./strings.js";
import { isHeldOut, othersOf, pointName, pointOf, riskOf } from "./wording.js";

/** @import { Actions, Child, Interval, Manifest, Model, OperatingPoint, Prediction, Result, Shares } from "./types.js" */

/** Open once, open for the next answer as well. */
let open = false;

/** @param {Result} result @param {Actions} actions */
export function detailsOf(result, actions) {
  const { prediction, model } = result;
  const { manifest } = model;
  const point = pointOf(prediction, manifest);
  const assessed = riskOf(prediction) !== null;
  const others = othersOf(result);
  const folded = h(
    "details",
    { class: "details", id: "details", open, ontoggle: () => (open = folded.open) },
    h("summary", h("h3", text.details)),
    others.length > 0 && h("p", h("strong", `${text.decision.also}:`), " ", others.join(" ")),
    ...(assessed && point ? [performanceOf(point, manifest)] : []),
    ...(assessed ? [probabilitiesOf(prediction, model)] : []),
    ...qualityOf(prediction, manifest),
    doneTo(prediction, model),
    modelOf(prediction, actions),
  );
  return folded;
}

/** @param {string} name @param {string} title @param {...Child} children */
const section = (name, title, ...children) => h("section", { class: name, "aria-labelledby": `${name}-title` }, h("h4", { id: `${name}-title` }, title), ...children);

/** @param {OperatingPoint} point @param {Manifest} manifest */
function performanceOf(point, manifest) {
  const words = text.performance;
  const { repeatability } = manifest;
  const rate = (name = "", /** @type {Interval} */ { value, low, high }, meaning = "") => [
    h("dt", name),
    h("dd", h("strong", percent(value)), ` (${words.interval(low, high)}) `, h("span", { class: "fine" }, meaning)),
  ];
  return section(
    "performance",
    `${words.title}: ${pointName(point.name)}`,
    h("dl", { class: "rates" }, ...rate(words.sensitivity, point.sensitivity, words.sensitivityMeans), ...rate(words.specificity, point.specificity, words.specificityMeans)),
    h("p", { class: "fine" }, `${words.measured(point.measured_on)} ${isHeldOut(point) ? words.chosen(point.chosen_on ?? "") : words.expectMore}`),
    repeatability && h("p", h("strong", words.repeatability), " ", words.repeats(repeatability.other_advice.value, repeatability.other_advice.low, repeatability.other_advice.high)),
    repeatability && h("p", { class: "fine" }, changesOf(repeatability)),
  );
}

/** Malignant diagnoses first, whatever is more probable: a benign one on top of a referral misleads. @param {Prediction} prediction @param {Model} model */
function probabilitiesOf({ probabilities, branches, decision }, { manifest }) {
  if (!probabilities || !branches || decision.malignant_probability === null) return null;
  const classes = [...manifest.classes].sort((a, b) => Number(b.malignant) - Number(a.malignant) || probabilities[b.name] - probabilities[a.name]);
  const malignant = classes.filter((each) => each.malignant);
  const sum = (/** @type {Shares} */ shares) => malignant.reduce((all, { name }) => all + shares[name], 0);
  const words = text.probabilities;
  const row = (label = "", tagged = false, mean = 0, /** @type {number[]} */ each, /** @type {number | null} */ threshold = null) =>
    h(
      "tr",
      { class: (tagged || threshold !== null) && "malignant" },
      h("th", { scope: "row" }, h("span", { class: "class" }, label), " ", tagged && h("span", { class: "tag" }, words.malignant), bar(mean, each, threshold)),
      h("td", { class: "mean" }, percent(mean)),
      ...each.map((share) => h("td", percent(share))),
    );
  const only = malignant.length === 1;
  const mix = manifest.prevalence;
  return section(
    "probabilities",
    words.title,
    h("p", { class: "fine" }, words.warning),
    h(
      "table",
      { class: "bars" },
      h("caption", { class: "unseen" }, words.caption),
      h(
        "thead",
        h("tr", h("th", { scope: "col", rowspan: 2 }, words.class), h("th", { scope: "col", rowspan: 2 }, words.mean), h("th", { scope: "colgroup", colspan: branches.length }, words.branch)),
        h("tr", ...branches.map((_, index) => h("th", { scope: "col" }, h("span", { class: `glyph branch-${index + 1}`, "aria-hidden": "true" }), String(index + 1)))),
      ),
      h(
        "tbody",
        ...classes.map((each) => row(each.role === "unknown" ? words.unknown(className(each)) : className(each), each.malignant, probabilities[each.name], branches.map((branch) => branch.probabilities[each.name]), only && each.malignant ? decision.threshold : null)),
      ),
      !only && h("tfoot", row(words.sum, false, decision.malignant_probability, branches.map((branch) => sum(branch.probabilities)), decision.threshold)),
    ),
    mix && h("p", { class: "fine" }, words.mix(manifest.classes.map((each) => `${classWithin(each)} ${short(mix[each.name])}`))),
  );
}

/** @param {number} mean @param {number[]} branches @param {number | null} threshold */
function bar(mean, branches, threshold) {
  return h(
    "span",
    { class: threshold === null ? "bar" : "bar with-threshold", "aria-hidden": "true" },
    h("span", { class: "fill", style: { "--share": mean } }),
    ...branches.map((share, index) => h("span", { class: `glyph branch-${index + 1}`, style: { "--share": share } })),
    threshold !== null && h("span", { class: "threshold", style: { "--at": threshold } }, h("span", text.decision.threshold(rough(threshold)))),
  );
}

/** @param {Prediction} prediction @param {Manifest} manifest */
function qualityOf({ quality }, { abstention }) {
  if (!quality || !abstention) return [];
  const words = text.quality;
  /** @type {[string, string, string][]} */
  const rows = [
    ["sharpness", rough(quality.sharpness), words.least(rough(abstention.min_sharpness))],
    ["dark_share", rough(quality.dark_share), words.most(rough(abstention.max_dark_share))],
    ["bright_share", rough(quality.bright_share), words.most(rough(abstention.max_bright_share))],
    ["unfamiliarity", number(quality.unfamiliarity), words.most(number(abstention.max_unfamiliarity))],
  ];
  return [
    section(
      "quality",
      words.title,
      h(
        "table",
        h("thead", h("tr", h("td"), h("th", { scope: "col" }, words.image), h("th", { scope: "col" }, words.limit))),
        h("tbody", ...rows.map(([name, value, limit]) => h("tr", h("th", { scope: "row" }, words.rows[name]), h("td", { class: "mean" }, value), h("td", limit)))),
      ),
    ),
  ];
}

/** @param {Prediction} prediction @param {Model} model */
function doneTo({ image, lesion }, { manifest }) {
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
      lesion.found && h("li", words.cropped(share)),
    ),
  );
}

/** @param {Prediction} prediction @param {Actions} actions */
function modelOf({ model, created_at: at, expires_at: expires, id }, { showCard }) {
  const words = text.model;
  const entry = (name = "", value = "", code = false) => [h("dt", name), h("dd", code ? h("code", value) : value)];
  return section(
    "model",
    words.title,
    h(
      "dl",
      ...entry(words.name, `${model.name} ${model.version}`),
      ...entry(words.runs, `${model.variant}, ${model.provider}`),
      ...entry(words.answered, date(at)),
      ...(expires ? entry(words.expires, date(expires)) : []),
      ...entry(words.digest, model.sha256, true),
      ...entry(words.id, id, true),
    ),
    button(words.card, showCard, { class: "link" }),
  );
}

/** How far the answers to two images of one lesion differ. @param {import("./types.js").Repeatability} measured */
const changesOf = (measured) => text.performance.changes(measured.median_change, measured.percentile_95_change, measured.measured_on);

/**
 * The probabilities of both images next to each other.
 * @param {Result} one
 * @param {Result} two
 */
export function differenceOf(one, two) {
  const words = text.compare;
  const { prediction: a, model: { manifest } } = one;
  const { prediction: b } = two;
  const scaled = [one, two].every((result) => scaleOf(result) !== null);
  const sameModel = a.model.sha256 === b.model.sha256;
  const comparable = sameModel && riskOf(a) !== null && riskOf(b) !== null;
  const shareOf = (/** @type {Prediction} */ prediction, name = "") => (riskOf(prediction) === null ? null : prediction.probabilities?.[name]);
  const cell = (/** @type {Prediction} */ prediction, name = "") => {
    const share = shareOf(prediction, name);
    return h("td", riskOf(prediction) === null ? words.abstained : share === undefined || share === null ? "–" : percent(share));
  };
  const rows = [...manifest.classes].sort((one, other) => Number(other.malignant) - Number(one.malignant)).map((each) =>
    h(
      "tr",
      h("th", { scope: "row" }, className(each), " ", each.malignant && h("span", { class: "tag" }, text.probabilities.malignant)),
      cell(a, each.name),
      cell(b, each.name),
      h("td", { class: "mean" }, comparable ? words.points((shareOf(b, each.name) ?? 0) - (shareOf(a, each.name) ?? 0)) : "–"),
    ),
  );
  return [
    h(
      "table",
      { class: "differences" },
      h("caption", words.caption),
      h("thead", h("tr", h("th", { scope: "col" }, text.probabilities.class), ...["A", "B", "B − A"].map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", ...rows),
    ),
    !comparable && h("p", sameModel ? words.noDifference : words.models),
    comparable && manifest.repeatability && h("p", { class: "fine" }, text.performance.repeatability, ": ", changesOf(manifest.repeatability)),
    h("p", { class: "fine" }, words.linked, " ", scaled ? words.scales : words.noScale),
  ];
}
