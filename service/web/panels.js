/** What stands in place of the answer (progress, a problem, a question), notices, and what is said of them. */

import { Problem } from "./api.js";
import { button, byId, h, icon } from "./dom.js";
import { text } from "./strings.js";

/** @import { Impression } from "./types.js" */

/** What sending the same picture again cannot mend. */
const PICTURES_FAULT = new Set(["malformed-request", "too-large", "unsupported-type", "undecodable-picture"]);

/** For screen readers. @param {string} said */
export function say(said) {
  byId("status").textContent = said;
}

/** Puts something in place of the answer; the focus stays there if it was. @param {...HTMLElement} parts */
export function fillAnswer(...parts) {
  const answer = byId("answer");
  const hadFocus = answer.contains(document.activeElement);
  answer.replaceChildren(...parts);
  if (hadFocus) /** @type {HTMLElement | null} */ (answer.querySelector("[tabindex='-1']"))?.focus();
}

/** @param {boolean} again Whether the picture had an answer before. @param {() => void} giveUp */
export function showProgress(again, giveUp) {
  const bar = h("progress", { id: "progress", max: 1, value: 0, "aria-labelledby": "progress-label" });
  const label = h("p", { id: "progress-label", tabindex: -1 }, again ? text.progress.again : text.progress.sending(0));
  fillAnswer(h("section", { class: "progress" }, label, bar, button(text.progress.give_up, giveUp)));
  say(text.progress.waiting);
}

/** How much of the picture was sent. @param {number} share 0 to 1 */
export function showShare(share) {
  const bar = document.getElementById("progress");
  const label = document.getElementById("progress-label");
  if (!(bar instanceof HTMLProgressElement) || !label) return;
  if (share < 1) bar.value = share;
  else bar.removeAttribute("value");
  label.textContent = share < 1 ? text.progress.sending(share) : text.progress.waiting;
}

/** @param {unknown} error */
export function problemText(error) {
  const problem = error instanceof Problem ? error : new Problem("unknown", 0);
  if (!(error instanceof Problem)) console.error(error);
  const { title, text: what, detail } = text.problem.kinds[problem.kind] ?? text.problem.kinds.unknown;
  const known = problem.kind in text.problem.kinds;
  return { problem, title, what: detail || !known ? `${what} ${problem.detail}`.trim() : what };
}

/**
 * A problem in place of the answer.
 * @param {unknown} error
 * @param {() => void} again Offered where it may help.
 */
export function showProblem(error, again) {
  const { problem, title, what } = problemText(error);
  const retry = !PICTURES_FAULT.has(problem.kind) && button(text.problem.again, again, { class: "primary" });
  const another = button(text.problem.another, () => byId("file").click(), { class: !retry && "primary" });
  fillAnswer(
    h(
      "section",
      { class: "problem", "aria-labelledby": "problem-title" },
      h("h3", { id: "problem-title", tabindex: -1 }, icon("problem"), h("span", title)),
      h("p", what, retry && ` ${text.problem.kept}`),
      problem.retryAfter !== null && h("p", text.problem.wait(problem.retryAfter)),
      h("div", { class: "actions" }, retry, another),
    ),
  );
  say(`${title}. ${what}`);
}

/**
 * A problem above what is still shown.
 * @param {unknown} error
 * @param {(kind: string) => void} again Gets the kind of the problem.
 */
export function showNotice(error, again) {
  const { problem, title, what } = problemText(error);
  const retry = () => {
    byId("notice").hidden = true;
    again(problem.kind);
  };
  byId("notice").replaceChildren(h("p", h("strong", title), ` ${what}`), button(text.problem.again, retry));
  byId("notice").hidden = false;
  say(`${title}. ${what}`);
}

/** Asks what the reader thinks, in place of the answer. @param {(chosen: Impression) => void} onChosen */
export function askImpression(onChosen) {
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const chosen = new FormData(/** @type {HTMLFormElement} */ (event.target)).get("impression");
    onChosen(/** @type {Impression} */ (chosen));
  };
  const options = Object.entries(text.impression.choices).map(([value, label]) => h("label", h("input", { type: "radio", name: "impression", value, required: true }), h("span", label)));
  fillAnswer(
    h(
      "form",
      { class: "ask", onsubmit: submit },
      h("h3", { tabindex: -1 }, text.impression.title),
      h("fieldset", { class: "choices" }, h("legend", text.impression.question), ...options),
      h("button", { class: "primary" }, text.impression.show),
    ),
  );
  say(`${text.impression.title}. ${text.impression.question}`);
}
