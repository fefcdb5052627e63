//! The whole chain, from stamp to verdict, on generated logs: clean ones pass, and each corruption is caught and named.
//!
//! The naive model knows what every record is because it created it. It keeps everything in plain lists and sets and
//! shares no code with the ledger. Both must find the same faults in the same numbers.

#![warn(clippy::too_many_lines)]
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use ledger::judge::{Case, Claim, HowEnded, Kind, OffsetRange, Report, Verdict, judge};
use ledger::lines::{
    CONSUMER, ConsumerState, PRODUCER, ProducerStart, ProducerState, Reason, ReceivePartition, ReceiveStream,
    ReceiveTotals, SendStream, SendTotals, StateEvent,
};
use ledger::received::{Counts, PartitionLedger, Record};
use ledger::sent::{SendLedger, SendOutcome};
use ledger::stamp::{Encoder, ProducerId, RunId};

/// Number of corruptions to catch in each run of the tests.
const CORRUPTIONS: usize = 10_000;

/// Producer, epoch, and the partition that the producer chose.
type StreamId = (u32, u32, usize);

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Ours(StreamId, u64),
    /// Ours, with a bit of this byte flipped.
    Bent(StreamId, u64, usize),
    OtherRun(u64),
    Foreign,
}

/// What a producer last reported about a sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Acked,
    NotPersisted,
    Unknown,
    InFlight,
}

struct Producer {
    id: u32,
    ended: bool,
    /// Whether it lived long enough to print a state.
    spoke: bool,
    /// The streams in its last line.
    streams: BTreeMap<StreamId, Vec<Fate>>,
}

#[derive(Clone)]
struct Log {
    /// The offset of the first entry in each partition.
    start: Vec<i64>,
    entries: Vec<Vec<Entry>>,
}

struct Scenario {
    producers: Vec<Producer>,
    log: Log,
}

fn run() -> RunId {
    "r".parse().unwrap()
}

impl Scenario {
    fn new(random: &mut Rng) -> Self {
        let partitions = random.usize(1..4);
        let mut producers = Vec::new();
        // Each stream's sequences in the log, by partition.
        let mut written: Vec<Vec<(StreamId, Vec<u64>)>> = vec![Vec::new(); partitions];
        for id in 1..=random.u32(1..4) {
            let ended = random.u8(0..3) > 0;
            let spoke = ended || random.u8(0..4) > 0;
            let mut streams = BTreeMap::new();
            let epochs = random.u32(1..4);
            for (epoch, partition) in (0..epochs).flat_map(|e| (0..partitions).map(move |p| (e, p))) {
                let key = (id, epoch, partition);
                let all = random.u64(0..7);
                // In a finished epoch everything is settled. A dead producer's last epoch continued after its last
                // line.
                let open = !ended && epoch + 1 == epochs;
                let told = if open { random.u64(0..=all) } else { all };
                let mut fates = Vec::new();
                let mut log = Vec::new();
                for sequence in 0..all {
                    let last = match random.u8(0..12) {
                        0 => Fate::NotPersisted,
                        1 => Fate::Unknown,
                        2..4 if open => Fate::InFlight,
                        _ => Fate::Acked,
                    };
                    let silent = sequence >= told || !spoke;
                    let there = match last {
                        _ if silent => random.bool(),
                        Fate::Acked => true,
                        Fate::NotPersisted => false,
                        Fate::Unknown | Fate::InFlight => random.bool(),
                    };
                    if there {
                        log.push(sequence);
                    }
                    if !silent {
                        fates.push(last);
                    }
                }
                if spoke && !(open && told == 0 && random.bool()) {
                    streams.insert(key, fates);
                }
                written[partition].push((key, log));
            }
            producers.push(Producer { id, ended, spoke, streams });
        }
        let entries = written.into_iter().map(|streams| interleaved(random, streams)).collect();
        Scenario { producers, log: Log { start: (0..partitions).map(|_| random.i64(0..50)).collect(), entries } }
    }

    /// Every record of the run with its position.
    fn ours(&self) -> Vec<(usize, usize, StreamId, u64)> {
        let mut found = Vec::new();
        for (partition, entries) in self.log.entries.iter().enumerate() {
            for (at, entry) in entries.iter().enumerate() {
                if let Entry::Ours(key, sequence) = entry {
                    found.push((partition, at, *key, *sequence));
                }
            }
        }
        found
    }

