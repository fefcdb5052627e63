/**
 * The one reducer: the lines of a recording become a film, and a film has a picture at every instant.
 *
 * A film holds histories, each ordered by time, and nothing in it is ever changed except at its end. So the picture
 * at an instant is a binary search in each history, and it is the same picture that the lines up to that instant give.
 * Live, replay and report show pictures of a film and nothing else.
 *
 * All times are ms since the recording began, by the observer's clock. In a picture, `undefined` means that the
 * recording does not tell; `null` means that there is none, as with a partition without a leader.
 */

/**
 * @import {
 *   BrokerPicture, ClientFilm, ClientPicture, Command, Drill, Film, JournalEntry, Kind, PartitionFilm,
 *   PartitionPicture, Picture, Sum, Test, Told, TopicFilm, TopicPicture, Track
 * } from "./types.js"
 */

/** The versions of the schema that this module reads. */
export const SCHEMAS = Object.freeze(["kafka-lab.recording/1", "kafka-lab.recording/2"]);

/** A client that counted nothing for longer than this, in ms, has a rate of 0: its counts are written once a second. */
export const QUIET_MS = 3000;

/**
 * High watermarks and next offsets are read at different instants. A lag is that of when the consumer last counted,
 * unless it has not counted for longer than this, in ms: then it is up to the last high watermark.
 */
export const LATE_MS = 1500;

/** More partitions than this in one topic are refused. */
const MOST_PARTITIONS = 200_000;

/** A line that is refused. `line` is its number, from 1, if the caller gave one. */
export class LineError extends Error {
  /**
   * @param {string} what What is wrong with it.
   * @param {number} [line] Its number.
   * @param {boolean} [fatal] Whether no other line of the recording can be read either.
   */
  constructor(what, line, fatal = false) {
    super(line === undefined ? what : `line ${line}: ${what}`);
    this.name = "LineError";
    this.what = what;
    this.line = line;
    this.fatal = fatal;
  }
}

/**
 * Returns an empty film.
 * @returns {Film}
 */
export function create() {
  return {
    lines: 0,
    last: 0,
    begin: undefined,
    end: undefined,
    brokers: new Map(),
    controllers: [],
    topics: new Map(),
    clients: new Map(),
    gaps: [],
    leaderless: [],
    journal: [],
    log: [],
    told: undefined,
  };
}

// The shapes of the events: what a field must be, and whether it may be absent.

/** @type {Test} */
const count = (value) => Number.isSafeInteger(value) && value >= 0;
/** @type {Test} */
const whole = (value) => Number.isSafeInteger(value);
/** @type {Test} */
const text = (value) => typeof value === "string";
/** @type {Test} */
const flag = (value) => typeof value === "boolean";
/** @type {Test} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
/** @type {(of: Test) => Test} */
const list = (of) => (value) => Array.isArray(value) && value.every(of);
/** @type {(...of: Test[]) => Test} */
const row = (...of) => (value) =>
  Array.isArray(value) && value.length >= of.length && of.every((test, n) => test(value[n]));
/** @type {(of: Test) => Test} */
const maybe = (of) => (value) => value === undefined || value === null || of(value);
/** @type {(...of: string[]) => Test} */
const one = (...of) => (value) => of.includes(value);

const name = { topic: text };
const counts = list(row(count, count, count));
/** @type {Record<string, Record<string, Test>>} */
const SHAPES = {
  begin: {
    ...name, time_ms: count, lab: text, brokers: list(row(count, text)), clients: list(text),
    kafka: maybe(text), backend: maybe(text),
  },
  broker: { broker: count, answers: flag, why: maybe(text) },
  controller: { controller: maybe(count), epoch: maybe(whole) },
  topic: { ...name, topic_id: maybe(text), partitions: (value) => count(value) && value <= MOST_PARTITIONS },
  partition: {
    ...name, partition: count, leader: maybe(count), epoch: whole, isr: list(count), replicas: list(count), by: count,
  },
  offsets: { ...name, partitions: list(row(count, whole, whole)) },
  client: { ...name, client: text, role: one("producer", "consumer"), ended: flag, partitions: counts },
  producer: { run: text, not_persisted: count, unknown: count },
  consumer: { missing: count, duplicate: count, out_of_order: count },
  client_unknown: { ...name, client: text, why: text },
  gap: { ...name, client: text, role: one("producer", "consumer"), partition: count, ago_ms: count, gap_ms: count },
  journal: { command: text, ago_ms: count, line: isObject },
  end: { reason: text },
};

/**
 * Checks the fields of a line.
 * @param {Record<string, any>} line
 * @param {string} shape
 * @throws {LineError}
 */
