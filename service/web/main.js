/** Composition: what the page knows, and what happens when somebody does something. */

import { answerOf, inWords } from "./answer.js";
import { Api, Problem, isAbort } from "./api.js";
import { setUpCard, showCard } from "./card.js";
import { Comparison } from "./compare.js";
import { button, byId, h, icon, input } from "./dom.js";
import { Figures } from "./figures.js";
import { setUpIntake } from "./intake.js";
import { askForKey } from "./key.js";
import { Overlays } from "./overlays.js";
import { nameOf, showRecent } from "./recent.js";
import { date, language, text, time, words } from "./strings.js";

/** @import { Impression, Model, Reading, Result } from "./types.js" */

const api = new Api(askForKey);
const figures = new Figures(api);
const overlays = new Overlays(figures, {
  say,
  fail,
  onFrame: (result) => {
    if (result === current) report(result);
    list();
  },
});
const comparison = new Comparison(figures, fail);
/** What sending the same picture again cannot mend. */
const PICTURES_FAULT = new Set(["malformed-request", "too-large", "unsupported-type", "undecodable-picture"]);
/** So many pictures of the tab are kept. */
const MOST = 24;
const choices = { percent: 5 };

/** Newest first. @type {Result[]} */
const results = [];
/** @type {Result | null} */
let current = null;
/** Answered, but its reader has not said yet what they think. @type {Result | null} */
let covered = null;
/** Under way, or failed. @type {Reading | null} */
let pending = null;
/** The last one heard of. @type {Model | null} */
let model = null;
let count = 0;
let underWay = new AbortController();

/** The model that answered; asked for when it is not the last one heard of. @param {string} [sha256] */
async function modelInUse(sha256) {
  if (model === null || (sha256 && model.sha256 !== sha256)) model = await api.model();
  const { manifest, variant, provider } = model;
  byId("served").textContent = text.served(manifest.name, manifest.version, variant, provider);
  if (sha256 && model.sha256 !== sha256) throw new Problem("changed", 0);
  return model;
}

/** @param {Reading} reading */
async function read(reading) {
  const atPoint = document.activeElement?.id === "point";
  abandon(reading);
  pending = reading;
  const { signal } = (underWay = new AbortController());
  look("reading");
  entitle(reading);
  showProgress(reading);
  list();
  if (!reading.replaces) preview(reading, signal);
  let prediction;
  try {
    prediction = await api.predict(reading.file, {
      operatingPoint: reading.operatingPoint,
      onProgress: (share) => showShare(share),
      signal,
    });
    const answered = await modelInUse(prediction.model.sha256);
    signal.throwIfAborted();
    const { file, url, example, number, replaces } = reading;
    const { shown = url, note = "", impression = null } = replaces ?? {};
    const result = { file, url, shown, example, number, prediction, model: answered, note, impression };
    pending = null;
    if (replaces) {
      drop(replaces, false);
      keep(result, true);
      if (atPoint) document.getElementById("point")?.focus();
    } else if (input("impression-first").checked) askImpression(result);
    else keep(result);
  } catch (error) {
    if (prediction) api.forget(prediction.id).catch(() => {});
    if (!signal.aborted) showProblem(error, reading);
  }
}

/** @param {Blob} file @param {string | null} example */
function readNew(file, example) {
  return read({ file, url: URL.createObjectURL(file), example, number: ++count, replaces: null });
}

/** @param {Result} result */
const judge = (result, operatingPoint = result.prediction.decision.operating_point) => read({ ...result, replaces: result, operatingPoint });

/** @param {Result} result @param {boolean} [samePicture] */
function keep(result, samePicture) {
  covered = null;
  results.unshift(result);
  results.sort((a, b) => b.number - a.number);
  for (const oldest of results.slice(MOST)) drop(oldest, true);
  open(result, samePicture);
  say(`${nameOf(result)}. ${inWords(result)}`);
}

/** @param {Result} result @param {boolean} [samePicture] Whether it was shown until now, so that its map stays. */
function open(result, samePicture) {
  abandon();
  current = result;
  look("reading");
  entitle(result, ` · ${time(result.prediction.created_at)}`);
  overlays.show(result, samePicture);
  fillAnswer(...answerOf(result, choices, { judgeAt: (point) => judge(result, point), showCard: () => showCard(result.model.card) }));
  report(result);
  list();
}

