/** What a referral means where lesions are mixed otherwise: predictive values by prevalence (Bayes' rule). */

/** @import { Interval, OperatingPoint } from "./types.js" */

/**
 * Share of malignant lesions among those referred.
 * @param {number} sensitivity
 * @param {number} specificity
 * @param {number} prevalence
 * @returns {number | null} null when nothing is ever referred.
 */
export function positivePredictiveValue(sensitivity, specificity, prevalence) {
  const right = sensitivity * prevalence;
  const wrong = (1 - specificity) * (1 - prevalence);
  return right + wrong > 0 ? right / (right + wrong) : null;
}

/**
 * Share of benign lesions among those not referred.
 * @param {number} sensitivity
 * @param {number} specificity
 * @param {number} prevalence
 * @returns {number | null} null when everything is referred.
 */
export function negativePredictiveValue(sensitivity, specificity, prevalence) {
  const right = specificity * (1 - prevalence);
  const wrong = (1 - sensitivity) * prevalence;
  return right + wrong > 0 ? right / (right + wrong) : null;
}

/**
 * Both, with the values at both ends of the intervals of sensitivity and specificity.
 * @param {OperatingPoint} point
 * @param {number} prevalence
 * @returns {{ positive: Interval, negative: Interval } | null} null where one of them has no meaning.
 */
export function predictiveValues({ sensitivity, specificity }, prevalence) {
  const [positive, negative] = [positivePredictiveValue, negativePredictiveValue].map((rule) => {
    const at = (/** @type {"value" | "low" | "high"} */ end) => rule(sensitivity[end], specificity[end], prevalence);
    const [value, low, high] = [at("value"), at("low"), at("high")];
    return value === null || low === null || high === null ? null : { value, low, high };
  });
  return positive && negative ? { positive, negative } : null;
}
