/** Composition: what the page knows, and what happens when somebody does something. */

import { answerOf, inWords } from "./answer.js";
import { Api, Problem, isAbort } from "./api.js";
import { setUpCard, showCard } from "./card.js";
import { Comparison } from "./compare.js";
import { byId, h, icon, input } from "./dom.js";
import { Figures } from "./figures.js";
import { date, language, time } from "./format.js";
import { setUpIntake } from "./intake.js";
import { askForKey } from "./key.js";
import { Overlays } from "./overlays.js";
import { askImpression, fillAnswer, problemText, say, showNotice, showProblem, showProgress, showShare } from "./panels.js";
import { nameOf, showRecent } from "./recent.js";
import { text, words } from "./strings.js";

/** @import { Model, Reading, Result } from "./types.js" */

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
  current = null;
  byId("report").replaceChildren();
  if (!reading.replaces) overlays.clear();
  showProgress(reading.replaces !== null, () => (reading.replaces ? open(reading.replaces) : restart()));
  list();
  if (!reading.replaces) preview(reading, signal);
  let prediction;
  try {
    prediction = await api.predict(reading.file, {
      operatingPoint: reading.operatingPoint,
      onProgress: showShare,
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
    } else if (input("impression-first").checked) cover(result);
    else keep(result);
  } catch (error) {
    if (prediction) api.forget(prediction.id).catch(() => {});
    if (!signal.aborted) showProblem(error, () => read(reading));
  }
}

/** @param {Blob} file @param {string | null} example */
function readNew(file, example) {
  return read({ file, url: URL.createObjectURL(file), example, number: ++count, replaces: null });
}

/** @param {Result} result */
const judge = (result, operatingPoint = result.prediction.decision.operating_point) => read({ ...result, replaces: result, operatingPoint });

/** Asks for an impression first. @param {Result} result */
function cover(result) {
  covered = result;
  askImpression((chosen) => {
    result.impression = chosen;
    keep(result);
  });
}

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

/**
 * Something failed, while the rest of the page is still of use.
 * @param {unknown} error
 * @param {() => void} again
 * @param {Result} [result] Whose answer may be gone.
 */
function fail(error, again, result) {
  if (isAbort(error)) return;
  showNotice(error, (kind) => {
    byId(byId("reading").hidden ? "main" : "stage").focus();
    if (kind === "not-found" && result) judge(result);
    else again();
  });
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
