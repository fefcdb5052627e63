import assert from "node:assert/strict";
import { test } from "node:test";

import { LineError, apply, at, create, parse, reader } from "#reducer";
import { lags, rates, stills, sum } from "#series";
import { trace } from "#trace";
import { say } from "#words";

import { drillRecording, random, randomRecording } from "./synthetic.js";

/** @typedef {Record<string, any>} Line */

const SEED = Number(process.env.PAGE_SEED ?? 7);

/**
 * @param {Line[]} lines
 * @param {number} [count]
 */
function fold(lines, count = lines.length) {
  const film = create();
  for (const line of lines.slice(0, count)) apply(film, line);
  return film;
}

/** @param {Line[]} lines */
const text = (lines) => lines.map((line) => `${JSON.stringify(line)}\n`).join("");

/**
 * Checks what must hold in every picture.
 * @param {import("../types.js").Picture} picture
 */
function consistent(picture) {
  /** @type {Map<string, number>} */
  const led = new Map();
  for (const topic of picture.topics) {
    assert.equal(
      topic.exists === false && topic.partitions.length > 0,
      false,
      "a topic that is gone has no partitions",
    );
    for (const [n, part] of topic.partitions.entries()) {
      assert.ok(n === 0 || part.partition > (topic.partitions[n - 1]?.partition ?? -1), "partitions are in order");
      if (typeof part.leader === "number") {
        const key = `${topic.name} ${part.leader}`;
        led.set(key, (led.get(key) ?? 0) + 1);
      }
      for (const value of [part.first, part.high, part.next, part.lag, part.sent, part.ackedRate, part.receivedRate]) {
        assert.ok(value === undefined || value >= 0, `${value} is a number or unknown`);
      }
      assert.equal(part.lag === undefined, part.high === undefined || part.next === undefined, "lag needs both");
      const without = picture.leaderless.some(
        (one) => one.topic === topic.name && one.partition === part.partition && one.to === undefined,
      );
      assert.equal(part.leader === null, without, "a partition without a leader stands still");
    }
  }
  for (const broker of picture.brokers) {
    for (const [topic, count] of broker.leads) assert.equal(count, led.get(`${topic} ${broker.id}`) ?? 0);
    if (broker.answers === undefined) assert.equal(broker.why, undefined);
  }
  for (const one of [...picture.gaps, ...picture.leaderless]) {
    assert.ok(one.at <= picture.ms && (one.to === undefined || one.to <= picture.ms), "nothing of the future");
  }
  for (const drill of picture.drills) {
    assert.equal(drill.ended === undefined, drill.result === undefined);
    assert.equal(
      picture.verdicts.filter(({ of }) => of.startsWith("drill")).length,
      picture.drills.filter(({ ended }) => ended !== undefined).length,
    );
  }
  for (const client of picture.clients) {
    if (client.role === "producer") assert.equal(client.received, undefined, "what it does not count is unknown");
    if (client.role === undefined) assert.equal(client.sent, undefined);
  }
}

test("every prefix of any recording gives a consistent picture", () => {
  for (let seed = SEED; seed < SEED + 20; seed += 1) {
    const lines = randomRecording(seed, 120);
    const film = create();
    for (const line of lines) {
      apply(film, line);
      consistent(at(film, film.last));
    }
  }
});

test("the picture at an instant is that of the lines up to it", () => {
  for (let seed = SEED; seed < SEED + 20; seed += 1) {
    const lines = randomRecording(seed, 150);
    const whole = fold(lines);
    const next = random(seed);
    const instants = lines.map((line) => line.at_ms).flatMap((ms) => [ms - 1, ms, ms + Math.floor(next() * 4000)]);
    for (const ms of instants.filter((ms) => ms >= 0)) {
      const until = lines.filter((line) => line.at_ms <= ms).length;
      assert.deepStrictEqual(at(whole, ms), at(fold(lines, until), ms), `seed ${seed}, ${ms} ms`);
    }
  }
});

test("the order in which one looks does not matter, and looking changes nothing", () => {
  const lines = randomRecording(SEED, 200);
  const [one, other] = [fold(lines), create()];
  const last = one.last;
  const seen = [0.9, 0.1, 0.5, 1].map((part) => structuredClone(at(one, Math.floor(last * part))));
  for (const line of lines) {
    apply(other, line);
    at(other, other.last);
  }
  assert.deepStrictEqual([1, 0.5, 0.1, 0.9].map((part) => at(other, Math.floor(last * part))).reverse(), [
    seen[0],
    seen[1],
    seen[2],
    seen[3],
  ]);
});

