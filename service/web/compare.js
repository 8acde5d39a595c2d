/** Two pictures of this tab side by side, with one zoom for both. */

import { differenceOf, verdict } from "./answer.js";
import { button, byId, h, icon } from "./dom.js";
import { describe } from "./figures.js";
import { KINDS } from "./overlays.js";
import { nameOf } from "./recent.js";
import { text } from "./strings.js";
import { Viewer } from "./viewer.js";

/** @import { MapKind, Model, Result } from "./types.js" */
/** @import { Figures } from "./figures.js" */

export class Comparison {
  /** @type {Result[]} */
  #results = [];
  /** @type {Model | null} */
  #model = null;
  #turn = 0;

  /** @param {Figures} figures @param {(error: unknown) => void} fail */
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
   * @param {Result} current Becomes B, beside the one before it.
   * @param {Model} model
   */
  show(results, current, model) {
    this.#results = results;
    this.#model = model;
    const other = results[results.indexOf(current) + 1] ?? results.find((result) => result !== current);
    for (const { choice, viewer } of this.panes) {
      choice.replaceChildren(...results.map((result) => h("option", { value: result.number }, nameOf(result))));
      viewer.view = { zoom: 1, x: 0.5, y: 0.5 };
    }
    this.panes[0].choice.value = String(other?.number);
    this.panes[1].choice.value = String(current.number);
    this.draw();
  }

  /** @param {string} side */
  #pane(side) {
    const stage = h("div", { class: "stage", "aria-label": text.compare.pick(side) });
    const choice = h("select", { onchange: () => this.draw() });
    const title = h("p", { class: "verdict" });
    const words = h("p", { class: "fine" });
    const viewer = new Viewer(stage, { onView: (view) => this.panes.forEach((each) => each.viewer !== viewer && (each.viewer.view = view)) });
    const zoom = h(
      "div",
      { class: "zoom", role: "group", "aria-label": `${text.viewer.zoom}, ${text.compare.pick(side)}` },
      button(icon("in"), () => viewer.zoomBy(1.5), { "aria-label": text.viewer.in }),
      button(icon("out"), () => viewer.zoomBy(1 / 1.5), { "aria-label": text.viewer.out }),
      button(icon("fit"), () => viewer.fit(), { "aria-label": text.viewer.fit }),
    );
    const pane = h("figure", { class: "pane viewer" }, h("div", { class: "row" }, h("label", { class: "pick" }, h("span", text.compare.pick(side)), choice), title), stage, zoom, h("figcaption", words));
    return { pane, viewer, choice, title, words };
  }

  async draw() {
    const turn = ++this.#turn;
    const model = /** @type {Model} */ (this.#model);
    const chosen = this.panes.map(({ choice }) => /** @type {Result} */ (this.#results.find(({ number }) => String(number) === choice.value)));
    for (const [index, { viewer, title }] of this.panes.entries()) {
      const { url, prediction } = chosen[index];
      const kind = verdict(prediction);
      viewer.show(url, prediction.image.width, prediction.image.height);
      title.className = `verdict ${kind}`;
      title.replaceChildren(icon(kind), text.decision[kind]);
    }
    const [a, b] = chosen.map(({ prediction }) => prediction);
    byId("comparison-figures").replaceChildren(.../** @type {Node[]} */ (differenceOf(a, b, model).filter(Boolean)));
    try {
      await Promise.all(this.panes.map((pane, index) => this.#lay(pane, chosen[index], () => turn === this.#turn)));
    } catch (error) {
      if (turn === this.#turn) this.fail(error);
    }
  }

  /** @param {Comparison["panes"][number]} pane @param {Result} result @param {() => boolean} wanted */
  async #lay({ viewer, words }, { prediction }, wanted) {
    const kind = /** @type {MapKind | "none"} */ (this.map.value);
    const { decision, lesion } = prediction;
    const abstained = decision.status === "abstained";
    const outline = abstained ? [] : (await this.figures.summary(prediction, { kind: "lesion" })).outline;
    const possible = kind !== "none" && !abstained && prediction.attention[kind] !== null;
    const [map, summary] = possible
      ? await Promise.all([this.figures.map(prediction, { kind, branch: "mean", spot: null }), this.figures.summary(prediction, { kind })])
      : [null, null];
    if (!wanted()) return;
    viewer.mark({ box: abstained ? null : lesion.crop_box, outline, spot: null });
    viewer.opacity = 0.6;
    viewer.lay(map);
    words.textContent = summary ? describe(summary, prediction, false) : abstained ? text.viewer.alone : text.viewer.dashes;
  }
}
