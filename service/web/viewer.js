/** An image to look at closely: zoom, pan, turn, a map laid over it, marks. Positions are fractions of the turned image. */

import { drawing, h, setStyle } from "./dom.js";
import { wholePercent } from "./format.js";
import { turnedSize, turnStyle, uprightOf } from "./geometry.js";
import { drawRulers, marksOf, rulers } from "./marks.js";
import { text } from "./strings.js";

/** @import { Marks, Point, View } from "./types.js" */

/** @type {View} */
export const WHOLE = { zoom: 1, x: 0.5, y: 0.5 };
const MOST = 16; // device pixels for each pixel of the image
const STEP = 1.25;
const CLOSER = 2.5; // by a double click
const CLICK = 5; // CSS pixels that a pointer may move and still be a click

export class Viewer {
  /** @type {View} */
  #view = WHOLE;
  /** Of the upright image. */
  #upright = { width: 1, height: 1 };
  /** Quarter turns clockwise. */
  #turns = 0;
  /** @type {Map<number, { x: number, y: number }>} */
  #pointers = new Map();
  #moved = 0;
  /** Of a pixel of the image. @type {number | null} */
  #millimetres = null;
  #rulers = rulers();
  /** Device pixels for each pixel of the image. */
  percent = h("span", { class: "scale" });

