/** The lanes: each partition's leader and ISR over time, beside what holds at the play head. */

import { entriesUpTo, upTo } from "#reducer";
import { spans } from "#series";
import { by, el, keyed, options, say, set, table } from "#dom";
import { LEADERS, font, hatch, marks, palette, prepare, scale, seen, sized, ticks, wide as textWidth } from "#paint";
import { virtual } from "#virtual";
import { brokers, clock as time, leader, many, number } from "#words";

/** @import {Clock, Commands, Film, Leadership, PartitionFilm, PartitionPicture, Row, View} from "./types.js" */

const ROW = 40;
const BAR = { top: 4, height: 19 };
const STRIP = { top: 25, height: 12 };
/** The table of leaders has at most so many lines. */
const TABLE = 500;

/**
 * Returns the lanes of a film: the lab's topic first, then the newest first.
 * @param {Film} film
 * @param {string} only A topic, or "" for all.
 * @returns {Row[]}
 */
function rowsOf(film, only) {
  const own = film.begin?.topic;
  const names = [...film.topics.keys()].reverse().filter((name) => name !== own);
  if (own !== undefined && film.topics.has(own)) names.unshift(own);
  /** @type {Row[]} */
  const rows = [];
  for (const name of names) {
    const topic = film.topics.get(name);
    if (!topic || (only !== "" && only !== name)) continue;
    const numbers = new Set(topic.partitions.keys());
    const most = topic.states.reduce((sum, state) => Math.max(sum, state.partitions), 0);
    for (let partition = 0; partition < most; partition += 1) numbers.add(partition);
    rows.push({ topic: name, partition: undefined });
    for (const partition of [...numbers].sort((one, other) => one - other)) rows.push({ topic: name, partition });
  }
  return rows;
}

/**
 * Makes the panel.
 * @param {Commands} commands
 * @returns {{draw: (view: View) => void}}
 */