test("it does not matter where chunks end", () => {
  const lines = randomRecording(SEED, 200);
  const source = `${text(lines)}`;
  const wanted = at(fold(lines), Infinity);
  const next = random(SEED);
  for (let round = 0; round < 30; round += 1) {
    const film = create();
    const into = reader(film);
    for (let from = 0; from < source.length;) {
      const to = from + 1 + Math.floor(next() * (round % 3 === 0 ? 5 : 4000));
      into.push(source.slice(from, to));
      from = to;
    }
    into.end();
    assert.deepEqual(into.refused, []);
    assert.deepStrictEqual(at(film, Infinity), wanted);
  }
});

test("unknown events are ignored, as are unknown fields", () => {
  const lines = drillRecording();
  const more = lines.flatMap((line) => [
    { ...line, field_of_tomorrow: { a: 1 } },
    { schema: line.schema, event: "of_tomorrow", at_ms: line.at_ms, partitions: "many" },
    { schema: line.schema, event: "producer", at_ms: line.at_ms },
  ]);
  for (const ms of [0, 30_000, 36_000, 90_000]) {
    assert.deepStrictEqual(at(fold(more), ms), at(fold(lines), ms));
  }
});

test("a line that is none is refused with its number, and changes nothing", () => {
  const good = drillRecording().slice(0, 60);
  const base = { schema: "kafka-lab.recording/2", at_ms: good.at(-1)?.at_ms };
  const bad = [
    "",
    "{",
    "[]",
    "null",
    "7",
    '"begin"',
    "{}",
    "\u0000",
    JSON.stringify({ ...base, schema: "kafka-lab.recording/3" }),
    ...[
      { event: 7 },
      { event: "broker" },
      { event: "broker", broker: -1, answers: true },
      { event: "partition", topic: "test", partition: 0.5 },
      { event: "offsets", topic: "test", partitions: [[0, 1]] },
      { event: "client", client: "producer", topic: "test", role: "consumer", ended: false, partitions: [] },
      { event: "client", client: "x", topic: "test", role: "reader", ended: false, partitions: [] },
      { event: "topic", topic: "test", partitions: 1e15 },
      { event: "begin" },
      { ...good[0], at_ms: base.at_ms },
      { event: "journal", command: "up", ago_ms: 1, line: "text" },
      { event: "broker", at_ms: 0, broker: 1, answers: true },
      { event: "broker", at_ms: "soon", broker: 1, answers: true },
    ].map((line) => JSON.stringify({ ...base, ...line })),
  ];
  const wanted = at(fold(good), Infinity);
  for (const line of bad) {
    const film = fold(good);
    assert.throws(
      () => apply(film, parse(line, 61), 61),
      (error) => error instanceof LineError && error.line === 61 && error.message.startsWith("line 61: "),
      line,
    );
    assert.deepStrictEqual(at(film, Infinity), wanted, line);
  }
  const film = create();
  const into = reader(film);
  into.push(text(good.slice(0, 10)) + "not a line\n" + text(good.slice(10)) + '{"schema":"kafka-lab.rec');
  into.end();
  assert.deepEqual(
    into.refused.map(({ line }) => line),
    [11, 62],
  );
  assert.deepStrictEqual(at(film, Infinity), wanted);
});

test("bytes at random are refused or ignored, never taken for a picture", () => {
  const next = random(SEED);
  const source = text(drillRecording({ seconds: 20 }));
  for (let round = 0; round < 60; round += 1) {
    const film = create();
    const into = reader(film);
    const letters = [...source.slice(0, 20_000)];
    for (let n = 0; n < 1 + round; n += 1) {
      letters[Math.floor(next() * letters.length)] = String.fromCharCode(32 + Math.floor(next() * 95));
    }
    try {
      into.push(letters.join(""));
      into.end();
    } catch (error) {
      assert.ok(error instanceof LineError && error.fatal);
    }
    consistent(at(film, film.last));
    for (const entry of film.log) assert.equal(typeof say(entry), "string");
  }
});

test("a recording of another version is refused as a whole", () => {
  const film = create();
  const [first] = drillRecording();
  const line = JSON.stringify({ ...first, schema: "kafka-lab.recording/3" });
  assert.throws(
    () => reader(film).push(`${line}\n`),
    /line 1: it has the schema kafka-lab.recording\/3; this page reads/,
  );
});

