/** What the colours of a map mean. */

import { byId, h } from "./dom.js";
import { text } from "./strings.js";

/** @import { MapKind } from "./types.js" */

/** @param {MapKind | null} kind */
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