/** Gives up what is under way, failed or never looked at; not what comes next. @param {Reading} [next] */
function abandon(next) {
  underWay.abort();
  if (covered) drop(covered, true);
  if (pending && pending !== next && !pending.replaces) URL.revokeObjectURL(pending.url);
  covered = pending = null;
}

/** @param {Result} result */
async function forget(result) {
  const wasShown = result === current || pending?.replaces === result || !byId("comparison").hidden;
  const at = results.indexOf(result);
  const gone = drop(result, true);
  if (result === current) current = null;
  if (wasShown && results.length) open(current ?? results[0]);
  else if (wasShown) restart();
  list();
  const next = byId("recent-list").children[Math.min(at, results.length - 1)]?.querySelector("button");
  if (next) next.focus();
  else if (!wasShown) byId("reading-title").focus();
  try {
    await gone;
    say(text.recent.forgotten(nameOf(result)));
  } catch {
    say(text.recent.forgottenHere(nameOf(result)));
  }
}

async function forgetAll() {
  const gone = [...results].map((result) => drop(result, true));
  restart();
  const failed = (await Promise.allSettled(gone)).some(({ status }) => status === "rejected");
  say(failed ? text.recent.forgottenHere(text.recent.all) : text.recent.forgotten(text.recent.all));
}

/** @param {Result} result @param {boolean} withPicture */
function drop(result, withPicture) {
  const at = results.indexOf(result);
  if (at >= 0) results.splice(at, 1);
  figures.forget(result.prediction, result.shown);
  if (withPicture) for (const url of [result.url, result.shown]) URL.revokeObjectURL(url);
  const gone = api.forget(result.prediction.id);
  gone.catch(() => {}); // it expires by itself
  return gone;
}

function restart() {
  abandon();
  current = null;
  look("start");
  list();
  byId("choose").focus();
}

/** @param {"start" | "reading" | "comparison"} section */
function look(section) {
  for (const id of ["start", "reading", "comparison"]) byId(id).hidden = id !== section;
  document.body.dataset.section = section;
  byId("new").hidden = section === "start";
  byId("notice").hidden = true;
  if (section !== "comparison") comparison.clear();
  if (section === "reading") return;
  overlays.clear();
  for (const id of ["answer", "report"]) byId(id).replaceChildren();
}

function list() {
  showRecent(results, byId("reading").hidden ? null : current, { open, forget });
  byId("compare").hidden = results.length < 2 || !byId("comparison").hidden;
  byId("print").hidden = current === null || byId("reading").hidden;
}

/** @param {{ number: number, example: string | null }} picture */
function entitle(picture, more = "") {
  const title = byId("reading-title");
  title.textContent = nameOf(/** @type {Result} */ (picture)) + more;
  if (!byId("reading").contains(document.activeElement)) title.focus({ preventScroll: true });
}

/** @param {Reading} reading @param {AbortSignal} signal */
async function preview({ url }, signal) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
    if (!signal.aborted && current === null) overlays.preview(url, image.naturalWidth, image.naturalHeight);
  } catch {
    if (!signal.aborted && current === null) overlays.previewNothing();
  }
}

/** @param {Reading} reading */
function showProgress(reading) {
  current = null;
  byId("report").replaceChildren();
  if (!reading.replaces) overlays.clear();
  const bar = h("progress", { id: "progress", max: 1, value: 0, "aria-labelledby": "progress-label" });
  const label = h("p", { id: "progress-label", tabindex: -1 }, reading.replaces ? text.progress.again : text.progress.sending(0));
  const giveUp = () => (reading.replaces ? open(reading.replaces) : restart());
  fillAnswer(h("section", { class: "progress" }, label, bar, button(text.progress.give_up, giveUp)));
  say(text.progress.waiting);
}

/** @param {number} share */
function showShare(share) {
  const bar = document.getElementById("progress");
  const label = document.getElementById("progress-label");
  if (!(bar instanceof HTMLProgressElement) || !label) return;
  if (share < 1) bar.value = share;
  else bar.removeAttribute("value");
  label.textContent = share < 1 ? text.progress.sending(share) : text.progress.waiting;
}

