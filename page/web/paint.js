/** What all canvases share: colours, sharp pixels, the scale of time, and the marks of moves and of the play head. */

/** @import {Clock, Colours, Drill} from "./types.js" */

const NAMES = [
  "ground", "panel", "line", "text", "soft", "accent", "good", "warn", "bad", "sent", "acked", "received", "lag",
  "still", "on-leader",
];
/** The number of colours for leaders; broker 8 has the colour of broker 0. */
export const LEADERS = 8;

/** @type {Map<string, number>} */
const widths = new Map();
let face = "";
/** @type {Colours | undefined} */
let colours;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (colours = undefined));

/**
 * Returns the colours of the style sheet, for the scheme in use.
 * @returns {Colours}
 */
export function palette() {
  if (!colours) {
    const style = getComputedStyle(document.documentElement);
    const names = [...NAMES, ...Array.from({ length: LEADERS }, (_, n) => `leader-${n}`)];
    colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return colours;
}

/**
 * Prepares a canvas for drawing in px of the page.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width px.
 * @param {number} height px.
 * @returns {CanvasRenderingContext2D}
 */
export function prepare(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/**
 * Sets the font of the page.
 * @param {CanvasRenderingContext2D} context
 * @param {number} size px.
 * @param {number} [weight]
 */
export function font(context, size, weight = 400) {
  face = `${weight} ${size}px system-ui, sans-serif`;
  context.font = face;
  context.textBaseline = "middle";
  context.textAlign = "left";
}

/**
 * Returns how wide a text is in the font that was last set. Measuring is slow, and the same texts come all the time.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @returns {number} px.
 */
export function wide(context, text) {
  const key = face + text;
  let width = widths.get(key);
  if (width === undefined) {
    width = context.measureText(text).width;
    if (widths.size > 5000) widths.clear();
    widths.set(key, width);
  }
  return width;
}

/**
 * Returns the size of an element, as far as it is known without a new layout.
 * @param {Element} node
 * @param {() => void} changed Called when it has another one.
 * @returns {{width: number, height: number}} Is kept up to date.
 */
export function sized(node, changed) {
  const size = { width: node.clientWidth, height: node.clientHeight };
  new ResizeObserver(() => {
    size.width = node.clientWidth;
    size.height = node.clientHeight;
    changed();
  }).observe(node);
  return size;
}

/**
 * Returns the scale of time of a window.
 * @param {Clock} clock
 * @param {number} width px.
 * @returns {(ms: number) => number} From an instant to px.
 */
export function scale({ from, to }, width) {
  const factor = width / (to - from);
  return (ms) => (ms - from) * factor;
}

const TICKS = [100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000];

/**
 * Returns where the scale of time has its ticks, at least 80 px apart.
 * @param {Clock} clock
 * @param {number} width px.
 * @returns {number[]} Instants.
 */
export function ticks({ from, to }, width) {
  const least = ((to - from) / Math.max(1, width)) * 80;
  const step = TICKS.find((tick) => tick >= least) ?? Math.ceil(least / 3_600_000) * 3_600_000;
  const found = [];
  for (let ms = Math.ceil(from / step) * step; ms <= to; ms += step) found.push(ms);
  return found;
}

/**
 * Fills an area with diagonal lines.
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @param {string} colour
 */
export function hatch(context, x, y, width, height, colour) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.beginPath();
  // The lines keep their place on the page, whatever part of them can be seen.
  const begin = Math.floor((x - height) / 6) * 6;
  for (let at = begin; at < x + width; at += 6) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.stroke();
  context.restore();
}

/**
 * Draws the vertical lines of all moves, and of the play head; dims what comes after it.
 * @param {CanvasRenderingContext2D} context
 * @param {Clock} clock
 * @param {Drill[]} drills Of the whole film.
 * @param {number} width
 * @param {number} height
 */
export function marks(context, clock, drills, width, height) {
  const x = scale(clock, width);
  const { text, accent, ground } = palette();
  context.lineWidth = 1;
  context.setLineDash([3, 3]);
  context.strokeStyle = text;
  context.beginPath();
  for (const drill of drills) {
    for (const { when } of [...drill.moves, ...(drill.mended === undefined ? [] : [{ when: drill.mended }])]) {
      if (when < clock.from || when > clock.to) continue;
      const at = Math.round(x(when)) + 0.5;
      context.moveTo(at, 0);
      context.lineTo(at, height);
    }
  }
  context.stroke();
  context.setLineDash([]);
  const head = x(clock.ms);
  if (head < width && clock.ms < clock.end) {
    context.globalAlpha = 0.3;
    context.fillStyle = ground;
    context.fillRect(Math.max(0, head), 0, width - Math.max(0, head), height);
    context.globalAlpha = 1;
  }
  context.fillStyle = accent;
  context.fillRect(Math.min(head - 1, width - 2), 0, 2, height);
}

/**
 * Tells whether an element can be seen, so that what cannot is not drawn.
 * @param {Element} node
 * @param {() => void} appeared Called when it can be seen again.
 * @returns {() => boolean}
 */
export function seen(node, appeared) {
  let is = true;
  const observer = new IntersectionObserver((entries) => {
    const now = entries.at(-1)?.isIntersecting ?? true;
    if (now && !is) appeared();
    is = now;
  });
  observer.observe(node);
  return () => is;
}
