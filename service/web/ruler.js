/** Scale bars over an image: one for the screen, and one for the print, which shows the whole image. */

import { h, setStyle } from "./dom.js";
import { number } from "./format.js";
import { roundBelow } from "./scale.js";

const MOST_ON_SCREEN = 110; // CSS pixels
const MOST_ON_PAPER = 0.3; // of the image's width

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
