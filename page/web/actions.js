/** What a live page can do to its lab. */

import { by, el } from "#dom";

/** @import {Action} from "./types.js" */

/** @type {Record<string, string>} */
const ABOUT = {
  "clients-start": "Starts the lab's producer and consumer. They send and read until they are stopped.",
  "clients-stop": "Stops the lab's producer and consumer. Their messages stay.",
  verify: "Checks the lab, and sends and reads a fresh run of messages. It takes about a minute and breaks nothing.",
  drill: "Breaks the lab on purpose under load on a topic of its own, mends it, and reports what was lost.",
};

/** @param {string} text */
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;

/**
 * Makes the panel. It is hidden until there are actions.
 * @returns {{offer: (actions: any) => void, progress: (progress: any) => void}} `offer` takes the actions of the
 *   server's hello, `progress` what became of the last one.
 */
export function actionsPanel() {
  const section = by("actions", HTMLElement);
  const row = /** @type {HTMLElement} */ (section.querySelector(".row"));
  const answer = /** @type {HTMLElement} */ (section.querySelector(".answer"));
  const dialog = by("confirm", HTMLDialogElement);
  /** @type {Action | undefined} */
  let asked;

  const tell = (/** @type {string} */ text, /** @type {boolean} */ bad) => {
    answer.textContent = text;
    answer.dataset.is = bad ? "bad" : "good";
  };

  const ask = (/** @type {Action} */ action) => {
    asked = action;
    const [title, text] = dialog.children;
    if (title) title.textContent = `${action.title}?`;
    const about = action.about ?? ABOUT[action.action] ?? "This changes the lab.";
    const runs = action.line === undefined ? "" : ` It runs \`${action.line}\`.`;
    if (text) text.textContent = `${sentence(about)}${runs} You see what happens on this page.`;
    dialog.returnValue = "no";
    dialog.showModal();
  };

  dialog.addEventListener("close", async () => {
    if (dialog.returnValue !== "yes" || !asked) return;
    const { action, fault, title } = asked;
    tell(`${title}: asking the lab …`, false);
    try {
      const body = JSON.stringify(fault === undefined ? { action } : { action, fault });
      const headers = { "content-type": "application/json" };
      const response = await fetch("action", { method: "POST", headers, body });
      // What becomes of it comes with the events.
      if (!response.ok) {
        const said = await response.json().catch(() => ({}));
        tell(`${title}: ${typeof said.error === "string" ? said.error : `refused (${response.status})`}`, true);
      }
    } catch {
      tell(`${title}: no answer from the page's server.`, true);
    }
  });

  return {
    offer(actions) {
      /** @type {Action[]} */
      const all = (Array.isArray(actions) ? actions : [])
        .filter((one) => typeof one?.action === "string")
        .map((one) => ({ ...one, title: String(one.title ?? one.fault ?? one.action) }));
      const drills = all.filter((one) => one.fault !== undefined);
      const buttons = all.filter((one) => one.fault === undefined).map((one) => el(
        "button", { type: "button", "data-action": one.action, click: () => ask(one) }, one.title,
      ));
      row.replaceChildren(...buttons);
      if (drills.length > 0) {
        const select = el(
          "select", { "aria-label": "Drill" },
          ...drills.map((one, n) => el("option", { value: n }, one.title)),
        );
        const go = el("button", {
          type: "button", "data-action": "drill",
          click: () => {
            const drill = drills[Number(select.value)];
            if (drill) ask(drill);
          },
        }, "Break it …");
        row.append(select, go);
      }
      section.hidden = all.length === 0;
    },

    progress({ line, running, exit, words }) {
      section.dataset.running = String(running === true);
      if (running) {
        tell(`\`${line}\` runs.`, false);
      } else if (exit === 0) {
        tell(`\`${line}\` has ended well.`, false);
      } else {
        const how = typeof exit === "number" ? `ended with exit code ${exit}` : "was ended by a signal";
        tell(`\`${line}\` ${how}. ${words ?? ""}`, true);
      }
    },
  };
}