    fn fate(&self, key: StreamId, sequence: u64) -> Option<Fate> {
        let producer = self.producers.iter().find(|producer| producer.id == key.0)?;
        producer.streams.get(&key)?.get(sequence as usize).copied()
    }

    fn claims(&self, random: &mut Rng) -> Vec<Claim> {
        let read = |producer: &Producer| {
            let text = producer.lines(random);
            let mut lines = text.lines();
            let start: ProducerStart = serde_json::from_str(lines.next().unwrap()).unwrap();
            // A truncated line counts as none.
            let states = lines.filter_map(|line| serde_json::from_str(line).ok());
            let went = if producer.ended { HowEnded::Asked } else { HowEnded::Killed };
            Claim::of(Some(&start), states, went).unwrap()
        };
        self.producers.iter().map(read).collect()
    }
}

/// Streams interleaved at random, each in order, with other writers' records in between.
fn interleaved(random: &mut Rng, mut streams: Vec<(StreamId, Vec<u64>)>) -> Vec<Entry> {
    let mut entries = Vec::new();
    streams.retain(|(_, sequences)| !sequences.is_empty());
    for (_, sequences) in &mut streams {
        sequences.reverse();
    }
    while !streams.is_empty() {
        match random.u8(0..16) {
            0 => entries.push(Entry::OtherRun(random.u64(0..9))),
            1 => entries.push(Entry::Foreign),
            _ => {
                let which = random.usize(0..streams.len());
                let (key, sequences) = &mut streams[which];
                entries.extend(sequences.pop().map(|sequence| Entry::Ours(*key, sequence)));
                streams.retain(|(_, sequences)| !sequences.is_empty());
            }
        }
    }
    entries
}

impl Producer {
    /// Its output: the first line, an old state, the last state, and half a line if it died.
    fn lines(&self, random: &mut Rng) -> String {
        let start = ProducerStart {
            schema: PRODUCER.into(),
            event: StateEvent::Start,
            time_ms: 1,
            run: run(),
            producer: ProducerId(self.id),
            topic: "test".into(),
            brokers: "b:1".into(),
            partitions: 1,
            rate: 0,
            count: 0,
            value_size: None,
            pid: 1,
        };
        let mut text = serde_json::to_string(&start).unwrap() + "\n";
        if self.spoke {
            let last = serde_json::to_string(&self.state(random)).unwrap();
            let none = Self { id: self.id, ended: false, spoke: true, streams: BTreeMap::new() };
            text += &serde_json::to_string(&none.state(random)).unwrap();
            text += "\n";
            text += &last;
            text += "\n";
            if !self.ended {
                text += &last[..random.usize(0..last.len())];
            }
        }
        text
    }

    fn state(&self, random: &mut Rng) -> ProducerState {
        let mut streams = Vec::new();
        let mut totals = SendTotals::default();
        for ((_, epoch, partition), fates) in &self.streams {
            let mut ledger = SendLedger::default();
            fates.iter().for_each(|_| ledger.accepted());
            let mut order: Vec<u64> = (0..fates.len() as u64).collect();
            if random.bool() {
                random.shuffle(&mut order);
            }
            for sequence in order {
                match fates[sequence as usize] {
                    Fate::Acked => ledger.settle(sequence, SendOutcome::Acked),
                    Fate::NotPersisted => ledger.settle(sequence, SendOutcome::NotPersisted),
                    // Whatever was never reported is unknown once the handle is gone.
                    Fate::Unknown if self.ended && random.bool() => {}
                    Fate::Unknown => ledger.settle(sequence, SendOutcome::Unknown),
                    Fate::InFlight => {}
                }
            }
            if self.ended {
                ledger.abandon();
            }
            totals.add(&ledger);
            streams.push(SendStream::new(ProducerId(self.id), *epoch, *partition as i32, &ledger));
        }
        ProducerState {
            schema: PRODUCER.into(),
            event: if self.ended { StateEvent::End } else { StateEvent::Checkpoint },
            time_ms: 2,
            elapsed_ms: 1,
            run: run(),
            producer: ProducerId(self.id),
            reason: self.ended.then_some(Reason::Count),
            totals,
            partitions: Vec::new(),
            streams,
            folded_epochs: 0,
            errors: BTreeMap::new(),
            queue_full: 0,
            topic_id: None,
        }
    }
}

