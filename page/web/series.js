/**
 * What charts and lanes draw: histories of a film within a window of time. All times are ms of the recording.
 */

import { LATE_MS, QUIET_MS, entriesUpTo, upTo } from "#reducer";

/** @import {ClientFilm, Film, Leadership, PartitionFilm, Still, Stretch, TopicFilm, Track} from "./types.js" */

/** A client's counts are written about so often, in ms. */
const PERIOD_MS = 1000;

/**
 * Returns how fast a number grew.
 *
 * A line is written only if something changed. So after a long silence the growth belongs to its end.
 * @param {Track} track
 * @param {"a" | "b"} column
 * @param {number} from
 * @param {number} to
 * @param {number} [now] Until when nothing more was counted; without it the last count ends the series.
 * @returns {Stretch[]} In order, without overlaps; the value is a rate a second.
 */
export function rates(track, column, from, to, now) {
  /** @type {Stretch[]} */
  const stretches = [];
  const add = (/** @type {number} */ begin, /** @type {number} */ end, /** @type {number} */ value) => {
    if (end > from && begin < to && end > begin) stretches.push({ from: begin, to: end, value });
  };
  const { at } = track;
  const numbers = track[column];
  for (let n = Math.max(1, upTo(at, from)); n < at.length; n += 1) {
    const [begin, end] = [at[n - 1], at[n]];
    if (begin > to) break;
    const grown = numbers[n] - numbers[n - 1];
    if (!(grown >= 0) || end === begin) continue;
    if (end - begin > QUIET_MS) {
      add(begin, end - PERIOD_MS, 0);
      add(end - PERIOD_MS, end, (grown * 1000) / PERIOD_MS);
    } else {
      add(begin, end, (grown * 1000) / (end - begin));
    }
  }
  const last = at.at(-1);
  if (now !== undefined && last !== undefined && now - last > QUIET_MS) add(last, now, 0);
  return stretches;
}

/**
 * Adds series up. Where only some of them are known, those are the sum.
 * @param {Stretch[][]} lists
 * @returns {Stretch[]}
 */
export function sum(lists) {
  const full = lists.filter((list) => list.length > 0);
  if (full.length <= 1) return full[0] ?? [];
  const edges = [...new Set(full.flat().flatMap(({ from, to }) => [from, to]))].sort((one, other) => one - other);
  const places = full.map(() => 0);
  /** @type {Stretch[]} */
  const added = [];
  for (let n = 0; n + 1 < edges.length; n += 1) {
    const [from, to] = [edges[n], edges[n + 1]];
    let value;
    for (const [which, list] of full.entries()) {
      let place = places[which];
      while (place < list.length && (list[place]?.to ?? 0) <= from) place += 1;
      places[which] = place;
      const one = list[place];
      if (one && one.from <= from) value = (value ?? 0) + one.value;
    }
    if (value !== undefined) added.push({ from, to, value });
  }
  return added;
}

/**
 * Returns the rates of a topic or of one of its partitions, over all its clients.
 * @param {TopicFilm} topic
 * @param {number | undefined} partition All partitions without it.
 * @param {number} from
 * @param {number} to
 * @param {number} now The end of what is known.
 * @returns {{sent: Stretch[], acked: Stretch[], received: Stretch[]}}
 */
export function topicRates(topic, partition, from, to, now) {
  const of = (/** @type {string} */ role, /** @type {"a" | "b"} */ column) => {
    const lists = topic.clients.filter((client) => client.role === role).map((client) => {
      const track = partition === undefined ? client.totals : client.partitions.get(partition);
      const last = client.states.at(-1);
      const until = last && !last.ended && last.why === undefined ? now : undefined;
      return track ? rates(track, column, from, to, until) : [];
    });
    return sum(lists);
  };
  return { sent: of("producer", "a"), acked: of("producer", "b"), received: of("consumer", "a") };
}

/**
 * Returns the lag of a topic or of one of its partitions.
 * @param {TopicFilm} topic
 * @param {number | undefined} partition All partitions without it.
 * @param {number} from
 * @param {number} to
 * @param {number} now The end of what is known.
 * @returns {Stretch[]} Where it is unknown, there is none.
 */
