/** The attention maps of results: addresses, what was fetched already, words for where. Kept until a result is deleted. */

import { text } from "./strings.js";

/** @import { Box, Branch, Cell, Choice, Grid, MapKind, Model, Point, Prediction, Summary } from "./types.js" */
/** @import { Api } from "./api.js" */

export class Figures {
  /** @type {Map<string, Map<string, Promise<any>>>} */
  #kept = new Map();
  #api;

  /** @param {Api} api */
  constructor(api) {
    this.#api = api;
  }

  /**
   * The map alone, transparent where there is none: an image in memory.
   * @param {Prediction} prediction
   * @param {Choice} choice
   * @returns {Promise<string>}
   */
  map(prediction, { kind, branch, spot }) {
    return this.#picture(prediction, kind, { branch, layer: "map", opacity: "1", ...spot });
  }

  /** The image as the network was given it. @param {Prediction} prediction */
  frame(prediction) {
    return this.#picture(prediction, "lesion", { layer: "picture" });
  }

  /**
   * @param {Prediction} prediction
   * @param {{ kind: MapKind, branch?: Branch, spot?: Point | null }} choice
   * @returns {Promise<Summary>}
   */
  summary(prediction, { kind, branch = "mean", spot = null }) {
    const address = `/v1/predictions/${prediction.id}/maps/${kind}/summary?${queryOf({ branch, ...spot })}`;
    return this.#once(prediction.id, address, () => this.#api.json(address));
  }

  /** Frees what was fetched. @param {Prediction} prediction @param {string} kept What is freed elsewhere. */
  forget({ id }, kept) {
    for (const fetched of this.#kept.get(id)?.values() ?? []) {
      fetched.then((figure) => typeof figure === "string" && figure !== kept && URL.revokeObjectURL(figure), () => {});
    }
    this.#kept.delete(id);
  }

  /** @param {Prediction} prediction @param {MapKind} kind @param {Record<string, string | number>} query @returns {Promise<string>} */
  #picture({ id }, kind, query) {
    const address = `/v1/predictions/${id}/maps/${kind}?${queryOf(query)}`;
    return this.#once(id, address, async () => URL.createObjectURL(await this.#api.blob(address)));
  }

  /**
   * @template T
   * @param {string} id
   * @param {string} address
   * @param {() => Promise<T>} fetched
   * @returns {Promise<T>}
   */
  #once(id, address, fetched) {
    const kept = this.#kept.get(id) ?? new Map();
    this.#kept.set(id, kept);
    if (!kept.has(address)) {
      const promise = fetched();
      kept.set(address, promise);
      promise.catch(() => kept.delete(address));
    }
    return kept.get(address);
  }
}

/** @param {Record<string, string | number>} query */
function queryOf(query) {
  return new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
}

/** From this spread of its rows on, the correlation attention relates one spot to others than the next one. */
const TELLING = 0.25;

/** Whether a chosen spot shows something of its own. @param {Model} model */
export const tellsRelations = ({ manifest: { attention_influence: measured } }) => measured !== null && measured.row_spread >= TELLING;

/** How many spots the model's attention has. @param {Model} model @returns {Grid | null} */
export function gridOf({ manifest }) {
  const shape = manifest.outputs.find(({ name }) => name === "spatial_attention")?.shape;
  return shape ? { rows: Number(shape[2]), columns: Number(shape[3]) } : null;
}

/**
 * The spot of the crop that a pixel belongs to; null outside.
 * @param {Box} box
 * @param {Grid} grid
 * @param {Point} point
 * @returns {Cell | null}
 */
export function cellAt({ x0, y0, x1, y1 }, { columns, rows }, { x, y }) {
  const [column, row] = [Math.floor(((x - x0) / (x1 - x0)) * columns), Math.floor(((y - y0) / (y1 - y0)) * rows)];
  return column >= 0 && row >= 0 && column < columns && row < rows ? { column, row } : null;
}

/** @param {Box} box @param {Grid} grid @param {Cell} cell @returns {Box} */
export function cellBox({ x0, y0, x1, y1 }, { columns, rows }, { column, row }) {
  const [width, height] = [(x1 - x0) / columns, (y1 - y0) / rows];
  const [left, top] = [x0 + column * width, y0 + row * height];
  return { x0: left, y0: top, x1: left + width, y1: top + height };
}

/** @param {Box} box @returns {Point} */
export const middle = ({ x0, y0, x1, y1 }) => ({ x: (x0 + x1) / 2, y: (y0 + y1) / 2 });

/**
 * What a map shows, in words.
 * @param {Summary} summary
 * @param {Prediction} prediction
 * @param {boolean} spot Whether it is what relates to a spot.
 */
export function describe(summary, { image, lesion }, spot) {
  const region = summary.region === "crop" ? lesion.crop_box : { x0: 0, y0: 0, x1: image.width, y1: image.height };
  const cell = summary.centre && cellAt(region, { columns: 3, rows: 3 }, summary.centre);
  return text.overlays.says(summary, cell && text.overlays.places[cell.row][cell.column], spot);
}