  /**
   * @param {HTMLElement} stage
   * @param {object} listeners
   * @param {(view: View) => void} [listeners.onView] After the image was zoomed or moved here.
   * @param {(spot: Point) => void} [listeners.onClick] With pixels of the upright image.
   * @param {(event: KeyboardEvent) => boolean} [listeners.onKey] Whether the key was taken.
   */
  constructor(stage, { onView = () => {}, onClick = () => {}, onKey = () => false }) {
    this.stage = stage;
    this.onView = onView;
    this.onClick = onClick;
    this.onKey = onKey;
    this.picture = h("img", { class: "picture", alt: "", draggable: "false" });
    this.overlay = h("img", { class: "overlay", alt: "", draggable: "false", hidden: true });
    this.marks = drawing("svg", { class: "marks", "aria-hidden": "true", preserveAspectRatio: "none" });
    stage.append(
      h("div", { class: "sheet" }, this.picture),
      h("div", { class: "split" }, h("div", { class: "sheet" }, this.overlay)),
      h("div", { class: "sheet" }, this.marks),
      h("div", { class: "divider", hidden: true }),
      ...this.#rulers,
    );
    stage.tabIndex = 0;
    stage.setAttribute("role", "application");
    stage.setAttribute("aria-roledescription", text.viewer.label);
    stage.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#onDown(event));
    stage.addEventListener("pointermove", (event) => this.#onMove(event));
    for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) {
      stage.addEventListener(end, (event) => this.#onUp(event));
    }
    stage.addEventListener("dblclick", (event) => {
      if (!this.measuring) this.#view.zoom > 1 ? this.fit() : this.zoomBy(CLOSER, this.#offset(event));
    });
    stage.addEventListener("keydown", (event) => this.#onKeyDown(event));
    new ResizeObserver(() => this.#apply()).observe(stage);
  }

  /**
   * @param {string} url
   * @param {number} width Of the upright image, pixels.
   * @param {number} height
   */
  show(url, width, height) {
    if (url) this.picture.src = url;
    else this.picture.removeAttribute("src");
    this.stage.classList.toggle("empty", !url);
    this.#upright = { width, height };
    this.marks.setAttribute("viewBox", `0 0 ${width} ${height}`);
    setStyle(this.stage, { "--width": width, "--height": height });
    this.#apply();
  }

  clear() {
    this.#turns = 0;
    this.show("", 4, 3);
    this.lay(null);
    this.mark({ box: null, outline: [], spot: null, ends: [] });
    this.millimetres = null;
    this.measuring = false;
    this.view = WHOLE;
  }

  /** @param {string | null} url */
  lay(url) {
    this.overlay.hidden = url === null;
    if (url !== null) this.overlay.src = url;
    else this.overlay.removeAttribute("src");
  }

  /** @param {Marks} marks */
  mark(marks) {
    this.marks.replaceChildren(...marksOf(marks));
  }

  /** @param {number} share */
  set opacity(share) {
    setStyle(this.overlay, { opacity: share });
  }

  /** How much of the stage, from the left, shows no map. @param {number} share */
  set split(share) {
    setStyle(this.stage, { "--split": share });
    /** @type {HTMLElement} */ (this.stage.querySelector(".divider")).hidden = share === 0 || this.overlay.hidden;
  }

  /** What a pixel of the image is long, if that is known: shows a scale bar. @param {number | null} millimetres */
  set millimetres(millimetres) {
    this.#millimetres = millimetres;
    this.#apply();
  }

  /** Whether points are being chosen for a measurement. */
  get measuring() {
    return this.stage.classList.contains("measuring");
  }
  set measuring(on) {
    this.stage.classList.toggle("measuring", on);
  }

  /** What is in the stage's middle, in pixels of the upright image. @returns {Point} */
  get middle() {
    const { width, height } = this.#size;
    return uprightOf(this.#turns, this.#upright, { x: this.#view.x * width, y: this.#view.y * height });
  }

  get view() {
    return this.#view;
  }
  set view(view) {
    const native = 1 / (this.#fit * devicePixelRatio);
    const zoom = Math.min(Math.max(view.zoom, Math.min(1, native)), Math.max(1, MOST * native));
    const within = (at = 0) => Math.min(Math.max(at, 0), 1);
    this.#view = zoom <= 1 ? { ...WHOLE, zoom } : { zoom, x: within(view.x), y: within(view.y) };
    this.#apply();
  }

  /** CSS pixels for each pixel of the image. */
  get scale() {
    return this.#fit * this.#view.zoom;
  }

  fit() {
    this.#change(WHOLE);
  }

  native() {
    this.#change({ ...this.#view, zoom: 1 / (this.#fit * devicePixelRatio) });
  }

  /** A quarter turn clockwise. */
  turn() {
    this.#turns = (this.#turns + 1) % 4;
    this.fit();
  }

  async fullScreen() {
    const figure = this.stage.closest("figure");
    if (document.fullscreenElement) await document.exitFullscreen();
    else await figure?.requestFullscreen();
  }

  /**
   * @param {number} factor
   * @param {{ x: number, y: number }} [around] What stays where it is, in CSS pixels from the stage's middle.
   */
  zoomBy(factor, around = { x: 0, y: 0 }) {
    const before = this.scale;
    this.view = { ...this.#view, zoom: this.#view.zoom * factor };
    const shift = 1 / before - 1 / this.scale;
    this.#pan(around.x * shift, around.y * shift);
  }

  /** Of the image as it is turned. */
  get #size() {
    return turnedSize(this.#turns, this.#upright);
  }

  get #fit() {
    const { clientWidth, clientHeight } = this.stage;
    return Math.min(clientWidth / this.#size.width, clientHeight / this.#size.height) || 1;
  }

  /** @param {number} x Pixels of the image. @param {number} y */
  #pan(x, y) {
    const { width, height } = this.#size;
    this.#change({ ...this.#view, x: this.#view.x + x / width, y: this.#view.y + y / height });
  }

  /** @param {View} view */
  #change(view) {
    this.view = view;
    this.onView(this.#view);
  }

  #apply() {
    const { clientWidth, clientHeight } = this.stage;
    const { width, height } = this.#size;
    const { scale } = this;
    const pixels = scale * devicePixelRatio;
    setStyle(this.stage, {
      "--x": `${clientWidth / 2 - this.#view.x * width * scale}px`,
      "--y": `${clientHeight / 2 - this.#view.y * height * scale}px`,
      "--scale": scale,
      // Whole device pixels: a line of one and a half is grey on a coarse screen.
      "--line": `${Math.round(1.5 * devicePixelRatio) / devicePixelRatio}px`,
      "--turn": turnStyle(this.#turns, this.#upright),
    });
    this.stage.classList.toggle("close", pixels >= 3);
    this.stage.classList.toggle("zoomed", this.#view.zoom > 1);
    this.percent.textContent = this.picture.hasAttribute("src") ? wholePercent(pixels) : "";
    drawRulers(this.#rulers, this.#millimetres, scale, this.#upright.width);
  }

  /** From the stage's middle, CSS pixels. @param {{ clientX: number, clientY: number }} event */
  #offset({ clientX, clientY }) {
    const { left, top, width, height } = this.stage.getBoundingClientRect();
    return { x: clientX - left - width / 2, y: clientY - top - height / 2 };
  }

  /** @param {WheelEvent} event */
  #onWheel(event) {
    if (!event.ctrlKey && document.activeElement !== this.stage) return; // the page scrolls
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1);
    this.zoomBy(Math.exp(-pixels / (event.ctrlKey ? 100 : 400)), this.#offset(event));
  }

  /** @param {PointerEvent} event */
  #onDown(event) {
    if (event.button !== 0) return;
    this.stage.setPointerCapture(event.pointerId);
    if (this.#pointers.size === 0) this.#moved = 0;
    this.#pointers.set(event.pointerId, this.#offset(event));
  }

  /** @param {PointerEvent} event */
  #onMove(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#offset(event);
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, now);
    this.#moved += Math.hypot(now.x - before.x, now.y - before.y);
    if (other) {
      const distance = (/** @type {Point} */ a) => Math.hypot(a.x - other.x, a.y - other.y);
      this.zoomBy(distance(now) / Math.max(distance(before), 1), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
      this.#moved = Infinity;
    } else if (this.#moved > CLICK && this.#view.zoom > 1) {
      this.#pan((before.x - now.x) / this.scale, (before.y - now.y) / this.scale);
    }
  }

  /** @param {PointerEvent} event */
  #onUp(event) {
    if (!this.#pointers.delete(event.pointerId) || event.type === "pointercancel" || this.#moved > CLICK) return;
    const { width, height } = this.#size;
    const at = this.#offset(event);
    const spot = { x: this.#view.x * width + at.x / this.scale, y: this.#view.y * height + at.y / this.scale };
    if (spot.x >= 0 && spot.y >= 0 && spot.x < width && spot.y < height) this.onClick(uprightOf(this.#turns, this.#upright, spot));
  }

  /** @param {KeyboardEvent} event */
  #onKeyDown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.onKey(event)) return event.preventDefault();
    const step = 0.1 / this.#view.zoom;
    /** @type {Record<string, () => void>} */
    const keys = {
      "+": () => this.zoomBy(STEP),
      "=": () => this.zoomBy(STEP),
      "-": () => this.zoomBy(1 / STEP),
      0: () => this.fit(),
      1: () => this.native(),
      r: () => this.turn(),
      f: () => this.fullScreen(),
      ArrowLeft: () => this.#pan(-step * this.#size.width, 0),
      ArrowRight: () => this.#pan(step * this.#size.width, 0),
      ArrowUp: () => this.#pan(0, -step * this.#size.height),
      ArrowDown: () => this.#pan(0, step * this.#size.height),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }
}
