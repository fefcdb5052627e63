//! The load of a drill: a producer and a consumer of its own, on a topic of its own, and what they said.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ledger::judge::{Claim, Went};
use ledger::lines::ConsumerState;
use ledger::stamp::RunId;
use rustix::process::Signal;
use serde::Serialize;

use crate::drill::strike::topics;
use crate::drill::timing::{self, Gap, LEAST_GAP_MS};
use crate::exec::Cmd;
use crate::failure::{Failure, Result};
use crate::local::process::{Identity, Life, Memory, Started};
use crate::state::{now_ms, private_dir};
use crate::step::Task;
use crate::tools::clients::{self, Offsets};
use crate::wait::{self, Poll};

/// A client process of a drill. Its log file lies in the lab's folder, which marks it as the lab's: `up` and `teardown` end
/// what a killed drill left behind.
#[derive(Clone, Debug)]
pub struct Client {
    log: PathBuf,
    /// Its process.
    pub identity: Identity,
}

impl Client {
    /// All it said, rotated files included.
    fn said(&self) -> String {
        let numbered = |n: u32| PathBuf::from(format!("{}.{n}", self.log.display()));
        let files = [numbered(3), numbered(2), numbered(1), self.log.clone()];
        files
            .iter()
            .filter_map(|file| std::fs::read(file).ok())
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .collect()
    }

    fn ended(&self) -> bool {
        self.identity.life() == Life::Gone
    }
}

/// By partition, how many messages were acknowledged and how many received.
type Standing = BTreeMap<u32, (u64, u64)>;

/// How long the load may take to go on in every partition once all is mended.
const GOES_ON: Duration = Duration::from_secs(60);

/// Those of `partitions` in which nothing was acknowledged or nothing received between two looks.
fn standing_still(before: &Standing, now: &Standing, partitions: &[u32]) -> Vec<u32> {
    let goes_on = |partition: &u32| {
        let of = |standing: &Standing| standing.get(partition).copied().unwrap_or_default();
        let ((acked, received), (acked_now, received_now)) = (of(before), of(now));
        acked_now > acked && received_now > received
    };
    partitions.iter().copied().filter(|partition| !goes_on(partition)).collect()
}

/// The most that a process of each client ever had resident, in KiB; 0 where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peaks {
    /// Any producer process.
    pub producer_kib: u64,
    /// Any consumer process.
    pub consumer_kib: u64,
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
}

