/** The journey of one message, as far as a recording can tell it. All times are ms of the recording. */

import { entriesUpTo, upTo } from "#reducer";
import { spans } from "#series";

/** @import {Between, Film, Journey} from "./types.js" */

/**
 * Follows a message of the topic that there was at an instant, or last before it.
 * @param {Film} film
 * @param {string} topicName
 * @param {number} partition
 * @param {number} offset
 * @param {number} ms The instant.
 * @param {number} [until] Lines up to then are considered.
 * @returns {Journey}
 */
export function trace(film, topicName, partition, offset, ms, until = ms) {
  const topic = film.topics.get(topicName);
  const part = topic?.partitions.get(partition);
  /** @type {Journey} */
  const journey = {
    state: "unknown", high: undefined, passed: undefined, deleted: undefined, gone: undefined, leads: [], reads: [],
    acked: undefined,
  };
  if (!topic || !part) return journey;
  const { at, a: first, b: high } = part.offsets;
  // Another topic of this name has other messages at the same offsets: look at one topic only.
  const lost = (/** @type {number} */ n) => Number.isNaN(high[n]);
  let end = upTo(at, ms);
  while (end > 0 && lost(end - 1)) end -= 1;
  let begin = end;
  while (begin > 0 && !lost(begin - 1)) begin -= 1;
  while (end < at.length && at[end] <= until && !lost(end)) end += 1;
  if (lost(end) && (at[end] ?? Infinity) <= until) journey.gone = at[end];
  if (begin === end) return journey;
  journey.high = high[end - 1];
  // The high watermark may go back when a leader that lacks messages takes over: the last passing counts.
  let passed = end;
  while (passed > begin && high[passed - 1] > offset) passed -= 1;
  if (passed === end) return { ...journey, state: "not yet" };
  journey.state = "written";
  const interval = { from: passed > begin ? at[passed - 1] : undefined, to: at[passed] };
  journey.passed = interval;
  for (let n = begin; n < end && journey.deleted === undefined; n += 1) {
    if (first[n] > offset) journey.deleted = at[n];
  }
  const since = begin > 0 ? at[begin - 1] : 0;
  journey.leads = spans(part, interval.from ?? since, interval.to, until)
    .map(({ lead }) => lead)
    .filter((lead) => lead.leader !== undefined && lead.at <= until);
  for (const client of topic.clients) {
    if (client.role !== "consumer" || entriesUpTo(client.states, until) === 0) continue;
    const track = client.partitions.get(partition);
    const [after, before] = [at[begin], journey.gone ?? Infinity];
    const reset = track?.resets?.findLast((one) => one.at <= after)?.n ?? 0;
    const last = track?.resets?.find((one) => one.at >= before)?.n ?? (track ? upTo(track.at, until) : 0);
    /** @type {Between | undefined} */
    let read;
    for (let n = reset; track && n < last && !read; n += 1) {
      if ((track.b[n] ?? 0) > offset) read = { from: n > reset ? track.at[n - 1] : undefined, to: track.at[n] };
    }
    if (track) journey.reads.push({ client: client.client, read });
  }
  journey.acked = acked();
  return journey;

  /**
   * A producer counts acknowledgements, not whose they are. But when it has sent as many messages as the log has,
   * from offset 0, and each is acknowledged and none in doubt, then this one is among them.
   * @returns {Between | undefined}
   */
  function acked() {
    const producers = (topic?.clients ?? []).filter((client) => client.partitions.has(partition));
    const own = producers.filter((client) => client.role === "producer");
    const [producer, another] = own;
    const track = producer?.partitions.get(partition);
    if (!producer || !track || another || first[begin] !== 0) return undefined;
    for (let n = 0; n < upTo(track.at, until); n += 1) {
      const when = track.at[n];
      const state = producer.states[entriesUpTo(producer.states, when) - 1];
      const place = upTo(at, when) - 1;
      const doubt = !state || state.why !== undefined || state.more.some((count) => count > 0);
      const all = track.a[n] === track.b[n] && place >= begin && high[place] === track.b[n];
      if (!doubt && all && high[place] > offset) return { from: interval.from, to: when };
    }
    return undefined;
  }
}
