/** What an answer says, in words and bare values; no elements. */

import { plain, short, twoDigits } from "./format.js";
import { sizeOf } from "./geometry.js";
import { className, classWithin, text } from "./strings.js";

/** @import { Interval, Item, Manifest, Model, OperatingPoint, Prediction, Result, Verdict } from "./types.js" */

/** Skin cancers that are named as unknown to every model that has no such class. */
const UNKNOWN = ["basal_cell_carcinoma", "squamous_cell_carcinoma"];

/** Below this change of the risk, in nearly all images, a map does not explain it. */
const SLIGHT = 0.05;

/** Why there is no assessment: each row follows from the ones before it, so that the first one is the reason. */
const ABSTAINING = [["too_dark", "too_bright"], ["blurred", "no_colour"], ["not_dermoscopy"]];

/** Reasons about the diagnosis: left out where there is no assessment. */
const OF_THE_ANSWER = ["not_sure", "near_threshold", "near_not_sure", "branches_disagree"];

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

/** The advice, with what alone was judged. @param {Result} result */
export function adviceOf({ prediction, model: { manifest } }) {
  const names = malignantNames(manifest);
  const said = text.decision[verdict(prediction)];
  return typeof said === "string" ? said : said(names.length === 1 ? names[0] : "");
}

/** What to heed: why there is no assessment, or why to be careful with it. @param {Result} result @returns {string[]} */
export function reasonsOf({ prediction }) {
  const { reasons, abstained_because: abstaining } = prediction.decision;
  if (riskOf(prediction) === null) return inReasons(ABSTAINING.map((row) => abstaining.filter((name) => row.includes(name))).find((row) => row.length) ?? abstaining);
  return inReasons(reasons);
}

/** What else was found of an image without an assessment. @param {Result} result */
export function othersOf(result) {
  const shown = reasonsOf(result);
  const { reasons } = result.prediction.decision;
  return riskOf(result.prediction) === null ? inReasons(reasons.filter((name) => !OF_THE_ANSWER.includes(name))).filter((said) => !shown.includes(said)) : [];
}

/** @param {string[]} names */
const inReasons = (names) => names.map((name) => text.decision.reasons[name] ?? plain(name));

/** @param {Prediction} prediction */
export const reasonsTitle = (prediction) => (riskOf(prediction) === null ? text.decision.abstainedBecause : text.decision.caution);

/** "Melanoma risk 21%, at or above the decision threshold of 12%." Empty without an assessment. @param {Prediction} prediction @param {Model} model */
export function because(prediction, { manifest }) {
  const risk = riskOf(prediction);
  const { threshold, reasons } = prediction.decision;
  if (risk === null) return "";
  const reached = verdict(prediction) === "refer" && (risk >= threshold || !reasons.includes("not_sure"));
  return text.decision.because(malignant(manifest), risk, threshold, reached);
}

/** What the answer is, for a screen reader's first word. @param {Result} result */
export function inWords(result) {
  const { prediction, model } = result;
  const reasons = reasonsOf(result);
  return [`${adviceOf(result)}.`, notRuledOut(result), reasons.length && `${reasonsTitle(prediction)}: ${reasons.join(" ")}`, because(prediction, model)].filter(Boolean).join(" ");
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

/** What an answer that is no referral does not say. @param {Result} result */
export function notRuledOut({ prediction, model: { manifest } }) {
  const words = text.decision.notRuledOut[verdict(prediction)];
  return words ? words(malignantNames(manifest)) : "";
}

/** The limits of an assessment: how the model did, and what it does not know. @param {Result} result @returns {[string, string][]} */
export function limitsOf({ prediction, model: { manifest } }) {
  if (riskOf(prediction) === null) return [];
  const words = text.limits;
  const point = pointOf(prediction, manifest);
  const unknown = UNKNOWN.filter((name) => manifest.classes.every((each) => each.name !== name)).map((name) => text.within(text.classes[name]));
  /** @type {[string, string][]} */
  // The images that chose the threshold say too little of how many others it misses.
  const lines = point ? [[words.testing, isHeldOut(point) ? inTesting(point, manifest) : words.notMeasured]] : [];
  return [...lines, [words.unknown, words.unknownMeans(unknown, manifest.classes.map(classWithin))]];
}

/** The share of malignant lesions that the model's probabilities are calibrated for. @param {Manifest} manifest */
export function ownPrevalence({ prevalence, classes }) {
  if (prevalence === null) return null;
  return classes.reduce((sum, { name, malignant }) => (malignant ? sum + prevalence[name] : sum), 0);
}

/** Whether the figures come from images that had no part in choosing the threshold. @param {OperatingPoint} point */
export const isHeldOut = ({ chosen_on }) => chosen_on !== null && chosen_on !== undefined;

/**
 * "It missed 15 of 100 melanomas and referred 37 of 100 harmless lesions."
 * @param {OperatingPoint} point
 * @param {Manifest} manifest
 */
export function inTesting({ sensitivity, specificity }, { classes }) {
  const [missed, referred] = [sensitivity, specificity].map(({ value }) => Math.round(100 * (1 - value)));
  const names = text.performance.cases(classes.filter(({ malignant }) => malignant).map(({ name }) => name));
  return text.performance.said(names, missed, referred);
}

const share = (right = 0, wrong = 0) => (right + wrong > 0 ? right / (right + wrong) : null);

/**
 * Share of malignant lesions among those referred, of harmless ones among the others; also at both ends of the intervals.
 * @param {OperatingPoint} point
 * @param {number} prevalence
 * @returns {{ positive: Interval, negative: Interval } | null} null where all are referred, or none.
 */
export function predictiveValues({ sensitivity, specificity }, prevalence) {
  const positive = (found = 0, spared = 0) => share(found * prevalence, (1 - spared) * (1 - prevalence));
  const negative = (found = 0, spared = 0) => share(spared * (1 - prevalence), (1 - found) * prevalence);
  const [one, other] = [positive, negative].map((rule) => {
    const at = (/** @type {keyof Interval} */ end) => rule(sensitivity[end], specificity[end]);
    const [value, low, high] = [at("value"), at("low"), at("high")];
    return value === null || low === null || high === null ? null : { value, low, high };
  });
  return one && other ? { positive: one, negative: other } : null;
}
