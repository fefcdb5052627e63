/** Made-up recordings: one that looks like a real drill, and random ones for properties. */

/**
 * Returns a generator of random numbers in [0, 1).
 * @param {number} seed
 */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const schema = "kafka-lab.recording/2";

/**
 * Makes the recording of a lab in which a drill kills a leader.
 * @param {{partitions?: number, seconds?: number, version?: 1 | 2}} [how]
 * @returns {Record<string, any>[]}
 */
export function drillRecording({ partitions = 4, seconds = 90, version = 2 } = {}) {
  /** @type {Record<string, any>[]} */
  const lines = [];
  const add = (/** @type {number} */ at_ms, /** @type {string} */ event, /** @type {object} */ fields) => {
    lines.push({ schema, event, at_ms: Math.round(at_ms), ...fields });
  };
  const journal = (
    /** @type {number} */ at,
    /** @type {string} */ command,
    /** @type {object} */ line,
    ago_ms = 12,
  ) => {
    add(at, "journal", { command, ago_ms, line: { schema: "kafka-lab.event/1", command, lab: "kafka-lab", ...line } });
  };
  add(0, "begin", {
    time_ms: 1_795_376_244_775,
    lab: "kafka-lab",
    topic: "test",
    kafka: "3.3.2 zookeeper",
    backend: "local",
    brokers: [0, 1, 2].map((id) => [id, `127.0.0.1:${30090 + id}`]),
    clients: ["producer", "consumer"],
  });
  journal(3, "up", { event: "plan_begun", steps: ["zookeeper", "brokers", "topic"] }, 61_000);
  for (const [n, step] of ["zookeeper", "brokers", "topic"].entries()) {
    journal(3, "up", { event: "started", number: n + 1, step }, 60_000 - n * 9000);
    const text = `${step} serves`;
    journal(
      3,
      "up",
      { event: "finished", number: n + 1, step, state: "changed", text, elapsed_ms: 8000 },
      52_000 - n * 9000,
    );
  }
  journal(3, "up", { event: "plan_ended", exit: 0, elapsed_ms: 30_000 }, 30_000);
  for (const broker of [0, 1, 2]) add(40, "broker", { broker, answers: true });
  add(60, "controller", { controller: 0 });
  /** @type {Record<string, {made: number, leader: any[], epoch: number[], isr: number[][], high: number[]}>} */
  const topics = {};
  const create = (/** @type {number} */ at, /** @type {string} */ topic, /** @type {number} */ start) => {
    add(at, "topic", { topic, topic_id: `id-of-${topic}`, partitions });
    const numbers = Array.from({ length: partitions }, (_, n) => n);
    topics[topic] = {
      made: at,
      leader: numbers.map((n) => (n + 1) % 3),
      epoch: numbers.map(() => 4),
      isr: numbers.map(() => [0, 1, 2]),
      high: numbers.map((n) => start + n * 3),
    };
    for (const n of numbers) tell(at + 5, topic, n);
  };
  const tell = (/** @type {number} */ at, /** @type {string} */ topic, /** @type {number} */ partition) => {
    const of = topics[topic];
    const replicas = [1, 2, 0].map((n) => (n + partition) % 3);
    const leader = of?.leader[partition] ?? null;
    add(at, "partition", {
      topic,
      partition,
      leader,
      epoch: of?.epoch[partition],
      isr: of?.isr[partition],
      replicas,
      by: leader ?? 0,
    });
  };
  create(80, "test", 12_000);
  const [begun, killed, dead, elected, started, back, ended, gone] = [
    20_000, 30_000, 30_400, 34_200, 42_000, 48_500, 66_000, 67_000,
  ];
  const counts = { sent: 40_000, got: 39_980 };
  /** @type {(() => void)[]} */
  const _ = [];
  /** @type {[number, () => void][]} */
  const plan = [
    [
      begun,
      () => {
        create(begun, "drill-leader-kill", 0);
        journal(begun + 10, "drill", {
          event: "drill_begun",
          drill: "leader-kill",
          topic: "drill-leader-kill",
          promised: "pass",
          rate: 200,
        });
      },
    ],
    [
      killed,
      () =>
        journal(killed, "drill", {
          event: "drill_move",
          drill: "leader-kill",
          text: "kill the leader of partition 0 (SIGKILL)",
        }),
    ],
    [dead, () => add(dead, "broker", { broker: 1, answers: false, why: "the connection was refused" })],
    [
      elected,
      () => {
        for (const [name, topic] of Object.entries(topics)) {
          for (let n = 0; n < partitions; n += 1) {
            topic.isr[n] = [0, 2];
            topic.epoch[n] = (topic.epoch[n] ?? 0) + 1;
            if (topic.leader[n] === 1 && n % 2 === 0) {
              topic.leader[n] = null;
              tell(elected, name, n);
              topic.leader[n] = 2;
              _.push(() => tell(elected + 900, name, n));
            } else {
              if (topic.leader[n] === 1) topic.leader[n] = 0;
              tell(elected, name, n);
            }
          }
        }
      },
    ],
    [
      elected + 900,
      () => {
        for (const later of _.splice(0)) later();
        for (let partition = 0; partition < Math.min(partitions, 3); partition += 3) {
          for (const role of ["producer", "consumer"]) {
            add(elected + 950, "gap", {
              client: `${role}-1`,
              topic: "drill-leader-kill",
              role,
              partition,
              ago_ms: 50,
              gap_ms: 4600,
            });
          }
        }
      },
    ],
    [
      started,
      () =>
        journal(started, "drill", {
          event: "drill_move",
          drill: "leader-kill",
          text: "start the leader of partition 0",
        }),
    ],
    [started + 3000, () => add(started + 3000, "broker", { broker: 1, answers: true })],
    [
      back,
      () => {
        for (const [name, topic] of Object.entries(topics)) {
          for (let n = 0; n < partitions; n += 1) {
            topic.isr[n] = [0, 1, 2];
            tell(back, name, n);
          }
        }
        journal(back + 100, "drill", { event: "drill_mended", drill: "leader-kill" });
      },
    ],
    [ended, () => journal(ended, "drill", { event: "drill_ended", result: result(partitions) })],
    [
      gone,
      () => {
        add(gone, "topic", { topic: "drill-leader-kill", partitions: 0 });
        delete topics["drill-leader-kill"];
      },
    ],
  ];
  for (let at = 1000; at <= seconds * 1000; at += 1000) {
    while (plan.length > 0 && (plan[0]?.[0] ?? 0) <= at) plan.shift()?.[1]();
    for (const [name, topic] of Object.entries(topics)) {
      const each = name === "test" ? 5 : 50;
      /** @type {number[][]} */
      const moved = [];
      for (let n = 0; n < partitions; n += 1) {
        const stands = at > killed && at <= elected + 900 && (n + 1) % 3 === 1;
        const idle = name !== "test" && at > ended - 4000;
        if (stands || idle) continue;
        topic.high[n] = (topic.high[n] ?? 0) + each + ((at / 1000 + n * 7) % 5);
        moved.push([n, 0, topic.high[n] ?? 0]);
      }
      if (moved.length > 0) add(at, "offsets", { topic: name, partitions: moved });
      const suffix = name === "test" ? "" : "-1";
      const quiet = name !== "test" && at > ended - 3000;
      const start = name === "test" ? 12_000 : 0;
      const made = topic.high.map((high, n) => [n, high - start, high - start]);
      add(at + 20, "client", {
        client: `producer${suffix}`,
        topic: name,
        role: "producer",
        run: `r-${name}`,
        ended: quiet,
        partitions: quiet ? made : made.map(([n, sent, acked]) => [n, (sent ?? 0) + 3, acked]),
        not_persisted: 0,
        unknown: 0,
      });
      add(at + 30, "client", {
        client: `consumer${suffix}`,
        topic: name,
        role: "consumer",
        ended: quiet,
        partitions: topic.high.map((high, n) => {
          const late = quiet ? 0 : Math.min(high - start, 4 + ((n + at / 1000) % 3));
          return [n, high - start - late, high - late];
        }),
        missing: 0,
        duplicate: 0,
        out_of_order: 0,
      });
      counts.sent += each;
    }
  }
  lines.sort((one, other) => one.at_ms - other.at_ms);
  add((lines.at(-1)?.at_ms ?? 0) + 50, "end", { reason: "duration" });
  if (version === 2) return lines;
  const old = lines.filter((line) => (line.topic ?? "test") === "test" && line.event !== "journal");
  return old.map((line) => {
    const { topic, kafka, backend, ...rest } = line;
    return { ...rest, schema: "kafka-lab.recording/1", ...(line.event === "begin" ? { topic } : {}) };
  });
}

