//! The load of a drill: a producer and a consumer of its own, on a topic of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ledger::lines::{ConsumerState, ProducerState, ReceivePartition};
use ledger::stamp::RunId;
use rustix::process::Signal;

use crate::drill::client::{ClientProcess, Fate};
use crate::drill::control::Without;
use crate::drill::observations::{ByPartition, LoadProgress};
use crate::drill::outcome::Peaks;
use crate::drill::timing::LEAST_GAP_MS;
use crate::exec::Cmd;
use crate::failure::{Failure, Result};
use crate::files::private_dir;
use crate::local::process::{Identity, Memory, Started};
use crate::task::Task;
use crate::wait::Poll;
use crate::words::listed;

/// Acknowledged and received messages of each partition.
type PartitionCounts = BTreeMap<u32, (u64, u64)>;

/// How long the load may take to continue in every partition once everything is mended.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often the clients' state files are read.
const INTERVAL: Duration = Duration::from_millis(200);

/// Returns the partitions in which nothing was acknowledged, or nothing received, between two states.
fn stalled(before: &PartitionCounts, now: &PartitionCounts, partitions: &[u32]) -> Vec<u32> {
    let continues = |partition: &u32| {
        let of = |counts: &PartitionCounts| counts.get(partition).copied().unwrap_or_default();
        let ((acked, received), (acked_now, received_now)) = (of(before), of(now));
        acked_now > acked && received_now > received
    };
    partitions.iter().copied().filter(|partition| !continues(partition)).collect()
}

/// The age of both clients' states: which process of the client, and its running time. A moved wall clock does not
/// change them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StateVersions {
    producer: (usize, u64),
    consumer: (usize, u64),
}

impl StateVersions {
    /// Whether both states are newer.
    fn both_since(self, before: Self) -> bool {
        self.producer > before.producer && self.consumer > before.consumer
    }
}

/// The load.
pub struct Load {
    /// The run id in every message.
    pub run: RunId,
    /// The topic.
    pub topic: String,
    /// Messages a second, over all partitions.
    pub rate: u32,
    /// Additional flags of the producers.
    pub flags: &'static [&'static str],
    /// End offsets before the run, by partition.
    pub before: Vec<(u32, u64)>,
    /// Every producer process so far.
    pub producers: Vec<ClientProcess>,
    /// Every consumer process so far.
    pub consumers: Vec<ClientProcess>,
    /// Peak memory of both, as of the last sample.
    pub peaks: Peaks,
    /// What is left out, as a control.
    pub without: Without,
}

impl Load {
    /// Samples the peak memory of the living processes: the system forgets it when a process ends.
    pub fn sample_memory(&mut self) -> Peaks {
        let peak = |clients: &[ClientProcess]| {
            clients.iter().filter_map(|client| client.identity.memory_kib(Memory::Peak)).max().unwrap_or_default()
        };
        self.peaks.producer_kib = self.peaks.producer_kib.max(peak(&self.producers));
        self.peaks.consumer_kib = self.peaks.consumer_kib.max(peak(&self.consumers));
        self.peaks
    }

    /// The folder of the clients' logs and state files.
    pub fn dir(&self, task: &Task<'_>) -> PathBuf {
        task.lab().logs().join("drills").join(self.run.to_string())
    }

    fn start(&self, task: &Task<'_>, role: &str, number: usize, more: &[String]) -> Result<ClientProcess> {
        let (lab, dir) = (task.lab(), self.dir(task));
        private_dir(&dir)?;
        let name = format!("{role}-{number}");
        let (log, state_file) = (dir.join(format!("{name}.log")), dir.join(format!("{name}.state")));
        let cmd = Cmd::new(lab.clients_program(), Duration::ZERO)
            .args([role, "--brokers", &lab.bootstrap(), "--topic", &self.topic, "--run", &self.run.to_string()])
            .args(["--format", "json", "--gaps", &LEAST_GAP_MS.to_string()])
            .args(more.iter().cloned())
            .arg(format!("--state-file={}", state_file.display()))
            .arg(format!("--log-file={}", log.display()));
        let pid = task.ctx.exec.start(&cmd, &log.with_extension("out"))?;
        let identity = Started::of(pid, String::new(), cmd.to_string(), None)?.identity;
        Ok(ClientProcess { name, log, state_file, started: Instant::now(), identity, fate: Fate::Living })
    }

