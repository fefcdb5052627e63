/** The page: a source of lines, a play head, and panels that show the picture there. */

import { advance, createClock, seek } from "#clock";
import { at, toldAt } from "#reducer";
import { by, say, set } from "#dom";
import { actionsPanel } from "#actions";
import { brokersPanel } from "#brokers";
import { chartsPanel } from "#charts";
import { faultsPanel } from "#faults";
import { journeyPanel } from "#journey";
import { lanesPanel, messageAt } from "#lanes";
import { ledgerPanel } from "#ledger";
import { live, replay, report } from "#source";
import { logPanel } from "#log";
import { timeline } from "#timeline";

/** @import {Commands, Drill, Picture, View} from "./types.js" */

/** A live page goes back to the lab's topic so long after a drill, in ms. */
const AFTER_DRILL_MS = 30_000;
/** A live page that follows now is drawn so often, in ms. */
const LIVE_MS = 100;

const { mode } = document.body.dataset;
const isLive = mode === "live";
const clock = createClock(isLive);
/** @type {{topic: string, partition: number | undefined, message: View["message"]}} */
const chosen = { topic: "", partition: undefined, message: undefined };

let scheduled = false;
let before = performance.now();
let shown = "";
/** @type {{film: unknown, count: number, drills: Drill[]}} */
let told = { film: undefined, count: -1, drills: [] };
let placed = isLive;
/** @type {{film: unknown, lines: number, picture: Picture} | undefined} */
let seen;

/** @type {Commands} */
const commands = {
  redraw,
  seek(ms) {
    seek(clock, ms);
    redraw();
  },
  step(by) {
    // Counts come every second: they are no events to step to.
    const events = source.film.log.filter((entry) => entry.kind !== "counts");
    const now = Math.floor(clock.ms);
    const next = by > 0 ? events.find((entry) => entry.at > now) : events.findLast((entry) => entry.at < now);
    clock.playing = false;
    commands.seek(next?.at ?? (by > 0 ? clock.end : 0));
  },
  choose(topic, partition) {
    chosen.topic = topic;
    chosen.partition = partition;
    const offset = messageAt(source.film, topic, partition, clock.ms);
    if (offset !== undefined) chosen.message = { topic, partition, offset };
    redraw();
  },
  topic(topic) {
    chosen.topic = topic;
    chosen.partition = undefined;
    redraw();
  },
  partition(partition) {
    // Another topic may come by itself: a partition belongs to the one that is shown.
    if (partition !== undefined) chosen.topic = shown;
    chosen.partition = partition;
    redraw();
  },
  follow(message) {
    chosen.message = message;
    redraw();
  },
};

const actions = actionsPanel();
const source = (isLive ? live : mode === "report" ? report : replay)({
  changed: redraw,
  hello: (offered) => actions.offer(offered),
  acted: (progress) => actions.progress(progress),
});
const panels = [
  timeline(clock, isLive, commands),
  brokersPanel(),
  lanesPanel(commands),
  chartsPanel(commands),
  faultsPanel(commands),
  ledgerPanel(commands),
  journeyPanel(commands),
  logPanel(commands),
];

/** Draws in the next frame, however often it is called. */
function redraw() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(draw);
}

/** @param {number} now ms. */
function draw(now) {
  scheduled = false;
  const elapsed = Math.max(0, now - before);
  before = now;
  const { film } = source;
  if (told.film !== film || told.count !== film.journal.length) {
    told = { film, count: film.journal.length, drills: toldAt(film, Infinity).drills };
  }
  if (!placed) {
    // A recording opens at its end, where its results are.
    clock.ms = Infinity;
    placed = source.complete;
  }
  advance(clock, elapsed, source.end());
  if (seen?.film !== film || seen.lines !== film.lines || seen.picture.ms !== clock.ms) {
    seen = { film, lines: film.lines, picture: at(film, clock.ms) };
  }
  const { picture } = seen;
  const topic = chosen.topic === "" || !film.topics.has(chosen.topic) ? fitting(picture) : chosen.topic;
  shown = topic ?? "";
  const { partition, message } = chosen;
  const view = {
    film, clock, picture, drills: told.drills, topic, chosen: chosen.topic, message,
    partition: topic === chosen.topic ? partition : undefined,
  };
  header(picture);
  for (const panel of panels) panel.draw(view);
  if (clock.playing) redraw();
}

/**
 * Returns the topic that matters at the play head: that of the last drill, otherwise the lab's own.
 * @param {Picture} picture
 * @returns {string | undefined}
 */
function fitting(picture) {
  const drill = picture.drills.at(-1);
  const recent = !isLive || drill?.ended === undefined || picture.ms - drill.ended < AFTER_DRILL_MS;
  if (drill?.topic !== undefined && recent && picture.topics.some((topic) => topic.name === drill.topic)) {
    return drill.topic;
  }
  return picture.begin?.topic;
}

/** @param {Picture} picture */
function header(picture) {
  const { begin } = picture;
  const connection = source.connection();
  say(by("lab", HTMLElement), begin ? begin.lab : "");
  const parts = [begin?.kafka && `Kafka ${begin.kafka}`, begin?.backend, begin && `topic ${begin.topic}`];
  say(by("about", HTMLElement), parts.filter(Boolean).join(" · "));
  document.title = begin ? `${begin.lab} · kafka-lab` : "kafka-lab";
  const state = by("connection", HTMLElement);
  const { film, complete } = source;
  // Without its last line, a recording was cut short.
  const loaded = !complete ? ", loading" : film.lines > 0 && !film.end ? ", cut short" : "";
  const words = { replay: "recording", report: "report" }[mode ?? ""] ?? mode ?? "";
  if (!connection) {
    say(state, `${words.charAt(0).toUpperCase()}${words.slice(1)}${loaded}`);
  } else {
    set(state, "data-connected", connection.connected);
    const now = clock.follow ? "live" : "live, looking back";
    say(state, connection.connected ? (complete ? now : "catching up") : "not connected");
  }
  const lost = connection !== undefined && !connection.connected;
  set(document.body, "data-stale", lost);
  by("lost", HTMLElement).hidden = !lost;
  if (lost) say(by("age", HTMLElement), `${Math.floor(connection.age / 1000)} s`);
  say(by("problems", HTMLElement), source.problems.slice(-3).join("\n"));
  by("alarm", HTMLElement).hidden = !lost && source.problems.length === 0;
}

new ResizeObserver(redraw).observe(document.body);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
if (isLive) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let last = 0;
  setInterval(() => {
    // With reduced motion the lanes move once a second instead of all the time.
    const now = performance.now();
    if (calm.matches && now - last < 1000) return;
    last = now;
    redraw();
  }, LIVE_MS);
}
redraw();