impl Log {
    fn end(&self, partition: usize) -> i64 {
        self.start[partition] + self.entries[partition].len() as i64
    }

    fn ranges(&self) -> Vec<OffsetRange> {
        (0..self.entries.len())
            .map(|p| OffsetRange { partition: p as i32, start: self.start[p], end: self.end(p) })
            .collect()
    }

    fn value(&self, partition: usize, at: usize) -> Vec<u8> {
        let stamp = |run: &str, (producer, epoch, chosen): StreamId, sequence| {
            let mut encoder = Encoder::new(run.parse().unwrap(), ProducerId(producer), epoch, 0);
            encoder.encode(7, chosen as u32, sequence, 1_732_347_335_123).to_vec()
        };
        match self.entries[partition][at] {
            Entry::Ours(key, sequence) => stamp("r", key, sequence),
            Entry::Bent(key, sequence, byte) => {
                let mut value = stamp("r", key, sequence);
                let byte = byte % value.len();
                value[byte] ^= 1 << (at % 8);
                value
            }
            Entry::OtherRun(sequence) => stamp("other", (1, 0, partition), sequence),
            Entry::Foreign => b"typed by hand".to_vec(),
        }
    }

    /// Reads the log as the consumer does. Records at `hidden` never reach the ledger; reading ends at `stop`.
    fn read(
        &self,
        random: &mut Rng,
        redeliver: bool,
        hidden: Option<(usize, usize)>,
        stop: Option<(usize, usize)>,
    ) -> ConsumerState {
        let (mut totals, mut partitions, mut streams) = (Counts::default(), Vec::new(), Vec::new());
        for (partition, entries) in self.entries.iter().enumerate() {
            let mut ledger = PartitionLedger::new(partition as i32, self.start[partition], Some(run()));
            let mut at = 0;
            while at < entries.len() && stop != Some((partition, at)) {
                if hidden != Some((partition, at)) {
                    let value = self.value(partition, at);
                    ledger.record(Record::new(self.start[partition] + at as i64, Some(&value)));
                }
                at += 1;
                if redeliver && random.u8(0..10) == 0 {
                    at -= random.usize(0..=at.min(5));
                }
            }
            if stop.is_none_or(|(stopped, _)| stopped != partition) {
                ledger.reached(self.end(partition));
            }
            totals.add(ledger.counts());
            partitions.push(ReceivePartition::new(&ledger, Some(self.end(partition)), (Some(0), None)));
            streams.extend(ledger.streams().iter().map(|stream| ReceiveStream::new(partition as i32, stream)));
        }
        let state = ConsumerState {
            schema: CONSUMER.into(),
            event: StateEvent::End,
            time_ms: 3,
            elapsed_ms: 1,
            run: Some(run()),
            reason: Some(Reason::End),
            totals: ReceiveTotals::from(&totals),
            partitions,
            streams,
            topic_id: None,
        };
        serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap()
    }
}

fn judged(ranges: &[OffsetRange], claims: &[Claim], received: &ConsumerState) -> Report {
    judge(&Case::new(run(), "test", ranges, claims, received))
}

