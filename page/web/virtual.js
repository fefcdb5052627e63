/** Long lists: only the rows that can be seen are in the document. */

import { set } from "#dom";
import { sized } from "#paint";

/** Lists of up to so many rows are in the document as a whole. */
const WHOLE = 128;
/** Rows beyond each edge of what can be seen. */
const BEYOND = 8;

/**
 * Shows a list of rows of one height in a box that scrolls.
 * @param {object} how
 * @param {HTMLElement} how.box Scrolls.
 * @param {HTMLElement} how.sizer In the box; gets the height of all rows, and has them as children.
 * @param {number} how.height Of a row, in px.
 * @param {"aria-rowindex" | "aria-posinset"} how.place The attribute that gets a row's number, from 1.
 * @param {() => HTMLElement} how.make Makes an empty row.
 * @param {(node: HTMLElement, index: number) => void} how.fill Fills a row. It is called often.
 * @returns {{show: (count: number) => void, range: () => [number, number]}} `show` updates what can be seen; `range`
 *   returns the first row that can be seen, and the one after the last.
 */
export function virtual({ box, sizer, height, place, make, fill }) {
  /** @type {Map<number, HTMLElement>} */
  const rows = new Map();
  /** @type {HTMLElement[]} */
  const spare = [];
  let rowCount = 0;
  const again = () => {
    if (rowCount > 0) show(rowCount);
  };
  const size = sized(box, again);
  let top = box.scrollTop;
  box.addEventListener("scroll", () => {
    top = box.scrollTop;
    again();
  });

  /** @returns {[number, number]} */
  const range = () => {
    const from = Math.floor(top / height);
    return [Math.min(from, rowCount), Math.min(rowCount, Math.ceil((top + size.height) / height))];
  };

  /** @param {number} count */
  function show(count) {
    if (rowCount !== count) sizer.style.height = `${count * height}px`;
    rowCount = count;
    const [first, last] = range();
    const from = count <= WHOLE ? 0 : Math.max(0, first - BEYOND);
    const to = count <= WHOLE ? count : Math.min(count, last + BEYOND);
    for (const [index, node] of rows) {
      // A row with the focus stays, so that the keyboard does not lose its place.
      if ((index >= from && index < to) || (index < count && node.contains(document.activeElement))) continue;
      rows.delete(index);
      node.remove();
      spare.push(node);
    }
    for (let index = from; index < to; index += 1) {
      let node = rows.get(index);
      if (!node) {
        node = spare.pop() ?? make();
        rows.set(index, node);
        node.style.transform = `translateY(${index * height}px)`;
        set(node, place, index + 1);
        sizer.append(node);
      }
    }
    for (const [index, node] of rows) fill(node, index);
  }

  return { range, show };
}
