/** An image's scale, from two marks of a ruler in it. Kept with the image, in this tab. */

import { button, byId, h } from "./dom.js";
import { number } from "./format.js";
import { NARROWEST, scaleOf, WIDEST } from "./geometry.js";
import { text } from "./strings.js";

/** @import { Point, Result } from "./types.js" */
/** @import { Viewer } from "./viewer.js" */

export class Calibration {
  /** The marks that were chosen, in pixels of the upright image; null while it is not being calibrated. @type {Point[] | null} */
  ends = null;
  /** @type {Result | null} */
  #result = null;

  /**
   * @param {Viewer} viewer
   * @param {object} listeners
   * @param {(words: string) => void} listeners.say
   * @param {() => void} listeners.onEnds Another mark was chosen, or all were let go.
   * @param {(result: Result) => void} listeners.onScale
   */
  constructor(viewer, { say, onEnds, onScale }) {
    this.viewer = viewer;
    this.say = say;
    this.onEnds = onEnds;
    this.onScale = onScale;
  }

  /** @param {Result | null} result */
  show(result) {
    if (result !== this.#result) this.#set(null);
    this.#result = result;
    this.viewer.millimetres = result && scaleOf(result);
    this.#render();
  }

  /** @param {Point} point @returns {boolean} Whether it was wanted here. */
  take(point) {
    if (this.ends === null) return false;
    if (this.ends.length < 2) this.#set([...this.ends, point]);
    return true;
  }

  /** @param {KeyboardEvent} event @returns {boolean} Whether the key was wanted here. */
  key({ key }) {
    if (this.ends === null || !["Enter", "Escape"].includes(key)) return false;
    if (key === "Enter") this.take(this.viewer.middle);
    else this.#set(null);
    return true;
  }

  /** @param {Point[] | null} ends */
  #set(ends) {
    if (this.ends === ends) return;
    this.ends = ends;
    this.viewer.measuring = ends !== null && ends.length < 2;
    this.onEnds();
    this.#render();
    if (ends?.length === 2) byId("distance").focus();
    else if (ends) this.viewer.stage.focus();
    else byId("calibrate").focus();
  }

  #render() {
    const result = this.#result;
    const words = text.scale;
    if (!result) return byId("calibration").replaceChildren();
    if (this.ends?.length === 2) return byId("calibration").replaceChildren(this.#form(result, this.ends));
    if (this.ends) {
      const said = words.marks[this.ends.length];
      this.say(said);
      return byId("calibration").replaceChildren(h("p", said), button(text.cancel, () => this.#set(null)));
    }
    const own = result.millimetresWide !== null;
    const known = own ? words.own : scaleOf(result) === null ? words.unknown : words.file;
    byId("calibration").replaceChildren(
      h("p", known),
      h("div", { class: "actions" }, button(words.calibrate, () => this.#set([]), { id: "calibrate" }), own && button(words.remove, () => this.#keep(result, null))),
    );
  }

  /** @param {Result} result @param {Point[]} ends */
  #form(result, [a, b]) {
    const words = text.scale;
    const field = h("input", { type: "number", id: "distance", min: 0, step: "any", required: true, "aria-describedby": "distance-invalid" });
    const invalid = h("p", { id: "distance-invalid", class: "refused", role: "alert" });
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      const wide = (field.valueAsNumber / Math.hypot(b.x - a.x, b.y - a.y)) * result.prediction.image.width;
      if (wide >= NARROWEST && wide <= WIDEST) this.#keep(result, wide);
      else invalid.textContent = words.invalid(Number.isFinite(wide) ? number(wide) : "?", NARROWEST, WIDEST);
    };
    return h(
      "form",
      { onsubmit: submit, novalidate: true },
      h("label", { class: "pick", for: "distance" }, h("span", words.distance), h("span", { class: "unit" }, field, "mm")),
      invalid,
      h("div", { class: "actions" }, h("button", { class: "primary" }, words.use), button(text.cancel, () => this.#set(null))),
    );
  }

  /** @param {Result} result @param {number | null} wide */
  #keep(result, wide) {
    result.millimetresWide = wide;
    this.#set(null);
    this.show(result);
    this.onScale(result);
    byId("calibrate").focus();
  }
}
