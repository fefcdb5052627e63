/** The charts of rates and lag, with stand-stills shaded. */

import { lags, stills, topicRates, valueAt } from "#series";
import { by, el, keyed, options, say, set, table } from "#dom";
import { font, hatch, marks, palette, prepare, scale, seen, sized, ticks, wide } from "#paint";
import { clock as time, many, number, rate, span } from "#words";

/** @import {Clock, Commands, Drill, Line, Still, View} from "./types.js" */

/** The words for stand-stills. */
const STILL = { producer: "nothing acked", consumer: "nothing received", leaderless: "no leader" };

/**
 * Makes the panel.
 * @param {Commands} commands
 * @returns {{draw: (view: View) => void}}
 */
export function chartsPanel(commands) {
  const rates = by("rates", HTMLCanvasElement);
  const lag = by("lag", HTMLCanvasElement);
  const topics = by("topic", HTMLSelectElement);
  const partitions = by("partition", HTMLSelectElement);
  const details = by("stills", HTMLDetailsElement);
  const canBeSeen = seen(rates, () => commands.redraw());
  const size = sized(rates, () => commands.redraw());
  topics.addEventListener("change", () => commands.topic(topics.value));
  partitions.addEventListener("change", () => {
    commands.partition(partitions.value === "" ? undefined : Number(partitions.value));
  });
  details.addEventListener("toggle", () => commands.redraw());
  /** @type {View | undefined} */
  let view;
  let signature = "";
  for (const canvas of [rates, lag]) {
    const go = (/** @type {PointerEvent} */ event) => {
      const rect = canvas.getBoundingClientRect();
      if (view && event.buttons === 1) {
        commands.seek(view.clock.from + ((event.clientX - rect.left) / rect.width) * (view.clock.to - view.clock.from));
      }
    };
    canvas.addEventListener("pointerdown", go);
    canvas.addEventListener("pointermove", go);
  }

  return {
    draw(next) {
      view = next;
      const { film, clock, topic, partition, chosen, drills } = view;
      const of = topic === undefined ? undefined : film.topics.get(topic);
      const mark = `${film.topics.size} ${chosen} ${topic} ${partition} ${of?.partitions.size}`;
      if (mark !== signature) {
        signature = mark;
        const names = [...film.topics.keys()].map((name) => ({ value: name, text: name }));
        const auto = chosen === "" && topic !== undefined ? `as it comes (${topic})` : "as it comes";
        options(topics, [{ value: "", text: auto }, ...names]);
        topics.value = chosen;
        const numbers = [...(of?.partitions.keys() ?? [])].sort((one, other) => one - other);
        const each = numbers.map((one) => ({ value: String(one), text: String(one) }));
        options(partitions, [{ value: "", text: "all" }, ...each]);
        partitions.value = partition === undefined ? "" : String(partition);
      }
      const { from, to, end, ms } = clock;
      const now = of ? topicRates(of, partition, from, to, end) : { sent: [], acked: [], received: [] };
      /** @type {Line[]} */
      const lines = [
        { name: "sent", stretches: now.sent, dash: [6, 4] },
        { name: "acked", stretches: now.acked },
        { name: "received", stretches: now.received, dash: [2, 3] },
      ];
      /** @type {Line[]} */
      const area = [{ name: "lag", stretches: of ? lags(of, partition, from, to, end) : [] }];
      const still = of ? stills(film, of.name, partition, from, to, end) : [];
      legend("rates-legend", lines, ms, rate);
      legend("lag-legend", area, ms, number);
      const where = of ? `${of.name}${partition === undefined ? "" : `, partition ${partition}`}` : "no topic";
      const values = lines.map(({ name, stretches }) => `${name} ${rate(valueAt(stretches, ms))}`).join(", ");
      const standing = many(still.length, "stand-still");
      set(rates, "aria-label", `Rates of ${where} at the play head: ${values}. ${standing} in the window shown.`);
      set(lag, "aria-label", `Lag of ${where} at the play head: ${number(valueAt(area[0]?.stretches ?? [], ms))}.`);
      if (canBeSeen()) {
        drawChart(rates, size, clock, lines, still, drills, false);
        drawChart(lag, size, clock, area, still, drills, true);
      }
      if (details.open) fillTable(details, still);
    },
  };
}

/**
 * @param {string} id
 * @param {Line[]} lines
 * @param {number} ms
 * @param {(value: number | undefined) => string} words
 */
function legend(id, lines, ms, words) {
  keyed(
    by(id, HTMLElement),
    lines,
    (line) => line.name,
    ({ name }) => el(
      "div", { "data-value": name },
      el("dt", { class: "only-read" }, name), el("dd", { class: "key", "data-line": name, "aria-hidden": "true" }),
      el("dd", { class: "name", "aria-hidden": "true" }, name), el("dd"),
    ),
    (node, { stretches }) => say(node.lastElementChild, words(valueAt(stretches, ms))),
  );
}

