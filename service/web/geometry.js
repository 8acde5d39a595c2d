/** Where the points of an image are after turns, and how large things in it are where its scale is known. Pure functions. */

/** @import { Point, Result } from "./types.js" */
/** @typedef {{ width: number, height: number }} Size Of the upright image, in pixels. */

/** Millimetres that an image of a lesion may be wide: dermatoscopes show 10 to 40. */
export const NARROWEST = 2;
export const WIDEST = 100;

/** Millimetres of a pixel of the answer's image: as calibrated here, else as the file states; null: not known. @param {Result} result */
export const scaleOf = ({ millimetresWide, prediction: { image } }) => (millimetresWide === null ? image.millimetres_per_pixel : millimetresWide / image.width);

/** The longest of 1, 2 and 5 times a power of ten that is no longer than that. */
export function roundBelow(most = 1) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [5, 2, 1].map((factor) => factor * power).find((length) => length <= most * (1 + 1e-9)) ?? power;
}

/** Twice the area of a ring; negative around a hole. @param {Point[]} ring */
const areaOf = (ring) => ring.reduce((sum, { x, y }, at) => sum + x * ring[(at + 1) % ring.length].y - y * ring[(at + 1) % ring.length].x, 0);

/** How many regions an outline is around, without specks. @param {Point[][]} outline */
export function numRegions(outline) {
  const areas = outline.map(areaOf);
  return areas.filter((area) => area > Math.max(...areas) / 500).length;
}

/**
 * The largest region's longest diameter, and its width across that, in the outline's unit.
 * @param {Point[][]} outline Rings around regions, and the other way round around their holes.
 * @returns {{ along: number, across: number } | null} null without a region.
 */
export function diameters(outline) {
  const areas = outline.map(areaOf);
  const ring = outline[areas.indexOf(Math.max(...areas))];
  if (!ring) return null;
  let [along, angle] = [0, 0];
  for (const [at, a] of ring.entries())
    for (const b of ring.slice(at + 1)) {
      const distance = Math.hypot(b.x - a.x, b.y - a.y);
      if (distance > along) [along, angle] = [distance, Math.atan2(b.y - a.y, b.x - a.x)];
    }
  const aside = ring.map(({ x, y }) => y * Math.cos(angle) - x * Math.sin(angle));
  return { along, across: Math.max(...aside) - Math.min(...aside) };
}

/**
 * The lesion's size in millimetres, as the network outlined it; `least` where part of it may be outside the image.
 * @param {Result} result
 * @returns {{ along: number, across: number, least: boolean } | null} null without a scale, an outline or an assessment.
 */
export function sizeOf(result) {
  const [scale, { decision }] = [scaleOf(result), result.prediction];
  const found = decision.status === "abstained" ? null : diameters(result.outline);
  return found && scale !== null ? { along: found.along * scale, across: found.across * scale, least: decision.reasons.includes("lesion_touches_border") } : null;
}

/** @param {number} turns @param {Size} upright @returns {Size} */
export const turnedSize = (turns, { width, height }) => (turns % 2 ? { width: height, height: width } : { width, height });

/** @param {number} turns @param {Size} upright @param {Point} point Of the turned image. @returns {Point} */
export const uprightOf = (turns, { width, height }, { x, y }) => [{ x, y }, { x: y, y: height - x }, { x: width - x, y: height - y }, { x: width - y, y: x }][turns];

/** A turn is around the corner: this brings back what went out of sight. @param {number} turns @param {Size} upright */
export function turnStyle(turns, { width, height }) {
  const [x, y] = [[0, 0], [height, 0], [width, height], [0, width]][turns];
  return `translate(${x}px, ${y}px) rotate(${90 * turns}deg)`;
}
