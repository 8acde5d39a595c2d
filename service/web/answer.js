/** What is said of an image at first sight: the decision, its gauge, its limits. Elements out of data. */

import { clinicOf } from "./clinic.js";
import { detailsOf } from "./details.js";
import { button, h, icon } from "./dom.js";
import { apart } from "./format.js";
import { gauge } from "./gauge.js";
import { recordOf } from "./record.js";
import { text } from "./strings.js";
import { because, isOwn, limitsOf, malignant, population, reasonsOf, riskOf, verdict, warningOf } from "./wording.js";

/** @import { Actions, Result } from "./types.js" */

/** @param {Result} result @param {Actions} actions */
export function answerOf(result, actions) {
  return [decisionOf(result, actions), limits(result), clinicOf(result, actions), detailsOf(result, actions), recordOf(result)];
}

/** @param {Result} result @param {Actions} actions */
function decisionOf(result, { agreement }) {
  const { prediction, impression, example } = result;
  const kind = verdict(prediction);
  const { same, of } = agreement();
  return h(
    "section",
    { class: `decision ${kind}`, "aria-labelledby": "decision-title" },
    h("h3", { id: "decision-title", tabindex: -1 }, icon(kind), h("span", text.decision[kind])),
    ...(kind === "abstained" ? [] : riskParts(result, h("p", { class: kind === "no_referral" ? "not-ruled-out" : "fine" }, warningOf(result)))),
    ...reasonsOf(prediction).map(([title, names]) => h("div", { class: "reasons" }, h("h4", title), h("ul", ...names.map((name) => h("li", name))))),
    kind === "abstained" && h("p", text.decision.abstainedWhatNext),
    impression && h("p", { class: "impression" }, text.impression.yours(text.impression.choices[impression]), of > 0 && ` ${text.impression.agreement(same, of)}`),
    example && h("p", { class: "fine" }, text.examples[example].known),
  );
}

/** @param {Result} result @param {Node} warning */
function riskParts({ prediction, model }, warning) {
  const { manifest } = model;
  const { threshold, prevalence } = prediction.decision;
  const risk = /** @type {number} */ (riskOf(prediction));
  const [shown, limit] = apart(risk, threshold);
  const open = () => {
    const clinic = /** @type {HTMLDetailsElement | null} */ (document.getElementById("clinic"));
    if (!clinic) return;
    clinic.open = true;
    document.getElementById("prevalence")?.focus();
  };
  return [
    h("p", { class: "risk" }, h("span", text.decision.risk(malignant(manifest))), " ", h("strong", shown)),
    gauge({ risk, threshold, limit, prevalence, said: because(prediction, model) }),
    warning,
    h("p", { class: "fine population" }, population(prediction, manifest), " ", prevalence !== null && button(isOwn(prevalence, manifest) ? text.decision.setClinic : text.decision.change, open, { class: "link no-print" })),
  ];
}

/** What the model knows, what not, and how it did. @param {Result} result */
export function limits(result) {
  return h(
    "section",
    { class: "limits", "aria-labelledby": "limits-title" },
    h("h3", { id: "limits-title", class: "unseen" }, text.limits.title),
    h("dl", ...limitsOf(result).map(([title, what]) => h("div", h("dt", title), " ", h("dd", what)))),
  );
}