/// What the naive model finds: the number of each fault, and of records that nobody promised.
fn naive(scenario: &Scenario, log: &Log) -> (BTreeMap<Kind, u64>, u64) {
    let mut found = BTreeMap::new();
    let mut count = |kind, n: usize| {
        if n > 0 {
            *found.entry(kind).or_default() += n as u64;
        }
    };
    let mut seen: BTreeMap<StreamId, Vec<u64>> = BTreeMap::new();
    for (partition, entries) in log.entries.iter().enumerate() {
        for entry in entries {
            match *entry {
                Entry::OtherRun(_) | Entry::Foreign => {}
                // Without its mark, a record looks like another writer's.
                Entry::Bent(_, _, byte) if (8..13).contains(&byte) => {}
                Entry::Bent(..) => count(Kind::Corrupt, 1),
                Entry::Ours(key, _) if key.2 != partition => count(Kind::Misrouted, 1),
                Entry::Ours(key, sequence) => {
                    let before = seen.entry(key).or_default();
                    if before.contains(&sequence) {
                        count(Kind::Duplicate, 1);
                    } else if before.iter().any(|other| *other > sequence) {
                        count(Kind::OutOfOrder, 1);
                    }
                    before.push(sequence);
                }
            }
        }
    }
    let mut unpromised = 0;
    for (key, sequences) in &seen {
        for sequence in sequences.iter().copied().collect::<BTreeSet<_>>() {
            let producer = scenario.producers.iter().find(|producer| producer.id == key.0);
            match (producer, scenario.fate(*key, sequence)) {
                (None, _) => count(Kind::Stranger, 1),
                (_, Some(Fate::Acked)) => {}
                (_, Some(Fate::NotPersisted)) => count(Kind::NotPersistedReceived, 1),
                (Some(Producer { ended: true, .. }), None) => count(Kind::NeverSent, 1),
                (_, Some(Fate::Unknown | Fate::InFlight)) | (Some(_), None) => unpromised += 1,
            }
        }
    }
    for producer in &scenario.producers {
        for (key, fates) in &producer.streams {
            for (sequence, fates) in fates.iter().enumerate() {
                let there = seen.get(key).is_some_and(|seen| seen.contains(&(sequence as u64)));
                count(Kind::Missing, usize::from(*fates == Fate::Acked && !there));
            }
        }
    }
    (found, unpromised)
}

fn summed(report: &Report) -> BTreeMap<Kind, u64> {
    let mut found = BTreeMap::new();
    for finding in &report.findings {
        *found.entry(finding.kind).or_default() += finding.count;
    }
    found
}

fn unpromised(report: &Report) -> u64 {
    report.partitions.iter().map(|row| row.unpromised).sum()
}

/// A corruption of a log, and the fault that must be reported if the record was promised.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Corruption {
    Drop,
    Duplicate,
    Swap,
    Bend,
    Misroute,
    Truncate,
    Resurrect,
    Invent,
    Stranger,
}

const ALL: [(Corruption, Kind); 9] = [
    (Corruption::Drop, Kind::Missing),
    (Corruption::Duplicate, Kind::Duplicate),
    (Corruption::Swap, Kind::OutOfOrder),
    (Corruption::Bend, Kind::Corrupt),
    (Corruption::Misroute, Kind::Misrouted),
    (Corruption::Truncate, Kind::Missing),
    (Corruption::Resurrect, Kind::NotPersistedReceived),
    (Corruption::Invent, Kind::NeverSent),
    (Corruption::Stranger, Kind::Stranger),
];

/// A record of the run: often the first or last of a partition or an epoch, where bugs are likely.
fn target(random: &mut Rng, scenario: &Scenario) -> Option<(usize, usize, StreamId, u64)> {
    let ours = scenario.ours();
    let any = *ours.get(random.usize(0..ours.len().max(1)))?;
    let of_partition = |found: &&(usize, usize, StreamId, u64)| found.0 == any.0;
    let of_stream = |found: &&(usize, usize, StreamId, u64)| found.2 == any.2;
    match random.u8(0..6) {
        0 => ours.iter().find(of_partition).copied(),
        1 => ours.iter().rfind(of_partition).copied(),
        2 => ours.iter().find(of_stream).copied(),
        3 => ours.iter().rfind(of_stream).copied(),
        _ => Some(any),
    }
}

