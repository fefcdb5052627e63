/**
 * A running lab in a browser: `node live.mjs ADDRESS FILM`, where the server at the address records to the film. It runs
 * a drill from the page, and at each change compares the page with what the observer recorded.
 */

import assert from "node:assert/strict";

import { accessible, equal, open, read, shoot, shown, told, until } from "./page.mjs";

const [address = "", film = ""] = process.argv.slice(2);
const began = performance.now();
const { browser, page, wrong, asked } = await open(address);

// The first picture is whole at once.
await until("picture", 20, async () => {
  const now = await shown(page);
  return now["broker 2 answers"] === "true" && now["test/3 leader"] !== undefined && now["test/3 leader"] !== "unknown";
});
console.log(`first picture after ${Math.round(performance.now() - began)} ms, browser included`);

// A drill, from the keyboard: choose, confirm, and see it begin.
const section = page.locator("#actions");
await section.locator("select").focus();
await page.keyboard.press("End");
await page.keyboard.press("Home");
assert.equal(await section.locator("select option:checked").textContent(), "Drill leader-kill");
await page.keyboard.press("Tab");
await page.keyboard.press("Enter");
const dialog = page.locator("#confirm");
await dialog.waitFor({ state: "visible" });
assert.match(await dialog.innerText(), /cargo xtask drill leader-kill/);
await page.keyboard.press("Escape");
assert.equal(read(film).filter(({ event }) => event === "journal").some(({ command }) => command === "drill"), false);
await page.keyboard.press("Enter");
await dialog.getByRole("button", { name: "Do it" }).click();
await until("drill", 60, async () => (await page.locator("[data-drill]").count()) > 0);
// One command at a time.
const refused = await page.evaluate(async () => {
  const headers = { "content-type": "application/json" };
  const response = await fetch("action", { method: "POST", headers, body: JSON.stringify({ action: "verify" }) });
  return { status: response.status, ...await response.json() };
});
assert.equal(refused.status, 409);
assert.match(refused.error, /leader-kill.* is running/);

// Until it ends, what the page shows at its edge is what the observer said last: compared whenever both stand still.
let [compared, late] = [0, 0];
const seen = { killed: false, shrunk: false };
await until("end of the drill", 240, async () => {
  const [before, now, after] = [read(film).length, await shown(page), read(film)];
  const numbers = told(after);
  if (before === after.length) {
    try {
      equal(now, numbers, "live");
      compared += 1;
      late = 0;
    } catch (error) {
      // A line that was just written may be on its way; a second is too long.
      late = late || performance.now();
      if (performance.now() - late > 1000) throw error;
    }
  }
  const dead = [0, 1, 2].find((id) => now[`broker ${id} answers`] === "false");
  if (dead !== undefined && !seen.killed) await shoot(page, "live-leader-kill");
  seen.killed ||= dead !== undefined;
  seen.shrunk ||= Object.entries(now).some(([name, isr]) => name.endsWith(" isr") && isr.split(",").length === 2);
  return (await page.locator("[data-drill]").first().getAttribute("data-outcome")) !== "running";
});
assert.deepEqual(seen, { killed: true, shrunk: true }, "a leader was killed, and the page shows it");
assert.ok(compared > 20, `${compared} comparisons`);
console.log(`${compared} comparisons with the recording while the drill ran`);

// The verdict, the proofs and the ledger's totals are those of the drill's result.
const result = read(film).find(({ event, line }) => event === "journal" && line.schema?.startsWith("kafka-lab.drill/"))?.line;
const drill = page.locator("[data-drill]").first();
assert.equal(await drill.getAttribute("data-outcome"), result.outcome);
assert.equal(await page.locator("article[data-verdict]").getAttribute("data-verdict"), result.outcome);
const proofs = result.struck[0].evidence.length;
assert.equal(await drill.locator("[data-proof=shown]").count(), proofs);
const { totals } = await page.evaluate(() => {
  const node = document.querySelector("[data-total-missing]");
  /** @type {Record<string, string>} */
  const totals = {};
  for (const one of node?.parentElement?.children ?? []) Object.assign(totals, { .../** @type {HTMLElement} */ (one).dataset });
  return { totals };
});
const sum = (/** @type {string} */ field) =>
  result.ledger.partitions.reduce((/** @type {number} */ all, /** @type {any} */ row) => all + row[field], 0);
for (const field of ["sent", "acked", "received", "missing", "duplicate"]) {
  const name = `total${field.charAt(0).toUpperCase()}${field.slice(1)}`;
  assert.equal(totals[name], String(sum(field)), `${field} in the drill's account`);
}
await until("word on the drill's end", 20, async () => /has ended well/.test(await section.innerText()));

// Metrics are what the recording says.
const metrics = await (await fetch(`${address}metrics`)).text();
const lines = told(read(film));
const leader = metrics.match(/kafka_lab_partition_leader_id\{topic="test",partition="0"\} (\d+)/)?.[1];
assert.equal(leader, lines["test/0 leader"]);

await shoot(page, "live");
await accessible(page, "the live page");
await page.emulateMedia({ colorScheme: "dark" });
await accessible(page, "the live page in the dark");
await shoot(page, "live-dark");
assert.deepEqual(wrong.filter((text) => !text.includes("409")), []);
const origin = new URL(address).origin;
assert.deepEqual(asked.filter((url) => !url.startsWith(origin) && !url.startsWith("data:")), [], "no other server is asked");
await browser.close();
