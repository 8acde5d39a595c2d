/** Every word of the part over time, and names and differences as sentences of it. */

import { dayOf, language, number, plain, rough } from "../format.js";
import { text } from "../strings.js";
import { adviceOf, pointName } from "../wording.js";

/** @import { Change, Result, Said, SeenImage, Size } from "../types.js" */

/** @type {typeof import("../strings/en/time.js").text} */
export const words = (await import(`../strings/${language}/time.js`)).text;

/** Diagnoses that a clinician may name besides the model's classes. */
export const OTHERS = ["basal_cell_carcinoma", "squamous_cell_carcinoma", ...Object.keys(words.diagnoses)];

/** @param {string} name */
export const diagnosisName = (name) => text.classes[name] ?? words.diagnoses[name] ?? plain(name);

const size = ({ along_mm = 0, across_mm = 0 }) => `${number(along_mm)} × ${number(across_mm)} mm`;

/** @param {Size | null} known */
export const sizeInWords = (known) => (known ? words.size(size(known), known.at_least) : words.noScale);

/** What differs since an earlier visit, always beside what two images of one lesion differ by. @param {Change} change @returns {string[]} */
export function changeInWords({ verdict, since, malignant_probability: by, repeatability, size: larger }) {
  const { median_change: half, percentile_95_change: most } = repeatability ?? { median_change: 0, percentile_95_change: 0 };
  const limits = repeatability ? ` ${words.repeats(half, most)}` : "";
  return [
    `${words.verdicts[verdict](dayOf(since), by ?? 0)}${verdict === "not_comparable" ? "" : limits}`,
    larger ? words.larger(larger.along_mm, larger.across_mm) : "",
  ].filter(Boolean);
}

/** "Refer, risk 21%" @param {SeenImage | { refer: boolean | null, malignant_probability: number | null }} seen */
export function adviceInWords({ refer, malignant_probability: risk }) {
  const { refer: yes, no_referral: no, abstained } = text.decision;
  return refer === null ? abstained : `${refer ? yes : no()}, ${words.risk(rough(risk ?? 0))}`;
}

/** Which advice feedback is about, where another operating point is looked at than the one that was recorded. @param {Result} result */
export function recordedInWords(result) {
  const { prediction, recorded } = result;
  if (!recorded || recorded.decision.operating_point === prediction.decision.operating_point) return "";
  return words.recorded(adviceOf({ ...result, prediction: recorded }), pointName(recorded.decision.operating_point));
}

/** What a clinician said, in one line. @param {Partial<Said>} said */
export function saidInWords({ opinion, diagnosis, histology, recall_months: months, millimetres_per_pixel: scale, date = "" }) {
  return [
    opinion && words.opinions[opinion],
    diagnosis && `${words.diagnosis}: ${diagnosisName(diagnosis)}`,
    histology && `${words.histology}: ${diagnosisName(histology)}`,
    months !== null && months !== undefined && `${words.recall}: ${words.months[months]}`,
    scale && words.scaleKept,
    dayOf(date),
  ].filter(Boolean).join(" · ");
}
