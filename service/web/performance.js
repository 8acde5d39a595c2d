/** An operating point's rates in words and as predictive values. Pure functions. */

import { text } from "./strings.js";

/** @import { Interval, Manifest, OperatingPoint } from "./types.js" */

/** Whether the figures come from images that had no part in choosing the threshold. @param {OperatingPoint} point */
export const isHeldOut = ({ chosen_on }) => chosen_on !== null && chosen_on !== undefined;

/**
 * "It missed 15 of 100 melanomas (about 1 in 6) and referred 4 of 10 harmless lesions."
 * @param {OperatingPoint} point
 * @param {Manifest} manifest
 */
export function inTesting({ sensitivity, specificity }, { classes }) {
  const [missed, referred] = [1 - sensitivity.value, 1 - specificity.value];
  const tenths = Math.round(10 * referred);
  const of = tenths > 0 && tenths < 10 ? 10 : 100;
  const oneIn = missed >= 0.02 && missed <= 0.5 ? Math.round(1 / missed) : 0;
  const names = text.performance.cases(classes.filter(({ malignant }) => malignant).map(({ name }) => name));
  return text.performance.said(names, Math.round(100 * missed), oneIn, Math.round(of * referred), of);
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
