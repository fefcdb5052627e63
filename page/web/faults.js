/** The drills with their moves, what each proof found, and the account; and what other commands did. */

import { by, el, keyed, set, table } from "#dom";
import { clock as time, many, number, outcome, span } from "#words";

/** @import {Child, Command, Commands, Drill, View} from "./types.js" */

/** @type {Record<string, string>} */
const IS = { kept: "good", broken: "bad", could_not_tell: "open", shown: "good", absent: "open", contradicted: "bad" };
/** @type {Record<string, string>} */
const STEP = { passed: "good", changed: "good", failed: "bad" };
/** Partitions in the table of times. */
const TIMES = 16;

/** @type {(value: any) => any[]} */
const array = (value) => (Array.isArray(value) ? value : []);
/** @type {(value: any) => string} */
const lasted = (value) => (typeof value === "number" ? span(value) : "not seen");

/**
 * Makes the panel.
 * @param {Commands} commands
 * @returns {{draw: (view: View) => void}}
 */
export function faultsPanel(commands) {
  const list = /** @type {HTMLElement} */ (by("faults", HTMLElement).querySelector(".list"));
  set(list, "tabindex", 0);
  set(list, "role", "region");
  set(list, "aria-label", "All drills and commands");
  let newest = "";
  return {
    draw({ picture }) {
      /** @type {{key: string, mark: string, when: number, fill: (node: HTMLElement) => void, drill?: Drill}[]} */
      const items = picture.drills.map((drill, n) => ({
        key: `drill-${n}`,
        mark: `${drill.began} ${drill.moves.length} ${drill.mended} ${drill.ended}`,
        when: drill.began,
        drill,
        fill: (node) => fillDrill(node, drill, commands),
      }));
      for (const [n, command] of picture.commands.entries()) {
        const { steps, notes, ended, exit } = command;
        // A drill's own steps are told by its moves.
        if (command.command === "drill" && steps.length === 0) continue;
        items.push({
          key: `command-${n}`,
          mark: [command.began, ended, exit, notes.length, ...steps.map(({ state, text }) => `${state}${text}`)].join(),
          when: command.began,
          fill: (node) => fillCommand(node, command, commands),
        });
      }
      items.sort((one, other) => other.when - one.when);
      if (items.length === 0) {
        keyed(list, ["none"], String, () => el("p", { class: "soft" }, "No drill and no command so far."));
        return;
      }
      // The newest drill is open; whoever opens or closes another one is not overruled.
      const first = items.find((item) => item.drill) ?? items[0];
      const isNew = first?.key !== newest;
      newest = first?.key ?? "";
      keyed(
        list, items, (item) => item.key,
        () => el("details", { class: "drill" }),
        (node, item) => {
          if (isNew) node.open = item === first;
          if (node.dataset.mark === item.mark) return;
          node.dataset.mark = item.mark;
          item.fill(node);
        },
      );
    },
  };
}

/**
 * A line with a time that one can go to.
 * @param {Commands} commands
 * @param {number} when
 * @param {...Child} words
 */
const moment = (commands, when, ...words) => el(
  "li", null, el("button", { type: "button", class: "link", click: () => commands.seek(when) }, time(when)),
  el("span", null, ...words),
);

/**
 * @param {HTMLElement} node
 * @param {Drill} drill
 * @param {Commands} commands
 */
function fillDrill(node, drill, commands) {
  const { result } = drill;
  const word = typeof result?.outcome === "string" ? result.outcome : undefined;
  set(node, "data-drill", drill.drill);
  set(node, "data-outcome", word ?? "running");
  const state = el("span", { class: "badge", "data-is": word ? IS[word] : "open" }, word ? outcome(word) : "not ended");
  const about = el("p", null, `Promised: ${drill.promised ?? "unknown"}.`);
  if (drill.topic !== undefined) about.append(` Topic ${drill.topic}.`);
  if (drill.rate === 0) about.append(" At full speed.");
  else if (drill.rate !== undefined) about.append(` ${number(drill.rate)} messages/s.`);
  if (typeof result?.promise === "string") about.append(` The ledger's report: promise ${outcome(result.promise)}.`);
  const without = array(result?.without);
  if (without.length > 0) about.append(` A control, without ${without.join(", ")}.`);
  const content = el(
    "div", null, about,
    el(
      "ol", null,
      moment(commands, drill.began, "the drill begins"),
      ...drill.moves.map(({ when, text }) => moment(commands, when, el("b", null, text))),
      drill.mended !== undefined && moment(commands, drill.mended, "everything is mended"),
      drill.ended !== undefined && moment(commands, drill.ended, `ended: ${outcome(word ?? "unknown")}`),
    ),
  );
  if (result) {
    if (typeof result.error === "string") content.append(el("p", { "data-wrong": true }, result.error));
    for (const text of array(result.faults)) content.append(el("p", { "data-wrong": true }, String(text)));
    for (const one of array(result.struck)) content.append(...struck(one));
    content.append(...account(result));
  }
  node.replaceChildren(el("summary", null, `Drill ${drill.drill}`, state), content);
}

