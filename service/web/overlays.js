/** The controls of the viewer and what they lay over the image. */

import { Calibration } from "./calibration.js";
import { byId, h, input, setStyle } from "./dom.js";
import { cellAt, cellBox, describe, gridOf, middle, tellsRelations } from "./figures.js";
import { numRegions } from "./geometry.js";
import { showLegend } from "./marks.js";
import { text } from "./strings.js";
import { Viewer } from "./viewer.js";
import { buttonsOf } from "./viewer_buttons.js";
import { influenceInWords, sizeInWords } from "./wording.js";

/** @import { Branch, Cell, Grid, Item, MapKind, Point, Result } from "./types.js" */
/** @import { Figures } from "./figures.js" */

/** @type {MapKind[]} */
export const KINDS = ["lesion", "spatial", "correlation"];
const LIGHT = ["brightness", "contrast"];

export class Overlays {
  /** @type {Result | null} */
  #result = null;
  /** @type {Item | null} */
  #previewed = null;
  /** @type {Cell | null} Where the arrow keys are. */
  #cursor = null;
  /** @type {Cell | null} Whose relations are shown. */
  #spot = null;
  #lifted = false;
  #turn = 0;

  /**
   * @param {Figures} figures
   * @param {object} listeners
   * @param {(words: string) => void} listeners.say
   * @param {(error: unknown, again: () => void, result: Result) => void} listeners.fail
   * @param {() => void} listeners.onChange A frame stands in for an image, or the size of a lesion is known.
   */
  constructor(figures, { say, fail, onChange }) {
    this.figures = figures;
    this.say = say;
    this.fail = fail;
    this.onChange = onChange;
    this.viewer = new Viewer(byId("stage"), {
      onClick: (point) => this.#onClick(point),
      onKey: (event) => this.#onKey(event),
    });
    this.calibration = new Calibration(this.viewer, { say, onEnds: () => this.draw(), onScale: () => (this.#measure(), this.onChange()) });
    this.#build();
  }

  /** The image alone, while there is no answer. @param {Item} item */
  async preview(item) {
    if (item === this.#previewed) return;
    this.#begin(null);
    this.#previewed = item;
    const image = new Image();
    image.src = item.shown;
    try {
      await image.decode();
      if (item === this.#previewed) this.viewer.show(item.shown, image.naturalWidth, image.naturalHeight);
    } catch {
      if (item === this.#previewed) this.#tell(text.viewer.noPreview, false);
    }
  }

  clear() {
    this.#begin(null);
  }

  /** @param {Result} result Shown already: its map stays. */
  show(result) {
    const same = result === this.#result;
    if (!same) this.#begin(result);
    const { image, attention, decision } = result.prediction;
    if (!same || !this.viewer.picture.naturalWidth) this.viewer.show(result.shown, image.width, image.height);
    byId("overlays").hidden = decision.status === "abstained";
    this.calibration.show(result);
    for (const kind of KINDS) this.#radio("map", kind).disabled = attention[kind] === null;
    this.draw();
  }

  #build() {
    const radios = (name = "", /** @type {[string, string][]} */ choices) =>
      choices.map(([value, label], index) =>
        h("label", h("input", { type: "radio", name, value, checked: index === 0 }), h("span", label)),
      );
    const { kinds } = text.overlays;
    byId("maps").append(...radios("map", [["none", text.overlays.none], ...KINDS.map((kind) => /** @type {[string, string]} */ ([kind, kinds[kind]]))]));
    byId("branches").append(...radios("branch", [["mean", text.probabilities.mean], ["1", "1"], ["2", "2"]]));
    const { zoom, fit, native, turn, full, keyList } = text.viewer;
    const all = [["+  −", zoom], ["0", fit], ["1", native], ["R", turn], ["F", full], ...keyList];
    byId("keys").append(...all.map(([key, what]) => h("li", h("kbd", key), ` ${what}`)));
    byId("overlays").addEventListener("input", ({ target }) => {
      if (target instanceof HTMLInputElement && LIGHT.includes(target.id)) return this.#light();
      if (target instanceof HTMLInputElement && target.name === "map") this.#release();
      this.#lifted = false;
      this.draw();
    });
    this.viewer.stage.after(buttonsOf(this.viewer, text.viewer.zoom));
    this.viewer.picture.addEventListener("error", () => this.#showFrameInstead());
  }

  /** @param {Result | null} result */
  #begin(result) {
    this.#turn++;
    this.#result = result;
    this.#previewed = null;
    this.#release();
    this.#lifted = false;
    this.#radio("map", "none").checked = true;
    input("show-frame").checked = false;
    input("split").value = "0";
    for (const name of LIGHT) input(name).value = "100";
    this.#light();
    this.viewer.clear();
    this.calibration.show(null);
    this.#measure();
    byId("overlays").hidden = true;
    byId("legend").hidden = true;
    this.#tell("", false);
  }

  /** How bright the image is shown; what the network was given stays. */
  #light() {
    for (const name of LIGHT) setStyle(this.viewer.stage, { [`--${name}`]: Number(input(name).value) / 100 });
  }

  /** Draws what the controls say; of several calls the last one wins. */
  async draw() {
    const [result, turn] = [this.#result, ++this.#turn];
    if (!result) return;
    const { prediction } = result;
    if (prediction.decision.status === "abstained") return this.#tell("", false);
    const kind = this.#lifted ? "none" : this.#chosen("map");
    const branch = /** @type {Branch} */ (this.#chosen("branch"));
    const onMap = kind !== "none";
    for (const id of ["opacity", "split"]) byId(`${id}-label`).hidden = !onMap;
    byId("branches").hidden = kind !== "spatial" && kind !== "correlation";
    this.viewer.opacity = Number(input("opacity").value) / 100;
    this.viewer.stage.classList.toggle("pointing", kind === "correlation" && tellsRelations(result.model));
    byId("influence").textContent = kind === "spatial" || kind === "correlation" ? influenceInWords(result.model) : kind === "lesion" ? text.overlays.placesCrop : "";
    try {
      const spot = this.#spot && kind === "correlation" ? middle(this.#cell(this.#spot)) : null;
      const [outline, frame, map, summary] = await Promise.all([
        this.figures.summary(prediction, { kind: "lesion" }),
        input("show-frame").checked ? this.figures.frame(prediction) : null,
        onMap ? this.figures.map(prediction, { kind: /** @type {MapKind} */ (kind), branch, spot }) : null,
        onMap ? this.figures.summary(prediction, { kind: /** @type {MapKind} */ (kind), branch, spot }) : null,
      ]);
      if (turn !== this.#turn) return;
      if (result.outline !== outline.outline) {
        result.outline = outline.outline;
        this.#measure();
      }
      const picture = frame ?? result.shown;
      if (this.viewer.picture.getAttribute("src") !== picture) this.viewer.show(picture, prediction.image.width, prediction.image.height);
      this.viewer.lay(map);
      this.viewer.split = Number(input("split").value) / 100;
      this.#mark(outline.outline);
      showLegend(onMap && summary?.evident ? /** @type {MapKind} */ (kind) : null);
      const hint = kind === "correlation" && !spot && tellsRelations(result.model) ? ` ${text.overlays.relate}` : "";
      if (summary) this.#tell(describe(summary, prediction, spot !== null) + hint, true);
      else if (this.#lifted) this.#tell(text.viewer.lifted, true);
      else this.#tell(input("show-box").checked || input("show-outline").checked ? text.viewer.dashes(numRegions(outline.outline)) : "", false);
    } catch (error) {
      if (turn === this.#turn) this.fail(error, () => this.draw(), result);
    }
  }

  /** The lesion's size, where the scale is known. */
  #measure() {
    const said = this.#result ? sizeInWords(this.#result) : "";
    byId("size").textContent = said;
    if (said) this.onChange();
  }

  /** @param {Point[][]} outline */
  #mark(outline) {
    const prediction = /** @type {Result} */ (this.#result).prediction;
    const shown = this.#cursor ?? this.#spot;
    this.viewer.mark({
      box: input("show-box").checked ? prediction.lesion.crop_box : null,
      outline: input("show-outline").checked ? outline : [],
      spot: shown && this.#chosen("map") === "correlation" ? this.#cell(shown) : null,
      ends: this.calibration.ends ?? [],
    });
  }

  /** @param {string} words @param {boolean} aloud */
  #tell(words, aloud) {
    if (byId("view-text").textContent === words) return;
    byId("view-text").textContent = words;
    byId("view-text").hidden = !words;
    this.viewer.stage.setAttribute("aria-label", words ? `${text.viewer.label}. ${words}` : text.viewer.label);
    if (aloud) this.say(words);
  }

  /** @param {Point} point */
  #onClick(point) {
    if (this.calibration.take(point)) return;
    const grid = this.#grid();
    if (this.#chosen("map") !== "correlation" || !this.#result || !grid) return;
    const cell = cellAt(this.#result.prediction.lesion.crop_box, grid, point);
    if (!cell) return this.say(text.overlays.outside);
    this.#spot = cell;
    this.#cursor = null;
    this.draw();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (this.calibration.key(event)) return true;
    if (event.key === "o" || event.key === "O") {
      if (this.#chosen("map") === "none") return false;
      this.#lifted = !this.#lifted;
      this.draw();
      return true;
    }
    const grid = this.#grid();
    if (this.#chosen("map") !== "correlation" || !grid || !this.#result) return false;
    if (event.key === "Escape" && (this.#spot || this.#cursor)) {
      this.#release();
      this.draw();
      return true;
    }
    if (event.key === "Enter") {
      this.#spot = this.#cursor ?? this.#spot ?? centre(grid);
      this.#cursor = null;
      this.draw();
      return true;
    }
    /** @type {Record<string, [number, number]>} */
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.shiftKey || !moves[event.key]) return false;
    const [right, down] = moves[event.key];
    const from = this.#cursor ?? this.#spot;
    this.#cursor = from
      ? { column: clamp(from.column + right, grid.columns), row: clamp(from.row + down, grid.rows) }
      : centre(grid);
    this.say(text.overlays.spotMoved(this.#cursor.row + 1, this.#cursor.column + 1, grid.rows, grid.columns));
    this.draw();
    return true;
  }

  #grid() {
    return this.#result && tellsRelations(this.#result.model) ? gridOf(this.#result.model) : null;
  }

  /** @param {Cell} cell */
  #cell(cell) {
    const { lesion } = /** @type {Result} */ (this.#result).prediction;
    return cellBox(lesion.crop_box, /** @type {Grid} */ (this.#grid()), cell);
  }

  #release() {
    this.#spot = this.#cursor = null;
  }

  /** Some kinds of image no browser shows; once there is an answer, the service can. */
  async #showFrameInstead() {
    const result = this.#result;
    if (!result || this.viewer.picture.getAttribute("src") !== result.url) return;
    try {
      result.shown = await this.figures.frame(result.prediction);
      this.onChange();
      if (result !== this.#result) return;
      this.viewer.show(result.shown, result.prediction.image.width, result.prediction.image.height);
      this.#tell(text.viewer.cannotShow, true);
    } catch (error) {
      if (result === this.#result) this.fail(error, () => this.#showFrameInstead(), result);
    }
  }

  /** @param {string} name @param {string} value */
  #radio(name, value) {
    return /** @type {HTMLInputElement} */ (document.querySelector(`#overlays [name="${name}"][value="${value}"]`));
  }

  /** @param {string} name */
  #chosen(name) {
    return /** @type {HTMLInputElement} */ (document.querySelector(`#overlays [name="${name}"]:checked`)).value;
  }
}

const clamp = (at = 0, count = 0) => Math.min(Math.max(at, 0), count - 1);

/** @param {Grid} grid @returns {Cell} */
const centre = ({ columns, rows }) => ({ column: Math.floor(columns / 2), row: Math.floor(rows / 2) });
