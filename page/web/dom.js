/** Small tools for the document. Data becomes text and attributes only, never markup. */

/** @import {Attributes, Child} from "./types.js" */

/**
 * Makes an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes | null} [attributes] A function is a listener for the event of that name. True sets an empty
 *   attribute, false and undefined none.
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else set(node, name, value);
  }
  for (const child of children) if (child !== undefined && child !== false) node.append(child);
  return node;
}

/**
 * Makes a table.
 * @param {Child} caption
 * @param {string[]} titles
 * @param {Child[][]} rows
 * @returns {HTMLTableElement}
 */
export function table(caption, titles, rows) {
  const head = el("tr", null, ...titles.map((title) => el("th", { scope: "col" }, title)));
  const lines = rows.map((cells) => el("tr", null, ...cells.map((cell) => el("td", null, cell))));
  return el("table", null, el("caption", null, caption), el("thead", null, head), el("tbody", null, ...lines));
}

/**
 * Sets an attribute, if that changes it. `data-` and `aria-` attributes get the words true and false.
 * @param {Element} node
 * @param {string} name
 * @param {string | number | boolean | null | undefined} value
 */
export function set(node, name, value) {
  const worded = typeof value === "boolean" && /^(data|aria)-/.test(name);
  if (value === undefined || value === null || (value === false && !worded)) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true && !worded ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/**
 * Sets an element's text, if that changes it.
 * @param {Element} node Has no elements in it.
 * @param {string} text
 */
export function say(node, text) {
  const only = node.firstChild;
  if (only instanceof Text) {
    if (only.data !== text) only.data = text;
  } else {
    node.textContent = text;
  }
}

/**
 * Makes the children of an element match a list: reuses those with the same key, in the order of the list.
 * @template T
 * @param {Element} parent Has no other children.
 * @param {Iterable<T>} items
 * @param {(item: T) => string} key Unique within the list.
 * @param {(item: T) => Element} make
 * @param {(node: any, item: T) => void} [update]
 */
export function keyed(parent, items, key, make, update) {
  /** @type {Map<string, Element>} */
  const old = new Map();
  for (const child of parent.children) old.set(child.getAttribute("data-key") ?? "", child);
  let place = parent.firstElementChild;
  for (const item of items) {
    const of = key(item);
    let node = old.get(of);
    old.delete(of);
    if (!node) {
      node = make(item);
      node.setAttribute("data-key", of);
    }
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
    update?.(node, item);
  }
  for (const node of old.values()) node.remove();
}

/**
 * Makes the options of a select match a list, and keeps what is chosen.
 * @param {HTMLSelectElement} select
 * @param {{value: string, text: string}[]} options
 */
export function options(select, options) {
  const { value } = select;
  keyed(
    select,
    options,
    (one) => one.value,
    (one) => el("option", { value: one.value }, one.text),
    (node, one) => say(node, one.text),
  );
  if (options.some((one) => one.value === value)) select.value = value;
}

/**
 * Returns an element of the page.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 * @throws {Error} The page lacks it.
 */
export function by(id, type) {
  const node = document.getElementById(id);
  if (!(node instanceof type)) throw new Error(`the page lacks #${id}`);
  return node;
}
