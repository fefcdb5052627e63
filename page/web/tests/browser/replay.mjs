/**
 * A recording or a report in a browser: `node replay.mjs ADDRESS FILM`. At twenty instants the page shows what the
 * recording says. It is used by keyboard, in both colour schemes, and in narrow and wide windows.
 */

import assert from "node:assert/strict";

import { accessible, equal, open, read, shoot, shown, told, until } from "./page.mjs";

const [address = "", film = ""] = process.argv.slice(2);
const isFile = address.startsWith("file:");
const kind = isFile ? "report" : "replay";
const { browser, page, wrong, asked } = await open(address, isFile ? { offline: true } : {});
const lines = read(film);
const end = lines.at(-1)?.at_ms ?? 0;

const head = page.locator("#head");
await until("recording", 30, async () => Number(await head.getAttribute("max")) >= end);
// Random instants, the same in each run, and the ends.
let random = 7;
const instants = Array.from({ length: 18 }, () => {
  random = (random * 48271) % 2147483647;
  return random % (end + 1);
});
let slowest = 0;
for (const ms of [0, ...instants, end]) {
  const began = performance.now();
  await head.fill(String(ms));
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  slowest = Math.max(slowest, performance.now() - began);
  assert.equal(await page.locator("[data-now-ms]").getAttribute("data-now-ms"), String(ms));
  equal(await shown(page), told(lines.filter(({ at_ms }) => at_ms <= ms)), `${kind} at ${ms} ms`);
}
console.log(`${kind}: 20 instants, the slowest drawn after ${Math.round(slowest)} ms`);

// By keyboard: help, play, steps, the ends.
await page.locator("body").press("?");
await page.locator("#help").waitFor({ state: "visible" });
await shoot(page, `${kind}-help`);
await page.keyboard.press("Escape");
const now = async () => Number(await page.locator("[data-now-ms]").getAttribute("data-now-ms"));
await page.locator("body").press("Home");
await until("beginning", 5, async () => await now() === 0);
await page.locator("body").press("Space");
await until("playing", 10, async () => await now() > 300);
await page.locator("body").press("Space");
await page.locator("body").press("End");
await until("end", 5, async () => await now() >= end);
await page.locator("body").press(",");
await until("earlier event", 5, async () => await now() < end);

// The journey of a message: where the recording says that it was written and read.
const row = lines.filter(({ event, topic }) => event === "offsets" && topic === "test").at(-1);
const [partition, , high] = row?.partitions[0] ?? [];
await page.locator("#journey [name=topic]").selectOption("test");
await page.locator("#journey [name=partition]").fill(String(partition));
await page.locator("#journey [name=offset]").fill(String(high - 1));
await page.locator("#journey button").click();
await page.locator("[data-journey=written]").waitFor();
assert.match(await page.locator("#journey").innerText(), /Written\nBetween/);

for (const scheme of /** @type {const} */ (["light", "dark"])) {
  await page.emulateMedia({ colorScheme: scheme });
  for (const width of [360, 1280, 2560]) {
    await page.setViewportSize({ width, height: 1200 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `${width} pixels: the page is ${wide} pixels wider than its window`);
    await shoot(page, `${kind}-${scheme}-${width}`);
  }
  await accessible(page, `the ${kind}, ${scheme}`);
}
assert.deepEqual(wrong, []);
const others = asked.filter((url) => !url.startsWith("data:") && !url.startsWith(isFile ? new URL(address).href : new URL(address).origin));
assert.deepEqual(others, [], "nobody else is asked");
if (isFile) {
  // Not even if a script wanted to.
  const refused = await page.evaluate(() => fetch("https://example.org/").then(() => "answered", () => "refused"));
  assert.equal(refused, "refused");
}
await browser.close();
