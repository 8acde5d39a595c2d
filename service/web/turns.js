/** Where the points of an image are after quarter turns clockwise. Pure functions. */

/** @import { Point } from "./types.js" */
/** @typedef {{ width: number, height: number }} Size Of the upright image, in pixels. */

/** @param {number} turns @param {Size} upright @returns {Size} */
export const turnedSize = (turns, { width, height }) => (turns % 2 ? { width: height, height: width } : { width, height });

/** @param {number} turns @param {Size} upright @param {Point} point Of the turned image. @returns {Point} */
export const uprightOf = (turns, { width, height }, { x, y }) => [{ x, y }, { x: y, y: height - x }, { x: width - x, y: height - y }, { x: width - y, y: x }][turns];

/** A turn is around the corner: this brings back what went out of sight. @param {number} turns @param {Size} upright */
export function turnStyle(turns, { width, height }) {
  const [x, y] = [[0, 0], [height, 0], [width, height], [0, width]][turns];
  return `translate(${x}px, ${y}px) rotate(${90 * turns}deg)`;
}