function check(line, shape) {
  for (const [field, test] of Object.entries(SHAPES[shape] ?? {})) {
    if (!test(line[field])) throw new LineError(`the event ${line.event} has an impossible ${field}`);
  }
}

/**
 * Parses a line of a recording.
 * @param {string} source The line.
 * @param {number} [number] Its number, for the error.
 * @returns {Record<string, any>}
 * @throws {LineError} It is not JSON.
 */
export function parse(source, number) {
  try {
    return JSON.parse(source);
  } catch {
    throw new LineError("it is not JSON", number);
  }
}

/**
 * Adds a line to a film. A refused line changes nothing. The film is changed in place, and is returned.
 * @param {Film} film
 * @param {any} line An object, as `parse` returns it.
 * @param {number} [number] The line's number, for the error.
 * @returns {Film}
 * @throws {LineError} The line is not one of a recording, or its time is before that of the line before.
 */
export function apply(film, line, number) {
  try {
    add(film, line);
  } catch (error) {
    if (error instanceof LineError && error.line === undefined) throw new LineError(error.what, number, error.fatal);
    throw error;
  }
  return film;
}

/**
 * @param {Film} film
 * @param {any} line
 */
function add(film, line) {
  if (!isObject(line)) throw new LineError("it is not an object");
  const { schema, event, at_ms: at } = line;
  if (!SCHEMAS.includes(schema)) {
    const is = text(schema) ? `the schema ${schema}` : "no schema";
    // A stray line between good ones is one bad line; a recording that begins so is of another kind.
    throw new LineError(`it has ${is}; this page reads ${SCHEMAS.join(" and ")}`, undefined, film.lines === 0);
  }
  if (!text(event)) throw new LineError("it has no event");
  if (!count(at)) throw new LineError("it has no time (at_ms)");
  if (at < film.last) throw new LineError(`its time, ${at} ms, is before that of the line before, ${film.last} ms`);
  const known = Object.hasOwn(SHAPES, event) && event !== "producer" && event !== "consumer";
  if (known) {
    if (event !== "begin" && !film.begin) throw new LineError(`the event ${event} comes before the beginning`);
    if (event === "begin" && film.begin) throw new LineError("the recording begins a second time");
    // Version 1 knows one topic only, and names it at the beginning.
    if (line.topic === undefined && "topic" in (SHAPES[event] ?? {}) && film.begin) {
      line = { ...line, topic: film.begin.topic };
    }
    check(line, event);
    if (event === "client") check(line, line.role);
    HANDLERS[event]?.(film, line, at);
  }
  film.lines += 1;
  film.last = at;
}

