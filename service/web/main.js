/** Composition: what the page shows, and what happens on each action. */

import { answerOf } from "./answer.js";
import { Api, isAbort, Problem } from "./api.js";
import { clinicFor, isStale } from "./clinic.js";
import { Comparison } from "./compare.js";
import { askForKey, setUpCard, showCard } from "./dialogs.js";
import { byId } from "./dom.js";
import { Figures } from "./figures.js";
import { time } from "./format.js";
import { setUpFrame, showSection } from "./frame.js";
import { setUpIntake } from "./intake.js";
import { byRisk, nameOf, showItemShare, showList, summaryOf } from "./list.js";
import { Overlays } from "./overlays.js";
import { askImpression, entitle, fillAnswer, hideToast, problemText, say, showNotice, showProblem, showProgress, showShare, showToast } from "./panels.js";
import { remember } from "./preferences.js";
import { reportOf } from "./record.js";
import { isFollowed, MOST, Session } from "./session.js";
import { canShrink, shrunk } from "./shrink.js";
import { text } from "./strings.js";
import { Uploads } from "./uploads.js";
import { inWords, isAnswered } from "./wording.js";

/** @import { Clinic, Item, Model, Prediction } from "./types.js" */
/** @import { Send } from "./uploads.js" */

const api = new Api(askForKey);
const figures = new Figures(api);
const session = new Session(api, figures, (gone, confirmed) => {
  hideToast();
  const name = gone.length === 1 ? nameOf(gone[0]) : text.session.all(gone.length);
  const { stays, deletedEverywhere, deletedHere } = text.session;
  say((gone.some(isFollowed) ? stays : confirmed ? deletedEverywhere : deletedHere)(name));
});
const overlays = new Overlays(figures, { say, fail, onChange: () => (report(), list(), overTime?.refresh()) });
const comparison = new Comparison(figures, fail);
const uploads = new Uploads({ send, onState, onShare });

/** Shown, or to be shown when answered. @type {Item | null} */
let current = null;
/** The last one heard of. @type {Model | null} */
let model = null;
/** Where the service keeps a ledger. @type {import("./time/over_time.js").OverTime | null} */
let overTime = null;
/** Counts changes of the clinic: of several the last one wins. */
let adjustments = 0;

/** The model that answered; asked for when it is not the last one heard of. @param {string} [sha256] */
async function modelInUse(sha256) {
  if (model === null || (sha256 && model.sha256 !== sha256)) model = await api.model();
  const { manifest, variant, provider } = model;
  byId("served").textContent = `${manifest.name} ${manifest.version}, ${variant}, ${provider}`;
  if (model.keeps_ledger && !overTime) await followOverTime(model);
  if (sha256 && model.sha256 !== sha256) throw new Problem("changed", 0);
  return model;
}

/** Loads what only a service with a ledger offers. @param {Model} of */
async function followOverTime(of) {
  const { OverTime } = await import("./time/over_time.js");
  overTime ??= new OverTime(api, of, { session, open, fail, enter: () => (look("time"), list()), begin: restart, send: (item) => uploads.add(item) });
  list();
}

/** @type {Send} */
async function send(item, options) {
  const old = item.prediction;
  /** @type {Prediction | undefined} */
  let prediction;
  try {
    const clinic = clinicFor(await modelInUse());
    prediction = await api.predict(item.file, { ...options, clinic, followUp: { lesion: item.lesion, visit: item.visit }, idempotencyKey: item.key });
    const answered = await modelInUse(prediction.model.sha256);
    options.signal.throwIfAborted();
    if (old) figures.forget(old, item.shown);
    if (old) await overTime?.replace(old, prediction, item);
    Object.assign(item, { prediction, recorded: prediction, model: answered });
  } catch (error) {
    if (prediction) api.forget(prediction.id).catch(() => {});
    throw error;
  }
}

/** @param {Item} item */
function onState(item) {
  if (item === current && !byId("reading").hidden) render();
  list();
  if (item.state === "answered" && item === current && isAnswered(item)) say(`${nameOf(item)}. ${inWords(item)}`);
  if (item.state === "answered") overTime?.refresh();
  if (item.state === "answered" && isAnswered(item) && isStale(item)) refresh([item]);
  if (session.items.length > 1 && !uploads.busy && byId("reading").hidden) say(summaryOf(session.items));
}

/** @param {Item} item */
function onShare(item) {
  showItemShare(item);
  if (item === current && !item.covered) showShare(item);
}

/** @param {File[]} files @param {string | null} example */
function take(files, example) {
  const followUp = overTime ? overTime.chosen() : { lesion: "", visit: "" };
  if (!followUp) return;
  const room = Math.max(0, MOST - session.items.length);
  const items = files.slice(0, room).map((file) => Object.assign(session.create(file, file.name, example), followUp));
  if (files.length > room) showToast(text.session.full(MOST, files.length - room));
  if (items.length === 1) open(items[0]);
  else if (items.length) showSession();
  for (const item of items) uploads.add(item);
}

/** @param {Item} item */
function open(item) {
  current = item;
  look("reading");
  scrollTo(0, 0);
  render();
  list();
  if (isAnswered(item) && isStale(item)) refresh([item]);
}

