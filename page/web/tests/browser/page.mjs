/**
 * What the tests in a browser share: a page that is watched for errors and connections, the numbers on it, and the same
 * numbers from a recording, added up without the page's own reducer.
 */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const here = path.dirname(fileURLToPath(import.meta.url));
/** Screenshots, for whoever looks at a run of the tests afterwards. */
const SHOTS = path.join(here, "../../../../target/page");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const BROWSERS = (process.env.PATH ?? "").split(":").map((folder) => path.join(folder, "chromium"));

/**
 * Opens a page.
 * @param {string} address
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
export async function open(address, options = {}) {
  const executablePath = BROWSERS.find((file) => existsSync(file));
  assert.ok(executablePath, "chromium is not on PATH");
  // Its sandbox does not work for root, and it opens nothing but our own page.
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  // Without motion: colours in between would be taken for bad contrast.
  const context = await browser.newContext({
    viewport: { width: 1280, height: 1600 }, reducedMotion: "reduce", ...options,
  });
  const page = await context.newPage();
  /** @type {string[]} */
  const wrong = [];
  /** @type {string[]} */
  const asked = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) wrong.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("request", (request) => asked.push(request.url()));
  await page.goto(address);
  return { browser, page, wrong, asked };
}

/**
 * Saves a screenshot.
 * @param {import("playwright-core").Page} page
 * @param {string} name
 */
export async function shoot(page, name) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
}

/**
 * Asserts that axe finds nothing serious.
 * @param {import("playwright-core").Page} page
 * @param {string} what
 */
export async function accessible(page, what) {
  // As the browser's own tools do it: the page's policy holds for the page's scripts.
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const axe = /** @type {any} */ (globalThis).axe;
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations
      .filter((/** @type {any} */ one) => ["serious", "critical"].includes(one.impact))
      .map((/** @type {any} */ one) => `${one.id}: ${one.nodes.map((/** @type {any} */ node) => node.html).join(" ")}`);
  });
  assert.deepEqual(found, [], `axe on ${what}`);
}

/**
 * The numbers on a page, by name.
 * @param {import("playwright-core").Page} page
 * @returns {Promise<Record<string, string>>}
 */
export async function shown(page) {
  return page.evaluate(() => {
    /** @type {Record<string, string>} */
    const all = {};
    const take = (/** @type {string} */ selector, /** @type {(data: DOMStringMap) => string} */ name,
      /** @type {string[]} */ fields) => {
      for (const node of document.querySelectorAll(selector)) {
        const { dataset } = /** @type {HTMLElement} */ (node);
        for (const field of fields) {
          if (dataset[field] !== undefined) all[`${name(dataset)} ${field}`] = dataset[field];
        }
      }
    };
    take("[data-broker]", ({ broker }) => `broker ${broker}`, ["answers", "controller"]);
    take("#lanes [data-partition]", ({ topic, partition }) => `${topic}/${partition}`,
      ["leader", "epoch", "isr", "first", "high"]);
    take("tr[data-client]", ({ topic, client }) => `${topic} ${client}`,
      ["sent", "acked", "received", "missing", "duplicate", "outOfOrder", "ended"]);
    return all;
  });
}

/**
 * Reads the lines of a recording that are whole.
 * @param {string} file
 * @returns {Record<string, any>[]}
 */
export function read(file) {
  const text = readFileSync(file, "utf8");
  return text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/**
 * The same numbers from the lines of a recording. Each is what the last line about it says.
 * @param {Record<string, any>[]} lines
 * @returns {Record<string, string>}
 */
export function told(lines) {
  /** @type {Record<string, string>} */
  const all = {};
  /** @type {Map<string, Record<string, any>>} */
  const clients = new Map();
  /** @type {Map<string, string | undefined>} */
  const topics = new Map();
  const forget = (/** @type {string} */ start) => {
    for (const name of Object.keys(all)) if (name.startsWith(start)) delete all[name];
  };
  /** @type {number[]} */
  let brokers = [];
  for (const line of lines) {
    const { topic } = line;
    switch (line.event) {
      case "begin":
        brokers = line.brokers.map((/** @type {[number, string]} */ [id]) => id);
        break;
      case "broker":
        all[`broker ${line.broker} answers`] = String(line.answers);
        break;
      case "controller":
        for (const id of brokers) all[`broker ${id} controller`] = String(id === line.controller);
        break;
      case "topic":
        if (topics.get(topic) !== line.topic_id) forget(`${topic}/`);
        topics.set(topic, line.topic_id);
        break;
      case "partition": {
        const name = `${topic}/${line.partition}`;
        all[`${name} leader`] = line.leader === null ? "none" : String(line.leader);
        all[`${name} epoch`] = String(line.epoch);
        all[`${name} isr`] = line.isr.join(",");
        break;
      }
      case "offsets":
        for (const [partition, first, high] of line.partitions) {
          all[`${topic}/${partition} first`] = String(first);
          all[`${topic}/${partition} high`] = String(high);
        }
        break;
      case "client":
        clients.set(`${topic} ${line.client}`, line);
        break;
      default:
    }
  }
  const sum = (/** @type {number[][]} */ rows, /** @type {number} */ column) =>
    String(rows.reduce((all, row) => all + (row[column] ?? 0), 0));
  for (const [name, { role, partitions, ended, missing, duplicate, out_of_order }] of clients) {
    const counts = role === "producer"
      ? { sent: sum(partitions, 1), acked: sum(partitions, 2) }
      : { received: sum(partitions, 1), missing, duplicate, outOfOrder: out_of_order };
    for (const [field, value] of Object.entries({ ...counts, ended })) all[`${name} ${field}`] = String(value);
  }
  return all;
}

/**
 * Asserts that a page shows these numbers. It may show more, as unknown or of what is gone.
 * @param {Record<string, string>} page
 * @param {Record<string, string>} numbers
 * @param {string} when
 */
export function equal(page, numbers, when) {
  /** @type {Record<string, string | undefined>} */
  const same = {};
  for (const name of Object.keys(numbers)) same[name] = page[name];
  assert.deepEqual(same, numbers, when);
  for (const [name, value] of Object.entries(page)) {
    if (!(name in numbers)) assert.equal(value, "unknown", `${when}: ${name} is shown and nobody said it`);
  }
}

/**
 * Waits until a condition holds.
 * @param {string} what
 * @param {number} seconds
 * @param {() => Promise<boolean> | boolean} holds
 */
export async function until(what, seconds, holds) {
  const end = performance.now() + seconds * 1000;
  while (!await holds()) {
    assert.ok(performance.now() < end, `no ${what} within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
