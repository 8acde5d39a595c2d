/** What is drawn over an image (crop, outline, spot, marks of a measurement, scale bar), and what the colours of a map mean. */

import { byId, drawing, h, setStyle } from "./dom.js";
import { number } from "./format.js";
import { roundBelow } from "./geometry.js";
import { text } from "./strings.js";

/** @import { Box, MapKind, Marks } from "./types.js" */

const MOST_ON_SCREEN = 110; // CSS pixels, of a scale bar
const MOST_ON_PAPER = 0.3; // of the image's width

/** @param {Marks} marks */
export function marksOf({ box, outline, spot, ends }) {
  const path = outline.map((ring) => `M${ring.map(({ x, y }) => `${x} ${y}`).join("L")}Z`).join("");
  // Each twice, dark under light, so that it shows on every skin.
  const twice = (/** @type {() => SVGElement} */ make, name = "") =>
    ["under", name].map((kind) => {
      const shape = make();
      shape.setAttribute("class", kind);
      return shape;
    });
  const measure = ends.map(({ x, y }) => `M${x} ${y}h0`).join("") + (ends.length > 1 ? `M${ends.map(({ x, y }) => `${x} ${y}`).join("L")}` : "");
  const rectangle = (/** @type {Box} */ { x0, y0, x1, y1 }) => () => drawing("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0 });
  return [
    ...(path ? twice(() => drawing("path", { d: path }), "outline") : []),
    ...(box ? twice(rectangle(box), "crop") : []),
    ...(spot ? twice(rectangle(spot), "spot") : []),
    ...(ends.length ? ["measure under", "measure"].map((kind) => drawing("path", { class: kind, d: measure })) : []),
  ];
}

/** Scale bars: one for the screen, and one for the print, which shows the whole image. */
export const rulers = () => ["screen", "paper"].map((where) => h("div", { class: `ruler ${where}`, hidden: true, "aria-hidden": "true" }));

/**
 * @param {HTMLElement[]} both
 * @param {number | null} millimetres Of a pixel of the image.
 * @param {number} scale CSS pixels for each pixel of the image.
 * @param {number} width Of the upright image, pixels.
 */
export function drawRulers([screen, paper], millimetres, scale, width) {
  for (const ruler of [screen, paper]) ruler.hidden = millimetres === null;
  if (millimetres === null) return;
  const [onScreen, onPaper] = [(millimetres * MOST_ON_SCREEN) / scale, millimetres * MOST_ON_PAPER * width].map(roundBelow);
  screen.textContent = `${number(onScreen)} mm`;
  paper.textContent = `${number(onPaper)} mm`;
  setStyle(screen, { "--long": `${(onScreen / millimetres) * scale}px` });
  setStyle(paper, { "--long": `${(100 * onPaper) / (millimetres * width)}%` });
}

/** What the colours of a map mean. @param {MapKind | null} kind */
export function showLegend(kind) {
  byId("legend").hidden = kind === null;
  if (kind === null) return;
  const [low, high, unit] = text.overlays.scales[kind];
  byId("legend").replaceChildren(
    h("span", { class: "unseen" }, text.overlays.legend(low, high, unit)),
    h("span", { "aria-hidden": "true" }, low),
    h("span", { class: "ramp", "aria-hidden": "true" }),
    h("span", { "aria-hidden": "true" }, high),
    h("span", { "aria-hidden": "true" }, unit),
  );
}
