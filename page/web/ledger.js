/** The ledger: what each client counted, each partition's account, and the last verdict in words. */

import { by, el, keyed, say, set } from "#dom";
import { seen } from "#paint";
import { virtual } from "#virtual";
import { clock as time, number, outcome, rate } from "#words";

/** @import {ClientPicture, Commands, Verdict, View} from "./types.js" */

/** @type {[string, keyof ClientPicture][]} */
const COUNTS = [
  ["sent", "sent"], ["acked", "acked"], ["not persisted", "notPersisted"], ["unknown", "unknown"],
  ["received", "received"], ["lag", "lag"], ["missing", "missing"], ["duplicate", "duplicate"],
  ["out of order", "outOfOrder"],
];
/** Counts that are wrong unless they are 0. */
const WRONG = new Set(["missing", "duplicate", "outOfOrder"]);
const TITLES = [
  "partition", "sent", "acked", "received", "high", "next", "lag", "missing", "duplicate", "out of order",
];
const ROW = 26;
/** More partitions than this are many. */
const MANY = 128;

/**
 * Makes the panel.
 * @param {Commands} commands
 * @returns {{draw: (view: View) => void}}
 */
export function ledgerPanel(commands) {
  const section = by("ledger", HTMLElement);
  const verdict = /** @type {HTMLElement} */ (section.querySelector(".verdict"));
  const body = el("tbody");
  const whose = el("caption");
  /** @type {HTMLElement} */ (section.querySelector(".scroll")).append(el(
    "table", null, whose,
    el("thead", null, el(
      "tr", null, el("th", { scope: "col" }, "client"),
      ...COUNTS.map(([title]) => el("th", { scope: "col", class: "n" }, title)),
      el("th", { scope: "col" }, "state"),
    )),
    body,
  ));
  const box = /** @type {HTMLElement} */ (section.querySelector(".grid"));
  const sizer = el("div", { class: "sizer", role: "rowgroup" });
  const table = el(
    "div", { role: "table", "aria-label": "Account of each partition" },
    el("div", { role: "rowgroup", class: "titles" }, el(
      "div", { role: "row" }, ...TITLES.map((title) => el("span", { role: "columnheader" }, title)),
    )),
    sizer,
  );
  box.append(table);
  const canBeSeen = seen(box, () => commands.redraw());
  /** @type {(string | number | undefined)[][]} */
  let rows = [];
  const list = virtual({
    box, sizer, height: ROW, place: "aria-rowindex",
    make: () => el("div", { role: "row" }, ...TITLES.map(() => el("span", { role: "cell" }))),
    fill(node, index) {
      const row = rows[index];
      if (!row) return;
      set(node, "data-ledger-partition", row[0]);
      set(node, "data-whole", row[0] === "all");
      for (const [n, value] of row.entries()) {
        const cell = node.children[n];
        if (!cell) continue;
        say(cell, typeof value === "string" ? value : number(value));
        if (n >= 7) set(cell, "data-wrong", typeof value === "number" && value > 0);
      }
    },
  });

  return {
    draw(view) {
      const { picture, topic } = view;
      const own = picture.begin?.topic;
      const clients = picture.clients.filter((one) => one.topic === topic || one.topic === own);
      clients.sort((one, other) => Number(other.topic === topic) - Number(one.topic === topic));
      say(whose, clients.length > 0 ? "Clients" : "Clients: none is known");
      keyed(body, clients, (one) => `${one.topic}\n${one.client}`, makeClient, fillClient);
      const last = picture.verdicts.findLast((one) => one.ledger?.topic === topic);
      fillVerdict(verdict, last ?? picture.verdicts.at(-1));
      const account = new Map();
      for (const row of Array.isArray(last?.ledger?.partitions) ? last.ledger.partitions : []) {
        account.set(row.partition, row);
      }
      const of = picture.topics.find((one) => one.name === topic);
      const known = new Map((of?.partitions ?? []).map((one) => [one.partition, one]));
      // Long accounts cost too much to be kept up to date where nobody looks.
      if (known.size > MANY && !canBeSeen()) return;
      const numbers = [...new Set([...known.keys(), ...account.keys()])].sort((one, other) => one - other);
      rows = numbers.map((partition) => {
        const [part, judged] = [known.get(partition), account.get(partition)];
        return [
          String(partition), part?.sent ?? judged?.sent, part?.acked ?? judged?.acked,
          part?.received ?? judged?.received, part?.high ?? judged?.end, part?.next, part?.lag, judged?.missing,
          judged?.duplicate, judged?.out_of_order,
        ];
      });
      rows.unshift(TITLES.map((_, n) => (n === 0 ? "all" : n === 4 || n === 5 ? "" : whole(rows, n))));
      set(table, "aria-rowcount", rows.length + 1);
      list.show(rows.length);
    },
  };
}

/**
 * A sum is known if each of its parts is.
 * @param {(string | number | undefined)[][]} rows
 * @param {number} n
 * @returns {number | undefined}
 */
function whole(rows, n) {
  let sum = 0;
  for (const row of rows) {
    const value = row[n];
    if (typeof value !== "number") return undefined;
    sum += value;
  }
  return rows.length > 0 ? sum : undefined;
}

/**
 * @param {ClientPicture} client
 * @returns {HTMLElement}
 */
function makeClient({ client, topic }) {
  return el(
    "tr", { "data-client": client, "data-topic": topic },
    el("th", { scope: "row" }, client, " ", el("span", { class: "soft" }, topic)),
    ...COUNTS.map(() => el("td", { class: "n" })), el("td"),
  );
}

/**
 * @param {HTMLElement} node
 * @param {ClientPicture} client
 */
function fillClient(node, client) {
  const produces = new Set(["sent", "acked", "notPersisted", "unknown"]);
  for (const [n, [, field]] of COUNTS.entries()) {
    const cell = node.children[n + 1];
    const value = /** @type {number | undefined} */ (client[field]);
    // What a client does not count at all is neither 0 nor unknown.
    const counts = client.role === undefined || produces.has(field) === (client.role === "producer");
    if (cell) say(cell, counts ? number(value) : "–");
    if (cell && WRONG.has(field)) set(cell, "data-wrong", (value ?? 0) > 0);
    const name = field.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    set(node, `data-${name}`, counts ? value ?? "unknown" : undefined);
  }
  set(node, "data-role", client.role ?? "unknown");
  set(node, "data-ended", client.ended ?? "unknown");
  set(node, "data-readable", client.why === undefined);
  const state = node.lastElementChild;
  if (!state) return;
  const old = client.counted === undefined ? "" : ` (counts of ${time(client.counted)})`;
  if (client.why !== undefined) say(state, `cannot be read: ${client.why}${old}`);
  else if (client.ended) say(state, "ended");
  else say(state, client.role === "producer" ? `acks ${rate(client.ackedRate)}` : `reads ${rate(client.receivedRate)}`);
}

/**
 * @param {HTMLElement} node
 * @param {Verdict | undefined} verdict
 */
function fillVerdict(node, verdict) {
  const mark = verdict ? `${verdict.of} ${verdict.when}` : "none";
  if (node.dataset.mark === mark) return;
  node.dataset.mark = mark;
  if (!verdict) {
    node.replaceChildren(el("p", { class: "soft" }, "No drill and no verify has judged yet."));
    return;
  }
  node.replaceChildren(
    el(
      "p", null, el("span", { class: "badge", "data-is": verdict.is }, outcome(verdict.word)), ` ${verdict.of}, at `,
      time(verdict.when),
    ),
    ...verdict.reasons.map((reason) => el("p", null, reason)),
  );
}
