/** What an answer says, in words and bare values; no elements. */

import { plain, short, twoDigits } from "./format.js";
import { inTesting, isHeldOut } from "./performance.js";
import { sizeOf } from "./scale.js";
import { className, classWithin, text } from "./strings.js";

/** @import { Item, Manifest, Model, OperatingPoint, Prediction, Result, Verdict } from "./types.js" */

/** Skin cancers and a precursor, named as unknown to every model that has no such class. */
const UNKNOWN = ["basal_cell_carcinoma", "squamous_cell_carcinoma", "actinic_keratosis"];

/** Below this change of the risk, in nearly all images, a map does not explain it. */
const SLIGHT = 0.05;

/** What an image lacks comes before what follows from that. */
const ABSTAINING = ["too_dark", "too_bright", "blurred", "not_dermoscopy", "no_colour", "no_lesion_found"];

/** Reasons about the diagnosis: left out where there is no assessment. */
const OF_THE_ANSWER = ["near_threshold", "branches_disagree", "not_sure"];

/** @param {Item} item @returns {item is Result} */
export const isAnswered = (item) => item.state === "answered" && !item.covered;

/** @param {Prediction} prediction @returns {Verdict} */
export function verdict({ decision }) {
  if (decision.status === "abstained" || decision.refer === null) return "abstained";
  return decision.refer ? "refer" : "no_referral";
}

/** The malignant probability; null where there is no assessment, whatever was sent. @param {Prediction} prediction */
export const riskOf = (prediction) => (verdict(prediction) === "abstained" ? null : prediction.decision.malignant_probability);

/** The malignant diagnoses as they stand alone. @param {Manifest} manifest */
export const malignant = ({ classes }) => classes.filter(({ malignant }) => malignant).map(className);

/** The same within a sentence. @param {Manifest} manifest */
export const malignantNames = ({ classes }) => classes.filter(({ malignant }) => malignant).map(classWithin);

/** @param {string} name */
export const pointName = (name) => text.clinic.points[name] ?? plain(name);

/** @param {Prediction} prediction @param {Manifest} manifest @returns {OperatingPoint | undefined} */
export const pointOf = ({ decision }, { operating_points }) => operating_points.find(({ name }) => name === decision.operating_point);

/** Each title with its reasons; what prevents an assessment comes first. @param {Prediction} prediction @returns {[string, string[]][]} */
export function reasonsOf(prediction) {
  const { reasons, abstained_because: abstaining } = prediction.decision;
  const words = text.decision;
  const hidden = riskOf(prediction) === null ? OF_THE_ANSWER : [];
  const others = reasons.filter((name) => !abstaining.includes(name) && !hidden.includes(name));
  /** @type {[string, string[]][]} */
  const all = [[words.abstainedBecause, [...abstaining].sort((a, b) => ABSTAINING.indexOf(a) - ABSTAINING.indexOf(b))], [riskOf(prediction) === null ? words.also : words.caution, others]];
  return all.filter(([, names]) => names.length).map(([title, names]) => [title, names.map((name) => words.reasons[name] ?? plain(name))]);
}

/** "Melanoma risk 21%, at or above the decision threshold of 12%." Empty without an assessment. @param {Prediction} prediction @param {Model} model */
export function because(prediction, { manifest }) {
  const risk = riskOf(prediction);
  const { threshold, reasons } = prediction.decision;
  if (risk === null) return "";
  const reached = verdict(prediction) === "refer" && (risk >= threshold || !reasons.includes("not_sure"));
  return text.decision.because(malignant(manifest), risk, threshold, reached);
}

/** What the answer is, for a screen reader's first word. @param {Result} result */
export function inWords({ prediction, model }) {
  const reasons = reasonsOf(prediction).map(([title, names]) => `${title}: ${names.join(" ")}`);
  return [`${text.decision[verdict(prediction)]}.`, because(prediction, model), ...reasons].filter(Boolean).join(" ");
}

/** "Lesion about 6.4 × 4.1 mm ..." Empty where its size is not known. @param {Result} result */
export function sizeInWords(result) {
  const size = sizeOf(result);
  if (!size) return "";
  return text.scale.size(twoDigits(size.along), twoDigits(size.across), size.least, result.millimetresWide !== null);
}

/** How much the maps of the lesion feature attention say of an answer. @param {Model} model */
export function influenceInWords({ manifest }) {
  const measured = manifest.attention_influence;
  const words = text.overlays;
  if (!measured) return words.notMeasured;
  const { median_change: half, percentile_95_change: most, other_advice: advice, num_images: images } = measured;
  const said = words.influence(half, most, Math.round(advice.value * images), images, measured.measured_on);
  return most < SLIGHT ? `${said} ${words.slight}` : said;
}

/** Which population the risk holds for. @param {Prediction} prediction @param {Manifest} manifest */
export function population({ decision: { prevalence } }, manifest) {
  const names = malignantNames(manifest).join(" + ");
  if (prevalence === null) return text.decision.noMix;
  return isOwn(prevalence, manifest) ? text.decision.ownMix(names, short(prevalence)) : text.decision.clinic(names, short(prevalence));
}

/** Whether a share of malignant lesions is the one that the model is calibrated for. @param {number} prevalence @param {Manifest} manifest */
export const isOwn = (prevalence, manifest) => Math.abs(prevalence - (ownPrevalence(manifest) ?? -1)) < 1e-6;

/** What no answer says; in the first place a benign one. @param {Result} result */
export function warningOf({ prediction, model: { manifest } }) {
  const kind = verdict(prediction);
  if (kind === "abstained") return "";
  const { notRuledOut, othersUnknown } = text.decision;
  return [kind === "no_referral" && notRuledOut(malignantNames(manifest)), unknownTo(manifest).length > 0 && othersUnknown].filter(Boolean).join(" ");
}

/** @param {Manifest} manifest */
const unknownTo = ({ classes }) => UNKNOWN.filter((name) => classes.every((each) => each.name !== name));

/** The limits in a few lines: what the model knows, what not, how it did. @param {Result} result @returns {[string, string][]} */
export function limitsOf({ prediction, model: { manifest } }) {
  const words = text.limits;
  const point = pointOf(prediction, manifest);
  const names = manifest.classes.map(classWithin);
  const unknown = unknownTo(manifest).map((name) => text.within(text.classes[name]));
  /** @type {[string, string][]} */
  const lines = [[words.knows, text.limits.knowsMeans(names)], [words.unknown, words.unknownMeans(unknown)]];
  if (point && riskOf(prediction) !== null) {
    const said = inTesting(point, manifest);
    lines.push(isHeldOut(point) ? [words.testing, said] : [words.atSelection, `${said} ${text.performance.expectMore}`]);
  }
  return lines;
}

/** The share of malignant lesions that the model's probabilities are calibrated for. @param {Manifest} manifest */
export function ownPrevalence({ prevalence, classes }) {
  if (prevalence === null) return null;
  return classes.reduce((sum, { name, malignant }) => (malignant ? sum + prevalence[name] : sum), 0);
}
