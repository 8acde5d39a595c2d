/** The pictures of this tab. They live in memory only. */

import { verdict } from "./answer.js";
import { button, byId, h, icon } from "./dom.js";
import { percent, time } from "./format.js";
import { text } from "./strings.js";

/** @import { Result } from "./types.js" */

/** @param {Result} result */
export const nameOf = ({ number, example }) => (example ? text.example(number) : text.picture(number));

/**
 * @param {Result[]} results Newest first.
 * @param {Result | null} current
 * @param {{ open: (result: Result) => void, forget: (result: Result) => void }} actions
 */
export function showRecent(results, current, { open, forget }) {
  byId("recent").hidden = results.length === 0;
  byId("recent-list").replaceChildren(
    ...results.map((result) => {
      const { prediction, shown } = result;
      const kind = verdict(prediction);
      const share = kind === "abstained" ? text.recent.abstained : percent(prediction.decision.malignant_probability);
      return h(
        "li",
        { class: result === current && "current" },
        h(
          "button",
          { class: "open", "aria-current": result === current && "true", "aria-label": text.recent.open(nameOf(result), kind === "abstained" ? text.decision.abstained : `${text.decision[kind]}, ${share}`), onclick: () => open(result) },
          h("img", { src: shown, alt: "", loading: "lazy", decoding: "async" }),
          h("span", { class: `verdict ${kind}` }, icon(kind), share),
          h("span", { class: "fine" }, `${text.picture(result.number)} · ${time(prediction.created_at)}`),
        ),
        button(icon("close"), () => forget(result), { class: "forget", "aria-label": text.recent.forget(nameOf(result)) }),
      );
    }),
  );
}
