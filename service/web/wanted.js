/** The reader's choices for an answer, and which answers were made for others. */

import { preferences } from "./preferences.js";
import { ownPrevalence } from "./wording.js";

/** @import { Clinic, Model, Result } from "./types.js" */

/** The reader's choices, as far as a model has them. @param {Model} model @returns {Clinic} */
export function clinicFor({ manifest }) {
  const { prevalence, operatingPoint } = preferences;
  return {
    prevalence: ownPrevalence(manifest) === null ? undefined : prevalence,
    operatingPoint: manifest.operating_points.some(({ name }) => name === operatingPoint) ? operatingPoint : undefined,
  };
}

/** Whether an answer is for other choices than the reader's. @param {Result} result */
export function isStale({ prediction: { decision }, model }) {
  const { prevalence = ownPrevalence(model.manifest), operatingPoint = model.operating_point } = clinicFor(model);
  const near = decision.prevalence === prevalence || Math.abs((decision.prevalence ?? 0) - (prevalence ?? 0)) < 1e-6;
  return decision.operating_point !== operatingPoint || !near;
}
