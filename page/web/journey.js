/** The journey of one message. */

import { by, el, keyed, options } from "#dom";
import { trace } from "#trace";
import { brokers, clock as time, leader, number } from "#words";

/** @import {Between, Commands, Journey, View} from "./types.js" */

/**
 * Makes the panel.
 * @param {Commands} commands
 * @returns {{draw: (view: View) => void}}
 */
export function journeyPanel(commands) {
  const section = by("journey", HTMLElement);
  const form = /** @type {HTMLFormElement} */ (section.querySelector("form"));
  const found = /** @type {HTMLElement} */ (section.querySelector(".found"));
  const field = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
  const topics = /** @type {HTMLSelectElement} */ (form.elements.namedItem("topic"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    commands.follow({
      topic: topics.value, partition: Number(field("partition").value), offset: Number(field("offset").value),
    });
  });
  let shown = "";
  let size = -1;
  /** @type {View["message"]} */
  let last;

  return {
    draw({ film, clock, picture, message }) {
      if (size !== film.topics.size) {
        size = film.topics.size;
        options(topics, [...film.topics.keys()].map((name) => ({ value: name, text: name })));
      }
      if (message && message !== last) {
        topics.value = message.topic;
        field("partition").value = String(message.partition);
        field("offset").value = String(message.offset);
      }
      last = message;
      if (!message) {
        keyed(found, ["none"], String, () => el(
          "p", { class: "soft" }, "Click in a lane, or type a partition and an offset.",
        ));
        return;
      }
      const journey = trace(film, message.topic, message.partition, message.offset, picture.ms, clock.end);
      // The words change only with what is known, not with the play head.
      const mark = JSON.stringify([message, journey.state === "written" ? { ...journey, high: 0 } : journey]);
      if (mark === shown) return;
      shown = mark;
      found.replaceChildren(...words(message, journey));
    },
  };
}

/**
 * @param {Between} between
 * @param {string} otherwise
 */
const when = ({ from, to }, otherwise) =>
  (from === undefined ? `${otherwise} ${time(to)}` : `between ${time(from)} and ${time(to)}`);

/**
 * @param {NonNullable<View["message"]>} message
 * @param {Journey} journey
 * @returns {HTMLElement[]}
 */
function words({ topic, partition, offset }, journey) {
  const title = el("h3", null, `${topic}/${partition}, offset ${number(offset)}`);
  if (journey.state === "unknown") {
    return [title, el("p", { "data-journey": "unknown" }, "The recording does not tell anything about it here.")];
  }
  if (journey.state === "not yet" || !journey.passed) {
    const text = `Not there yet: the high watermark is ${number(journey.high)}.`;
    return [title, el("p", { "data-journey": "not yet" }, text)];
  }
  const line = (/** @type {string} */ name, /** @type {string} */ text, /** @type {string} */ more = "") =>
    el("li", null, el("span", null, name), el("span", null, text, more !== "" && el("span", { class: "soft" }, more)));
  const { passed, leads, acked, reads, deleted, gone } = journey;
  const list = el("ol", { "data-journey": "written" });
  const early = "It was there when the observer first looked, at";
  list.append(line(
    "Written", passed.from === undefined ? `${early} ${time(passed.to)}.` : `${capital(when(passed, ""))}.`,
    passed.from === undefined ? "" : "Then every in-sync replica had it: the high watermark passed it.",
  ));
  const names = leads.map((lead) => `${leader(lead.leader)}, epoch ${lead.epoch}, ISR ${brokers(lead.isr)}`);
  list.append(line(
    "Leader then", names.length > 0 ? names.join("; or ") : "unknown",
    names.length > 1 ? "The leadership changed meanwhile; the recording cannot tell which of these took it." : "",
  ));
  list.append(line(
    "Acknowledged", acked ? `${capital(when(acked, "at the latest at"))}.` : "The recording cannot tell.",
    acked ? "By then the producer had as many acknowledgements as the log has messages, and none in doubt."
      : "A producer counts acknowledgements, not the messages they are for.",
  ));
  for (const { client, read } of reads) {
    list.append(line(
      `Read by ${client}`,
      read ? `${capital(when(read, "at the latest at"))}.` : "Not as far as the recording tells.",
      read ? "Then its next offset was behind the message." : "",
    ));
  }
  if (reads.length === 0) list.append(line("Read", "unknown", "No consumer's offsets are known here."));
  if (gone !== undefined) list.append(line("The topic", `Gone at ${time(gone)}.`));
  if (deleted !== undefined) list.append(line("Deleted", `At ${time(deleted)} the log began after it.`));
  return [title, list];
}

/** @param {string} text */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