/// Applies the corruption and returns whether it must be found: records that nobody promised may be absent. `None` if
/// this log has no suitable record.
fn corrupt(random: &mut Rng, scenario: &Scenario, how: Corruption) -> Option<(Log, bool)> {
    let mut log = scenario.log.clone();
    match how {
        Corruption::Resurrect => {
            let lost = scenario.producers.iter().flat_map(|producer| &producer.streams).flat_map(|(key, fates)| {
                let lost = fates.iter().enumerate().filter(|(_, fates)| **fates == Fate::NotPersisted);
                lost.map(move |(sequence, _)| (*key, sequence as u64))
            });
            let (key, sequence) = random.choice(lost.collect::<Vec<_>>())?;
            let at = random.usize(0..=log.entries[key.2].len());
            log.entries[key.2].insert(at, Entry::Ours(key, sequence));
            return Some((log, true));
        }
        Corruption::Invent => {
            let ended = scenario.producers.iter().filter(|producer| producer.ended).flat_map(|p| &p.streams);
            let (key, sent) =
                random.choice(ended.map(|(key, fates)| (*key, fates.len() as u64)).collect::<Vec<_>>())?;
            // One past the last, or in an epoch that does not exist.
            let key = if random.bool() { key } else { (key.0, key.1 + 9, key.2) };
            log.entries[key.2].push(Entry::Ours(key, sent + random.u64(0..3)));
            return Some((log, true));
        }
        Corruption::Stranger => {
            let partition = random.usize(0..log.entries.len());
            let at = random.usize(0..=log.entries[partition].len());
            log.entries[partition].insert(at, Entry::Ours((99, 0, partition), random.u64(0..2)));
            return Some((log, true));
        }
        _ => {}
    }
    let (partition, at, key, sequence) = target(random, scenario)?;
    let promised = scenario.fate(key, sequence) == Some(Fate::Acked);
    let entries = &mut log.entries[partition];
    let found = match how {
        Corruption::Drop => {
            entries.remove(at);
            promised
        }
        Corruption::Duplicate => {
            let copy = random.usize(at + 1..=entries.len());
            entries.insert(copy, entries[at]);
            true
        }
        Corruption::Swap => {
            let later = (at + 1..entries.len())
                .filter(|other| matches!(entries[*other], Entry::Ours(other, _) if other == key))
                .collect::<Vec<_>>();
            entries.swap(at, random.choice(later)?);
            true
        }
        Corruption::Bend => {
            let byte = random.usize(0..50);
            entries[at] = Entry::Bent(key, sequence, byte);
            !(8..13).contains(&byte) || promised
        }
        Corruption::Misroute => {
            let others: Vec<usize> = (0..scenario.log.entries.len()).filter(|other| *other != partition).collect();
            let other = random.choice(others)?;
            let entry = entries.remove(at);
            let to = random.usize(0..=log.entries[other].len());
            log.entries[other].insert(to, entry);
            true
        }
        Corruption::Truncate => {
            let lost = entries.split_off(at);
            let acked = |key: &StreamId, sequence: &u64| scenario.fate(*key, *sequence) == Some(Fate::Acked);
            lost.iter().any(|entry| matches!(entry, Entry::Ours(key, sequence) if acked(key, sequence)))
        }
        Corruption::Resurrect | Corruption::Invent | Corruption::Stranger => return None,
    };
    Some((log, found))
}

#[test]
fn clean_logs_raise_no_alarm() {
    let (mut died, mut open) = (0, 0);
    for seed in 0..3000 {
        let mut random = Rng::with_seed(seed);
        let scenario = Scenario::new(&mut random);
        let claims = scenario.claims(&mut random);
        let redeliver = random.bool();
        let received = scenario.log.read(&mut random, redeliver, None, None);
        let report = judged(&scenario.log.ranges(), &claims, &received);
        assert_eq!((report.verdict, report.reasons.as_slice()), (Verdict::Pass, [].as_slice()), "seed {seed}");
        assert_eq!((BTreeMap::new(), unpromised(&report)), naive(&scenario, &scenario.log), "seed {seed}");
        assert!(report.evidence.is_empty(), "seed {seed}");
        died += report.died;
        open += unpromised(&report);
    }
    assert!(died > 1000 && open > 1000, "the logs are too tame: {died} died, {open} records nobody promised");
}

