/** A lesion over its visits, the last one first. Elements out of data. */

import { button, h, icon } from "../dom.js";
import { dayOf, difference, rough, time } from "../format.js";
import { text } from "../strings.js";
import { erasing, feedbackForm, folded } from "./forms.js";
import { adviceInWords, changeInWords, saidInWords, sizeInWords, words } from "./words.js";

/** @import { Change, Item, LesionVisit, Manifest, Said, SeenImage, Timeline } from "../types.js" */

/**
 * @typedef {object} Actions
 * @property {(id: string) => Item | undefined} itemOf The image of this tab with that answer.
 * @property {(item: Item) => void} open
 * @property {(id: string, said: Partial<Said>) => Promise<void>} send
 * @property {(id: string) => void} eraseImage
 * @property {() => void} erase
 * @property {() => void} another
 */

/** @param {Timeline} timeline @param {Manifest} manifest @param {Actions} actions */
export function timelineOf({ lesion, visits }, manifest, actions) {
  return [
    h("p", { class: "fine" }, words.calibrated, " ", words.averages),
    h("ol", { class: "visits" }, ...[...visits].reverse().map((visit) => h("li", visitOf(visit, manifest, actions)))),
    h("div", { class: "actions" }, button(words.another, actions.another)),
    erasing(words.eraseLesion, words.eraseMeans, words.erase(lesion), actions.erase),
  ];
}

/** @param {LesionVisit} visit @param {Manifest} manifest @param {Actions} actions */
function visitOf(visit, manifest, actions) {
  const { visit: day, malignant_probability: risk, num_images: images, num_averaged: averaged, size } = visit;
  return h(
    "article",
    h("h3", dayOf(day)),
    h("p", { class: "risk" }, risk === null ? text.session.abstained : h("strong", words.risk(rough(risk))), " ", h("span", { class: "fine" }, words.averaged(averaged, images))),
    changesOf(visit),
    risk !== null && h("p", { class: "fine" }, sizeInWords(size)),
    h("ul", { class: "seen" }, ...visit.images.map((image) => h("li", imageOf(image, manifest, actions)))),
  );
}

/** @param {SeenImage} image @param {Manifest} manifest @param {Actions} actions */
function imageOf(image, manifest, { itemOf, open, send, eraseImage }) {
  const item = itemOf(image.id);
  const kind = image.refer === null ? "abstained" : image.refer ? "refer" : "no_referral";
  return h(
    "div",
    { class: "image" },
    item && h("button", { type: "button", class: "shown", "aria-label": words.open, onclick: () => open(item) }, h("img", { src: item.shown, alt: "" })),
    h("p", h("span", { class: `verdict ${kind}` }, icon(kind), h("span", adviceInWords(image))), " ", h("span", { class: "fine" }, `${dayOf(image.at)}, ${time(image.at)} · ${image.model}`)),
    folded(image.feedback.length ? saidInWords(image.feedback[image.feedback.length - 1]) : words.noAnswer, () => [
      feedbackForm(manifest, image.feedback, (said) => send(image.id, said)),
      erasing(words.eraseImage, words.eraseMeans, words.eraseImage, () => eraseImage(image.id)),
    ]),
  );
}

/** Every change of a visit, each beside its repeatability. @param {LesionVisit} visit */
export const changesOf = ({ changes, malignant_probability: risk }) =>
  changes.length ? h("ul", { class: "changes" }, ...changes.map((change) => h("li", { class: change.verdict }, ...changeInWords(change).map((said) => h("p", said)), spread(change)))) : risk !== null && h("p", { class: "fine" }, words.firstVisit);

/** The change as a mark, within or beyond the band that two images of one lesion differ by. @param {Change} change */
function spread({ malignant_probability: by, repeatability }) {
  if (by === null || !repeatability) return null;
  const { percentile_95_change: most } = repeatability;
  const whole = 2.5 * Math.max(Math.abs(by), most);
  const tick = (/** @type {number} */ at) => h("span", { class: "tick", style: { "--at": 0.5 + at / whole } }, difference(at));
  return h(
    "div",
    { class: "spread", "aria-hidden": "true" },
    h("div", { class: "track" }, h("span", { class: "band", style: { "--from": 0.5 - most / whole, "--wide": (2 * most) / whole } }), h("span", { class: "risk-mark", style: { "--at": 0.5 + by / whole } })),
    h("div", { class: "gauge-row ticks-row" }, tick(-most), tick(0), tick(most)),
  );
}