/** @param {number} partitions */
function result(partitions) {
  const rows = Array.from({ length: partitions }, (_, partition) => ({
    partition,
    sent: 2000 + partition,
    acked: 2000 + partition,
    not_persisted: 0,
    unknown: 0,
    received: 2000 + partition,
    unpromised: 0,
    missing: 0,
    unread: 0,
    duplicate: 0,
    out_of_order: 0,
    corrupt: 0,
    misrouted: 0,
    others: 0,
    markers: 0,
    compacted: 0,
    redelivered: 0,
    start: 0,
    end: 2000 + partition,
    records: 2000 + partition,
  }));
  return {
    schema: "kafka-lab.drill/1",
    commit: "c1",
    backend: "local",
    kafka: "3.3.2/zookeeper",
    drill: "leader-kill",
    seed: null,
    duration_s: null,
    topic: "drill-leader-kill",
    rate: 200,
    promised: "pass",
    promise: "kept",
    outcome: "kept",
    kept: true,
    without: [],
    faults: [],
    final_read: { records: 8000, elapsed_ms: 900 },
    calm_gap_ms: 12,
    struck: [
      {
        fault: "leader-kill",
        brokers: [1],
        struck_ms: 1_795_376_274_775,
        detected_after_ms: 3900,
        mended_after_ms: 18_400,
        partitions: rows.slice(0, 4).map(({ partition }) => ({
          partition,
          acked_after_ms: partition === 0 ? 4612 : null,
          received_after_ms: partition === 0 ? 4630 : null,
          longest_ack_gap_ms: partition === 0 ? 4610 : 31,
          longest_receive_gap_ms: partition === 0 ? 4633 : 35,
        })),
        stuck: [],
        peaks: { producer_kib: 9000, consumer_kib: 9100 },
        evidence: [
          {
            looked_for: "the broker's process ended by SIGKILL",
            found: "shown",
            seen: "kafka-1: pid 4242 ended by SIGKILL",
          },
          {
            looked_for: "another broker led partition 0",
            found: "shown",
            seen: "partition 0: kafka-1 before, kafka-2 after 3.9 s",
          },
          {
            looked_for: "its session with ZooKeeper expired",
            found: "shown",
            seen: "session of kafka-1 gone after 3.9 s",
          },
        ],
      },
    ],
    errors: {},
    ledger: {
      schema: "kafka-lab.ledger/1",
      run: "r-1",
      topic: "drill-leader-kill",
      verdict: "pass",
      reasons: [],
      findings: [],
      ended: 1,
      died: 0,
      partitions: rows,
      evidence: [],
      producer_ms: 40_000,
      consumer_ms: 41_000,
    },
  };
}