/**
 * @param {HTMLDetailsElement} details
 * @param {Still[]} still
 */
function fillTable(details, still) {
  const holder = /** @type {HTMLElement} */ (details.querySelector(".scroll"));
  const mark = JSON.stringify([still.length, still[0], still.at(-1)]);
  if (holder.dataset.mark === mark) return;
  holder.dataset.mark = mark;
  const rows = [...still].sort((one, other) => one.from - other.from).slice(0, 500);
  holder.replaceChildren(table(
    `${many(still.length, "stand-still")} in the window shown`,
    ["partition", "what", "from", "for"],
    rows.map(({ partition, what, from, to }) => [String(partition), STILL[what], time(from), span(to - from)]),
  ));
}

/**
 * Returns a round number that is not less than this one.
 * @param {number} value
 */
function round(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 1.5, 2, 3, 4, 5, 7.5, 10].find((factor) => factor * power >= value) ?? 10) * power;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {{width: number, height: number}} size
 * @param {Clock} clock
 * @param {Line[]} lines
 * @param {Still[]} still
 * @param {Drill[]} drills
 * @param {boolean} filled
 */
function drawChart(canvas, { width, height }, clock, lines, still, drills, filled) {
  const context = prepare(canvas, width, height);
  const colours = palette();
  const x = scale(clock, width);
  const most = lines.reduce((sum, { stretches }) => stretches.reduce((top, one) => Math.max(top, one.value), sum), 0);
  const top = round(most * 1.05);
  const floor = height - 1;
  const y = (/** @type {number} */ value) => floor - (value / top) * (floor - 16);
  shade(context, still, x, width, height);
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.beginPath();
  for (const value of [0, top / 2, top]) {
    const at = Math.round(y(value)) + 0.5;
    context.moveTo(0, at);
    context.lineTo(width, at);
  }
  for (const tick of ticks(clock, width)) {
    const at = Math.round(x(tick)) + 0.5;
    context.moveTo(at, y(top));
    context.lineTo(at, floor);
  }
  context.stroke();
  for (const { name, stretches, dash } of lines) {
    context.strokeStyle = context.fillStyle = colours[name];
    context.lineWidth = 2;
    context.setLineDash(dash ?? []);
    context.beginPath();
    let end = NaN;
    for (const one of stretches) {
      const [left, right] = [x(Math.max(one.from, clock.from - 1)), x(Math.min(one.to, clock.to + 1))];
      const at = y(one.value);
      if (one.from === end) context.lineTo(left, at);
      else context.moveTo(left, at);
      context.lineTo(right, at);
      if (filled) {
        context.globalAlpha = 0.25;
        context.fillRect(left, at, right - left, floor - at);
        context.globalAlpha = 1;
      }
      end = one.to;
    }
    context.stroke();
  }
  context.setLineDash([]);
  font(context, 11);
  context.fillStyle = colours.soft;
  const unit = filled ? "messages behind" : "messages/s";
  context.fillText(lines.some(({ stretches }) => stretches.length > 0) ? `${number(top)} ${unit}` : "unknown", 4, 8);
  marks(context, clock, drills, width, height);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Still[]} still
 * @param {(ms: number) => number} x
 * @param {number} width
 * @param {number} height
 */
function shade(context, still, x, width, height) {
  const colours = palette();
  // Stand-stills of many partitions lie above one another: each part of the picture is shaded once.
  for (const what of /** @type {const} */ (["producer", "consumer", "leaderless"])) {
    const sorted = still.filter((one) => one.what === what).sort((one, other) => one.from - other.from);
    let end = -1;
    for (const one of sorted) {
      const left = Math.max(0, end, x(one.from));
      const right = Math.min(width, x(one.to));
      if (right <= left) continue;
      end = right;
      if (what === "leaderless") {
        context.globalAlpha = 0.35;
        hatch(context, left, 16, Math.max(1, right - left), height - 16, colours.bad);
      } else {
        context.globalAlpha = what === "producer" ? 0.14 : 0.09;
        context.fillStyle = colours.still;
        context.fillRect(left, 16, Math.max(1, right - left), height - 16);
        context.globalAlpha = 0.9;
        font(context, 10);
        const words = `${STILL[what]} ${span(one.to - one.from)}`;
        const row = what === "producer" ? 24 : 37;
        if (wide(context, words) + 6 < right - left) context.fillText(words, left + 3, row);
      }
      context.globalAlpha = 1;
    }
  }
}