export function lanesPanel(commands) {
  const box = by("lanes", HTMLElement);
  const sizer = /** @type {HTMLElement} */ (box.querySelector(".sizer"));
  const canvas = /** @type {HTMLCanvasElement} */ (box.querySelector("canvas"));
  const axis = by("axis", HTMLCanvasElement);
  const hint = by("lanes-hint", HTMLElement);
  const filter = by("lanes-topic", HTMLSelectElement);
  const details = by("leads", HTMLDetailsElement);
  const redraw = () => commands.redraw();
  const size = sized(box, redraw);
  const canvasSize = sized(canvas, redraw);
  const axisSize = sized(axis, redraw);
  let top = 0;
  const canBeSeen = seen(box, redraw);
  /** @type {Row[]} */
  let rows = [];
  let signature = "";
  /** @type {View | undefined} */
  let view;
  /** @type {Map<string, PartitionPicture[]>} */
  let now = new Map();
  let gone = new Set();

  const list = virtual({
    box, sizer, height: ROW, place: "aria-rowindex",
    make() {
      const name = el("button", { type: "button", title: "Show its rates, and follow its last message" });
      name.addEventListener("click", () => {
        /** @type {HTMLElement | null} */
        const lane = name.closest("[data-partition]");
        const { topic, partition } = lane?.dataset ?? {};
        if (topic !== undefined) commands.choose(topic, Number(partition));
      });
      return el(
        "div", { role: "row", class: "lane" },
        el("span", { role: "cell", class: "title" }, el("b"), " ", el("span")),
        el("span", { role: "cell", class: "name" }, name),
        el("span", { role: "cell", class: "chip" }),
        el("span", { role: "cell", class: "epoch" }),
        el("span", { role: "cell", class: "high" }),
        el("span", { role: "cell", class: "isr" }),
      );
    },
    fill(node, index) {
      const row = rows[index];
      if (!row) return;
      if (row.partition === undefined) fillTitle(node, row.topic);
      else fillLane(node, row.topic, row.partition);
    },
  });

  /**
   * @param {HTMLElement} node
   * @param {string} topic
   */
  function fillTitle(node, topic) {
    node.classList.add("of-topic");
    for (const name of Object.keys(node.dataset)) delete node.dataset[name];
    const count = now.get(topic)?.length ?? 0;
    const [name, state] = /** @type {HTMLElement} */ (node.firstElementChild).children;
    if (name) say(name, topic);
    if (state) say(state, gone.has(topic) ? "is gone" : now.has(topic) ? many(count, "partition") : "not there yet");
    set(node, "data-title", topic);
  }

  /**
   * @param {HTMLElement} node
   * @param {string} topic
   * @param {number} partition
   */
  function fillLane(node, topic, partition) {
    node.classList.remove("of-topic");
    set(node, "data-title", undefined);
    const parts = now.get(topic);
    const there = parts?.[partition];
    const part = there?.partition === partition ? there : parts?.find((one) => one.partition === partition);
    const [, name, chip, epoch, high, isr] = node.children;
    const button = name?.firstElementChild;
    if (!name || !chip || !epoch || !high || !isr || !button) return;
    const shrunk = part?.isr && part.replicas ? part.isr.length < part.replicas.length : undefined;
    set(node, "data-partition", partition);
    set(node, "data-topic", topic);
    set(node, "data-leader", leader(part?.leader));
    set(node, "data-epoch", part?.epoch ?? "unknown");
    set(node, "data-isr", part?.isr?.join(",") ?? "unknown");
    set(node, "data-replicas", part?.replicas?.join(",") ?? "unknown");
    set(node, "data-first", part?.first ?? "unknown");
    set(node, "data-high", part?.high ?? "unknown");
    set(node, "data-lag", part?.lag ?? "unknown");
    set(node, "data-leader-answers", part?.leaderAnswers ?? "unknown");
    set(node, "data-shrunk", shrunk ?? "unknown");
    set(button, "aria-label", `${topic}, partition ${partition}: show its rates and its last message`);
    say(button, String(partition));
    say(chip, part?.leader === null ? "none" : part?.leader === undefined ? "?" : String(part.leader));
    set(chip, "data-colour", colourOf(part?.leader));
    set(chip, "title", `leader ${leader(part?.leader)}`);
    const known = part?.leader !== undefined;
    const epochIs = part?.leaderAnswers === false ? "no answer" : `epoch ${part?.epoch}`;
    say(epoch, known ? epochIs : gone.has(topic) ? "gone" : "unknown");
    say(high, part?.high === undefined && !known ? "" : number(part?.high));
    set(high, "title", `high watermark ${number(part?.high)}`);
    say(isr, part?.isr ? `ISR ${brokers(part.isr)}` : "");
  }

  box.addEventListener("scroll", () => {
    top = box.scrollTop;
    redraw();
  });
  filter.addEventListener("change", redraw);
  details.addEventListener("toggle", redraw);

  const pointed = (/** @type {PointerEvent} */ event) => {
    const rect = canvas.getBoundingClientRect();
    const row = rows[Math.floor((event.clientY - rect.top + box.scrollTop) / ROW)];
    if (!view) return undefined;
    const { from, to, end } = view.clock;
    const ms = from + ((event.clientX - rect.left) / rect.width) * (to - from);
    return { row, ms: Math.min(Math.max(0, ms), end) };
  };
  let dragging = false;
  canvas.addEventListener("pointerdown", (event) => {
    const at = pointed(event);
    if (!at || event.button !== 0) return;
    dragging = event.pointerType === "mouse";
    if (dragging) canvas.setPointerCapture(event.pointerId);
    commands.seek(at.ms);
    if (at.row?.partition !== undefined) commands.choose(at.row.topic, at.row.partition);
  });
  canvas.addEventListener("pointerup", () => (dragging = false));
  canvas.addEventListener("pointercancel", () => (dragging = false));
  canvas.addEventListener("pointermove", (event) => {
    const at = pointed(event);
    if (!at || !view) return;
    if (dragging) commands.seek(at.ms);
    say(hint, describe(view.film, at.row, at.ms));
  });
  canvas.addEventListener("pointerleave", () => say(hint, ""));

  return {
    draw(next) {
      view = next;
      const { film, picture } = view;
      now = new Map(picture.topics.map((topic) => [topic.name, topic.partitions]));
      gone = new Set(picture.topics.filter((topic) => topic.exists === false).map((topic) => topic.name));
      let counted = "";
      for (const topic of film.topics.values()) counted += `${topic.states.length} ${topic.partitions.size} `;
      if (signature !== `${filter.value}|${counted}`) {
        const names = [...film.topics.keys()].map((name) => ({ value: name, text: name }));
        options(filter, [{ value: "", text: "all topics" }, ...names]);
        signature = `${filter.value}|${counted}`;
        rows = rowsOf(film, filter.value);
        set(box, "aria-rowcount", rows.length);
        fillLegend(film);
      }
      list.show(rows.length);
      if (canBeSeen()) {
        drawAxis(axis, axisSize.width, view);
        drawLanes(view);
      }
      if (details.open) fillTable(view);
    },
  };

  /** @param {View} view */
  function drawLanes({ film, clock, drills, topic, partition }) {
    const [width, height] = [canvasSize.width, Math.min(size.height, rows.length * ROW)];
    canvas.style.height = `${height}px`;
    const context = prepare(canvas, width, height);
    const x = scale(clock, width);
    const colours = palette();
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    context.beginPath();
    for (const tick of ticks(clock, width)) {
      const at = Math.round(x(tick)) + 0.5;
      context.moveTo(at, 0);
      context.lineTo(at, height);
    }
    context.stroke();
    const [first, last] = list.range();
    for (let index = first; index < last; index += 1) {
      const row = rows[index];
      const part = row?.partition === undefined ? undefined : film.topics.get(row.topic)?.partitions.get(row.partition);
      const y = index * ROW - top;
      if (row && row.topic === topic && row.partition !== undefined && row.partition === partition) {
        context.fillStyle = colours.accent;
        context.fillRect(0, y + ROW - 2, width, 1);
      }
      if (part) drawLane(context, film, part, y, x, width, clock);
    }
    marks(context, clock, drills, width, height);
  }

  /** @param {View} view */
  function fillTable({ film, clock, topic }) {
    const parts = topic === undefined ? [] : [...(film.topics.get(topic)?.partitions.values() ?? [])];
    const { from, to, end } = clock;
    const lines = parts.flatMap((part) => spans(part, from, to, end).map((span) => ({ part, ...span })));
    const shown = lines.filter(({ lead }) => lead.leader !== undefined).slice(0, TABLE);
    const holder = /** @type {HTMLElement} */ (details.querySelector(".scroll"));
    const mark = `${topic} ${shown.length} ${shown[0]?.from} ${shown.at(-1)?.from}`;
    if (holder.dataset.mark === mark) return;
    holder.dataset.mark = mark;
    holder.replaceChildren(table(
      `${topic ?? "No topic"}, ${many(shown.length, "change")} in the window shown`,
      ["partition", "from", "leader", "epoch", "ISR", "replicas", "said by"],
      shown.map(({ part, from, lead }) => [
        String(part.partition), time(from), leader(lead.leader), String(lead.epoch), brokers(lead.isr),
        brokers(lead.replicas), String(lead.by),
      ]),
    ));
  }
}

