/** Building elements without markup in strings, so that no text can ever become any. */

/** @import { Child } from "./types.js" */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any> | Child} [first] Attributes (`on…` are listeners, `style` custom properties), or a child.
 * @param {...Child} others
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, first, ...others) {
  const made = document.createElement(tag);
  return first instanceof Object && !(first instanceof Node) ? fill(made, first, others) : fill(made, {}, [first, ...others]);
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
 * @param {Child} label
 * @param {(event: Event) => void} onclick
 * @param {Record<string, any>} [properties]
 */
export const button = (label, onclick, properties) => h("button", { type: "button", onclick, ...properties }, label);

/**
 * One of the icons in index.html; says nothing to a screen reader.
 * @param {string} name
 */
export function icon(name) {
  return drawing("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, drawing("use", { href: `#icon-${name}` }));
}

/**
 * The element of index.html with that id.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [kind]
 * @returns {T}
 */
export function byId(id, kind = /** @type {any} */ (HTMLElement)) {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new Error(`index.html has no such #${id}`);
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

/** @param {string} id */
export const input = (id) => byId(id, HTMLInputElement);

/** @param {HTMLElement} target @param {Record<string, string | number>} values */
export function setStyle(target, values) {
  for (const [name, value] of Object.entries(values)) target.style.setProperty(name, String(value));
}

/** Does something that may replace the focused element, and focuses the one with the same id afterwards. @param {() => void} replace */
export function keepFocus(replace) {
  const { activeElement } = document;
  replace();
  if (activeElement?.id && document.activeElement !== activeElement) document.getElementById(activeElement.id)?.focus({ preventScroll: true });
}