    /// Starts another producer process of the run.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start_producer(&mut self, task: &Task<'_>) -> Result<()> {
        let mut more = vec!["--rate".to_string(), self.rate.to_string(), "--value-size".into(), "100".into()];
        more.extend(self.flags.iter().map(|flag| flag.to_string()));
        let client = self.start(task, "producer", self.producers.len() + 1, &more)?;
        self.producers.push(client);
        Ok(())
    }

    /// Starts another consumer process, which reads the run from its beginning.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start_consumer(&mut self, task: &Task<'_>) -> Result<()> {
        let starts: Vec<String> =
            self.before.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
        let more = if starts.is_empty() { Vec::new() } else { vec!["--start".to_string(), starts.join(",")] };
        let client = self.start(task, "consumer", self.consumers.len() + 1, &more)?;
        self.consumers.push(client);
        Ok(())
    }

    /// Returns the client of a process.
    pub fn client(&mut self, identity: &Identity) -> Option<&mut ClientProcess> {
        self.producers.iter_mut().chain(&mut self.consumers).find(|client| client.identity == *identity)
    }

    /// Reports the client processes that ended by themselves, or did not end in time.
    pub fn went_wrong(&self) -> Vec<String> {
        let wrong = |client: &ClientProcess| match client.fate {
            Fate::ByItself => Some(format!("{} ended by itself", client.name)),
            Fate::Asked { in_time: false } => Some(format!("{} did not end in time after SIGTERM", client.name)),
            _ => None,
        };
        self.producers.iter().chain(&self.consumers).filter_map(wrong).collect()
    }

    /// The state of the last consumer process. Each one counts from the start of the run.
    pub fn received(&self) -> Option<ConsumerState> {
        self.consumers.last()?.state()
    }

    fn sent(&self) -> Option<ProducerState> {
        self.producers.last()?.state()
    }

    /// Waits until messages of every partition are acknowledged and, with a `consumer`, received.
    ///
    /// # Errors
    /// That takes longer than a minute, or a client ended by itself.
    pub fn flows(&self, task: &Task<'_>, consumer: bool) -> Result<()> {
        task.wait("the load", Duration::from_secs(60), INTERVAL, || {
            let ended =
                [self.producers.last(), self.consumers.last()].into_iter().flatten().find(|client| client.ended());
            if let Some(client) = ended {
                return Err(Failure::fault(format!("{} ended by itself", client.name)).log(&client.log));
            }
            let Some(state) = self.sent() else { return Ok(Poll::NotYet("the producer has sent nothing yet".into())) };
            if state.partitions.is_empty() || state.partitions.iter().any(|partition| partition.acked == 0) {
                return Ok(Poll::NotYet("not every partition has acknowledged a message yet".into()));
            }
            Ok(match self.received() {
                _ if !consumer => Poll::Ready(()),
                Some(state)
                    if !state.partitions.is_empty() && state.partitions.iter().all(|p| p.counts.received > 0) =>
                {
                    Poll::Ready(())
                }
                _ => Poll::NotYet("the consumer has not received from every partition yet".into()),
            })
        })
    }

    /// Returns the progress of the load, by the last process of each client.
    pub fn progress(&self) -> LoadProgress {
        let (sent, received) = (self.sent(), self.received());
        let acked = sent.iter().flat_map(|state| &state.partitions);
        let behind = received.iter().flat_map(|state| &state.partitions);
        let lag = |row: &ReceivePartition| Some(row.high?.saturating_sub(row.next).try_into().unwrap_or_default());
        let started = [self.producers.last(), self.consumers.last()];
        let running =
            started.map(|client| client.filter(|client| !client.ended()).map(|client| client.started.elapsed()));
        let running = running.into_iter().map(Option::unwrap_or_default).min().unwrap_or_default();
        LoadProgress {
            acked: acked.map(|row| (number(row.partition), row.acked)).collect(),
            in_flight: sent.as_ref().map_or(0, |state| state.totals.in_flight),
            producer_ms: sent.as_ref().map_or(0, |state| state.elapsed_ms),
            behind: behind.map(|row| (number(row.partition), lag(row))).collect(),
            consumer_ms: received.as_ref().map_or(0, |state| state.elapsed_ms),
            running_ms: u64::try_from(running.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Returns the leader epoch of the last record that the last consumer read from each partition.
    pub fn epochs(&self) -> Option<ByPartition<i32>> {
        let state = self.received()?;
        let last = state.partitions.iter().filter_map(|row| Some((number(row.partition), row.leader_epochs.last()?.0)));
        let last: ByPartition<i32> = last.collect();
        (!last.is_empty()).then_some(last)
    }

    /// Waits until the last consumer has read beyond these end offsets. Returns whether it has.
    ///
    /// # Errors
    /// An interruption.
    pub fn reads_beyond(&self, task: &Task<'_>, ends: &[(u32, u64)], timeout: Duration) -> Result<bool> {
        self.until_received(task, timeout, |state| reached(state, ends, |next, end| next > end))
    }

    fn until_received(
        &self,
        task: &Task<'_>,
        timeout: Duration,
        done: impl Fn(&ConsumerState) -> bool,
    ) -> Result<bool> {
        let read = task.wait("the consumer", timeout, INTERVAL, || {
            Ok(match self.received() {
                Some(state) if done(&state) => Poll::Ready(true),
                _ if self.consumers.last().is_none_or(ClientProcess::ended) => Poll::Ready(false),
                _ => Poll::NotYet("the consumer reads what is left".into()),
            })
        });
        match read {
            Err(failure) if task.ctx.stop.requested() => Err(failure),
            done => Ok(done.unwrap_or(false)),
        }
    }

    /// The counts in the states of both clients, and the age of these states; `None` before both have one.
    fn counts(&self) -> Option<(StateVersions, PartitionCounts)> {
        let (sent, received) = (self.sent()?, self.received()?);
        let versions = StateVersions {
            producer: (self.producers.len(), sent.elapsed_ms),
            consumer: (self.consumers.len(), received.elapsed_ms),
        };
        let mut counts = PartitionCounts::new();
        for row in &sent.partitions {
            counts.entry(number(row.partition)).or_default().0 = row.acked;
        }
        for row in &received.partitions {
            counts.entry(number(row.partition)).or_default().1 = row.counts.received;
        }
        Some((versions, counts))
    }

    /// Waits until new messages of each of these partitions are acknowledged and received. Returns the partitions where
    /// that does not happen within [`CONTINUE_TIMEOUT`], or cannot, because a client has ended.
    ///
    /// # Errors
    /// An interruption.
    pub fn stuck(&self, task: &Task<'_>, partitions: &[u32]) -> Result<Vec<u32>> {
        let end = Instant::now() + CONTINUE_TIMEOUT;
        let asked = self.counts().map(|(versions, _)| versions).unwrap_or_default();
        let mut first: Option<PartitionCounts> = None;
        task.wait("the load", 2 * CONTINUE_TIMEOUT, INTERVAL, || {
            let ended = [self.producers.last(), self.consumers.last()]
                .into_iter()
                .any(|client| client.is_none_or(ClientProcess::ended));
            let now = self.counts().filter(|(versions, _)| versions.both_since(asked)).map(|(_, counts)| counts);
            let stuck = match (&first, &now) {
                (Some(first), Some(now)) => stalled(first, now, partitions),
                _ => partitions.to_vec(),
            };
            first = first.take().or(now);
            if stuck.is_empty() || ended || Instant::now() >= end {
                return Ok(Poll::Ready(stuck));
            }
            Ok(Poll::NotYet(format!("partitions {} have not continued yet", listed(&stuck))))
        })
    }

    /// Stops every producer: each flushes and writes its last line.
    ///
    /// # Errors
    /// One survives SIGKILL, or an interruption.
    pub fn end_producers(&mut self, task: &Task<'_>, grace: Duration) -> Result<()> {
        self.producers.iter_mut().try_for_each(|client| client.stop(task, grace))
    }

    /// Waits until the consumer has read to these end offsets, then stops every consumer. If it does not get there, the
    /// verdict reports it.
    ///
    /// # Errors
    /// One survives SIGKILL, or an interruption.
    pub fn drain(&mut self, task: &Task<'_>, ends: &[(u32, u64)], timeout: Duration) -> Result<()> {
        self.until_received(task, timeout, |state| reached(state, ends, |next, end| next >= end))?;
        self.consumers.iter_mut().try_for_each(|client| client.stop(task, Duration::from_secs(20)))
    }

    /// Kills every process that still runs: the drill is over.
    pub fn kill(&self) {
        for client in self.producers.iter().chain(&self.consumers).filter(|client| !client.ended()) {
            // A process that is already gone is fine.
            let _ = client.identity.signal(Signal::KILL);
        }
    }
}

/// A partition number of the clients' lines.
pub fn number(partition: i32) -> u32 {
    u32::try_from(partition).unwrap_or(u32::MAX)
}

/// Whether a consumer's next offset of each partition compares to the end offset as `is` wants.
fn reached(state: &ConsumerState, ends: &[(u32, u64)], is: impl Fn(u64, u64) -> bool) -> bool {
    ends.iter().all(|(partition, end)| {
        let found = state.partitions.iter().find(|p| number(p.partition) == *partition);
        found.is_some_and(|p| u64::try_from(p.next).is_ok_and(|next| is(next, *end)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_new_by_the_clients_own_clocks() {
        let versions = |producer, consumer| StateVersions { producer, consumer };
        let before = versions((1, 5_000), (1, 4_000));
        assert!(versions((1, 6_000), (1, 5_000)).both_since(before));
        assert!(!versions((1, 6_000), (1, 4_000)).both_since(before), "the consumer's state is the same");
        // Another process starts at 0.
        assert!(versions((2, 0), (2, 0)).both_since(before));
    }

    #[test]
    fn a_partition_continues_when_more_is_acknowledged_and_more_is_received() {
        let before = PartitionCounts::from([(0, (5, 5)), (1, (5, 5)), (2, (5, 4)), (3, (9, 9))]);
        let now = PartitionCounts::from([(0, (6, 6)), (1, (6, 5)), (2, (5, 5)), (3, (9, 9)), (4, (1, 1)), (5, (1, 0))]);
        assert_eq!(stalled(&before, &now, &[0, 1, 2, 3, 4, 5, 6]), [1, 2, 3, 5, 6]);
    }
}
