/** The bar with the play head, its buttons and its keys. */

import { SPEEDS, place, toggle, zoom } from "#clock";
import { by, el, say, set } from "#dom";
import { hatch, palette, prepare, sized } from "#paint";
import { clock as time, span } from "#words";

/** @import {Clock, Commands, View} from "./types.js" */

/**
 * Makes the bar.
 * @param {Clock} clock
 * @param {boolean} live
 * @param {Commands} commands
 * @returns {{draw: (view: View) => void}}
 */
export function timeline(clock, live, commands) {
  const head = by("head", HTMLInputElement);
  const play = by("play", HTMLButtonElement);
  const speed = by("speed", HTMLSelectElement);
  const now = by("now", HTMLElement);
  const wall = by("wall", HTMLElement);
  const follow = by("live", HTMLButtonElement);
  const help = by("help", HTMLDialogElement);
  const overview = by("overview", HTMLCanvasElement);
  const size = sized(overview, commands.redraw);
  let drawn = "";
  follow.hidden = !live;
  speed.append(...SPEEDS.map((one) => el("option", { value: one }, `${one}×`)));

  const change = (/** @type {() => void} */ what) => () => {
    what();
    commands.redraw();
  };
  const playOrPause = change(() => toggle(clock));
  const step = (/** @type {1 | -1} */ by) => commands.step(by);
  const closer = change(() => zoom(clock, -1));
  const wider = change(() => zoom(clock, 1));
  const toLive = change(() => {
    if (!live) return;
    clock.follow = true;
    clock.playing = false;
    place(clock);
  });
  const toHelp = () => {
    if (!help.open) help.showModal();
  };
  const faster = (/** @type {1 | -1} */ by) => change(() => {
    const next = SPEEDS[SPEEDS.indexOf(clock.speed) + by];
    if (next !== undefined) clock.speed = next;
  })();
  play.addEventListener("click", playOrPause);
  by("previous", HTMLElement).addEventListener("click", () => step(-1));
  by("next", HTMLElement).addEventListener("click", () => step(1));
  by("closer", HTMLElement).addEventListener("click", closer);
  by("wider", HTMLElement).addEventListener("click", wider);
  by("help-open", HTMLElement).addEventListener("click", toHelp);
  follow.addEventListener("click", toLive);
  speed.addEventListener("change", change(() => (clock.speed = Number(speed.value))));
  head.addEventListener("input", () => commands.seek(Number(head.value)));

  /** @type {Record<string, (event: KeyboardEvent) => void>} */
  const keys = {
    " ": playOrPause,
    ArrowLeft: ({ shiftKey }) => commands.seek(clock.ms - (shiftKey ? 10_000 : 1000)),
    ArrowRight: ({ shiftKey }) => commands.seek(clock.ms + (shiftKey ? 10_000 : 1000)),
    ",": () => step(-1),
    ".": () => step(1),
    Home: () => commands.seek(0),
    End: () => commands.seek(clock.end),
    "[": () => faster(-1),
    "]": () => faster(1),
    "+": closer,
    "=": closer,
    "-": wider,
    l: toLive,
    "?": toHelp,
    "/": () => by("find", HTMLElement).focus(),
  };
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (!(target instanceof HTMLElement) || !Object.hasOwn(keys, key)) return;
    // Where keys have a meaning of their own, they keep it. The play head has the page's.
    const types = target instanceof HTMLInputElement && target !== head && target.type !== "checkbox";
    if (types || target instanceof HTMLSelectElement) return;
    if (key === " " && target.closest("button, summary, input[type=checkbox]")) return;
    event.preventDefault();
    keys[key]?.(event);
  });

  return {
    draw(view) {
      const { picture } = view;
      const max = String(Math.ceil(clock.end));
      if (head.max !== max) head.max = max;
      head.value = String(Math.round(clock.ms));
      const at = time(clock.ms);
      set(head, "aria-valuetext", at);
      say(now, at);
      set(now, "data-now-ms", Math.floor(clock.ms));
      const date = picture.wall === undefined ? "" : new Date(picture.wall).toISOString();
      say(wall, date === "" ? "" : `${date.slice(11, 19)} UTC`);
      set(wall, "title", date);
      say(play, clock.playing ? "Pause" : "Play");
      set(play, "aria-pressed", clock.playing);
      speed.value = String(clock.speed);
      say(by("window", HTMLElement), clock.span === Infinity ? "all" : span(clock.span).replace(/\.0(?= s)| 0 s$/, ""));
      set(follow, "aria-pressed", clock.follow);
      drawOverview(view);
    },
  };

  /**
   * Draws the whole film in one strip: the window, drills, stand-stills and times without a leader.
   * @param {View} view
   */
  function drawOverview({ film, drills }) {
    const { width, height } = size;
    const end = Math.max(1, clock.end);
    const x = (/** @type {number} */ ms) => (Math.max(0, ms) / end) * width;
    const colours = palette();
    const scale = Math.round(x(clock.from)) + Math.round(x(clock.to)) * 10_000;
    const mark = [width, scale, film.lines, drills.length, Math.round((film.last / end) * width), colours.panel].join();
    if (mark === drawn) return;
    drawn = mark;
    const context = prepare(overview, width, height);
    context.fillStyle = colours.line;
    context.fillRect(0, height / 2 - 3, width, 6);
    context.fillStyle = colours.soft;
    context.globalAlpha = 0.35;
    context.fillRect(x(clock.from), height / 2 - 3, x(clock.to) - x(clock.from), 6);
    context.fillStyle = colours.warn;
    for (const { began, ended } of drills) {
      context.fillRect(x(began), 1, Math.max(2, x(ended ?? end) - x(began)), height - 2);
    }
    context.globalAlpha = 1;
    let last = -1;
    for (const { from, to } of film.leaderless) {
      // Many partitions lose their leader at once: one mark will do.
      const [left, right] = [x(from), Math.max(x(from) + 3, x(to ?? end))];
      if (right <= last) continue;
      last = right;
      hatch(context, left, 3, right - left, height - 6, colours.bad);
    }
    context.fillStyle = colours.text;
    for (const drill of drills) {
      for (const { when } of drill.moves) context.fillRect(x(when) - 1, 0, 1.5, height);
    }
  }
}
