/** The images of this session, those to act on first. They live in memory only. */

import { button, byId, h, icon, keepFocus } from "./dom.js";
import { rough, time } from "./format.js";
import { problemText, progressText } from "./panels.js";
import { text } from "./strings.js";
import { adviceOf, isAnswered, reasonsOf, riskOf, verdict } from "./wording.js";

/** @import { Item } from "./types.js" */

/** @param {{ number: number, example: string | null }} item */
export const nameOf = ({ number, example }) => (example ? text.example(number) : text.picture(number));

/** What its reader has to do with it: referrals come first, then images without an assessment, then those below the threshold. @param {Item} item */
function kindOf(item) {
  if (isAnswered(item)) return verdict(item.prediction);
  return item.state === "answered" ? "covered" : item.state;
}
const ORDER = ["refer", "abstained", "failed", "no_referral", "covered", "sending", "waiting"];

/** By what to do, then by risk, then the newest first. @param {Item[]} items */
export function byRisk(items) {
  const key = (/** @type {Item} */ item) => [ORDER.indexOf(kindOf(item)), isAnswered(item) ? -(riskOf(item.prediction) ?? 0) : 0, -item.number];
  return items.map((item) => ({ item, key: key(item) })).sort((a, b) => a.key.map((value, at) => value - b.key[at]).find(Boolean) ?? 0).map(({ item }) => item);
}

/** "2 refer, 1 failed, 5 below the threshold". @param {Item[]} items */
export function summaryOf(items) {
  const count = (/** @type {string[]} */ ...kinds) => items.filter((item) => kinds.includes(kindOf(item))).length;
  return text.session.summary(count("refer"), count("abstained"), count("no_referral"), count("failed"), count("sending", "waiting", "covered"));
}

/**
 * @param {Item[]} items
 * @param {Item | null} current
 * @param {{ open: (item: Item) => void, remove: (items: Item[]) => void, retry: (items: Item[]) => void }} actions
 */
export function showList(items, current, { open, remove, retry }) {
  byId("session").hidden = items.length === 0;
  byId("summary").textContent = items.length > 1 ? summaryOf(items) : "";
  byId("retry-all").hidden = items.filter(({ state }) => state === "failed").length < 2;
  keepFocus(() =>
    byId("session-list").replaceChildren(
      ...byRisk(items).map((item) => {
        const name = nameOf(item);
        const said = saidOf(item);
        return h(
          "li",
          { class: `item ${kindOf(item)}${item === current ? " current" : ""}`, "data-number": item.number },
          h(
            "button",
            { id: `open-${item.number}`, class: "open", "aria-current": item === current && "true", "aria-label": `${name}, ${said.aloud}`, onclick: () => open(item) },
            h("img", { src: item.shown, alt: "", loading: "lazy", decoding: "async", onerror: hideBroken }),
            h("span", { class: `verdict ${kindOf(item)}` }, icon(said.icon), h("span", said.short)),
            h("span", { class: "fine file", title: item.name }, [text.picture(item.number), item.prediction?.follow_up?.lesion, item.prediction && time(item.prediction.created_at), item.name].filter(Boolean).join(" · ")),
            said.more && h("span", { class: "fine more" }, said.more),
            item.state === "sending" && h("progress", { max: 1, value: item.share < 1 ? item.share : null, "aria-hidden": "true" }),
          ),
          item.state === "failed" && button(text.problem.again, () => retry([item]), { id: `retry-${item.number}`, class: "retry", "aria-label": text.session.retry(name) }),
          button(icon("close"), () => remove([item]), { id: `delete-${item.number}`, class: "forget", "aria-label": text.session.remove(name) }),
        );
      }),
    ),
  );
}

const hideBroken = (/** @type {Event} */ { target }) => /** @type {Element} */ (target).classList.add("broken");

/** More of an image was sent. @param {Item} item */
export function showItemShare({ number, share }) {
  const bar = document.querySelector(`[data-number="${number}"] progress`);
  if (!(bar instanceof HTMLProgressElement)) return;
  if (share < 1) bar.value = share;
  else bar.removeAttribute("value");
}

/** @param {Item} item @returns {{ short: string, aloud: string, more: string, icon: string }} */
function saidOf(item) {
  if (isAnswered(item)) {
    const kind = verdict(item.prediction);
    const risk = riskOf(item.prediction);
    const said = adviceOf(item);
    const reasons = reasonsOf(item);
    if (risk === null) return { short: text.session.abstained, aloud: said, more: reasons.join(" "), icon: kind };
    const caution = reasons.length ? ` · ${text.decision.caution}` : "";
    return { short: rough(risk), aloud: `${said}, ${rough(risk)}`, more: said + caution, icon: kind };
  }
  if (item.state === "answered") return { short: text.session.covered, aloud: text.session.covered, more: "", icon: "problem" };
  if (item.state === "failed") {
    const { title, what } = problemText(item.problem);
    return { short: text.session.failed, aloud: `${text.session.failed}: ${title}`, more: `${title}. ${what}`, icon: "problem" };
  }
  const progress = progressText(item);
  return { short: item.state === "sending" ? text.progress.waiting : text.progress.queued, aloud: progress, more: progress, icon: "picture" };
}