/** Shows the current item as it is now. */
function render() {
  const item = current;
  if (!item) return;
  entitle([nameOf(item), item.prediction?.follow_up?.lesion, item.name, item.prediction && time(item.prediction.created_at)]);
  report();
  if (isAnswered(item)) {
    overlays.show(item);
    const [decision, ...others] = answerOf(item, { adjust, showCard: () => showCard(item.model.card), agreement: () => session.agreement });
    fillAnswer(decision, overTime?.panelOf(item), ...others);
    return;
  }
  overlays.preview(item);
  if (item.state === "answered") {
    askImpression((chosen) => {
      Object.assign(item, { impression: chosen, covered: false });
      onState(item);
    });
    return;
  }
  const shrink = canShrink(item.file) ? () => sendSmaller(item) : null;
  if (item.state === "failed") showProblem(item.problem, { again: () => uploads.add(item), shrink });
  else showProgress(item, { giveUp: () => remove([item]), shrink });
}

/** For the print. */
function report() {
  byId("report").replaceChildren(...(current && isAnswered(current) ? reportOf(current) : []));
}

/** @param {Item} item */
async function sendSmaller(item) {
  uploads.cancel(item);
  try {
    item.file = await shrunk(item.file);
    item.problem = new Problem("changed", 0); // so that it goes under a key of its own
    uploads.add(item);
  } catch (error) {
    fail(error, () => uploads.add(item));
  }
}

/** Another clinic: all answers are asked for again, no image is sent again. @param {Clinic} changes */
function adjust(changes) {
  remember(changes);
  adjustments++;
  return refresh(session.items.filter((item) => item.model !== null).sort((a) => (a === current ? -1 : 0)));
}

/** @param {Item[]} items */
async function refresh(items) {
  const turn = adjustments;
  await Promise.all(
    items.map(async (item) => {
      const { prediction, model: of } = item;
      if (!prediction || !of) return;
      try {
        const seen = await api.view(prediction.id, clinicFor(of));
        if (turn !== adjustments || item.prediction !== prediction) return;
        item.prediction = seen;
        if (item === current && !byId("reading").hidden) render();
        if (item === current && isAnswered(item)) say(inWords(item));
      } catch (error) {
        if (item === current) fail(error, () => refresh([item]), item);
      }
    }),
  );
  list();
}

/** @param {Item[]} gone */
function remove(gone) {
  const shown = current !== null && gone.includes(current) && !byId("reading").hidden;
  const at = byRisk(session.items).indexOf(gone[0]);
  for (const item of gone) uploads.cancel(item);
  session.remove(gone);
  const rest = byRisk(session.items);
  if (current && gone.includes(current)) current = null;
  if (rest.length === 0) restart();
  else if (shown || !byId("comparison").hidden) open(current ?? rest[Math.min(at, rest.length - 1)]);
  list();
  document.getElementById(`open-${rest[Math.min(at, rest.length - 1)]?.number}`)?.focus();
  showToast((gone.some(isFollowed) ? text.session.stays : text.session.deleted)(gone.length === 1 ? nameOf(gone[0]) : text.session.all(gone.length)), text.session.undo, undo);
}

function undo() {
  const back = session.undo();
  hideToast();
  for (const item of back) if (item.state !== "answered" && item.state !== "failed") uploads.add(item);
  if (back.length === 1) open(back[0]);
  else showSession();
  say(text.session.restored(back.length === 1 ? nameOf(back[0]) : text.session.all(back.length)));
}

function restart() {
  current = null;
  look("start");
  list();
  byId("choose").focus();
}

function showSession() {
  current = null;
  look("list");
  scrollTo(0, 0);
  list();
  byId("session-title").focus();
}

/** @param {import("./frame.js").Section} section */
function look(section) {
  showSection(section);
  if (section !== "comparison") comparison.clear();
  if (section === "reading") return;
  overlays.clear();
  for (const id of ["answer", "report"]) byId(id).replaceChildren();
}

function list() {
  const { section } = document.body.dataset;
  const { items } = session;
  showList(items, section === "reading" ? current : null, { open, remove, retry: (failed) => failed.forEach((item) => uploads.add(item)) });
  document.body.classList.toggle("with-session", items.length > 0);
  byId("new").hidden = section === "start";
  byId("list").hidden = items.length < 2 || section === "list";
  byId("compare").hidden = session.results.length < 2 || section === "comparison";
  byId("follow").hidden = !overTime;
  byId("print").hidden = section !== "comparison" && section !== "time" && !(section === "reading" && current && isAnswered(current));
}

/**
 * Something failed, while the rest of the page is still of use.
 * @param {unknown} error
 * @param {() => void} again
 * @param {Item} [item] Whose answer may be gone.
 */
function fail(error, again, item) {
  if (isAbort(error)) return;
  showNotice(error, (kind) => {
    byId(byId("reading").hidden ? "main" : "stage").focus();
    if ((kind === "not-found" || kind === "conflict") && item) {
      if (item !== current || byId("reading").hidden) open(item);
      uploads.add(item);
    } else again();
  });
}

async function greet() {
  try {
    await modelInUse();
  } catch (error) {
    byId("served").textContent = problemText(error).title;
  }
}

setUpFrame(() => session.items.length > 0);
setUpIntake({ fetched: (address) => api.blob(address), onFiles: take, onFail: fail });
setUpCard();
byId("new").addEventListener("click", restart);
byId("list").addEventListener("click", showSession);
byId("print").addEventListener("click", () => print());
byId("answer").addEventListener("input", report);
byId("compare").addEventListener("click", () => {
  const { results } = session;
  if (results.length < 2) return;
  look("comparison");
  comparison.show(results, results.find((result) => result === current) ?? results[0]);
  list();
  byId("comparison-title").focus();
});
byId("leave-comparison").addEventListener("click", () => (current ? open(current) : showSession()));
byId("delete-all").addEventListener("click", () => remove([...session.items]));
byId("retry-all").addEventListener("click", () => session.items.filter(({ state }) => state === "failed").forEach((item) => uploads.add(item)));
look("start");
list();
greet();
