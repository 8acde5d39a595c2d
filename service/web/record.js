/** What goes into the patient's record: a text to copy, the service's JSON, the print's own lines. */

import { button, h } from "./dom.js";
import { date } from "./format.js";
import { say } from "./panels.js";
import { text } from "./strings.js";
import { because, inWords, limitsOf, pointName, population, riskOf, sizeInWords } from "./wording.js";

/** @import { Result } from "./types.js" */

/** @param {Result} result */
export function recordOf(result) {
  const words = text.record;
  const field = (/** @type {"reference" | "site"} */ name) => {
    const input = h("input", { type: "text", id: name, maxlength: 60, autocomplete: "off", "aria-describedby": "record-why" });
    input.value = result[name];
    input.addEventListener("input", () => (result[name] = input.value));
    return h("label", h("span", words[name]), input);
  };
  const said = h("span", { class: "fine copied" });
  const copy = async () => {
    await copied(asText(result));
    said.textContent = words.copied;
    say(words.copied);
  };
  return h(
    "section",
    { class: "record", "aria-labelledby": "record-title" },
    h("h3", { id: "record-title" }, words.title),
    h("div", { class: "fields" }, field("reference"), field("site")),
    h("p", { class: "fine", id: "record-why" }, words.why),
    h("div", { class: "actions" }, button(words.copy, copy, { id: "copy" }), button(words.print, () => print()), button("JSON", () => save(new Blob([JSON.stringify(result.prediction, null, 2)], { type: "application/json" }), `prediction-${result.prediction.id}.json`)), said),
  );
}

/** The answer as plain text, for another program's field. @param {Result} result */
export function asText(result) {
  const { prediction, model, reference, site } = result;
  const { decision, image } = prediction;
  const words = text.record;
  const point = `${text.clinic.point}: ${pointName(decision.operating_point)}.`;
  return [
    [reference && `${words.reference}: ${reference}`, site && `${words.site}: ${site}`, date(prediction.created_at)].filter(Boolean).join(" · "),
    inWords(result),
    riskOf(prediction) !== null && `${population(prediction, model.manifest)} ${point}`,
    sizeInWords(result),
    ...limitsOf(result).map(([title, what]) => `${title}: ${what}`),
    `${words.image}: SHA-256 ${image.sha256}. ${text.model.title}: ${prediction.model.name} ${prediction.model.version}.`,
    `${text.research} ${text.statement}`,
  ].filter(Boolean).join("\n");
}

/** The lines of the print above and below the answer. @param {Result} result */
export function reportOf({ prediction, model, reference, site, shown }) {
  const words = text.record;
  const line = (name = "", value = "") => h("span", h("strong", name), " ", value || h("span", { class: "blank" }));
  const { image } = prediction;
  const assessed = riskOf(prediction) !== null;
  return [
    h("p", h("strong", "Clinical-Inspired Network"), ` · ${date(prediction.created_at)}`),
    h("p", { class: "lines" }, line(words.reference, reference), line(words.site, site)),
    h("img", { src: shown, alt: "" }),
    h(
      "p",
      { class: "lines signed" },
      line(words.reader),
      line(words.signature),
      h("span", { class: "fine" }, [because(prediction, model) && assessed ? `${text.clinic.point}: ${pointName(prediction.decision.operating_point)}` : "", `${text.model.title}: ${prediction.model.name} ${prediction.model.version} (${prediction.model.sha256.slice(0, 16)})`, `${words.image}: SHA-256 ${image.sha256.slice(0, 16)}`].filter(Boolean).join(" · ")),
    ),
  ];
}

/** @param {string} said */
async function copied(said) {
  if (navigator.clipboard) return navigator.clipboard.writeText(said);
  // Without https a browser has no clipboard for pages but this one.
  const field = h("textarea", { class: "unseen" }, said);
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

/** @param {Blob} blob @param {string} name Of the file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
