/**
 * The play head and the window of time that the pictures show. Nothing here reads a clock: the caller says how much
 * time passed. All times are ms of the recording.
 */

/** @import {Clock} from "./types.js" */

/** The speeds, in times the real one. */
export const SPEEDS = Object.freeze([1, 2, 5, 10, 30, 60]);

/** The lengths of the window, in ms; the last one is everything. */
export const SPANS = Object.freeze([10_000, 30_000, 120_000, 600_000, Infinity]);

/**
 * Returns a play head at 0.
 * @param {boolean} live Whether it follows the end.
 * @returns {Clock}
 */
export function createClock(live) {
  return { ms: 0, end: 0, playing: false, speed: 1, follow: live, span: live ? 120_000 : Infinity, from: 0, to: 1 };
}

/**
 * Lets time pass, and places the window.
 * @param {Clock} clock Is changed.
 * @param {number} elapsed How much time passed.
 * @param {number} end The last instant that can be shown now.
 */
export function advance(clock, elapsed, end) {
  clock.end = end;
  if (clock.playing) clock.ms += elapsed * clock.speed;
  if (clock.ms >= end && clock.playing) clock.playing = false;
  if (clock.follow || clock.ms > end) clock.ms = end;
  clock.ms = Math.max(0, clock.ms);
  place(clock);
}

/**
 * Moves the play head.
 * @param {Clock} clock Is changed.
 * @param {number} ms
 */
export function seek(clock, ms) {
  clock.follow = false;
  clock.ms = Math.min(Math.max(0, ms), clock.end);
  place(clock);
}

/**
 * Plays, from the beginning if the play head is at the end; or pauses.
 * @param {Clock} clock Is changed.
 */
export function toggle(clock) {
  clock.playing = !clock.playing;
  if (clock.playing && clock.ms >= clock.end) clock.ms = 0;
  clock.follow = false;
}

/**
 * Takes the next shorter or longer window.
 * @param {Clock} clock Is changed.
 * @param {1 | -1} by 1 shows more.
 */
export function zoom(clock, by) {
  const now = SPANS.findIndex((span) => span >= clock.span);
  clock.span = SPANS[Math.min(Math.max(0, now + by), SPANS.length - 1)] ?? Infinity;
  place(clock, true);
}

/**
 * Places the window so that it shows the play head. It moves by itself only when the play head leaves it.
 * @param {Clock} clock Is changed.
 * @param {boolean} [anew] Whether to put the play head into the middle.
 */
export function place(clock, anew = false) {
  const { ms, end, span } = clock;
  if (span >= end) {
    clock.from = 0;
    // A live window has its full length from the beginning, so that it does not shrink what it shows all the time.
    clock.to = clock.follow && span !== Infinity ? span : Math.max(end, 1000);
    return;
  }
  let { from } = clock;
  if (clock.follow) from = end - span;
  else if (anew) from = ms - span / 2;
  else if (ms < from || ms > from + span) from = ms - span * 0.1;
  clock.from = Math.min(Math.max(0, from), end - span);
  clock.to = clock.from + span;
}