/** @param {unknown} error */
function problemText(error) {
  const problem = error instanceof Problem ? error : new Problem("unknown", 0);
  if (!(error instanceof Problem)) console.error(error);
  const { title, text: what, detail } = text.problem.kinds[problem.kind] ?? text.problem.kinds.unknown;
  const known = problem.kind in text.problem.kinds;
  return { problem, title, what: detail || !known ? `${what} ${problem.detail}`.trim() : what };
}

/** @param {unknown} error @param {Reading} reading */
function showProblem(error, reading) {
  const { problem, title, what } = problemText(error);
  const again = !PICTURES_FAULT.has(problem.kind) && button(text.problem.again, () => read(reading), { class: "primary" });
  const another = button(text.problem.another, () => byId("file").click(), { class: !again && "primary" });
  fillAnswer(
    h(
      "section",
      { class: "problem", "aria-labelledby": "problem-title" },
      h("h3", { id: "problem-title", tabindex: -1 }, icon("problem"), h("span", title)),
      h("p", what, again && ` ${text.problem.kept}`),
      problem.retryAfter !== null && h("p", text.problem.wait(problem.retryAfter)),
      h("div", { class: "actions" }, again, another),
    ),
  );
  say(`${title}. ${what}`);
}

/**
 * What went wrong beside what is still there.
 * @param {unknown} error
 * @param {() => void} again
 * @param {Result} [result] Whose answer may be gone.
 */
function fail(error, again, result) {
  if (isAbort(error)) return;
  const { problem, title, what } = problemText(error);
  const retry = () => {
    byId("notice").hidden = true;
    byId(byId("reading").hidden ? "main" : "stage").focus();
    if (problem.kind === "not-found" && result) judge(result);
    else again();
  };
  byId("notice").replaceChildren(h("p", h("strong", title), ` ${what}`), button(text.problem.again, retry));
  byId("notice").hidden = false;
  say(`${title}. ${what}`);
}

/** @param {Result} result */
function askImpression(result) {
  covered = result;
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const chosen = new FormData(/** @type {HTMLFormElement} */ (event.target)).get("impression");
    result.impression = /** @type {Impression} */ (chosen);
    keep(result);
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

/** @param {...HTMLElement} parts */
function fillAnswer(...parts) {
  const answer = byId("answer");
  const hadFocus = answer.contains(document.activeElement);
  answer.replaceChildren(...parts);
  if (hadFocus) /** @type {HTMLElement | null} */ (answer.querySelector("[tabindex='-1']"))?.focus();
}

/** For the print. @param {Result} result */
function report({ shown, prediction }) {
  byId("report").replaceChildren(
    h("p", h("strong", text.brand), ` · ${date(prediction.created_at)}`),
    h("p", { id: "report-note" }),
    h("img", { src: shown, alt: "" }),
  );
  note();
}

function note() {
  const place = document.getElementById("report-note");
  if (place) place.textContent = current?.note ? `${text.note.label}: ${current.note}` : "";
}

/** @param {string} said */
function say(said) {
  byId("status").textContent = said;
}

async function greet() {
  try {
    await modelInUse();
  } catch (error) {
    byId("served").textContent = problemText(error).title;
  }
}

document.documentElement.lang = language;
for (const place of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-text], [data-label], [data-icon]"))) {
  const { text: said, label, icon: drawn } = place.dataset;
  if (drawn) place.append(icon(drawn));
  if (said) place.append(drawn ? h("span", words(said)) : words(said));
  if (label) place.setAttribute("aria-label", words(label));
  if (label && place instanceof HTMLButtonElement) place.title = words(label);
}
setUpIntake({ fetched: (address) => api.picture(address), onPicture: readNew, onFail: fail });
setUpCard();
byId("new").addEventListener("click", restart);
byId("print").addEventListener("click", () => print());
byId("compare").addEventListener("click", () => {
  if (results.length < 2) return;
  abandon();
  look("comparison");
  comparison.show(results, current ?? results[0]);
  list();
  byId("comparison-title").focus();
});
byId("leave-comparison").addEventListener("click", () => open(current ?? results[0]));
byId("forget-all").addEventListener("click", forgetAll);
byId("answer").addEventListener("input", note);
byId("theme").addEventListener("click", () => {
  const { dataset } = document.documentElement;
  const dark = dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  dataset.theme = dark ? "light" : "dark";
});
look("start");
greet();
