/** The log: every event in words. */

import { entriesUpTo } from "#reducer";
import { by, el, say, set } from "#dom";
import { virtual } from "#virtual";
import { clock as time, say as words } from "#words";

/** @import {Commands, Kind, LogEntry, View} from "./types.js" */

/** @type {{name: string, kinds: Kind[], on: boolean}[]} */
const FILTERS = [
  { name: "brokers", kinds: ["broker"], on: true },
  { name: "leaders", kinds: ["leader"], on: true },
  { name: "stand-stills", kinds: ["still"], on: true },
  { name: "commands", kinds: ["command"], on: true },
  { name: "counts", kinds: ["counts"], on: false },
];
const ROW = 26;

/**
 * Makes the panel.
 * @param {Commands} commands
 * @returns {{draw: (view: View) => void}}
 */
export function logPanel(commands) {
  const section = by("log", HTMLElement);
  const box = /** @type {HTMLElement} */ (section.querySelector(".box"));
  const sizer = /** @type {HTMLElement} */ (section.querySelector(".sizer"));
  const find = by("find", HTMLInputElement);
  const on = new Set(FILTERS.filter((one) => one.on).map((one) => one.name));
  /** @type {LogEntry[]} */
  let shown = [];
  let taken = 0;
  /** @type {View["film"] | undefined} */
  let film;
  let current = -1;
  let ms = 0;
  let pointed = false;
  const anew = () => {
    film = undefined;
    commands.redraw();
  };
  /** @type {HTMLElement} */ (section.querySelector("fieldset")).append(...FILTERS.map(({ name }) => {
    const input = el("input", { type: "checkbox", "data-filter": name });
    input.checked = on.has(name);
    input.addEventListener("change", () => {
      if (input.checked) on.add(name);
      else on.delete(name);
      anew();
    });
    return el("label", { class: "inline" }, input, name);
  }));
  find.addEventListener("input", anew);
  // Who reads in the list does not want it to move.
  box.addEventListener("pointerenter", () => (pointed = true));
  box.addEventListener("pointerleave", () => (pointed = false));

  const list = virtual({
    box, sizer, height: ROW, place: "aria-posinset",
    make() {
      const go = el("button", { type: "button", class: "link" });
      go.addEventListener("click", () => commands.seek(Number(go.dataset.at)));
      return el("div", { role: "listitem" }, go, el("span"));
    },
    fill(node, index) {
      const entry = shown[index];
      const [go, text] = node.children;
      if (!entry || !go || !text) return;
      set(node, "aria-setsize", shown.length);
      set(node, "data-kind", entry.kind);
      set(node, "data-later", entry.at > ms);
      set(node, "aria-current", index === current && "time");
      set(go, "data-at", entry.at);
      say(go, time(entry.when));
      const said = words(entry);
      say(text, said);
      set(text, "title", said);
    },
  });

  return {
    draw(view) {
      const wanted = find.value.trim().toLowerCase();
      if (film !== view.film || taken > view.film.log.length) {
        film = view.film;
        shown = [];
        taken = 0;
        current = -1;
      }
      const kinds = new Set(FILTERS.filter((one) => on.has(one.name)).flatMap((one) => one.kinds));
      kinds.add("recording");
      for (; taken < film.log.length; taken += 1) {
        const entry = film.log[taken];
        if (!kinds.has(entry.kind) || (wanted !== "" && !words(entry).toLowerCase().includes(wanted))) continue;
        shown.push(entry);
      }
      ms = view.clock.ms;
      const now = entriesUpTo(shown, ms) - 1;
      list.show(shown.length);
      if (now !== current) {
        current = now;
        const top = now * ROW;
        const hidden = top < box.scrollTop || top > box.scrollTop + box.clientHeight - ROW * 2;
        if (hidden && !pointed && !box.contains(document.activeElement)) {
          box.scrollTop = Math.max(0, top - box.clientHeight + ROW * 3);
        }
        list.show(shown.length);
      }
    },
  };
}
