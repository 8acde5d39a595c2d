/** What stands in place of the answer (progress, a problem, a question), notices, and what is said of them. */

import { Problem } from "./api.js";
import { button, byId, h, icon, keepFocus } from "./dom.js";
import { text } from "./strings.js";
import { secondsLeft } from "./uploads.js";

/** @import { Child, Impression, Item } from "./types.js" */

/** What sending the same image again cannot mend. */
const IMAGES_FAULT = new Set(["malformed-request", "too-large", "unsupported-type", "undecodable-picture"]);
/** What a smaller copy may mend. */
const TOO_SLOW = new Set(["request-timeout", "stalled", "too-large"]);
/** After so long, in milliseconds, an upload that is not half through is slow. */
const SLOW = 6000;

/** For screen readers. @param {string} said */
export function say(said) {
  byId("status").textContent = said;
}

/** Puts something in place of the answer; the focus stays there if it was. @param {...Child} parts */
export function fillAnswer(...parts) {
  const answer = byId("answer");
  const hadFocus = answer.contains(document.activeElement);
  keepFocus(() => answer.replaceChildren(.../** @type {Node[]} */ (parts.filter(Boolean))));
  if (hadFocus && !answer.contains(document.activeElement)) /** @type {HTMLElement | null} */ (answer.querySelector("[tabindex='-1']"))?.focus();
}

/** Names the image that is shown. @param {Child[]} parts */
export function entitle(parts) {
  byId("reading-title").textContent = parts.filter(Boolean).join(" · ");
  if (!byId("reading").contains(document.activeElement)) byId("reading-title").focus({ preventScroll: true });
}

/** @param {Item} item */
export function progressText(item) {
  const seconds = secondsLeft(item);
  if (seconds) return text.progress.retry(seconds);
  if (item.state === "waiting") return text.progress.queued;
  return item.share < 1 ? text.progress.sending(item.share) : text.progress.waiting;
}

/** @param {Item} item @param {{ giveUp: () => void, shrink: (() => void) | null }} actions */
export function showProgress(item, { giveUp, shrink }) {
  const label = h("p", { id: "progress-label", tabindex: -1 }, progressText(item));
  const bar = h("progress", { id: "progress", max: 1, value: item.share < 1 ? item.share : null, "aria-labelledby": "progress-label" });
  const slow = h("p", { id: "slow", hidden: true }, text.progress.slow, " ", shrink && button(text.progress.shrink, shrink));
  fillAnswer(h("section", { class: "progress" }, label, bar, slow, button(text.cancel, giveUp, { id: "give-up" })));
  if (secondsLeft(item)) say(`${text.problem.kinds["queue-full"].title}.`);
  else if (item.state === "sending") {
    say(text.progress.waiting);
    if (shrink) setTimeout(() => item.state === "sending" && item.share < 0.5 && (slow.hidden = false), SLOW);
  }
}

/** How much of the image was sent. @param {Item} item */
export function showShare(item) {
  const bar = document.getElementById("progress");
  const label = document.getElementById("progress-label");
  if (!(bar instanceof HTMLProgressElement) || !label) return;
  if (item.share < 1) bar.value = item.share;
  else bar.removeAttribute("value");
  label.textContent = progressText(item);
}

/** @param {unknown} error */
export function problemText(error) {
  const problem = error instanceof Problem ? error : new Problem("unknown", 0);
  if (!(error instanceof Problem)) console.error(error);
  const { title, text: what = text.problem.says, detail } = text.problem.kinds[problem.kind] ?? text.problem.kinds.unknown;
  const known = problem.kind in text.problem.kinds;
  return { problem, title, what: detail || !known ? `${what} ${problem.detail}`.trim() : what };
}

/**
 * A problem in place of the answer.
 * @param {unknown} error
 * @param {{ again: () => void, shrink: (() => void) | null }} actions Offered where they may help.
 */
export function showProblem(error, { again, shrink }) {
  const { problem, title, what } = problemText(error);
  const retry = !IMAGES_FAULT.has(problem.kind) && button(text.problem.again, again, { class: "primary" });
  const another = button(text.problem.another, () => byId("file").click(), { class: !retry && "primary" });
  fillAnswer(
    h(
      "section",
      { class: "problem", "aria-labelledby": "problem-title" },
      h("h3", { id: "problem-title", tabindex: -1 }, icon("problem"), h("span", title)),
      h("p", what, retry && ` ${text.problem.kept}`),
      problem.retryAfter !== null && h("p", text.problem.wait(problem.retryAfter)),
      h("div", { class: "actions" }, retry, shrink && TOO_SLOW.has(problem.kind) && button(text.progress.shrink, shrink), another),
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

/** Something to know, with one thing to do about it. @param {string} said @param {string} [label] @param {() => void} [act] */
export function showToast(said, label, act) {
  byId("toast").replaceChildren(h("p", said), label && act ? button(label, act, { id: "undo" }) : "");
  byId("toast").hidden = false;
  say(said);
}

export const hideToast = () => (byId("toast").hidden = true);

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
