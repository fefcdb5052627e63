/** The shapes that the modules share. Nothing of this is shipped. All times are ms of the recording. */

// reducer.js

/** Two numbers over time; NaN is unknown. */
export interface Track {
  at: number[];
  a: number[];
  b: number[];
  /** When b lost its meaning, and how many numbers that concerns. */
  resets?: {at: number, n: number}[];
}

export type BrokerState = {at: number, answers: boolean, why: string | undefined};

export type BrokerFilm = {id: number, address: string | undefined, states: BrokerState[]};

export type ControllerState = {at: number, id: number | null, epoch: number | undefined};

export interface Leadership {
  at: number;
  leader: number | null | undefined;
  epoch: number | undefined;
  isr: number[] | undefined;
  replicas: number[] | undefined;
  /** The broker that said so. */
  by: number | undefined;
}

export interface PartitionFilm {
  topic: string;
  partition: number;
  leads: Leadership[];
  /** a: the first offset; b: the high watermark. */
  offsets: Track;
  /** The last high watermark, or NaN. */
  high: number;
  /** The highest next offset of a consumer, or NaN. */
  next: number;
  /** The interval without a leader that has not ended. */
  open: Leaderless | undefined;
}

/** An id of null: the topic is gone. */
export type TopicState = {at: number, id: string | null, partitions: number};

export interface TopicFilm {
  name: string;
  states: TopicState[];
  partitions: Map<number, PartitionFilm>;
  /** Their numbers, sorted when they are needed. */
  order: number[];
  clients: ClientFilm[];
  /** Over all partitions; NaN unless it is known for each. */
  lag: {at: number[], lag: number[]};
  /** When a consumer last counted. */
  counted: number;
  /** What the last lag is made of. */
  running: {sum: number, highs: number, both: number};
}

export interface ClientState {
  at: number;
  /** Why its state cannot be read; undefined if it can. */
  why: string | undefined;
  ended: boolean | undefined;
  run: string | undefined;
  /** The sum over all partitions: sent, or received. */
  a: number;
  /** For a producer the sum of acked, for a consumer NaN. */
  b: number;
  /** Not persisted and unknown, or missing, duplicate and out of order. */
  more: number[];
}

export interface ClientFilm {
  client: string;
  topic: string;
  role: "producer" | "consumer" | undefined;
  states: ClientState[];
  /** a: sent or received; b: acked. Over all partitions. */
  totals: Track;
  /** a: sent or received; b: acked or the next offset. */
  partitions: Map<number, Track>;
}

/** A partition of a client stood still. */
export interface Gap {
  /** When the line came. */
  at: number;
  client: string;
  topic: string;
  role: "producer" | "consumer";
  partition: number;
  from: number;
  to: number;
}

/** A partition had no leader. */
export interface Leaderless {
  at: number;
  topic: string;
  partition: number;
  from: number;
  to: number | undefined;
}

export type JournalEntry = {at: number, when: number, command: string, line: Record<string, any>};

export type Kind = "broker" | "leader" | "command" | "still" | "counts" | "recording";

export interface LogEntry {
  /** When the line came. */
  at: number;
  /** When it happened; a command's event may be older than its line. */
  when: number;
  kind: Kind;
  /** The line, without long lists of counts. */
  line: any;
  /** What the line changed, if its words depend on it. */
  before?: any;
}

export interface Begin {
  at: number;
  /** The wall clock when the recording began, in ms since the Unix epoch. */
  time_ms: number;
  lab: string;
  /** The lab's own topic. */
  topic: string;
  clients: string[];
  kafka: string | undefined;
  backend: string | undefined;
}

export interface Film {
  /** The number of lines, those of unknown events included. */
  lines: number;
  /** The time of the last line. */
  last: number;
  begin: Begin | undefined;
  end: {at: number, reason: string} | undefined;
  brokers: Map<number, BrokerFilm>;
  controllers: ControllerState[];
  topics: Map<string, TopicFilm>;
  clients: Map<string, ClientFilm>;
  gaps: Gap[];
  leaderless: Leaderless[];
  journal: JournalEntry[];
  log: LogEntry[];
  /** The last journal that was folded. */
  told: {count: number, told: Told} | undefined;
}

