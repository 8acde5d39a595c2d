/** The one gauge of an answer: the risk, and the threshold that decides. */

import { h } from "./dom.js";
import { percent } from "./format.js";
import { text } from "./strings.js";

const TICKS = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99];
// Log-odds below and above the population's share of malignant lesions.
const BELOW = 5;
const ABOVE = 6.5;

const logOdds = (share = 0.5) => {
  const within = Math.min(Math.max(share, 1e-6), 1 - 1e-6);
  return Math.log(within / (1 - within));
};

/**
 * Places on the gauge, 0 at its left end and 1 at its right. Its scale is log-odds around the population's share: risk
 * and threshold stay where they are when both are converted to another clinic, and only the figures change.
 * @param {number} prevalence
 */
export function scaleAround(prevalence) {
  const from = logOdds(prevalence) - BELOW;
  const place = (/** @type {number} */ share) => (logOdds(share) - from) / (BELOW + ABOVE);
  return {
    at: (/** @type {number} */ share) => Math.min(Math.max(place(share), 0), 1),
    ticks: TICKS.filter((tick) => place(tick) >= 0.02 && place(tick) <= 0.98),
  };
}

/**
 * @param {object} values
 * @param {number} values.risk
 * @param {number} values.threshold
 * @param {string} values.limit The threshold as it is written.
 * @param {number | null} values.prevalence Of the population that both hold for.
 * @param {string} values.said What the gauge shows, in words.
 */
export function gauge({ risk, threshold, limit, prevalence, said }) {
  const { at, ticks } = scaleAround(prevalence ?? 0.2);
  const mark = (name = "", share = 0, /** @type {...(Node | string)} */ ...children) => h("span", { class: name, style: { "--at": at(share) } }, ...children);
  return h(
    "div",
    { class: "gauge", role: "img", "aria-label": said },
    h("div", { class: "track" }, mark("zone", threshold), mark("risk-mark", risk), mark("threshold", threshold)),
    h("div", { class: "gauge-row" }, mark("gauge-label", threshold, text.decision.threshold(limit))),
    h("div", { class: "gauge-row ticks-row" }, ...ticks.map((tick) => mark("tick", tick, percent(tick, tick < 0.01 ? 1 : 0)))),
  );
}
