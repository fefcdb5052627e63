//! The load of a drill: a producer and a consumer of its own, on a topic of its own, and what they said.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ledger::lines::{ConsumerState, ProducerState, ReceivePartition};
use ledger::stamp::RunId;
use rustix::process::Signal;

use crate::drill::client::{Client, Fate};
use crate::drill::control::Without;
use crate::drill::evidence::{ByPartition, Standing};
use crate::drill::outcome::Peaks;
use crate::drill::timing::LEAST_GAP_MS;
use crate::exec::Cmd;
use crate::failure::{Failure, Result};
use crate::files::private_dir;
use crate::local::process::{Identity, Memory, Started};
use crate::task::Task;
use crate::wait::Poll;

/// By partition, how many messages were acknowledged and how many received.
type Moved = BTreeMap<u32, (u64, u64)>;

/// How long the load may take to go on in every partition once all is mended.
const GOES_ON: Duration = Duration::from_secs(60);

/// Those of `partitions` in which nothing was acknowledged or nothing received between two looks.
fn standing_still(before: &Moved, now: &Moved, partitions: &[u32]) -> Vec<u32> {
    let goes_on = |partition: &u32| {
        let of = |moved: &Moved| moved.get(partition).copied().unwrap_or_default();
        let ((acked, received), (acked_now, received_now)) = (of(before), of(now));
        acked_now > acked && received_now > received
    };
    partitions.iter().copied().filter(|partition| !goes_on(partition)).collect()
}

/// Which words of the clients are looked at: of which process, and how long that had run by its own clock. A wall clock that is set meanwhile
/// changes nothing of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spoken {
    producer: (usize, u64),
    consumer: (usize, u64),
}

impl Spoken {
    /// Whether both have spoken since.
    fn both_since(self, before: Self) -> bool {
        self.producer > before.producer && self.consumer > before.consumer
    }
}

/// The load.
pub struct Load {
    /// The run that every message bears.
    pub run: RunId,
    /// The topic.
    pub topic: String,
    /// Messages a second, over all partitions.
    pub rate: u32,
    /// Further flags of its producers.
    pub flags: &'static [&'static str],
    /// End offsets before the run, by partition.
    pub before: Vec<(u32, u64)>,
    /// Every producer process so far.
    pub producers: Vec<Client>,
    /// Every consumer process so far.
    pub consumers: Vec<Client>,
    /// The peaks of both as last looked at.
    pub peaks: Peaks,
    /// What is left out of it, as a control.
    pub without: Without,
}

impl Load {
    /// Looks at the living processes' peaks again: the system forgets those of a process that ends.
    pub fn sample_memory(&mut self) -> Peaks {
        let peak = |clients: &[Client]| {
            clients.iter().filter_map(|client| client.identity.memory_kib(Memory::Peak)).max().unwrap_or_default()
        };
        self.peaks.producer_kib = self.peaks.producer_kib.max(peak(&self.producers));
        self.peaks.consumer_kib = self.peaks.consumer_kib.max(peak(&self.consumers));
        self.peaks
    }

    /// Where the clients' logs are.
    pub fn dir(&self, task: &Task<'_>) -> PathBuf {
        task.lab().logs().join("drills").join(self.run.to_string())
    }

    fn start(&self, task: &Task<'_>, role: &str, number: usize, more: &[String]) -> Result<Client> {
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
        Ok(Client { name, log, state_file, started: Instant::now(), identity, fate: Fate::Living })
    }