export type Test = (value: any) => boolean;

export interface BrokerPicture {
  id: number;
  address: string | undefined;
  answers: boolean | undefined;
  /** Why it does not answer. */
  why: string | undefined;
  /** When that began. */
  since: number | undefined;
  controller: boolean | undefined;
  /** For each topic, how many partitions it leads; a topic without a known leader is absent. */
  leads: Map<string, number>;
}

export interface PartitionPicture {
  topic: string;
  partition: number;
  leader: number | null | undefined;
  leaderAnswers: boolean | undefined;
  /** The leader's. */
  epoch: number | undefined;
  isr: number[] | undefined;
  replicas: number[] | undefined;
  by: number | undefined;
  since: number | undefined;
  /** The first offset. */
  first: number | undefined;
  /** The high watermark. */
  high: number | undefined;
  /** The highest next offset of a consumer. */
  next: number | undefined;
  lag: number | undefined;
  /** The sum over all producers, as the next two. */
  sent: number | undefined;
  acked: number | undefined;
  received: number | undefined;
  /** A second, as the next two. */
  sentRate: number | undefined;
  ackedRate: number | undefined;
  receivedRate: number | undefined;
}

export interface TopicPicture {
  name: string;
  exists: boolean | undefined;
  id: string | undefined;
  since: number | undefined;
  /** In order; none if the topic is gone. */
  partitions: PartitionPicture[];
  /** Over all partitions, if it is known for each. */
  lag: number | undefined;
}

export interface ClientPicture {
  client: string;
  topic: string;
  role: "producer" | "consumer" | undefined;
  /** Why its state cannot be read; its counts are the last ones then. */
  why: string | undefined;
  /** When it was last counted. */
  counted: number | undefined;
  ended: boolean | undefined;
  run: string | undefined;
  sent: number | undefined;
  acked: number | undefined;
  notPersisted: number | undefined;
  unknown: number | undefined;
  received: number | undefined;
  missing: number | undefined;
  duplicate: number | undefined;
  outOfOrder: number | undefined;
  /** Over the partitions that it read. */
  lag: number | undefined;
  /** A second, as the next two. */
  sentRate: number | undefined;
  ackedRate: number | undefined;
  receivedRate: number | undefined;
  partitions: {partition: number, sent?: number, acked?: number, received?: number, next?: number, lag?: number}[] ;
}

export interface Picture {
  /** The instant. */
  ms: number;
  /** The same by the wall clock, in ms since the Unix epoch. */
  wall: number | undefined;
  begin: Begin | undefined;
  /** Why the recording ended. */
  ended: string | undefined;
  /** By id. */
  brokers: BrokerPicture[];
  controller: ControllerState | undefined;
  /** The lab's own first, then the newest first. */
  topics: TopicPicture[];
  /** In the order in which they were first seen. */
  clients: ClientPicture[];
  gaps: Gap[];
  leaderless: Leaderless[];
  commands: Command[];
  drills: Drill[];
  verdicts: Verdict[];
}

/** The counts of one partition over all clients of one role. */
export interface Sum {
  /** Whether there are any. */
  some: boolean;
  /** When a consumer last counted. */
  counted: number | undefined;
  next: number | undefined;
  a: number | undefined;
  b: number | undefined;
  aRate: number | undefined;
  bRate: number | undefined;
}

export interface Step {
  /** From 1. */
  number: number;
  title: string;
  /** Undefined before it ended. */
  state: string | undefined;
  /** What it does, or how it ended. */
  text: string;
  began: number | undefined;
  /** How long it took, in ms. */
  elapsed: number | undefined;
}

export interface Command {
  command: string;
  began: number;
  ended: number | undefined;
  exit: number | undefined;
  steps: Step[];
  notes: string[];
}

export interface Drill {
  drill: string;
  topic: string | undefined;
  promised: string | undefined;
  /** Messages a second; 0 means as many as the brokers take. */
  rate: number | undefined;
  began: number;
  moves: {when: number, text: string}[];
  mended: number | undefined;
  ended: number | undefined;
  /** The `kafka-lab.drill/1` line. */
  result: Record<string, any> | undefined;
}

