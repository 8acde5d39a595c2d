/** Building elements without markup in strings, so that no text can ever become any. */

/** @typedef {Node | string | null | undefined | false} Child */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [properties] Attributes; `on…` are listeners, `style` custom properties.
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/**
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [properties]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function drawing(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/**
 * One of the icons in index.html; says nothing to a screen reader.
 * @param {string} name
 */
export function icon(name) {
  return drawing("svg", { class: "icon", "aria-hidden": "true" }, drawing("use", { href: `#icon-${name}` }));
}

/**
 * The element of index.html with that id.
 * @template {Element} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return /** @type {T} */ (/** @type {unknown} */ (found));
}

/**
 * @template {Element} T
 * @param {T} target
 * @param {Record<string, any>} properties
 * @param {Child[]} children
 */
function fill(target, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) target.addEventListener(name.slice(2), value);
    else if (name === "style") setStyle(/** @type {any} */ (target), value);
    else target.setAttribute(name, value === true ? "" : String(value));
  }
  target.append(.../** @type {(Node | string)[]} */ (children.filter((child) => child || child === "")));
  return target;
}

/**
 * @param {HTMLElement} target
 * @param {Record<string, string | number>} values
 */
export function setStyle(target, values) {
  for (const [name, value] of Object.entries(values)) target.style.setProperty(name, String(value));
}
