/** The part over time: which lesion an image shows, its timeline, what clinicians say, and what is due. */

import { button, byId, h } from "../dom.js";
import { dayOf } from "../format.js";
import { scaleOf } from "../geometry.js";
import { say } from "../panels.js";
import { save } from "../record.js";
import { feedbackForm, folded, followUpFields, followUpForm, today } from "./forms.js";
import { lesionsOf, recallsOf, worklistOf } from "./overview.js";
import { changesOf, timelineOf } from "./timeline.js";
import { recordedInWords, words } from "./words.js";

/** @import { FollowUp, Item, LesionSummary, Model, Prediction, Result, Said, Timeline } from "../types.js" */
/** @import { Api } from "../api.js" */
/** @import { Session } from "../session.js" */

await new Promise((resolve) => document.head.append(h("link", { rel: "stylesheet", href: "/web/time/time.css", onload: resolve, onerror: resolve })));

export class OverTime {
  /** @type {WeakMap<Item, { id: string, panel: HTMLElement, scale: HTMLElement, changes: HTMLElement, recorded: HTMLElement, state: string }>} */
  #panels = new WeakMap();
  /** How often something was said or erased here. */
  #written = 0;
  /** Of several views asked for, the last one is shown. */
  #turn = 0;
  #onlyDue = true;
  #next = followUpFields();
  /** That stands there unless another one is chosen. */
  #day = today();