export interface Verdict {
  when: number;
  /** What was judged: "drill leader-kill", "verify: flow". */
  of: string;
  is: "good" | "bad" | "open";
  /** The word of the tool: kept, broken, could_not_tell, pass, fail, inconclusive, or an exit. */
  word: string;
  reasons: string[];
  /** The ledger with its `partitions`, if there is one. */
  ledger: Record<string, any> | undefined;
}

export type Told = {commands: Command[], drills: Drill[], verdicts: Verdict[]};

// series.js

/** A value that holds for a while. */
export type Stretch = {from: number, to: number, value: number};

export interface Still {
  from: number;
  to: number;
  what: "producer" | "consumer" | "leaderless";
  partition: number;
}

// clock.js

export interface Clock {
  /** The play head. */
  ms: number;
  /** The last instant that can be shown. */
  end: number;
  playing: boolean;
  speed: number;
  /** Whether the play head stays at the end, which moves. */
  follow: boolean;
  /** The length of the window, or Infinity. */
  span: number;
  /** Where the window begins. */
  from: number;
  to: number;
}

// trace.js

/** Something happened after `from` and not after `to`. */
export interface Between {
  /** Undefined: it may have been before the recording began to look. */
  from: number | undefined;
  to: number;
}

export interface Journey {
  /** Whether the high watermark has passed it. */
  state: "unknown" | "not yet" | "written";
  /** The last high watermark. */
  high: number | undefined;
  /** When the high watermark passed it: every in-sync replica had it. */
  passed: Between | undefined;
  /** When it was first seen below the first offset. */
  deleted: number | undefined;
  /** When the topic was deleted. */
  gone: number | undefined;
  /** Who led meanwhile; several if the leader changed. */
  leads: Leadership[];
  /** For each consumer when it went past it. */
  reads: {client: string, read: Between | undefined}[];
  /** When it was acknowledged; undefined if the recording cannot tell. */
  acked: Between | undefined;
}

// source.js

export interface Source {
  /** Another one after a reset. */
  film: Film;
  /** The last instant that can be shown, in ms. */
  end: () => number;
  /** Only of a live source: whether it is connected, and how old the last word of the server is, in ms. */
  connection: () => {connected: boolean, age: number} | undefined;
  /** Whether all lines that there are have come. */
  complete: boolean;
  /** What is wrong with the lines, in words. */
  problems: string[];
}

export interface Listener {
  /** There is more to show. */
  changed: () => void;
  /** A live server says what it can do. */
  hello: (actions: any) => void;
  /** A live server says what became of the last action. */
  acted: (progress: any) => void;
}

// main.js

/** What panels draw. */
export interface View {
  film: Film;
  clock: Clock;
  /** At the play head. */
  picture: Picture;
  /** Of the whole film. */
  drills: Drill[];
  /** The topic of charts and ledger. */
  topic: string | undefined;
  /** The same if it was chosen, or "". */
  chosen: string;
  /** Of that topic, if one was chosen. */
  partition: number | undefined;
  /** Whose journey is shown. */
  message: {topic: string, partition: number, offset: number} | undefined;
}

/** What panels ask for. */
export interface Commands {
  /** Go to an instant. */
  seek: (ms: number) => void;
  /** Go to the next or the previous event. */
  step: (by: 1 | -1) => void;
  /** Show a partition, and the message written at the play head. */
  choose: (topic: string, partition: number) => void;
  /** Show a topic; "" for the one that fits. */
  topic: (topic: string) => void;
  /** Show a partition of the topic, or all. */
  partition: (partition: number | undefined) => void;
  /** Show the journey of a message. */
  follow: (message: NonNullable<View["message"]>) => void;
  redraw: () => void;
}

// paint.js

export type Colours = Record<string, string>;

// lanes.js

/** A topic's title, or a partition. */
export type Row = {topic: string, partition: number | undefined};

// charts.js

export type Line = {name: string, stretches: Stretch[], dash?: number[]};

// brokers.js

export type Card = {key: string, make: () => HTMLElement, fill: (node: HTMLElement) => void};

// actions.js

export type Action = {action: string, title: string, fault?: string, about?: string, line?: string};

// dom.js

export type Child = string | Node | undefined | false;

export type Attributes = Record<string, string | number | boolean | undefined | ((event: any) => void)>;