/** @type {Record<string, (film: Film, line: any, at: number) => void>} */
const HANDLERS = {
  begin(film, line, at) {
    const { time_ms, lab, topic, clients, kafka, backend } = line;
    film.begin = { at, time_ms, lab, topic, clients, kafka: kafka ?? undefined, backend: backend ?? undefined };
    for (const [id, address] of line.brokers) film.brokers.set(id, { id, address, states: [] });
    note(film, "recording", line, at);
  },

  broker(film, line, at) {
    let broker = film.brokers.get(line.broker);
    if (!broker) {
      broker = { id: line.broker, address: undefined, states: [] };
      film.brokers.set(line.broker, broker);
    }
    broker.states.push({ at, answers: line.answers, why: line.why ?? undefined });
    note(film, "broker", line, at);
  },

  controller(film, line, at) {
    const before = film.controllers.at(-1);
    film.controllers.push({ at, id: line.controller ?? null, epoch: line.epoch ?? undefined });
    note(film, "broker", line, at, before?.id);
  },

  topic(film, line, at) {
    const topic = topicOf(film, line.topic);
    const before = topic.states.at(-1);
    const id = line.topic_id ?? null;
    if (before && before.id !== id) forget(topic, at);
    topic.states.push({ at, id, partitions: line.partitions });
    note(film, "leader", line, at, before);
  },

  partition(film, line, at) {
    const part = partitionOf(topicOf(film, line.topic), line.partition);
    const before = part.leads.at(-1);
    const { epoch, isr, replicas, by } = line;
    const leader = line.leader ?? null;
    part.leads.push({ at, leader, epoch, isr, replicas, by });
    if (leader === null && !part.open) {
      part.open = { at, topic: line.topic, partition: line.partition, from: at, to: undefined };
      film.leaderless.push(part.open);
    } else if (leader !== null) {
      close(part, at);
    }
    note(film, "leader", line, at, before);
  },

  offsets(film, line, at) {
    const topic = topicOf(film, line.topic);
    for (const [number, first, high] of line.partitions) {
      const part = partitionOf(topic, number);
      push(part.offsets, at, first, high);
      lagOf(topic, part, high, part.next);
    }
    if (at - topic.counted > LATE_MS) noteLag(topic, at);
    note(film, "counts", { event: line.event, topic: line.topic, partitions: line.partitions.length }, at);
  },

  client(film, line, at) {
    const was = film.clients.get(`${line.topic}\n${line.client}`)?.role ?? line.role;
    if (was !== line.role) throw new LineError(`the client ${line.client} was a ${was} before`);
    const client = clientOf(film, line.client, line.topic);
    client.role ??= line.role;
    const producer = line.role === "producer";
    const topic = topicOf(film, line.topic);
    for (const [number, a, b] of line.partitions) {
      let track = client.partitions.get(number);
      if (!track) client.partitions.set(number, (track = { at: [], a: [], b: [] }));
      push(track, at, a, b);
      const part = partitionOf(topic, number);
      if (!producer) {
        lagOf(topic, part, part.high, nextOf(topic, number));
      }
    }
    if (!producer) {
      topic.counted = at;
      noteLag(topic, at);
    }
    const sum = { a: 0, b: producer ? 0 : NaN };
    for (const track of client.partitions.values()) {
      sum.a += track.a.at(-1) ?? 0;
      if (producer) sum.b += track.b.at(-1) ?? 0;
    }
    const { run, ended } = line;
    const more = producer ? [line.not_persisted, line.unknown] : [line.missing, line.duplicate, line.out_of_order];
    push(client.totals, at, sum.a, sum.b);
    client.states.push({ at, why: undefined, ended, run, ...sum, more });
    const { event, role, topic: of } = line;
    note(film, "counts", { event, client: line.client, topic: of, role, ended, a: sum.a, b: sum.b, more }, at);
  },

  client_unknown(film, line, at) {
    const client = clientOf(film, line.client, line.topic);
    const before = client.states.at(-1);
    client.states.push({
      at, why: line.why, ended: before?.ended, run: before?.run,
      a: before?.a ?? NaN, b: before?.b ?? NaN, more: before?.more ?? [],
    });
    note(film, "still", line, at);
  },

  gap(film, line, at) {
    const { client, topic, role, partition } = line;
    const to = at - line.ago_ms;
    film.gaps.push({ at, client, topic, role, partition, from: to - line.gap_ms, to });
    note(film, "still", line, at, undefined, to);
  },

  journal(film, line, at) {
    const when = at - line.ago_ms;
    line = { ...line, line: named(line.line) };
    film.journal.push({ at, when, command: line.command, line: line.line });
    // What a step waits for changes many times a second; the events around it say what came of it.
    const kind = line.line.event === "status" ? "counts" : "command";
    note(film, kind, line, at, undefined, when);
  },

  end(film, line, at) {
    film.end = { at, reason: line.reason };
    note(film, "recording", line, at);
  },
};

/**
 * Gives the result of a drill or of a command, which is a line of a schema of its own, the name of an event.
 * @param {any} line
 */
function named(line) {
  const schema = string(line.schema) ?? "";
  if (schema.startsWith("kafka-lab.drill/")) return { event: "drill_ended", result: line };
  if (schema.startsWith("kafka-lab.report/")) return { event: "reported", report: line };
  return line;
}

/**
 * @param {Film} film
 * @param {Kind} kind
 * @param {any} line
 * @param {number} at
 * @param {any} [before]
 * @param {number} [when]
 */
function note(film, kind, line, at, before, when = at) {
  film.log.push({ at, when, kind, line, before });
}

/**
 * @param {Track} track
 * @param {number} at
 * @param {number} a
 * @param {number} b
 */
function push(track, at, a, b) {
  track.at.push(at);
  track.a.push(a);
  track.b.push(b);
}

/**
 * @param {Film} film
 * @param {string} name
 * @returns {TopicFilm}
 */
function topicOf(film, name) {
  let topic = film.topics.get(name);
  if (!topic) {
    topic = {
      name, states: [], partitions: new Map(), order: [], clients: [], lag: { at: [], lag: [] }, counted: -Infinity,
      running: { sum: 0, highs: 0, both: 0 },
    };
    film.topics.set(name, topic);
  }
  return topic;
}

/**
 * @param {TopicFilm} topic
 * @param {number} partition
 * @returns {PartitionFilm}
 */
function partitionOf(topic, partition) {
  let part = topic.partitions.get(partition);
  if (!part) {
    const offsets = { at: [], a: [], b: [] };
    part = { topic: topic.name, partition, leads: [], offsets, high: NaN, next: NaN, open: undefined };
    topic.partitions.set(partition, part);
  }
  return part;
}

