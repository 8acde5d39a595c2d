/** The buttons beside a viewer. */

import { button, h, icon } from "./dom.js";
import { text } from "./strings.js";

/** @import { Viewer } from "./viewer.js" */

/** @param {Viewer} viewer @param {string} label */
export function buttonsOf(viewer, label) {
  const words = text.viewer;
  const make = (/** @type {Node | string} */ shown, title = "", /** @type {() => void} */ act) => button(shown, act, { "aria-label": title, title });
  return h(
    "div",
    { class: "zoom", role: "group", "aria-label": label },
    make(icon("in"), words.in, () => viewer.zoomBy(1.5)),
    make(icon("out"), words.out, () => viewer.zoomBy(1 / 1.5)),
    make(icon("fit"), words.fit, () => viewer.fit()),
    make("1:1", words.native, () => viewer.native()),
    make(icon("turn"), words.turn, () => viewer.turn()),
    document.fullscreenEnabled && make(icon("full"), words.full, () => viewer.fullScreen()),
    viewer.percent,
  );
}