test("version 1 has one topic, which the beginning names", () => {
  const film = fold(drillRecording({ version: 1 }));
  const picture = at(film, 36_000);
  assert.deepEqual(
    picture.topics.map(({ name }) => name),
    ["test"],
  );
  assert.equal(picture.topics[0]?.partitions.length, 4);
  assert.equal(picture.clients.length, 2);
});

test("a drill is told as it happened", () => {
  const film = fold(drillRecording());
  const before = at(film, 29_900);
  assert.deepEqual(
    before.brokers.map(({ answers }) => answers),
    [true, true, true],
  );
  const during = at(film, 34_500);
  assert.equal(during.brokers[1]?.answers, false);
  assert.equal(during.brokers[1]?.why, "the connection was refused");
  const [lab, drilled] = during.topics;
  assert.deepEqual([lab?.name, drilled?.name], ["test", "drill-leader-kill"]);
  assert.equal(drilled?.partitions[0]?.leader, null);
  assert.equal(during.leaderless.length, 2);
  assert.deepEqual(
    during.drills[0]?.moves.map(({ text }) => text),
    ["kill the leader of partition 0 (SIGKILL)"],
  );
  const after = at(film, film.last);
  assert.equal(after.drills[0]?.result?.outcome, "kept");
  assert.deepEqual(
    after.verdicts.map(({ of, is }) => [of, is]),
    [["drill leader-kill", "good"]],
  );
  assert.equal(after.topics[1]?.exists, false);
  assert.equal(after.gaps[0]?.to, 35_100);
  assert.equal(after.commands[0]?.exit, 0);
  assert.equal(after.ended, "duration");
});

test("what is not known is unknown, and never 0", () => {
  const film = fold(drillRecording(), 1);
  const picture = at(film, 10);
  assert.deepEqual(
    picture.brokers.map(({ answers, controller }) => [answers, controller]),
    Array(3).fill([undefined, undefined]),
  );
  assert.deepEqual([picture.topics, picture.clients, picture.controller], [[], [], undefined]);
  const topic = fold([
    ...drillRecording().slice(0, 1),
    { schema: "kafka-lab.recording/2", event: "topic", at_ms: 5, topic: "test", topic_id: "x", partitions: 1 },
  ]);
  const part = at(topic, 5).topics[0]?.partitions[0];
  assert.ok(part);
  const { topic: _name, partition: _number, ...rest } = part;
  assert.deepEqual(new Set(Object.values(rest)), new Set([undefined]));
});

test("another topic of the same name inherits nothing", () => {
  const schema = "kafka-lab.recording/2";
  const lines = [
    ...drillRecording().slice(0, 1),
    { event: "topic", at_ms: 1, topic: "t", topic_id: "x", partitions: 1 },
    { event: "partition", at_ms: 1, topic: "t", partition: 0, leader: 1, epoch: 4, isr: [1], replicas: [1], by: 1 },
    { event: "offsets", at_ms: 2, topic: "t", partitions: [[0, 0, 50]] },
    {
      event: "client",
      at_ms: 2,
      client: "c",
      topic: "t",
      role: "consumer",
      ended: false,
      partitions: [[0, 40, 40]],
      missing: 0,
      duplicate: 0,
      out_of_order: 0,
    },
    { event: "topic", at_ms: 3, topic: "t", topic_id: "y", partitions: 1 },
  ].map((line) => ({ schema, ...line }));
  const film = fold(lines);
  assert.equal(at(film, 2).topics[0]?.partitions[0]?.lag, 10);
  const part = at(film, 3).topics[0]?.partitions[0];
  assert.deepEqual([part?.leader, part?.high, part?.next, part?.lag], [undefined, undefined, undefined, undefined]);
  assert.equal(part?.received, 40, "the consumer's count is still its count");
  assert.equal(trace(film, "t", 0, 10, 3).gone, 3);
  assert.equal(trace(film, "t", 0, 10, 2).state, "written");
});