/**
 * The name of a client is unique within a topic only: each drill has a producer-1 of its own.
 * @param {Film} film
 * @param {string} client
 * @param {string} topic
 * @returns {ClientFilm}
 */
function clientOf(film, client, topic) {
  const key = `${topic}\n${client}`;
  let of = film.clients.get(key);
  if (!of) {
    of = { client, topic, role: undefined, states: [], totals: { at: [], a: [], b: [] }, partitions: new Map() };
    film.clients.set(key, of);
    topicOf(film, topic).clients.push(of);
  }
  return of;
}

/**
 * @param {PartitionFilm} part
 * @param {number} at
 */
function close(part, at) {
  if (part.open) part.open.to = at;
  part.open = undefined;
}

/**
 * The topic is gone or another one has its name: nothing that was known about its partitions holds any more.
 * @param {TopicFilm} topic
 * @param {number} at
 */
function forget(topic, at) {
  for (const part of topic.partitions.values()) {
    const nothing = undefined;
    part.leads.push({ at, leader: nothing, epoch: nothing, isr: nothing, replicas: nothing, by: nothing });
    push(part.offsets, at, NaN, NaN);
    lagOf(topic, part, NaN, NaN);
    close(part, at);
  }
  for (const client of topic.clients) {
    if (client.role !== "consumer") continue;
    for (const track of client.partitions.values()) (track.resets ??= []).push({ at, n: track.at.length });
  }
  noteLag(topic, at);
}

/**
 * Takes a partition's new high watermark and next offset into the topic's lag.
 * @param {TopicFilm} topic
 * @param {PartitionFilm} part
 * @param {number} high
 * @param {number} next
 */
function lagOf(topic, part, high, next) {
  const { running } = topic;
  for (const sign of [-1, 1]) {
    const lag = lagBetween(part.high, part.next);
    if (!Number.isNaN(part.high)) running.highs += sign;
    if (lag !== undefined) {
      running.both += sign;
      running.sum += sign * lag;
    }
    part.high = high;
    part.next = next;
  }
}

/**
 * Returns the highest next offset of a consumer as of now, or NaN.
 * @param {TopicFilm} topic
 * @param {number} partition
 * @returns {number}
 */
function nextOf(topic, partition) {
  let highest = NaN;
  for (const client of topic.clients) {
    const track = client.role === "consumer" ? client.partitions.get(partition) : undefined;
    const next = track && nextAt(track, Infinity);
    if (next !== undefined && !(next <= highest)) highest = next;
  }
  return highest;
}

/**
 * @param {TopicFilm} topic
 * @param {number} at
 */
function noteLag(topic, at) {
  const { sum, highs, both } = topic.running;
  topic.lag.at.push(at);
  topic.lag.lag.push(highs > 0 && highs === both ? sum : NaN);
}

/**
 * Returns the high watermark to compare a consumer's next offset with.
 * @param {Track | undefined} offsets
 * @param {number | undefined} counted When the consumer last counted.
 * @param {number} ms
 * @returns {number | undefined}
 */
function highFor(offsets, counted, ms) {
  if (!offsets) return undefined;
  const late = counted === undefined || ms - counted > LATE_MS;
  return known(offsets.b[upTo(offsets.at, late ? ms : counted) - 1]) ?? known(offsets.b[upTo(offsets.at, ms) - 1]);
}

/**
 * The messages that a consumer has yet to read. One that seems to be ahead of the high watermark has read everything.
 * @param {number | undefined} high
 * @param {number | undefined} next
 * @returns {number | undefined}
 */
function lagBetween(high, next) {
  if (high === undefined || next === undefined || Number.isNaN(high) || Number.isNaN(next)) return undefined;
  return Math.max(0, high - next);
}

/**
 * Returns how many of these times, in ascending order, are at or before an instant.
 * @param {number[]} times ms.
 * @param {number} ms
 * @returns {number}
 */
