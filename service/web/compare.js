/** Two images of this session side by side, with one zoom for both. */

import { limits } from "./answer.js";
import { differenceOf } from "./details.js";
import { byId, h, icon } from "./dom.js";
import { describe } from "./figures.js";
import { nameOf } from "./list.js";
import { KINDS } from "./overlays.js";
import { numRegions, scaleOf } from "./geometry.js";
import { text } from "./strings.js";
import { Viewer, WHOLE } from "./viewer.js";
import { buttonsOf } from "./viewer_buttons.js";
import { adviceOf, because, notRuledOut, pointName, reasonsOf, riskOf, sizeInWords, verdict } from "./wording.js";

/** @import { MapKind, Result } from "./types.js" */
/** @import { Figures } from "./figures.js" */

export class Comparison {
  /** @type {Result[]} */
  #results = [];
  #turn = 0;

  /** @param {Figures} figures @param {(error: unknown, again: () => void, result: Result) => void} fail */
  constructor(figures, fail) {
    this.figures = figures;
    this.fail = fail;
    this.panes = ["A", "B"].map((side) => this.#pane(side));
    this.map = h("select", { id: "comparison-map" }, h("option", { value: "none" }, text.overlays.none), ...KINDS.map((kind) => h("option", { value: kind }, text.overlays.kinds[kind])));
    this.map.addEventListener("change", () => this.draw());
    byId("panes").append(...this.panes.map(({ pane }) => pane));
    byId("panes").before(h("label", { class: "pick" }, h("span", text.compare.map), this.map));
  }

  /**
   * @param {Result[]} results At least two, newest first.
   * @param {Result} current Becomes B, with the one before it as A.
   */
  show(results, current) {
    this.#results = results;
    const other = results[results.indexOf(current) + 1] ?? results.find((result) => result !== current);
    for (const { choice, viewer } of this.panes) {
      choice.replaceChildren(...results.map((result) => h("option", { value: result.number }, nameOf(result))));
      viewer.view = WHOLE;
    }
    this.panes[0].choice.value = String(other?.number);
    this.panes[1].choice.value = String(current.number);
    this.draw();
  }

  /** Leaves nothing of an image behind, and nothing under way. */
  clear() {
    this.#turn++;
    for (const { choice, viewer, at, title, words } of this.panes) {
      viewer.clear();
      for (const each of [choice, at, title, words]) each.replaceChildren();
    }
    byId("comparison-figures").replaceChildren();
  }

  /** @param {string} side */
  #pane(side) {
    const stage = h("div", { class: "stage", "aria-label": text.picture(side) });
    const choice = h("select", { onchange: () => this.draw() });
    const title = h("p", { class: "verdict" });
    const [at, words] = ["at", ""].map((name) => h("p", { class: `fine ${name}` }));
    const viewer = new Viewer(stage, { onView: (view) => this.panes.forEach((each) => each.viewer !== viewer && (each.viewer.view = view)) });
    const pane = h("figure", { class: "pane viewer" }, h("div", { class: "row" }, h("label", { class: "pick" }, h("span", text.picture(side)), choice), title), at, stage, buttonsOf(viewer, `${text.viewer.zoom}, ${text.picture(side)}`), h("figcaption", words));
    return { pane, viewer, choice, title, at, words };
  }

  draw() {
    const turn = ++this.#turn;
    const chosen = this.panes.map(({ choice }) => /** @type {Result} */ (this.#results.find(({ number }) => String(number) === choice.value)));
    for (const [index, { viewer, title, at }] of this.panes.entries()) {
      const { shown, prediction, model } = chosen[index];
      const kind = verdict(prediction);
      viewer.show(shown, prediction.image.width, prediction.image.height);
      viewer.millimetres = scaleOf(chosen[index]);
      title.className = `verdict ${kind}`;
      title.replaceChildren(icon(kind), adviceOf(chosen[index]));
      const judged = kind === "abstained" ? [] : [because(prediction, model), `${text.clinic.point}: ${pointName(prediction.decision.operating_point)}.`];
      at.textContent = [`${nameOf(chosen[index])}.`, notRuledOut(chosen[index]), ...judged, ...reasonsOf(chosen[index])].filter(Boolean).join(" ");
    }
    const [a, b] = chosen;
    byId("comparison-figures").replaceChildren(.../** @type {Node[]} */ ([...differenceOf(a, b), limits(riskOf(b.prediction) === null ? a : b)].filter(Boolean)));
    for (const [index, pane] of this.panes.entries()) {
      const failed = (/** @type {unknown} */ error) => turn === this.#turn && this.fail(error, () => this.draw(), chosen[index]);
      this.#lay(pane, chosen[index], () => turn === this.#turn).catch(failed);
    }
  }

  /** @param {Comparison["panes"][number]} pane @param {Result} result @param {() => boolean} wanted */
  async #lay({ viewer, words }, result, wanted) {
    const { prediction } = result;
    const kind = /** @type {MapKind | "none"} */ (this.map.value);
    const { decision, lesion } = prediction;
    const abstained = decision.status === "abstained";
    const outline = abstained ? [] : (await this.figures.summary(prediction, { kind: "lesion" })).outline;
    const possible = kind !== "none" && !abstained && prediction.attention[kind] !== null;
    const [map, summary] = possible
      ? await Promise.all([this.figures.map(prediction, { kind, branch: "mean", spot: null }), this.figures.summary(prediction, { kind })])
      : [null, null];
    if (!wanted()) return;
    result.outline = outline;
    viewer.mark({ box: abstained ? null : lesion.crop_box, outline, spot: null, ends: [] });
    viewer.opacity = 0.6;
    viewer.lay(map);
    const said = summary ? describe(summary, prediction, false) : abstained ? "" : text.viewer.dashes(numRegions(outline));
    words.textContent = [said, sizeInWords(result)].filter(Boolean).join(" ");
  }
}
