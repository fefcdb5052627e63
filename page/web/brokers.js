/** The brokers as cards, with the controller and the last verdict. */

import { by, el, keyed, say, set } from "#dom";
import { colourOf } from "#lanes";
import { many, outcome, span } from "#words";

/** @import {BrokerPicture, Card, View} from "./types.js" */

/**
 * Makes the panel.
 * @returns {{draw: (view: View) => void}}
 */
export function brokersPanel() {
  const cards = /** @type {HTMLElement} */ (by("brokers", HTMLElement).querySelector(".cards"));
  return {
    draw(view) {
      const { picture } = view;
      /** @type {Card[]} */
      const all = picture.brokers.map((broker) => brokerCard(view, broker));
      const { controller } = picture;
      if (controller && !picture.brokers.some((broker) => broker.id === controller.id)) all.push(controllerCard(view));
      all.push(verdictCard(view));
      keyed(cards, all, (card) => card.key, (card) => card.make(), (node, card) => card.fill(node));
    },
  };
}

/**
 * @param {View} view
 * @param {BrokerPicture} broker
 * @returns {Card}
 */
function brokerCard({ picture }, broker) {
  return {
    key: `broker-${broker.id}`,
    make: () => el(
      "article", { class: "card", "data-broker": broker.id },
      el(
        "h3", null, el("span", { class: "chip", "data-colour": colourOf(broker.id) }, String(broker.id)),
        `Broker ${broker.id}`, el("span", { class: "badge controller" }, "controller"),
      ),
      el("p", { class: "state" }), el("p"), el("p", { class: "soft" }, broker.address ?? "address unknown"),
    ),
    fill(node) {
      set(node, "data-answers", broker.answers ?? "unknown");
      set(node, "data-controller", broker.controller ?? "unknown");
      const [title, state, leads] = node.children;
      set(/** @type {Element} */ (title?.lastElementChild), "hidden", broker.controller !== true);
      const { answers, why, since } = broker;
      const long = since === undefined ? "" : `, for ${span(picture.ms - since)}`;
      if (state) {
        if (answers === undefined) say(state, "unknown");
        else say(state, answers ? `answers${long}` : `does not answer${long}${why ? `: ${why}` : ""}`);
      }
      let all = 0;
      const words = [];
      for (const topic of picture.topics) {
        const count = broker.leads.get(topic.name);
        if (count === undefined || topic.exists === false) continue;
        all += count;
        words.push(`${count} of ${topic.partitions.length} in ${topic.name}`);
      }
      set(node, "data-leads", words.length > 0 ? all : "unknown");
      if (leads) say(leads, words.length > 0 ? `leads ${words.join(", ")}` : "leads: unknown");
    },
  };
}

/**
 * @param {View} view
 * @returns {Card}
 */
function controllerCard({ picture }) {
  const { controller } = picture;
  return {
    key: "controller",
    make: () => el("article", { class: "card" }, el("h3", null, "Controller"), el("p", { class: "state" }), el("p")),
    fill(node) {
      const id = controller?.id;
      set(node, "data-controller-id", id ?? "none");
      set(node, "data-is", id === null ? "bad" : "good");
      const [, state, more] = node.children;
      if (state) say(state, id === null ? "nobody knows one" : `node ${id}`);
      const epoch = controller?.epoch === undefined ? "" : `, epoch ${controller.epoch}`;
      if (more) say(more, id === null ? "" : `leads the metadata quorum${epoch}`);
    },
  };
}

/**
 * @param {View} view
 * @returns {Card}
 */
function verdictCard({ picture }) {
  const verdict = picture.verdicts.at(-1);
  const drill = picture.drills.findLast((one) => one.ended === undefined);
  return {
    key: "verdict",
    make: () => el("article", { class: "card", "data-verdict": "" }, el("h3"), el("p", { class: "state" }), el("p")),
    fill(node) {
      const [title, state, more] = node.children;
      if (!title || !state || !more) return;
      if (drill) {
        set(node, "data-is", "open");
        set(node, "data-verdict", "running");
        say(title, `Drill ${drill.drill}`);
        say(state, drill.moves.at(-1)?.text ?? "begins");
        say(more, `promised: ${drill.promised ?? "unknown"}`);
        return;
      }
      set(node, "data-is", verdict?.is ?? "unknown");
      set(node, "data-verdict", verdict?.word ?? "unknown");
      say(title, verdict ? `Last verdict: ${verdict.of}` : "Last verdict");
      say(state, verdict ? outcome(verdict.word) : "unknown");
      say(more, verdict ? verdict.reasons[0] ?? "" : `${many(0, "drill")} or verify so far`);
    },
  };
}
