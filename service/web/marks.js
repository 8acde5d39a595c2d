/** What is drawn over an image: the crop, the lesion's outline, a spot, what is being measured. */

import { drawing } from "./dom.js";

/** @import { Box, Marks } from "./types.js" */

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
