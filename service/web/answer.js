/** What is said of an image at first sight: the decision, its gauge, its limits. Elements out of data. */

import { clinicOf } from "./clinic.js";
import { detailsOf } from "./details.js";
import { button, h, icon } from "./dom.js";
import { apart } from "./format.js";
import { gauge } from "./gauge.js";
import { recordOf } from "./record.js";
import { text } from "./strings.js";
import { adviceOf, because, isOwn, limitsOf, malignant, notRuledOut, population, reasonsOf, reasonsTitle, riskOf, verdict } from "./wording.js";

/** @import { Actions, Child, Result } from "./types.js" */

/** @param {Result} result @param {Actions} actions */
export function answerOf(result, actions) {
  return [decisionOf(result, actions), clinicOf(result, actions), detailsOf(result, actions), recordOf(result)];
}

/** @param {Result} result @param {Actions} actions */
function decisionOf(result, { agreement }) {
  const { prediction, impression, example } = result;
  const kind = verdict(prediction);
  const reasons = reasonsOf(result);
  const warning = h("p", { class: "not-ruled-out" }, notRuledOut(result));
  const caution = reasons.length > 0 && h("div", { class: "reasons" }, h("h4", reasonsTitle(prediction)), " ", h("ul", ...reasons.map((reason) => h("li", reason))));
  const unsure = prediction.decision.reasons.includes("not_sure");
  const { same, of } = agreement();
  return h(
    "section",
    { class: `decision ${kind}`, "aria-labelledby": "decision-title" },
    h("h3", { id: "decision-title", tabindex: -1 }, icon(kind), h("span", adviceOf(result))),
    kind !== "refer" && warning,
    // The risk alone does not explain a referral below the threshold.
    (kind === "abstained" || unsure) && caution,
    ...(kind === "abstained" ? [h("p", text.decision.abstainedWhatNext)] : riskParts(result, !unsure && caution)),
    impression && h("p", { class: "impression" }, text.impression.yours(text.impression.choices[impression]), of > 0 && ` ${text.impression.agreement(same, of)}`),
    example && h("p", { class: "fine" }, text.examples[example].known),
  );
}

/** @param {Result} result @param {Child} caution */
function riskParts(result, caution) {
  const { prediction, model } = result;
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
    caution,
    limits(result),
    h("p", { class: "fine population" }, population(prediction, manifest), " ", prevalence !== null && button(isOwn(prevalence, manifest) ? text.decision.setClinic : text.decision.change, open, { class: "link no-print" })),
  ];
}

/** How the model did, and what it does not know. @param {Result} result */
export const limits = (result) => h("dl", { class: "limits" }, ...limitsOf(result).map(([title, what]) => h("div", h("dt", title), " ", h("dd", what))));
