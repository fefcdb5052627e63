/** The words of the page: numbers, times, and what an event says. */

/** @import {LogEntry} from "./types.js" */

/** @typedef {LogEntry} LogEntry */

const format = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/**
 * Returns a number with separators, or "unknown".
 * @param {number | undefined} value
 * @returns {string}
 */
export const number = (value) =>
  value === undefined || Number.isNaN(value) ? "unknown" : format.format(value);

/**
 * Returns a rate.
 * @param {number | undefined} value A second.
 * @returns {string}
 */
export const rate = (value) => (value === undefined ? "unknown" : `${number(Math.round(value))}/s`);

/**
 * Returns a duration, such as "4.1 s".
 * @param {number} ms
 * @returns {string}
 */
export function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  return `${Math.floor(s / 60)} min ${s % 60} s`;
}

/**
 * Returns an instant of the recording, such as "03:12.4", to tenths of a second.
 * @param {number} ms
 * @returns {string}
 */
export function clock(ms) {
  const tenths = Math.floor(Math.abs(ms) / 100);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const s = Math.floor(tenths / 10);
  const hours = s >= 3600 ? `${Math.floor(s / 3600)}:` : "";
  return `${ms < 0 ? "−" : ""}${hours}${two(Math.floor(s / 60) % 60)}:${two(s % 60)}.${tenths % 10}`;
}

/**
 * Returns brokers, such as "0 1 2", "none" or "unknown".
 * @param {number[] | undefined} ids
 * @returns {string}
 */
export const brokers = (ids) => (ids === undefined ? "unknown" : ids.length === 0 ? "none" : ids.join(" "));

/**
 * Returns a leader: its id, "none" or "unknown".
 * @param {number | null | undefined} id
 * @returns {string}
 */
export const leader = (id) => (id === undefined ? "unknown" : id === null ? "none" : String(id));

/** @type {Record<string, string>} */
const OUTCOMES = {
  kept: "kept",
  broken: "broken",
  could_not_tell: "could not tell",
  pass: "pass",
  fail: "fail",
  inconclusive: "could not tell",
  shown: "seen",
  absent: "not seen",
  contradicted: "the opposite was seen",
};

/**
 * Returns a word of the tool's results as people say it.
 * @param {string} word
 * @returns {string}
 */
export const outcome = (word) => OUTCOMES[word] ?? word.replaceAll("_", " ");

/**
 * Returns "1 partition", "2 partitions".
 * @param {number} count
 * @param {string} what
 * @returns {string}
 */
export const many = (count, what) => `${number(count)} ${what}${count === 1 ? "" : "s"}`;

/**
 * Says what an entry of the log tells.
 * @param {LogEntry} entry
 * @returns {string}
 */
export function say({ line, before }) {
  switch (line.event) {
    case "begin": {
      const kafka = line.kafka ? `, Kafka ${line.kafka}` : "";
      return `The recording of the lab ${line.lab} begins${kafka}${line.backend ? `, on ${line.backend}` : ""}.`;
    }
    case "end":
      return line.reason === "signal" ? "The recording was stopped." : "The recording ends: its time is over.";
    case "broker":
      return line.answers
        ? `Broker ${line.broker} answers.`
        : `Broker ${line.broker} does not answer${line.why ? `: ${line.why}` : ""}.`;
    case "controller": {
      const epoch = typeof line.epoch === "number" ? `, epoch ${line.epoch}` : "";
      if (typeof line.controller !== "number") return "Nobody knows a controller.";
      const was = before === undefined ? "" : `; it was ${before === null ? "unknown" : before}`;
      return `The controller is ${line.controller}${epoch}${was}.`;
    }
    case "topic": {
      const partitions = many(line.partitions, "partition");
      if (typeof line.topic_id !== "string") return `The topic ${line.topic} is gone.`;
      if (!before) return `The topic ${line.topic} is there, with ${partitions}.`;
      if (before.id === null) return `The topic ${line.topic} was created, with ${partitions}.`;
      if (before.id !== line.topic_id) return `The topic ${line.topic} was deleted and created again.`;
      return `The topic ${line.topic} has ${partitions} now.`;
    }
    case "partition":
      return `${line.topic}/${line.partition}: ${leadership(line, before)}.`;
    case "offsets":
      return `${line.topic}: offsets of ${many(line.partitions, "partition")}.`;
    case "client":
      return line.role === "producer"
        ? `${line.client} (${line.topic}): ${number(line.a)} sent, ${number(line.b)} acked${ended(line)}.`
        : `${line.client} (${line.topic}): ${number(line.a)} received${ended(line)}.`;
    case "client_unknown":
      return `The state of ${line.client} (${line.topic}) cannot be read: ${line.why}.`;
    case "gap": {
      const what = line.role === "producer" ? "acked" : "received";
      return `${line.client}: nothing ${what} in ${line.topic}/${line.partition} for ${span(line.gap_ms)}.`;
    }
    case "journal":
      return journal(line.command, line.line);
    default:
      return String(line.event);
  }
}

/**
 * @param {any} line
 * @returns {string}
 */
const ended = (line) => (line.ended ? "; it ended" : "");

/**
 * @param {any} now
 * @param {any} before
 * @returns {string}
 */
function leadership(now, before) {
  if (!before || before.leader === undefined) {
    return `leader ${leader(now.leader ?? null)}, epoch ${now.epoch}, ISR ${brokers(now.isr)}`;
  }
  /** @type {string[]} */
  const parts = [];
  const change = (/** @type {string} */ what, /** @type {string} */ was, /** @type {string} */ is) => {
    if (was !== is) parts.push(`${what} ${was} → ${is}`);
  };
  change("leader", leader(before.leader), leader(now.leader ?? null));
  change("epoch", String(before.epoch), String(now.epoch));
  change("ISR", brokers(before.isr), brokers(now.isr));
  change("replicas", brokers(before.replicas), brokers(now.replicas));
  return parts.length > 0 ? parts.join(", ") : `still leader ${leader(now.leader ?? null)}`;
}

/**
 * @param {string} command
 * @param {any} line
 * @returns {string}
 */
function journal(command, line) {
  switch (line.event) {
    case "plan_begun":
      return `${command} begins, with ${many(Array.isArray(line.steps) ? line.steps.length : 0, "step")}.`;
    case "started":
      return `${command}: ${line.step} began.`;
    case "status":
      return `${command}: ${line.step}: ${line.text}`;
    case "finished":
      return `${command}: ${line.step}: ${line.state}${line.text ? `: ${line.text}` : ""}`;
    case "plan_ended":
      return `${command} ended, exit code ${line.exit}.`;
    case "note":
      return `${command}: ${line.text}`;
    case "drill_begun":
      return `Drill ${line.drill} begins on ${line.topic}. Promised: ${line.promised}.`;
    case "drill_move":
      return `Drill ${line.drill}: ${line.text}.`;
    case "drill_mended":
      return `Drill ${line.drill}: everything is mended.`;
    case "drill_ended":
      return `Drill ${line.result?.drill ?? ""} ended: ${outcome(String(line.result?.outcome ?? "unknown"))}.`;
    case "reported":
      return `${command} reported, exit code ${line.report?.exit ?? "unknown"}.`;
    default:
      return `${command}: ${line.event ?? "an unknown event"}`;
  }
}