export function upTo(times, ms) {
  let low = 0;
  let high = times.length;
  if (high === 0 || times[high - 1] <= ms) return high;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (times[middle] <= ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The same for entries with a field `at`.
 * @param {{at: number}[]} entries
 * @param {number} ms
 * @returns {number}
 */
export function entriesUpTo(entries, ms) {
  let low = 0;
  let high = entries.length;
  if (high === 0 || entries[high - 1].at <= ms) return high;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entries[middle].at <= ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * @template {{at: number}} T
 * @param {T[]} entries
 * @param {number} ms
 * @returns {T | undefined}
 */
const lastOf = (entries, ms) => entries[entriesUpTo(entries, ms) - 1];

/**
 * @param {number | undefined} value
 * @returns {number | undefined}
 */
const known = (value) => (value === undefined || Number.isNaN(value) ? undefined : value);

/**
 * Returns the next offset in a consumer's track.
 * @param {Track} track
 * @param {number} ms
 * @param {number} [n] How many of its numbers are at or before that instant.
 * @returns {number | undefined} Nothing if it was of a topic that is gone.
 */
export function nextAt(track, ms, n = upTo(track.at, ms)) {
  const reset = track.resets && lastOf(track.resets, ms);
  return n === 0 || (reset && reset.n >= n) ? undefined : known(track.b[n - 1]);
}

/**
 * Returns how fast a number grew at an instant, by the last two counts before it.
 * @param {Track} track
 * @param {"a" | "b"} column
 * @param {number} ms
 * @param {number} [n] How many of its numbers are at or before that instant.
 * @returns {number | undefined} A second.
 */
export function rateAt(track, column, ms, n = upTo(track.at, ms)) {
  if (n < 2) return undefined;
  const from = track.at[n - 2];
  const to = track.at[n - 1];
  const grown = track[column][n - 1] - track[column][n - 2];
  // Another run counts from 0 again.
  if (!(grown >= 0) || to === from) return undefined;
  return ms - to > QUIET_MS ? 0 : (grown * 1000) / (to - from);
}

/**
 * Returns the picture at an instant: what the lines up to it tell, and nothing of the later ones.
 * @param {Film} film
 * @param {number} ms
 * @returns {Picture}
 */
export function at(film, ms) {
  const begin = film.begin && film.begin.at <= ms ? film.begin : undefined;
  const controller = lastOf(film.controllers, ms);
  /** @type {Map<number, BrokerPicture>} */
  const brokers = new Map();
  for (const broker of begin ? film.brokers.values() : []) {
    const state = lastOf(broker.states, ms);
    // A broker that the beginning does not name is known from its first line on.
    if (!state && broker.address === undefined) continue;
    brokers.set(broker.id, {
      id: broker.id,
      address: broker.address,
      answers: state?.answers,
      why: state?.why,
      since: state?.at,
      controller: controller && controller.id === broker.id,
      leads: new Map(),
    });
  }
  const topics = [];
  for (const topic of film.topics.values()) {
    const of = topicAt(topic, ms, brokers);
    if (of) topics.push(of);
  }
  if (begin) topics.sort((one, other) => Number(other.name === begin.topic) - Number(one.name === begin.topic));
  // The lab's topic stays first, and the rest is in the order of appearance until here.
  const own = topics[0]?.name === begin?.topic ? 1 : 0;
  topics.push(...topics.splice(own).reverse());
  const clients = [];
  for (const client of film.clients.values()) {
    const of = clientAt(film, client, ms);
    if (of) clients.push(of);
  }
  const leaderless = film.leaderless.slice(0, entriesUpTo(film.leaderless, ms));
  return {
    ms,
    wall: begin && begin.time_ms + ms - begin.at,
    begin,
    ended: film.end && film.end.at <= ms ? film.end.reason : undefined,
    brokers: [...brokers.values()].sort((one, other) => one.id - other.id),
    controller,
    topics,
    clients,
    gaps: film.gaps.slice(0, entriesUpTo(film.gaps, ms)),
    leaderless: leaderless.map((one) => (one.to !== undefined && one.to > ms ? { ...one, to: undefined } : one)),
    ...toldAt(film, ms),
  };
}

/**
 * Returns the numbers of a topic's partitions, in order: those that lines name, and those that the topic has.
 * @param {TopicFilm} topic
 * @param {number} count
 * @returns {number[]}
 */
function numbersOf(topic, count) {
  if (topic.order.length < topic.partitions.size) {
    topic.order = [...topic.partitions.keys()].sort((one, other) => one - other);
  }
  const { order } = topic;
  if (order.length >= count && (count === 0 || order[count - 1] === count - 1)) return order;
  const more = Array.from({ length: count }, (_, n) => n);
  return more.concat(order.filter((number) => number >= count));
}

/**
 * @param {TopicFilm} topic
 * @param {number} ms
 * @param {Map<number, BrokerPicture>} brokers Their `leads` are counted.
 * @returns {TopicPicture | undefined} Nothing if no line up to then names it.
 */
function topicAt(topic, ms, brokers) {
  const state = lastOf(topic.states, ms);
  /** @type {PartitionPicture[]} */
  const partitions = [];
  const gone = state?.id === null;
  let seen = false;
  const producers = clientsAt(topic, "producer", ms);
  const consumers = clientsAt(topic, "consumer", ms);
  for (const number of gone ? [] : numbersOf(topic, state?.partitions ?? 0)) {
    const part = topic.partitions.get(number);
    const lead = part && lastOf(part.leads, ms);
    const n = part ? upTo(part.offsets.at, ms) : 0;
    const sent = countsAt(producers, number, ms);
    const received = countsAt(consumers, number, ms);
    const here = lead !== undefined || n > 0;
    if (!here && !sent.some && !received.some && number >= (state?.partitions ?? 0)) continue;
    seen = true;
    const leader = lead?.leader;
    const broker = typeof leader === "number" ? brokers.get(leader) : undefined;
    if (broker) broker.leads.set(topic.name, (broker.leads.get(topic.name) ?? 0) + 1);
    const high = known(part?.offsets.b[n - 1]);
    const { next } = received;
    partitions.push({
      topic: topic.name,
      partition: number,
      leader,
      leaderAnswers: broker?.answers,
      epoch: lead?.epoch,
      isr: lead?.isr,
      replicas: lead?.replicas,
      by: lead?.by,
      since: lead?.at,
      first: known(part?.offsets.a[n - 1]),
      high,
      next,
      lag: lagBetween(high === undefined ? high : highFor(part?.offsets, received.counted, ms), next),
      sent: sent.a,
      acked: sent.b,
      received: received.a,
      sentRate: sent.aRate,
      ackedRate: sent.bRate,
      receivedRate: received.aRate,
    });
  }
  if (!state && !seen) {
    const clients = topic.clients.some((client) => entriesUpTo(client.states, ms) > 0);
    const offsets = upTo(topic.lag.at, ms) > 0;
    if (!clients && !offsets) return undefined;
  }
  if (partitions.some((part) => typeof part.leader === "number")) {
    for (const broker of brokers.values()) if (!broker.leads.has(topic.name)) broker.leads.set(topic.name, 0);
  }
  return {
    name: topic.name,
    exists: state ? !gone : undefined,
    id: state?.id ?? undefined,
    since: state?.at,
    partitions,
    lag: known(partitions.reduce((sum, { lag }) => sum + (lag ?? NaN), partitions.length > 0 ? 0 : NaN)),
  };
}

/**
 * What holds for all partitions of a topic's clients at an instant.
 * @param {TopicFilm} topic
 * @param {"producer" | "consumer"} role
 * @param {number} ms
 */
function clientsAt(topic, role, ms) {
  return topic.clients.filter((client) => client.role === role).map((client) => {
    const counted = client.totals.at[upTo(client.totals.at, ms) - 1] ?? 0;
    return { client, counted, state: lastOf(client.states, ms) };
  });
}

/**
 * @param {ReturnType<typeof clientsAt>} clients
 * @param {number} partition
 * @param {number} ms
 * @returns {Sum}
 */
function countsAt(clients, partition, ms) {
  /** @type {Sum} */
  const sum = {
    some: false, counted: undefined, next: undefined, a: undefined, b: undefined, aRate: undefined, bRate: undefined,
  };
  for (const { client, counted, state } of clients) {
    const track = client.partitions.get(partition);
    const n = track ? upTo(track.at, ms) : 0;
    if (!track || n === 0) continue;
    sum.some = true;
    const next = client.role === "consumer" ? nextAt(track, ms, n) : undefined;
    if (next !== undefined) {
      sum.next = Math.max(sum.next ?? 0, next);
      sum.counted = Math.max(sum.counted ?? 0, counted);
    }
    sum.a = (sum.a ?? 0) + track.a[n - 1];
    sum.b = (sum.b ?? 0) + track.b[n - 1];
    if (state?.why !== undefined) continue;
    const aRate = state?.ended ? 0 : rateAt(track, "a", ms, n);
    const bRate = state?.ended ? 0 : rateAt(track, "b", ms, n);
    if (aRate !== undefined) sum.aRate = (sum.aRate ?? 0) + aRate;
    if (bRate !== undefined) sum.bRate = (sum.bRate ?? 0) + bRate;
  }
  return sum;
}

/**
 * @param {Film} film
 * @param {ClientFilm} client
 * @param {number} ms
 * @returns {ClientPicture | undefined} Nothing if no line up to then names it.
 */
function clientAt(film, client, ms) {
  const n = entriesUpTo(client.states, ms);
  const state = client.states[n - 1];
  if (!state) return undefined;
  const counted = upTo(client.totals.at, ms);
  // A role is known from the first counts on.
  const role = counted > 0 ? client.role : undefined;
  const producer = role === "producer";
  const consumer = role === "consumer";
  const rate = (/** @type {"a" | "b"} */ column) => {
    if (state.why !== undefined) return undefined;
    return state.ended ? 0 : rateAt(client.totals, column, ms);
  };
  const topic = film.topics.get(client.topic);
  const lagOfOne = (/** @type {number} */ partition, /** @type {number | undefined} */ next) =>
    lagBetween(highFor(topic?.partitions.get(partition)?.offsets, client.totals.at[counted - 1], ms), next);
  let lag = consumer && client.partitions.size > 0 ? 0 : NaN;
  for (const [partition, track] of consumer ? client.partitions : []) {
    const n = upTo(track.at, ms);
    if (n > 0) lag += lagOfOne(partition, nextAt(track, ms, n)) ?? NaN;
  }
  const more = (/** @type {boolean} */ is, /** @type {number} */ n) => (is ? state.more[n] : undefined);
  return {
    client: client.client,
    topic: client.topic,
    role,
    why: state.why,
    counted: client.totals.at[counted - 1],
    ended: state.ended,
    run: state.run,
    sent: producer ? known(state.a) : undefined,
    acked: producer ? known(state.b) : undefined,
    notPersisted: more(producer, 0),
    unknown: more(producer, 1),
    received: consumer ? known(state.a) : undefined,
    missing: more(consumer, 0),
    duplicate: more(consumer, 1),
    outOfOrder: more(consumer, 2),
    lag: known(lag),
    sentRate: producer ? rate("a") : undefined,
    ackedRate: producer ? rate("b") : undefined,
    receivedRate: consumer ? rate("a") : undefined,
    // Few look at these, and with many partitions they cost more than all the rest.
    get partitions() {
      const partitions = [];
      for (const [partition, track] of client.partitions) {
        const n = upTo(track.at, ms);
        if (n === 0) continue;
        const a = known(track.a[n - 1]);
        const next = nextAt(track, ms, n);
        if (producer) partitions.push({ partition, sent: a, acked: known(track.b[n - 1]) });
        else partitions.push({ partition, received: a, next, lag: lagOfOne(partition, next) });
      }
      return partitions.sort((one, other) => one.partition - other.partition);
    },
  };
}

/**
 * Folds the journal up to an instant. A recording has few of these lines.
 * @param {Film} film
 * @param {number} ms
 * @returns {Told}
 */
export function toldAt(film, ms) {
  const count = entriesUpTo(film.journal, ms);
  if (film.told?.count !== count) {
    /** @type {Told} */
    const told = { commands: [], drills: [], verdicts: [] };
    for (let n = 0; n < count; n += 1) tell(told, film.journal[n]);
    film.told = { count, told };
  }
  return film.told.told;
}

const string = (/** @type {any} */ value) => (typeof value === "string" ? value : undefined);
const number = (/** @type {any} */ value) => (typeof value === "number" ? value : undefined);

/**
 * @param {Told} told
 * @param {JournalEntry} entry
 */
function tell(told, { when, command, line }) {
  const last = told.commands.findLast((one) => one.command === command);
  const running = () => {
    if (last && last.ended === undefined) return last;
    /** @type {Command} */
    const one = { command, began: when, ended: undefined, exit: undefined, steps: [], notes: [] };
    told.commands.push(one);
    return one;
  };
  const step = () => running().steps.find((one) => one.number === line.number);
  switch (line.event) {
    case "plan_begun": {
      // A command may run several plans. One that was interrupted never ended.
      const one = last && last.ended === undefined && last.steps.length === 0 ? last : undefined;
      if (last && !one) last.ended ??= when;
      const titles = Array.isArray(line.steps) ? line.steps : [];
      running().steps = titles.map((title, n) => ({
        number: n + 1, title: String(title), state: undefined, text: "", began: undefined, elapsed: undefined,
      }));
      break;
    }
    case "started": {
      const one = step();
      if (one) one.began = when;
      break;
    }
    case "status": {
      const one = step();
      if (one) one.text = string(line.text) ?? one.text;
      break;
    }
    case "finished": {
      const one = step();
      if (!one) break;
      one.state = string(line.state);
      one.text = string(line.text) ?? "";
      one.elapsed = number(line.elapsed_ms);
      break;
    }
    case "plan_ended": {
      const one = running();
      one.ended = when;
      one.exit = number(line.exit);
      break;
    }
    case "note":
      running().notes.push(string(line.text) ?? "");
      break;
    case "drill_begun":
      told.drills.push({
        drill: string(line.drill) ?? "", topic: string(line.topic), promised: string(line.promised),
        rate: number(line.rate), began: when, moves: [], mended: undefined, ended: undefined, result: undefined,
      });
      break;
    case "drill_move":
      drillOf(told, line.drill)?.moves.push({ when, text: string(line.text) ?? "" });
      break;
    case "drill_mended": {
      const drill = drillOf(told, line.drill);
      if (drill) drill.mended = when;
      break;
    }
    case "drill_ended":
      if (isObject(line.result)) endDrill(told, when, line.result);
      break;
    case "reported":
      if (isObject(line.report)) report(told, when, command, line.report);
      break;
    default:
  }
}

/**
 * A soak's moves may have the names of its faults.
 * @param {Told} told
 * @param {any} name
 */
function drillOf(told, name) {
  const open = (/** @type {Drill} */ one) => one.ended === undefined;
  return told.drills.findLast((one) => open(one) && one.drill === name) ?? told.drills.findLast(open);
}

/** @type {Record<string, "good" | "bad" | "open">} */
const WORDS = { kept: "good", pass: "good", broken: "bad", fail: "bad" };

/**
 * @param {Told} told
 * @param {number} when
 * @param {Record<string, any>} result
 */
function endDrill(told, when, result) {
  let drill = drillOf(told, result.drill);
  if (!drill || drill.drill !== result.drill) {
    drill = {
      drill: string(result.drill) ?? "", topic: string(result.topic), promised: string(result.promised),
      rate: number(result.rate), began: when, moves: [], mended: undefined, ended: undefined, result: undefined,
    };
    told.drills.push(drill);
  }
  drill.ended = when;
  drill.result = result;
  const word = string(result.outcome) ?? (result.kept === true ? "kept" : "broken");
  const ledger = isObject(result.ledger) ? result.ledger : undefined;
  const reasons = [...(Array.isArray(result.faults) ? result.faults : []), ...reasonsOf(ledger)];
  if (string(result.error)) reasons.push(result.error);
  told.verdicts.push({ when, of: `drill ${drill.drill}`, is: WORDS[word] ?? "open", word, reasons, ledger });
}

/**
 * @param {any} ledger
 * @returns {string[]}
 */
const reasonsOf = (ledger) => (Array.isArray(ledger?.reasons) ? ledger.reasons.map(String) : []);

/**
 * The report of a command. Only verify judges; its ledgers are those of the steps flow and account.
 * @param {Told} told
 * @param {number} when
 * @param {string} command
 * @param {Record<string, any>} line
 */
function report(told, when, command, line) {
  const one = told.commands.findLast((one) => one.command === command);
  if (one) {
    one.ended ??= when;
    one.exit = number(line.exit) ?? one.exit;
  }
  if (command !== "verify") return;
  const steps = Array.isArray(line.steps) ? line.steps.filter(isObject) : [];
  const add = (/** @type {string} */ of, /** @type {any} */ ledger) => {
    if (!isObject(ledger)) return;
    const word = string(ledger.verdict) ?? "inconclusive";
    told.verdicts.push({ when, of, is: WORDS[word] ?? "open", word, reasons: reasonsOf(ledger), ledger });
  };
  for (const step of steps) {
    const found = step.failure?.evidence;
    add(`verify: ${step.step}`, step.flow ?? (Array.isArray(found) ? undefined : found));
    const accounts = Array.isArray(step.account) ? step.account : Array.isArray(found) ? found : [];
    for (const account of accounts) add(`verify: ${step.step}`, account);
  }
  const failed = steps.filter((step) => step.state === "failed");
  const reasons = failed.map((step) => `${step.step}: ${step.failure?.what ?? "failed"}`);
  if (string(line.failure?.what)) reasons.push(line.failure.what);
  const is = line.exit === 0 ? "good" : line.exit === 7 || line.exit === 130 ? "open" : "bad";
  const word = is === "good" ? "pass" : is === "bad" ? "fail" : "inconclusive";
  told.verdicts.push({ when, of: command, is, word, reasons, ledger: undefined });
}

/**
 * Reads a recording in chunks that may end anywhere.
 * @param {Film} film The film to add to.
 * @returns {{push: (chunk: string) => void, end: () => void, refused: LineError[]}} `refused` has the lines that were
 *   left out. `push` throws a LineError if the recording is of another version.
 */
export function reader(film) {
  let rest = "";
  let lines = 0;
  /** @type {LineError[]} */
  const refused = [];
  const take = (/** @type {string} */ source) => {
    lines += 1;
    if (source.trim() === "") return;
    try {
      apply(film, parse(source, lines), lines);
    } catch (error) {
      if (!(error instanceof LineError) || error.fatal) throw error;
      refused.push(error);
    }
  };
  return {
    refused,
    push(chunk) {
      rest += chunk;
      let from = 0;
      for (let to = rest.indexOf("\n"); to >= 0; to = rest.indexOf("\n", from)) {
        take(rest.slice(from, to));
        from = to + 1;
      }
      rest = rest.slice(from);
    },
    end() {
      if (rest.trim() !== "") take(rest);
      rest = "";
    },
  };
}