/**
 * @param {any} one A fault that struck.
 * @returns {HTMLElement[]}
 */
function struck(one) {
  const at = array(one?.brokers);
  const where = at.length > 0 ? ` at broker ${at.join(", ")}` : "";
  const proofs = table(
    `Proofs that ${one?.fault ?? "the fault"} struck${where}`,
    ["looked for", "found", "seen"],
    array(one?.evidence).map(({ looked_for, found, seen }) => [
      String(looked_for),
      el("span", { class: "badge", "data-proof": found, "data-is": IS[found] ?? "open" }, outcome(String(found))),
      String(seen),
    ]),
  );
  const times = array(one?.partitions);
  const text = [`Detected after ${lasted(one?.detected_after_ms)}, mended after ${lasted(one?.mended_after_ms)}.`];
  const stuck = array(one?.stuck);
  if (stuck.length > 0) text.push(`The load did not continue in partition ${stuck.join(", ")}.`);
  if (times.length > TIMES) text.push(`Times of the first ${TIMES} of ${many(times.length, "partition")}:`);
  const stood = table(
    "How long each partition stood still",
    ["partition", "acked again after", "received again after", "longest without ack", "without receipt"],
    times.slice(0, TIMES).map((row) => [
      String(row.partition), lasted(row.acked_after_ms), lasted(row.received_after_ms),
      lasted(row.longest_ack_gap_ms), lasted(row.longest_receive_gap_ms),
    ]),
  );
  return [proofs, el("p", null, text.join(" ")), ...(times.length > 0 ? [stood] : [])];
}

/**
 * @param {any} result
 * @returns {HTMLElement[]}
 */
function account(result) {
  const rows = array(result.ledger?.partitions);
  if (rows.length === 0) return [];
  const sum = (/** @type {string} */ field) => rows.reduce((total, row) => total + (row?.[field] ?? NaN), 0);
  const fields = ["sent", "acked", "received", "missing", "duplicate", "out_of_order"];
  const totals = el("dl", { class: "row" }, ...fields.map((field) => {
    const value = sum(field);
    const wrong = fields.indexOf(field) > 2 && value > 0;
    return el(
      "div", { [`data-total-${field.replaceAll("_", "-")}`]: Number.isNaN(value) ? "unknown" : value },
      el("dt", { class: "soft" }, field.replaceAll("_", " ")), el("dd", { "data-wrong": wrong }, number(value)),
    );
  }));
  const verdict = `The ledger: ${outcome(String(result.ledger.verdict))}. ${array(result.ledger.reasons).join("; ")}`;
  const errors = Object.entries(result.errors ?? {}).map(([code, count]) => `${code} ${count}`);
  const failed = errors.length > 0 ? [el("p", null, `Failed deliveries: ${errors.join(", ")}.`)] : [];
  return [el("p", null, verdict), totals, ...failed];
}

/**
 * @param {HTMLElement} node
 * @param {Command} command
 * @param {Commands} commands
 */
function fillCommand(node, command, commands) {
  const { exit, ended } = command;
  set(node, "data-command", command.command);
  set(node, "data-exit", exit ?? "unknown");
  const is = exit === 0 ? "good" : exit === undefined ? "open" : "bad";
  const word = exit !== undefined ? `exit code ${exit}` : ended === undefined ? "running" : "not ended";
  const steps = command.steps.map((step) => {
    const state = el("span", { class: "badge", "data-is": STEP[step.state ?? ""] }, step.state ?? "");
    const words = [el("b", null, step.title), " ", step.state !== undefined && state, step.text ? ` ${step.text}` : ""];
    if (step.began !== undefined) return moment(commands, step.began, ...words);
    return el("li", null, el("span", { class: "soft" }, "–"), el("span", null, ...words));
  });
  node.replaceChildren(
    el("summary", null, `cargo xtask ${command.command}`, el("span", { class: "badge", "data-is": is }, word)),
    el(
      "div", null,
      el("ol", null, moment(commands, command.began, "the command begins"), ...steps),
      ...command.notes.map((note) => el("p", null, note)),
    ),
  );
}