    /// Starts another producer process of the run.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_producer(&mut self, task: &Task<'_>) -> Result<()> {
        let mut more = vec!["--rate".to_string(), self.rate.to_string(), "--value-size".into(), "100".into()];
        more.extend(self.flags.iter().map(|flag| flag.to_string()));
        let client = self.start(task, "producer", self.producers.len() + 1, &more)?;
        self.producers.push(client);
        Ok(())
    }

    /// Starts another consumer process, which reads the run from where it began.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_consumer(&mut self, task: &Task<'_>) -> Result<()> {
        let starts: Vec<String> =
            self.before.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
        let more = if starts.is_empty() { Vec::new() } else { vec!["--start".to_string(), starts.join(",")] };
        let client = self.start(task, "consumer", self.consumers.len() + 1, &more)?;
        self.consumers.push(client);
        Ok(())
    }

    /// The living processes of both.
    pub fn living(&self) -> impl Iterator<Item = &Identity> {
        self.producers.iter().chain(&self.consumers).filter(|client| !client.ended()).map(|client| &client.identity)
    }

    /// The client whose process that is.
    pub fn client(&mut self, identity: &Identity) -> Option<&mut Client> {
        self.producers.iter_mut().chain(&mut self.consumers).find(|client| client.identity == *identity)
    }

    /// The client processes that ended though nobody told them to, or did not though they were told, in words.
    pub fn went_wrong(&self) -> Vec<String> {
        let wrong = |client: &Client| match client.fate {
            Fate::ByItself => Some(format!("{} ended by itself", client.name)),
            Fate::Asked { in_time: false } => Some(format!("{} did not end when it was told to", client.name)),
            _ => None,
        };
        self.producers.iter().chain(&self.consumers).filter_map(wrong).collect()
    }

    /// How the last consumer process stands: each one counts from the run's start.
    pub fn received(&self) -> Option<ConsumerState> {
        self.consumers.last()?.state()
    }

    /// How the last producer process stands.
    fn sent(&self) -> Option<ProducerState> {
        self.producers.last()?.state()
    }

    /// Waits until messages of every partition are acknowledged and received.
    ///
    /// # Errors
    /// They are not within a minute, or a client ended by itself.
    pub fn flows(&self, task: &Task<'_>, consumer: bool) -> Result<()> {
        task.wait("the load", Duration::from_secs(60), Duration::from_millis(200), || {
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
                _ => Poll::NotYet("the consumer has not received of every partition yet".into()),
            })
        })
    }

    /// How the load stands, by the last process of each client.
    pub fn standing(&self) -> Standing {
        let (sent, received) = (self.sent(), self.received());
        let acked = sent.iter().flat_map(|state| &state.partitions);
        let behind = received.iter().flat_map(|state| &state.partitions);
        let lag = |row: &ReceivePartition| Some(row.high?.saturating_sub(row.next).try_into().unwrap_or_default());
        let started = [self.producers.last(), self.consumers.last()];
        let running =
            started.map(|client| client.filter(|client| !client.ended()).map(|client| client.started.elapsed()));
        let running = running.into_iter().map(Option::unwrap_or_default).min().unwrap_or_default();
        Standing {
            acked: acked.map(|row| (number(row.partition), row.acked)).collect(),
            in_flight: sent.as_ref().map_or(0, |state| state.totals.in_flight),
            producer_ms: sent.as_ref().map_or(0, |state| state.elapsed_ms),
            behind: behind.map(|row| (number(row.partition), lag(row))).collect(),
            consumer_ms: received.as_ref().map_or(0, |state| state.elapsed_ms),
            running_ms: u64::try_from(running.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The leader epoch of the last record that the last consumer read of each partition.
    pub fn epochs(&self) -> Option<ByPartition<i32>> {
        let state = self.received()?;
        let last = state.partitions.iter().filter_map(|row| Some((number(row.partition), row.leader_epochs.last()?.0)));
        let last: ByPartition<i32> = last.collect();
        (!last.is_empty()).then_some(last)
    }

    /// Waits until the last consumer has read beyond these end offsets, and tells whether it did.
    ///
    /// # Errors
    /// An interruption.
    pub fn reads_beyond(&self, task: &Task<'_>, ends: &[(u32, u64)], patience: Duration) -> Result<bool> {
        let beyond = |state: &ConsumerState| there(state, ends, |next, end| next > end);
        self.until_received(task, patience, beyond)
    }

    fn until_received(
        &self,
        task: &Task<'_>,
        patience: Duration,
        done: impl Fn(&ConsumerState) -> bool,
    ) -> Result<bool> {
        let read = task.wait("the consumer", patience, Duration::from_millis(200), || {
            Ok(match self.received() {
                Some(state) if done(&state) => Poll::Ready(true),
                // It gets no further.
                _ if self.consumers.last().is_none_or(Client::ended) => Poll::Ready(false),
                _ => Poll::NotYet("reading what is left".into()),
            })
        });
        match read {
            Err(failure) if task.ctx.stop.asked() => Err(failure),
            done => Ok(done.unwrap_or(false)),
        }
    }

    /// What the last process of each client says of each partition, and when it said so; `None` before both have spoken.
    fn moved(&self) -> Option<(Spoken, Moved)> {
        let (sent, received) = (self.sent()?, self.received()?);
        let spoken = Spoken {
            producer: (self.producers.len(), sent.elapsed_ms),
            consumer: (self.consumers.len(), received.elapsed_ms),
        };
        let mut moved = Moved::new();
        for row in &sent.partitions {
            moved.entry(number(row.partition)).or_default().0 = row.acked;
        }
        for row in &received.partitions {
            moved.entry(number(row.partition)).or_default().1 = row.counts.received;
        }
        Some((spoken, moved))
    }

    /// Waits until messages of each of these partitions are acknowledged and received that were not when it was asked. Returns
    /// the partitions that do not get there within [`GOES_ON`], or never will because the client has ended.
    ///
    /// # Errors
    /// An interruption.
    pub fn stuck(&self, task: &Task<'_>, partitions: &[u32]) -> Result<Vec<u32>> {
        let end = Instant::now() + GOES_ON;
        let asked = self.moved().map(|(spoken, _)| spoken).unwrap_or_default();
        let mut first: Option<Moved> = None;
        task.wait("the load", 2 * GOES_ON, Duration::from_millis(200), || {
            let ended = [self.producers.last(), self.consumers.last()]
                .into_iter()
                .any(|client| client.is_none_or(Client::ended));
            let now = self.moved().filter(|(spoken, _)| spoken.both_since(asked)).map(|(_, moved)| moved);
            let stuck = match (&first, &now) {
                (Some(first), Some(now)) => standing_still(first, now, partitions),
                _ => partitions.to_vec(),
            };
            first = first.take().or(now);
            if stuck.is_empty() || ended || Instant::now() >= end {
                return Ok(Poll::Ready(stuck));
            }
            Ok(Poll::NotYet(format!("partitions {stuck:?} have to go on")))
        })
    }

    /// Ends every producer: each flushes and says its last word.
    ///
    /// # Errors
    /// One does not even end by SIGKILL, or an interruption.
    pub fn end_producers(&mut self, task: &Task<'_>, grace: Duration) -> Result<()> {
        self.producers.iter_mut().try_for_each(|client| client.tell_to_end(task, grace))
    }

    /// Waits until the consumer has read to these end offsets, and ends it. That it does not get there is for the verdict to say.
    ///
    /// # Errors
    /// It does not even end by SIGKILL, or an interruption.
    pub fn drain(&mut self, task: &Task<'_>, after: &[(u32, u64)], patience: Duration) -> Result<()> {
        self.until_received(task, patience, |state| there(state, after, |next, end| next >= end))?;
        self.consumers.iter_mut().try_for_each(|client| client.tell_to_end(task, Duration::from_secs(20)))
    }

    /// Ends whatever of it still runs, at once: the drill is over, one way or another.
    pub fn kill(&self) {
        for identity in self.living() {
            // A process that is gone is what we want.
            let _ = identity.signal(Signal::KILL);
        }
    }
}

/// A partition's number as everything here has it.
pub fn number(partition: i32) -> u32 {
    u32::try_from(partition).unwrap_or(u32::MAX)
}

/// Whether a consumer's next offset of each partition is as it has to be.
fn there(state: &ConsumerState, ends: &[(u32, u64)], is: impl Fn(u64, u64) -> bool) -> bool {
    ends.iter().all(|(partition, end)| {
        let found = state.partitions.iter().find(|p| number(p.partition) == *partition);
        found.is_some_and(|p| u64::try_from(p.next).is_ok_and(|next| is(next, *end)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_new_by_the_clients_own_clocks() {
        let spoken = |producer, consumer| Spoken { producer, consumer };
        let before = spoken((1, 5_000), (1, 4_000));
        assert!(spoken((1, 6_000), (1, 5_000)).both_since(before));
        assert!(!spoken((1, 6_000), (1, 4_000)).both_since(before), "the consumer has said nothing since");
        // Another process begins at 0.
        assert!(spoken((2, 0), (2, 0)).both_since(before));
    }

    #[test]
    fn a_partition_goes_on_when_more_is_acknowledged_and_more_is_received() {
        let before = Moved::from([(0, (5, 5)), (1, (5, 5)), (2, (5, 4)), (3, (9, 9))]);
        let now = Moved::from([(0, (6, 6)), (1, (6, 5)), (2, (5, 5)), (3, (9, 9)), (4, (1, 1)), (5, (1, 0))]);
        assert_eq!(standing_still(&before, &now, &[0, 1, 2, 3, 4, 5, 6]), [1, 2, 3, 5, 6]);
    }
}