  /**
   * @param {Api} api
   * @param {Model} model
   * @param {object} page
   * @param {Session} page.session
   * @param {(item: Item) => void} page.open
   * @param {(error: unknown, again: () => void) => void} page.fail
   * @param {() => void} page.enter Shows the section.
   * @param {() => void} page.begin Shows the start.
   * @param {(item: Item) => void} page.send
   */
  constructor(api, { manifest }, page) {
    this.api = api;
    this.manifest = manifest;
    this.page = page;
    byId("drop").before(h("fieldset", { class: "next" }, h("legend", words.next), this.#next.fields, h("p", { class: "fine" }, words.labelRule)), h("datalist", { id: "lesions" }));
    byId("follow").addEventListener("click", () => this.show());
    this.#next.label.addEventListener("focus", () => this.#all().catch(() => {}), { once: true });
  }

  /** What was chosen for the next images, and is then let go: the next patient has other lesions. @returns {FollowUp | null} null: it has to be mended first. */
  chosen() {
    const { label, day } = this.#next;
    if (byId("start").hidden) return { lesion: "", visit: "" }; // a choice that is not seen is none
    if (![label, day].every((field) => field.reportValidity())) return null;
    // A page that was left open overnight still shows the day before.
    const chosen = { lesion: label.value, visit: day.value === this.#day ? today() : day.value };
    label.value = "";
    day.value = this.#day = day.max = today();
    return chosen;
  }

  /** Takes over what was said of an answer when its image was sent again for another lesion or visit. @param {Prediction} old @param {Prediction} answer @param {Item} item */
  async replace({ id, follow_up: before }, answer, item) {
    if (same(before, answer.follow_up)) return;
    // Of a lesion the service knows what was said elsewhere, too.
    const images = before ? (await this.#of(before.lesion)).visits.flatMap((visit) => visit.images) : [];
    for (const said of images.find((image) => image.id === id)?.feedback ?? item.said) await this.#tell(answer.id, { ...said, at: undefined });
    await this.#forget(id);
  }

  /** A failure is told and leaves the other answer alone: the request may have been done, and only its reply lost. @param {string} id */
  async #forget(id) {
    try {
      await this.api.forget(id);
    } catch (error) {
      this.page.fail(error, () => this.#forget(id));
    }
  }

  /** What stands with an answer. @param {Result} item */
  panelOf(item) {
    const { id, follow_up: now } = item.prediction;
    const made = this.#panels.get(item);
    if (made?.id === id) {
      made.recorded.textContent = recordedInWords(item);
      this.#updateChanges(item);
      return made.panel;
    }
    const changes = h("div");
    const scale = h("div", { class: "actions" });
    const recorded = h("p", recordedInWords(item));
    const relabel = followUpForm(now, (chosen) => this.page.send(Object.assign(item, chosen)));
    const panel = h("section", { class: "follow", "aria-labelledby": "follow-title" }, h("h3", { id: "follow-title" }, words.title));
    if (now) {
      const { lesion, visit } = now;
      panel.append(
        h("p", h("strong", lesion), ` · ${words.visitOf(dayOf(visit))}`),
        changes,
        h("p", { class: "fine" }, words.calibrated),
        h("div", { class: "actions" }, button(words.timeline, () => this.show(lesion)), button(words.another, () => this.#begin(lesion))),
        folded(words.change, () => [relabel]),
      );
    } else panel.append(relabel);
    panel.append(scale, h("h4", words.answer), recorded, feedbackForm(item.model.manifest, item.said, (said) => this.#say(id, said, item)));
    this.#panels.set(item, { id, panel, scale, changes, recorded, state: "" });
    this.#updateChanges(item);
    this.refresh();
    return panel;
  }

  /** Shows what other images changed, and offers to keep a scale once there is one. */
  refresh() {
    for (const item of this.page.session.results) {
      const made = this.#panels.get(item);
      if (!made) continue;
      if (made.panel.isConnected) this.#updateChanges(item);
      const scale = item.millimetresWide === null ? null : scaleOf(item);
      const isKept = item.said.some((said) => said.millimetres_per_pixel === scale);
      made.scale.replaceChildren(...(scale && !isKept ? [button(words.keepScale, () => this.#keepScale(item, made.id, scale))] : []));
    }
  }

  /** A lesion's timeline, or what is due. @param {string} [lesion] */
  async show(lesion) {
    this.page.enter();
    const turn = ++this.#turn;
    const title = h("h2", { id: "time-title", tabindex: -1 }, lesion ? words.timelineOf(lesion) : words.title);
    const content = h("div", { class: "content" }, h("p", { class: "fine" }, words.loading));
    byId("time").replaceChildren(h("div", { class: "row" }, title, lesion ? button(words.back, () => this.show()) : ""), content);
    scrollTo(0, 0);
    title.focus();
    try {
      const parts = await (lesion ? this.#timeline(lesion) : this.#overview());
      if (turn === this.#turn) content.replaceChildren(...parts);
    } catch (error) {
      if (turn === this.#turn) this.page.fail(error, () => this.show(lesion));
    }
  }

  /** @param {string} lesion */
  async #timeline(lesion) {
    const erase = (/** @type {string} */ address) => this.#erase(address, lesion);
    return timelineOf(await this.#of(lesion), this.manifest, {
      itemOf: (id) => this.#itemOf(id),
      open: this.page.open,
      send: (id, said) => this.#say(id, said),
      eraseImage: (id) => erase(`predictions/${id}`),
      erase: () => erase(`lesions/${encodeURIComponent(lesion)}`),
      another: () => this.#begin(lesion),
    });
  }

  async #overview() {
    const [waiting, due, lesions] = await Promise.all([this.api.json("/v1/worklist"), this.api.json("/v1/recalls"), this.#all()]);
    const actions = {
      show: (/** @type {string} */ lesion) => this.show(lesion),
      send: (/** @type {string} */ id, /** @type {Partial<Said>} */ said) => this.#say(id, said),
      save: async (/** @type {string} */ address, /** @type {string} */ kind, /** @type {string} */ name) => {
        try {
          save(await this.api.blob(address, kind), name);
        } catch (error) {
          this.page.fail(error, () => actions.save(address, kind, name));
        }
      },
      only: (/** @type {boolean} */ isOn) => {
        this.#onlyDue = isOn;
        const before = recalls;
        recalls = recallsOf(due.items, isOn, actions);
        before.replaceWith(recalls);
        byId("only-due").focus();
      },
    };
    let recalls = recallsOf(due.items, this.#onlyDue, actions);
    return [worklistOf(waiting.items, this.manifest, actions), recalls, lesionsOf(lesions, actions)];
  }

  /** All lesions, which the fields for labels then suggest. @returns {Promise<LesionSummary[]>} */
  async #all() {
    const { items } = await this.api.json("/v1/lesions");
    byId("lesions").replaceChildren(...items.map((/** @type {LesionSummary} */ { lesion }) => h("option", { value: lesion })));
    return items;
  }

  /** @param {string} lesion @returns {Promise<Timeline>} */
  #of(lesion) {
    return this.api.json(`/v1/lesions/${encodeURIComponent(lesion)}`);
  }

  /** Each image of a visit moves its average: the changes are asked for again when there is another one. @param {Result} item */
  async #updateChanges(item) {
    const made = this.#panels.get(item);
    const now = item.prediction.follow_up;
    if (!made || !now) return;
    const others = this.page.session.results.filter(({ prediction }) => prediction.follow_up?.lesion === now.lesion);
    const state = [this.#written, ...others.map(({ prediction }) => prediction.id)].join();
    if (made.state === state) return;
    made.state = state;
    made.changes.replaceChildren(); // what is out of date is not to be read
    try {
      const found = (await this.#of(now.lesion)).visits.find((each) => each.visit === now.visit);
      const changes = found && changesOf(found);
      if (changes && made.state === state) made.changes.replaceChildren(changes);
    } catch (error) {
      made.state = "";
      this.page.fail(error, () => this.#updateChanges(item));
    }
  }

  /** @param {string} id @param {Partial<Said>} said */
  async #tell(id, said) {
    await this.api.fetch(`/v1/predictions/${id}/feedback`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(said) });
    this.#written++;
  }

  /** Writes down what was said. @param {string} id @param {Partial<Said>} said @param {Item} [item] */
  async #say(id, said, item = this.#itemOf(id)) {
    await this.#tell(id, said);
    item?.said.push(said);
  }

  /** @param {Item} item */
  async #keepScale(item, id = "", scale = 0) {
    try {
      await this.#say(id, { millimetres_per_pixel: scale }, item);
      say(words.scaleKept);
      this.refresh();
    } catch (error) {
      this.page.fail(error, () => this.#keepScale(item, id, scale));
    }
  }

  /** The image of this tab with that answer. @param {string} id */
  #itemOf(id) {
    return this.page.session.results.find(({ prediction }) => prediction.id === id);
  }

  /** @param {string} address @param {string} lesion */
  async #erase(address, lesion) {
    try {
      await this.api.fetch(`/v1/${address}`, { method: "DELETE" });
      this.#written++;
      say(words.erased);
      await this.show((await this.#all()).some((each) => each.lesion === lesion) ? lesion : undefined);
    } catch (error) {
      this.page.fail(error, () => this.#erase(address, lesion));
    }
  }

  /** The next image is of that lesion. @param {string} lesion */
  #begin(lesion) {
    this.#next.label.value = lesion;
    this.page.begin();
  }
}

/** @param {FollowUp | null} one @param {FollowUp | null} other */
const same = (one, other) => one?.lesion === other?.lesion && one?.visit === other?.visit;