/**
 * Makes a random recording: every event, topics that come and go, leaders that vanish, counts that start again.
 * @param {number} seed
 * @param {number} count The number of lines.
 * @returns {Record<string, any>[]}
 */
export function randomRecording(seed, count) {
  const next = random(seed);
  const int = (/** @type {number} */ below) => Math.floor(next() * below);
  const pick = (/** @type {any[]} */ list) => list[int(list.length)];
  const ids = () => [0, 1, 2].filter(() => next() < 0.7);
  let at_ms = 0;
  /** @type {Record<string, any>[]} */
  const lines = [
    {
      schema,
      event: "begin",
      at_ms,
      time_ms: 1000,
      lab: "kafka-lab",
      topic: "test",
      brokers: [
        [0, "a:1"],
        [1, "b:2"],
      ],
      clients: ["producer"],
    },
  ];
  const topic = () => pick(["test", "drill-1", "drill-2"]);
  const journal = () => {
    const drill = pick(["leader-kill", "soak"]);
    return pick([
      { event: "plan_begun", steps: ["a", "b"] },
      { event: "started", number: 1 + int(3), step: "a" },
      { event: "status", number: 1, step: "a", text: "waits", elapsed_ms: 1 },
      { event: "finished", number: 1 + int(2), step: "a", state: "passed", text: "fine", elapsed_ms: 2 },
      { event: "plan_ended", exit: int(8), elapsed_ms: 9 },
      { event: "note", text: "n" },
      { event: "drill_begun", drill, topic: "drill-1", promised: "pass", rate: 200 },
      { event: "drill_move", drill, text: "kill" },
      { event: "drill_mended", drill },
      { event: "drill_ended", result: { ...result(2), drill, outcome: pick(["kept", "broken", "could_not_tell"]) } },
      { event: "drill_ended", result: { drill, outcome: "could_not_tell", kept: false, error: "no" } },
      {
        event: "reported",
        report: { command: "verify", exit: int(2), steps: [{ step: "flow", flow: result(1).ledger }] },
      },
      { event: "of tomorrow" },
      {},
      { event: "drill_ended", result: 7 },
      { event: "reported" },
    ]);
  };
  /** @type {(() => Record<string, any>)[]} */
  const makers = [
    () => ({ event: "broker", broker: int(4), answers: next() < 0.6, why: "w" }),
    () => ({ event: "controller", controller: next() < 0.2 ? null : int(3) }),
    () => ({
      event: "topic",
      topic: topic(),
      partitions: 1 + int(4),
      ...(next() < 0.7 ? { topic_id: pick(["x", "y"]) } : {}),
    }),
    () => ({
      event: "partition",
      topic: topic(),
      partition: int(5),
      leader: next() < 0.3 ? null : int(3),
      epoch: int(9),
      isr: ids(),
      replicas: [0, 1, 2],
      by: int(3),
    }),
    () => ({
      event: "offsets",
      topic: topic(),
      partitions: [
        [int(5), int(9), 9 + int(99)],
        [int(5), 0, int(99)],
      ],
    }),
    () => ({
      event: "client",
      client: pick(["producer-1", "producer-2"]),
      topic: topic(),
      role: "producer",
      run: "r",
      ended: next() < 0.1,
      partitions: [[int(4), int(99), int(99)]],
      not_persisted: int(2),
      unknown: int(2),
    }),
    () => ({
      event: "client",
      client: pick(["consumer-1", "consumer-2"]),
      topic: topic(),
      role: "consumer",
      ended: next() < 0.1,
      partitions: [[int(4), int(99), int(99)]],
      missing: int(2),
      duplicate: int(2),
      out_of_order: 0,
    }),
    () => ({ event: "client_unknown", client: pick(["producer-1", "consumer-3"]), topic: topic(), why: "gone" }),
    () => ({
      event: "gap",
      client: "producer-1",
      topic: topic(),
      role: pick(["producer", "consumer"]),
      partition: int(4),
      ago_ms: int(500),
      gap_ms: int(4000),
    }),
    () => ({ event: "journal", command: pick(["drill", "verify"]), ago_ms: int(300), line: journal() }),
    () => ({ event: "of_tomorrow", anything: [1, 2, { three: 3 }] }),
  ];
  while (lines.length < count) {
    // Many lines at the same instant are common.
    if (next() < 0.6) at_ms += int(1500);
    lines.push({ schema, at_ms, ...pick(makers)() });
  }
  return lines;
}