test("rates come from successive counts, and a silence is a stand-still", () => {
  const track = { at: [0, 1000, 2000, 8000, 9000], a: [0, 100, 300, 400, 10], b: [0, 0, 0, 0, 0] };
  assert.deepEqual(
    rates(track, "a", 0, 9000),
    [
      { from: 0, to: 1000, value: 100 },
      { from: 1000, to: 2000, value: 200 },
      { from: 2000, to: 7000, value: 0 },
      { from: 7000, to: 8000, value: 100 },
    ],
    "a count that starts again is no rate",
  );
  const [one, other] = [[{ from: 0, to: 10, value: 1 }], [{ from: 5, to: 15, value: 2 }]];
  assert.deepEqual(sum([one, other]), [
    { from: 0, to: 5, value: 1 },
    { from: 5, to: 10, value: 3 },
    { from: 10, to: 15, value: 2 },
  ]);
});

test("the lag of a topic is that of its partitions", () => {
  const film = fold(drillRecording());
  const topic = film.topics.get("test");
  assert.ok(topic);
  const whole = lags(topic, undefined, 0, film.last, film.last);
  for (const ms of [20_040, 36_040, 50_040]) {
    let total = 0;
    for (const n of topic.partitions.keys()) {
      total += lags(topic, n, 0, film.last, film.last).findLast((one) => one.from <= ms)?.value ?? NaN;
    }
    assert.equal(whole.findLast((one) => one.from <= ms)?.value, total);
    assert.equal(at(film, ms).topics.find(({ name }) => name === "test")?.lag, total);
  }
  assert.equal(stills(film, "drill-leader-kill", 0, 0, film.last, film.last).length, 3);
});

test("a consumer that goes back lags again, in the picture as in the chart", () => {
  const lines = drillRecording().filter((line) => line.at_ms < 30_000);
  const back = { ...lines.findLast((line) => line.role === "consumer" && line.topic === "test"), at_ms: 30_000 };
  const film = fold([...lines, { ...back, partitions: [0, 1, 2, 3].map((n) => [n, 1, 11_000]) }]);
  const topic = film.topics.get("test");
  assert.ok(topic);
  const picture = at(film, 30_000).topics.find(({ name }) => name === "test");
  assert.equal(lags(topic, undefined, 0, 30_000, 30_000).at(-1)?.value, picture?.lag);
  assert.equal(lags(topic, 2, 0, 30_000, 30_000).at(-1)?.value, picture?.partitions[2]?.lag);
  assert.ok((picture?.partitions[2]?.lag ?? 0) > 1000);
});

test("the journey of a message is told between the lines around it", () => {
  const film = fold(drillRecording());
  const later = trace(film, "drill-leader-kill", 0, 700, 90_000);
  assert.deepEqual([later.state, later.gone], ["written", 67_000]);
  assert.deepEqual(trace(film, "drill-leader-kill", 0, 700, 20_100, 90_000), later, "wherever the play head is");
  const then = trace(film, "drill-leader-kill", 0, 700, 60_000);
  assert.equal(then.state, "written");
  assert.deepEqual([then.passed?.from, then.passed?.to], [37_000, 38_000]);
  assert.deepEqual(
    then.leads.map(({ leader, epoch }) => [leader, epoch]),
    [[2, 5]],
  );
  assert.equal(then.reads[0]?.client, "consumer-1");
  assert.ok((then.reads[0]?.read?.from ?? 0) >= 37_000);
  assert.equal(then.acked, undefined, "a producer in the middle of its work does not tell");
  const quiet = trace(film, "drill-leader-kill", 0, 700, 66_000);
  assert.ok(quiet.acked && quiet.acked.to > 60_000);
  assert.equal(trace(film, "drill-leader-kill", 0, 1e9, 60_000).state, "not yet");
  assert.equal(trace(film, "test", 0, 5, 60_000).passed?.from, undefined, "before the recording");
});

test("the cost of a long recording", () => {
  for (const [partitions, seconds] of [
    [4, 600],
    [1000, 600],
  ]) {
    const lines = drillRecording({ partitions, seconds });
    const begun = performance.now();
    const film = fold(lines);
    const folded = performance.now() - begun;
    const next = random(SEED);
    let [worst, total] = [0, 0];
    for (let n = 0; n < 50; n += 1) {
      const from = performance.now();
      at(film, next() * film.last);
      const took = performance.now() - from;
      worst = Math.max(worst, took);
      total += took;
    }
    const ms = (/** @type {number} */ value) => `${value.toFixed(1)} ms`;
    console.log(
      `${partitions} partitions, ${seconds} s, ${lines.length} lines: folded in ${ms(folded)}; a picture in ` +
        `${ms(total / 50)}, at most ${ms(worst)}`,
    );
  }
});