export function lags(topic, partition, from, to, now) {
  const { at, lag } = partition === undefined ? topic.lag : partitionLag(topic, partition);
  /** @type {Stretch[]} */
  const stretches = [];
  for (let n = Math.max(0, upTo(at, from) - 1); n < at.length; n += 1) {
    const begin = at[n];
    if (begin > to) break;
    const value = lag[n];
    if (!Number.isNaN(value)) stretches.push({ from: begin, to: at[n + 1] ?? now, value });
  }
  return stretches;
}

/**
 * @param {TopicFilm} topic
 * @param {number} partition
 * @returns {{at: number[], lag: number[]}}
 */
function partitionLag(topic, partition) {
  const offsets = topic.partitions.get(partition)?.offsets;
  /** @type {{at: number[], lag: number[]}} */
  const series = { at: [], lag: [] };
  if (!offsets) return series;
  // At one instant the order is that of the kinds of lines: what a reset forgets was said before it.
  /** @type {{at: number, change: () => boolean}[]} */
  const changes = [];
  /** @type {Map<ClientFilm, number>} */
  const nexts = new Map();
  let [high, counted] = [NaN, -Infinity];
  for (const [n, at] of offsets.at.entries()) {
    changes.push({ at, change: () => ((high = offsets.b[n]), Number.isNaN(high) || at - counted > LATE_MS) });
  }
  for (const client of topic.clients) {
    const track = client.role === "consumer" ? client.partitions.get(partition) : undefined;
    for (const [n, at] of track?.at.entries() ?? []) {
      changes.push({ at, change: () => (nexts.set(client, track?.b[n] ?? NaN), (counted = at), true) });
    }
    for (const { at } of track?.resets ?? []) changes.push({ at, change: () => nexts.delete(client) });
  }
  changes.sort((one, other) => one.at - other.at);
  for (const { at, change } of changes) {
    if (!change()) continue;
    series.at.push(at);
    series.lag.push(nexts.size === 0 ? NaN : Math.max(0, high - Math.max(...nexts.values())));
  }
  return series;
}

/**
 * Returns the value of a series at an instant.
 * @param {Stretch[]} stretches
 * @param {number} ms
 * @returns {number | undefined}
 */
export const valueAt = (stretches, ms) => stretches.findLast(({ from, to }) => from <= ms && ms <= to)?.value;

/**
 * Returns when a topic, or one of its partitions, stood still: by what its clients reported, and without a leader.
 * @param {Film} film
 * @param {string} topic
 * @param {number | undefined} partition Any partition without it.
 * @param {number} from
 * @param {number} to
 * @param {number} now The end of an interval that has not ended.
 * @returns {Still[]}
 */
export function stills(film, topic, partition, from, to, now) {
  /** @type {Still[]} */
  const found = [];
  const add = (/** @type {Still} */ one) => {
    if (one.to > from && one.from < to && (partition === undefined || partition === one.partition)) found.push(one);
  };
  for (const gap of film.gaps) {
    if (gap.topic === topic) add({ from: gap.from, to: gap.to, what: gap.role, partition: gap.partition });
  }
  for (const one of film.leaderless) {
    if (one.topic === topic) {
      add({ from: one.from, to: one.to ?? now, what: "leaderless", partition: one.partition });
    }
  }
  return found;
}

/**
 * Returns the leadership of a partition within a window, one entry for each change.
 * @param {PartitionFilm} part
 * @param {number} from
 * @param {number} to
 * @param {number} now The end of the last entry.
 * @returns {{from: number, to: number, lead: Leadership}[]}
 */
export function spans(part, from, to, now) {
  const found = [];
  for (let n = Math.max(0, entriesUpTo(part.leads, from) - 1); n < part.leads.length; n += 1) {
    const lead = part.leads[n];
    if (lead.at > to) break;
    const end = part.leads[n + 1]?.at ?? now;
    if (end >= from) found.push({ from: lead.at, to: end, lead });
  }
  return found;
}
