/** What a referral means where lesions are mixed otherwise: predictive values by prevalence (Bayes' rule). */

/** @import { Interval, OperatingPoint } from "./types.js" */

const share = (right = 0, wrong = 0) => (right + wrong > 0 ? right / (right + wrong) : null);

/**
 * Share of malignant lesions among those referred, of benign ones among the others; also at both ends of the intervals.
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