/**
 * Returns the place of a leader's colour.
 * @param {number | null | undefined} id
 * @returns {string}
 */
export const colourOf = (id) => (id === undefined ? "unknown" : id === null ? "none" : String(id % LEADERS));

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Film} film
 * @param {PartitionFilm} part
 * @param {number} top px.
 * @param {(ms: number) => number} x
 * @param {number} width px.
 * @param {Clock} clock
 */
function drawLane(context, film, part, top, x, width, clock) {
  const colours = palette();
  const all = spans(part, clock.from, clock.to, clock.end);
  for (const [n, { from, to, lead }] of all.entries()) {
    if (lead.leader === undefined) continue;
    const left = Math.max(0, x(from));
    drawIsr(context, lead, left, top, Math.max(Math.min(width, x(to)) - left - 0.5, 1));
    // Where only the ISR changed, the bar goes on.
    const same = (/** @type {Leadership | undefined} */ one) =>
      one?.leader === lead.leader && one?.epoch === lead.epoch;
    if (same(all[n - 1]?.lead)) continue;
    let last = n;
    while (same(all[last + 1]?.lead)) last += 1;
    const end = all[last]?.to ?? to;
    const wide = Math.max(Math.min(width, x(end)) - left - 0.5, 1);
    if (lead.leader === null) {
      hatch(context, left, top + BAR.top, wide, BAR.height, colours.bad);
      context.strokeStyle = colours.bad;
      context.lineWidth = 1;
      context.strokeRect(left + 0.5, top + BAR.top + 0.5, Math.max(wide - 1, 0.5), BAR.height - 1);
      label(context, "no leader", left, top + BAR.top, wide, BAR.height, colours.text, colours.panel);
    } else {
      context.fillStyle = colours[`leader-${lead.leader % LEADERS}`];
      context.fillRect(left, top + BAR.top, wide, BAR.height);
      mute(context, film, lead.leader, Math.max(from, clock.from), Math.min(end, clock.to), top, x, width);
      const names = [`leader ${lead.leader} · epoch ${lead.epoch}`, `leader ${lead.leader}`, String(lead.leader)];
      font(context, 12, 600);
      const fits = names.find((name) => textWidth(context, name) + 8 < wide);
      if (fits) label(context, fits, left, top + BAR.top, wide, BAR.height, colours["on-leader"]);
    }
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Leadership} lead
 * @param {number} left px.
 * @param {number} top px.
 * @param {number} wide px.
 */
function drawIsr(context, lead, left, top, wide) {
  const colours = palette();
  const [isr, replicas] = [lead.isr ?? [], lead.replicas ?? []];
  if (isr.length >= replicas.length) {
    context.fillStyle = colours.line;
    context.fillRect(left, top + STRIP.top + 1, wide, 2);
    return;
  }
  context.fillStyle = colours.warn;
  context.fillRect(left, top + STRIP.top, wide, STRIP.height);
  font(context, 10, 600);
  const names = [`ISR ${brokers(isr)} (${isr.length} of ${replicas.length})`, `ISR ${brokers(isr)}`, brokers(isr)];
  const fits = names.find((name) => textWidth(context, name) + 8 < wide);
  if (fits) label(context, fits, left, top + STRIP.top, wide, STRIP.height, colours.panel, undefined, 10);
}

/**
 * Marks where a leader does not answer.
 * @param {CanvasRenderingContext2D} context
 * @param {Film} film
 * @param {number} id
 * @param {number} from
 * @param {number} to
 * @param {number} top px.
 * @param {(ms: number) => number} x
 * @param {number} width px.
 */
function mute(context, film, id, from, to, top, x, width) {
  const states = film.brokers.get(id)?.states ?? [];
  for (let n = Math.max(0, entriesUpTo(states, from) - 1); n < states.length; n += 1) {
    const state = states[n];
    if (!state || state.at > to) break;
    const end = Math.min(to, states[n + 1]?.at ?? to);
    if (state.answers || end <= from) continue;
    const { panel, bad } = palette();
    const [left, right] = [Math.max(0, x(Math.max(from, state.at))), Math.min(width, x(end))];
    const y = top + BAR.top + BAR.height - 3;
    context.fillStyle = panel;
    context.fillRect(left, y, right - left, 3);
    context.fillStyle = bad;
    for (let dash = Math.floor(left / 8) * 8; dash < right; dash += 8) {
      const begin = Math.max(left, dash);
      context.fillRect(begin, y, Math.max(0, Math.min(right, dash + 5) - begin), 3);
    }
  }
}

/**
 * Writes a text into a rectangle, if there is room.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} left
 * @param {number} top
 * @param {number} width
 * @param {number} height
 * @param {string | undefined} colour
 * @param {string} [ground]
 * @param {number} [size]
 */
function label(context, text, left, top, width, height, colour, ground, size = 12) {
  font(context, size, 600);
  const wide = textWidth(context, text);
  if (wide + 8 > width) return;
  if (ground) {
    context.fillStyle = ground;
    context.fillRect(left + 2, top + 2, wide + 6, height - 4);
  }
  context.fillStyle = colour ?? "";
  context.fillText(text, left + 5, top + height / 2 + 0.5);
}

/**
 * Draws the scale of time and the texts of the moves above the lanes.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width px.
 * @param {View} view
 */
function drawAxis(canvas, width, { clock, drills }) {
  const x = scale(clock, width);
  /** @type {{at: number, text: string, strong: boolean}[]} */
  const texts = [];
  for (const drill of drills) {
    for (const { when, text } of drill.moves) texts.push({ at: x(when), text, strong: true });
    if (drill.mended !== undefined) texts.push({ at: x(drill.mended), text: "all mended", strong: false });
  }
  const shown = texts.filter(({ at }) => at >= 0 && at <= width).sort((one, other) => one.at - other.at);
  const lines = texts.length > 0 ? 3 : 0;
  const height = 20 + lines * 15;
  canvas.style.height = `${height}px`;
  const context = prepare(canvas, width, height);
  const colours = palette();
  font(context, 11);
  context.fillStyle = colours.soft;
  for (const tick of ticks(clock, width)) {
    const text = time(tick).replace(/\.0$/, "");
    const wide = textWidth(context, text);
    context.fillText(text, Math.min(Math.max(0, x(tick) - wide / 2), width - wide), height - 9);
  }
  /** @type {number[]} */
  const ends = Array.from({ length: lines }, () => -1);
  const limit = Math.max(90, width * 0.4);
  for (const [n, { at, text, strong }] of shown.entries()) {
    font(context, 11, strong ? 600 : 400);
    // A text may reach to the next one that needs its line.
    let line = ends.findIndex((end) => end <= at);
    let words = text;
    while (words.length > 4 && textWidth(context, words) > limit) words = `${words.slice(0, -2).trimEnd()}…`;
    const wide = textWidth(context, words);
    // At the right edge the text is on the left of its mark.
    const left = at + wide + 8 > width ? Math.max(0, at - wide - 6) : at + 4;
    if (left < at) line = ends.findIndex((end) => end <= left);
    const y = line < 0 ? 0 : line * 15;
    context.fillStyle = colours.text;
    context.fillRect(Math.round(at), y, 1, height - y - 18);
    if (line < 0) continue;
    ends[line] = Math.max(at, left + wide) + 6;
    context.fillStyle = (strong ? colours.text : colours.good) ?? "";
    context.fillText(words, left, y + 7);
    if (n > 400) break;
  }
}

/** @param {Film} film */
function fillLegend(film) {
  const ids = [...film.brokers.keys()].sort((one, other) => one - other).slice(0, 16);
  keyed(
    by("legend", HTMLElement),
    [...ids, "leaderless", "mute", "shrunk"],
    String,
    (one) => {
      if (typeof one === "number") {
        const chip = el("span", { class: "chip", "data-colour": colourOf(one) }, String(one));
        return el("li", null, chip, `led by broker ${one}`);
      }
      const words = { leaderless: "no leader", mute: "the leader does not answer", shrunk: "ISR not complete" };
      return el("li", null, el("span", { class: `swatch ${one}` }), words[/** @type {"mute"} */ (one)]);
    },
  );
}

/**
 * Says what a lane shows at an instant.
 * @param {Film} film
 * @param {Row | undefined} row
 * @param {number} ms
 * @returns {string}
 */
function describe(film, row, ms) {
  const part = row?.partition === undefined ? undefined : film.topics.get(row.topic)?.partitions.get(row.partition);
  if (!part) return time(ms);
  const lead = part.leads[entriesUpTo(part.leads, ms) - 1];
  const high = part.offsets.b[upTo(part.offsets.at, ms) - 1];
  const where = `${time(ms)}  ${part.topic}/${part.partition}`;
  return `${where}: leader ${leader(lead?.leader)}, epoch ${lead?.epoch ?? "unknown"}, ` +
    `ISR ${brokers(lead?.isr)}, high watermark ${number(high)}`;
}

/**
 * Returns the message that was written into a partition at an instant: the first one that the high watermark had not
 * passed; the last one if nothing follows.
 * @param {Film} film
 * @param {string} topic
 * @param {number} partition
 * @param {number} ms
 * @returns {number | undefined}
 */
export function messageAt(film, topic, partition, ms) {
  const offsets = film.topics.get(topic)?.partitions.get(partition)?.offsets;
  const n = offsets ? upTo(offsets.at, ms) : 0;
  const high = offsets?.b[n - 1];
  if (!offsets || high === undefined || Number.isNaN(high)) return undefined;
  const more = (offsets.b[n] ?? 0) > high;
  return more ? high : Math.max(high - 1, 0);
}