impl Load {
    /// Looks at the living processes' peaks again: the system forgets those of a process that ends.
    pub fn look_at_memory(&mut self) -> Peaks {
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
        let log = dir.join(format!("{role}-{number}.log"));
        let cmd = Cmd::new(lab.clients_program(), Duration::ZERO)
            .args([role, "--brokers", &lab.bootstrap(), "--topic", &self.topic, "--run", &self.run.to_string()])
            .args(["--format", "json", "--gaps", &LEAST_GAP_MS.to_string()])
            .args(more.iter().cloned())
            .arg(format!("--log-file={}", log.display()));
        let pid = task.ctx.exec.start(&cmd, &log.with_extension("out"))?;
        let identity = Started::of(pid, String::new(), cmd.to_string(), None)?.identity;
        Ok(Client { log, identity })
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

    /// What each producer process claims.
    pub fn claims(&self) -> Vec<Claim> {
        self.producers.iter().filter_map(|client| clients::claim(&client.said(), Went::Killed)).collect()
    }

    /// What the last consumer process received: each one counts from the run's start.
    pub fn received(&self) -> Option<ConsumerState> {
        clients::received(&self.consumers.last()?.said())
    }

    /// Every gap that both told of.
    pub fn gaps(&self) -> Vec<Gap> {
        self.producers.iter().chain(&self.consumers).flat_map(|client| timing::gaps(&client.said())).collect()
    }

    /// Waits until messages of every partition are acknowledged and received.
    ///
    /// # Errors
    /// They are not within a minute.
    pub fn flows(&self, task: &Task<'_>, consumer: bool) -> Result<()> {
        wait::until("the load", Duration::from_secs(60), Duration::from_millis(200), task.ctx.stop, task.status, || {
            let state = self
                .producers
                .last()
                .and_then(|client| clients::claim(&client.said(), Went::Killed))
                .and_then(|claim| claim.state);
            let Some(state) = state else { return Poll::NotYet("the producer has sent nothing yet".into()) };
            if state.partitions.is_empty() || state.partitions.iter().any(|partition| partition.acked == 0) {
                return Poll::NotYet("not every partition has acknowledged a message yet".into());
            }
            match self.received() {
                _ if !consumer => Poll::Ready(()),
                Some(state)
                    if !state.partitions.is_empty() && state.partitions.iter().all(|p| p.counts.received > 0) =>
                {
                    Poll::Ready(())
                }
                _ => Poll::NotYet("the consumer has not received of every partition yet".into()),
            }
        })
    }

    /// What the last process of each client says of each partition, if both have said it since `since_ms`.
    fn standing(&self, since_ms: u64) -> Option<Standing> {
        let sent = self.producers.last().and_then(|client| clients::claim(&client.said(), Went::Killed))?.state?;
        let received = self.received()?;
        if sent.time_ms < since_ms || received.time_ms < since_ms {
            return None;
        }
        let number = |partition: i32| u32::try_from(partition).unwrap_or(u32::MAX);
        let mut standing = Standing::new();
        for row in &sent.partitions {
            standing.entry(number(row.partition)).or_default().0 = row.acked;
        }
        for row in &received.partitions {
            standing.entry(number(row.partition)).or_default().1 = row.counts.received;
        }
        Some(standing)
    }

    /// Waits until messages of each of these partitions are acknowledged and received that were not when it was asked. Returns
    /// the partitions that do not get there within [`GOES_ON`], or never will because the client has ended.
    ///
    /// # Errors
    /// An interruption.
    pub fn stuck(&self, task: &Task<'_>, partitions: &[u32]) -> Result<Vec<u32>> {
        let (asked_ms, end) = (now_ms(), Instant::now() + GOES_ON);
        let mut first: Option<Standing> = None;
        wait::until("the load", 2 * GOES_ON, Duration::from_millis(200), task.ctx.stop, task.status, || {
            let ended = [self.producers.last(), self.consumers.last()]
                .into_iter()
                .any(|client| client.is_none_or(Client::ended));
            let now = self.standing(asked_ms);
            let stuck = match (&first, &now) {
                (Some(first), Some(now)) => standing_still(first, now, partitions),
                _ => partitions.to_vec(),
            };
            first = first.take().or(now);
            if stuck.is_empty() || ended || Instant::now() >= end {
                return Poll::Ready(stuck);
            }
            Poll::NotYet(format!("partitions {stuck:?} have to go on"))
        })
    }

    /// Ends every producer: each flushes and says its last word.
    ///
    /// # Errors
    /// One does not end.
    pub fn end_producers(&self, task: &Task<'_>, grace: Duration) -> Result<()> {
        for client in &self.producers {
            client.identity.end(grace, task.ctx.stop, task.status)?;
        }
        Ok(())
    }

    /// Waits until the consumer has read to these end offsets, and ends it. That it does not get there is for the verdict to say.
    ///
    /// # Errors
    /// It does not end, or an interruption.
    pub fn drain(&self, task: &Task<'_>, after: &[(u32, u64)], patience: Duration) -> Result<()> {
        let there = |state: &ConsumerState| {
            after.iter().all(|(partition, end)| {
                let found = state.partitions.iter().find(|p| u32::try_from(p.partition) == Ok(*partition));
                found.is_some_and(|p| u64::try_from(p.next).is_ok_and(|next| next >= *end))
            })
        };
        let read = wait::until(
            "the consumer",
            patience,
            Duration::from_millis(200),
            task.ctx.stop,
            task.status,
            || match self.received() {
                Some(state) if there(&state) => Poll::Ready(()),
                _ => Poll::NotYet("reading what is left".into()),
            },
        );
        if let Err(failure) = read
            && task.ctx.stop.asked()
        {
            return Err(failure);
        }
        for client in &self.consumers {
            client.identity.end(Duration::from_secs(20), task.ctx.stop, task.status)?;
        }
        Ok(())
    }

    /// Ends whatever of it still runs, at once: the drill is over, one way or another.
    pub fn kill(&self) {
        for identity in self.living() {
            // A process that is gone is what we want.
            let _ = identity.signal(Signal::KILL);
        }
    }
}

/// The end offset of each partition of a topic.
///
/// # Errors
/// The brokers do not tell within a minute.
pub fn end_offsets(task: &Task<'_>, topic: &str) -> Result<Vec<(u32, u64)>> {
    let lab = task.lab();
    let cmd = clients::offsets(&lab.clients_program(), &lab.bootstrap(), topic);
    wait::until("end offsets", Duration::from_secs(60), Duration::from_millis(500), task.ctx.stop, task.status, || {
        let output = match task.ctx.exec.capture(&cmd, &task.log, task.ctx.stop) {
            Ok(output) => output,
            Err(failure) => return Poll::Failed(failure),
        };
        match clients::lines::<Offsets>(&output.stdout, "kafka-lab.offsets/1").pop() {
            Some(Offsets { error: None, partitions, .. }) if !partitions.is_empty() => {
                Poll::Ready(partitions.iter().map(|mark| (mark.partition, mark.high)).collect())
            }
            Some(Offsets { error: Some(error), .. }) => Poll::NotYet(error),
            _ => Poll::NotYet("no answer".into()),
        }
    })
}

/// Creates a topic that keeps all it gets: a soak's records outgrow what the brokers retain by default.
///
/// # Errors
/// kafka-topics fails.
pub fn create_lasting_topic(task: &Task<'_>, topic: &str) -> Result<()> {
    let keeps_all = ["--config", "retention.bytes=-1", "--config", "retention.ms=-1"];
    topics(task, &[&["--create", "--topic", topic], &keeps_all[..]].concat()).map(drop)
}

/// Creates a topic by its first message, which takes the brokers' defaults.
///
/// # Errors
/// The message is not acknowledged.
pub fn create_topic(task: &Task<'_>, topic: &str) -> Result<()> {
    let lab = task.lab();
    let cmd = clients::probe(&lab.clients_program(), &lab.bootstrap(), topic, lab.timeout(|t| t.topic));
    let output = task.ctx.exec.capture(&cmd, &task.log, task.ctx.stop)?;
    match output.code {
        Some(0) => Ok(()),
        _ => Err(Failure::step(format!("no message gets through topic {topic}")).output(&output.stderr).log(&task.log)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_goes_on_when_more_is_acknowledged_and_more_is_received() {
        let before = Standing::from([(0, (5, 5)), (1, (5, 5)), (2, (5, 4)), (3, (9, 9))]);
        let now = Standing::from([(0, (6, 6)), (1, (6, 5)), (2, (5, 5)), (3, (9, 9)), (4, (1, 1)), (5, (1, 0))]);
        assert_eq!(standing_still(&before, &now, &[0, 1, 2, 3, 4, 5, 6]), [1, 2, 3, 5, 6]);
    }
}