#[test]
fn every_generated_corruption_is_caught_and_named() {
    let mut caught: BTreeMap<&str, usize> = BTreeMap::new();
    let mut harmless = 0;
    let names = ALL.map(|(how, kind)| (format!("{how:?}"), how, kind));
    for seed in 0.. {
        if caught.values().sum::<usize>() >= CORRUPTIONS {
            break;
        }
        let mut random = Rng::with_seed(seed);
        let scenario = Scenario::new(&mut random);
        let claims = scenario.claims(&mut random);
        for (name, how, kind) in &names {
            let Some((log, must_be_found)) = corrupt(&mut random, &scenario, *how) else { continue };
            let redeliver = random.bool();
            let received = log.read(&mut random, redeliver, None, None);
            let report = judged(&log.ranges(), &claims, &received);
            let (faults, open) = naive(&scenario, &log);
            let told = || format!("seed {seed}, {how:?}: {:?}", report.reasons);
            assert_eq!(summed(&report), faults, "{}", told());
            assert_eq!(unpromised(&report), open, "{}", told());
            let verdict = if faults.is_empty() { Verdict::Pass } else { Verdict::Fail };
            assert_eq!(report.verdict, verdict, "{}", told());
            assert_eq!(report.reasons.is_empty(), faults.is_empty(), "{}", told());
            assert_eq!(!faults.is_empty(), must_be_found, "{}", told());
            if must_be_found {
                // Without its mark, a record looks like another writer's, so this one is missing.
                let named =
                    faults.contains_key(kind) || *how == Corruption::Bend && faults.contains_key(&Kind::Missing);
                assert!(named, "{}", told());
                *caught.entry(name).or_default() += 1;
            } else {
                harmless += 1;
            }
        }
    }
    assert!(caught.len() == ALL.len() && caught.values().all(|n| *n > CORRUPTIONS / 50), "{caught:?}");
    assert!(harmless > 0, "nothing was done to records that nobody promised");
}

#[test]
fn what_the_reader_loses_is_no_excuse() {
    let (mut hidden, mut stopped) = (0, 0);
    for seed in 0..2000 {
        let mut random = Rng::with_seed(seed);
        let scenario = Scenario::new(&mut random);
        let claims = scenario.claims(&mut random);
        let Some((partition, at, key, sequence)) = target(&mut random, &scenario) else { continue };
        // The brokers count it, but the consumer never delivers it. The offsets reveal that, even if nobody promised
        // the record. It may be there, so it is not reported as missing.
        let received = scenario.log.read(&mut random, false, Some((partition, at)), None);
        let report = judged(&scenario.log.ranges(), &claims, &received);
        let expected = BTreeMap::from([(Kind::Gaps, 1)]);
        assert_eq!(
            (report.verdict, summed(&report)),
            (Verdict::Inconclusive, expected),
            "seed {seed}: {:?}",
            report.reasons
        );
        hidden += 1;

        // Unread is not lost: if nothing else is wrong, the result is unknown.
        let received = scenario.log.read(&mut random, false, None, Some((partition, at)));
        let report = judged(&scenario.log.ranges(), &claims, &received);
        let left = (scenario.log.entries[partition].len() - at) as u64;
        let expected = BTreeMap::from([(Kind::NotDrained, left)]);
        assert_eq!(
            (report.verdict, summed(&report)),
            (Verdict::Inconclusive, expected),
            "seed {seed}: {key:?} {sequence}"
        );
        stopped += 1;
    }
    assert!(hidden > 1500 && stopped > 1500, "{hidden} {stopped}");
}

#[test]
fn a_consumer_that_reads_again_counts_nothing_twice() {
    for seed in 0..500 {
        let mut random = Rng::with_seed(seed);
        let scenario = Scenario::new(&mut random);
        let whole = scenario.log.read(&mut random, false, None, None);
        // If it is killed, its counts are lost. The next one starts at the start of the run and arrives at the same
        // account.
        let ours = scenario.ours();
        if let Some((partition, at, ..)) = ours.get(random.usize(0..ours.len().max(1))) {
            let killed = scenario.log.read(&mut random, true, None, Some((*partition, *at)));
            assert_ne!(killed, whole, "seed {seed}");
        }
        assert_eq!(scenario.log.read(&mut random, false, None, None), whole, "seed {seed}");
        // Offsets that are read again count as redelivered, and nothing else changes.
        let mut again = scenario.log.read(&mut random, true, None, None);
        for counts in again.partitions.iter_mut().map(|row| &mut row.counts).chain([&mut again.totals]) {
            counts.redelivered = 0;
        }
        assert_eq!(again, whole, "seed {seed}");
    }
}
