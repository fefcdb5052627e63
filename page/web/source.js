/** Where the lines come from: a live server, a recorded file, or the report itself. */

import { LineError, apply, create, parse, reader } from "#reducer";

/** @import {Listener, Source} from "./types.js" */

/** A server that said nothing for this long is asked whether it is there, in ms. */
const QUIET_MS = 3000;
/** How long it may take to answer, in ms. */
const PATIENCE_MS = 2000;

/**
 * Follows a live server. It connects again by itself.
 * @param {Listener} listener
 * @returns {Source}
 */
export function live(listener) {
  let [ahead, heard, connected, lastId] = [0, performance.now(), false, 0];
  /** @type {Source} */
  const source = {
    film: create(),
    complete: false,
    problems: [],
    connection: () => ({ connected, age: performance.now() - heard }),
    // Without a connection nobody knows what the lab does: time stands still.
    end: () => Math.max(source.film.last, (connected ? performance.now() : heard) + ahead),
  };
  const events = new EventSource("events");
  const listen = () => {
    heard = performance.now();
    connected = true;
  };
  const lose = () => {
    if (connected) connected = false;
    listener.changed();
  };
  const clock = (/** @type {number} */ ms) => (ahead = ms - performance.now());
  events.addEventListener("open", () => {
    listen();
    listener.changed();
  });
  events.addEventListener("error", lose);
  events.addEventListener("hello", (event) => {
    listen();
    try {
      listener.hello(JSON.parse(event.data).actions);
    } catch {
      source.problems.push("The server's greeting cannot be read.");
    }
  });
  events.addEventListener("action", (event) => {
    listen();
    listener.acted(JSON.parse(event.data));
  });
  events.addEventListener("reset", () => {
    listen();
    source.film = create();
    source.complete = false;
    lastId = 0;
    listener.changed();
  });
  events.addEventListener("caught_up", (event) => {
    listen();
    source.complete = true;
    const { now_ms } = JSON.parse(event.data);
    if (typeof now_ms === "number") clock(now_ms);
    listener.changed();
  });
  events.addEventListener("message", (event) => {
    listen();
    const id = Number(event.lastEventId);
    // After a new connection the server may send again what has come already.
    if (event.lastEventId !== "" && Number.isFinite(id)) {
      if (id <= lastId && source.film.lines > 0) return;
      lastId = id;
    }
    try {
      apply(source.film, parse(event.data, id), id);
    } catch (error) {
      if (!(error instanceof LineError)) throw error;
      source.problems.push(error.message);
    }
    // A line from the future: the clocks have drifted apart.
    if (source.film.last > performance.now() + ahead) clock(source.film.last);
    listener.changed();
  });
  // A server that hangs keeps the connection open. A lab at rest says nothing either, so ask.
  let asking = false;
  setInterval(async () => {
    if (asking || events.readyState !== EventSource.OPEN || performance.now() - heard < QUIET_MS) return;
    asking = true;
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      await fetch("style.css", { method: "HEAD", cache: "no-store", signal });
      listen();
    } catch {
      lose();
    }
    asking = false;
    listener.changed();
  }, 1000);
  return source;
}

/**
 * @param {(take: (chunk: string) => void) => Promise<void>} read
 * @param {Listener} listener
 * @returns {Source}
 */
function whole(read, listener) {
  const film = create();
  /** @type {Source} */
  const source = { film, complete: false, problems: [], connection: () => undefined, end: () => film.last };
  const lines = reader(film);
  const load = async () => {
    try {
      await read((chunk) => {
        lines.push(chunk);
        listener.changed();
      });
      lines.end();
      if (film.lines === 0 && lines.refused.length === 0) source.problems.push("The recording is empty.");
    } catch (error) {
      const what = error instanceof LineError ? error.message : String(error);
      source.problems.push(`This recording cannot be shown: ${what}.`);
    }
    const [first, ...more] = lines.refused;
    if (first) {
      const others = more.length > 0 ? `, and ${more.length} more` : "";
      source.problems.push(`Left out: ${first.message}${others}.`);
    }
    source.complete = true;
    listener.changed();
  };
  void load();
  return source;
}

/**
 * Reads the recorded file of a server.
 * @param {Listener} listener
 * @returns {Source}
 */
export function replay(listener) {
  return whole(async (take) => {
    const response = await fetch("recording");
    if (!response.ok || !response.body) throw new Error(`the server answered ${response.status}`);
    await read(response.body, take);
  }, listener);
}

/**
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} bytes
 * @param {(chunk: string) => void} take
 */
async function read(bytes, take) {
  const chunks = bytes.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await chunks.read();
    if (done) return;
    take(value);
  }
}

/**
 * Reads the recording in the document: compressed with gzip, in base64.
 * @param {Listener} listener
 * @returns {Source}
 */
export function report(listener) {
  return whole(async (take) => {
    const packed = atob(document.getElementById("recording")?.textContent ?? "");
    const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
    await read(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")), take);
  }, listener);
}
