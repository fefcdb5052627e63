//! What was seen of a fault while it went on, as one value. It is collected by looking, whatever was asked for, and judged in [`crate::drill::proof`].
//!
//! Times are milliseconds since the drill began, by a clock that nobody sets, unless a name says `wall`: those are the clients' own, since the
//! Unix epoch.

use std::collections::{BTreeMap, BTreeSet};

use crate::drill::moves::{How, Who};
use ledger::lines::{Gap, Reason};

/// A number for each partition.
pub type ByPartition<T> = BTreeMap<u32, T>;

/// Two looks at the same thing: before the fault, and after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair<T> {
    /// Before; `None` when it could not be seen.
    pub before: Option<T>,
    /// After; likewise.
    pub after: Option<T>,
}

/// What the coordinator said, from the first time that it said so to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The first time.
    pub from_ms: u64,
    /// The last time.
    pub to_ms: u64,
    /// The session of each broker that is registered; `None` while the coordinator does not answer.
    pub sessions: Option<BTreeMap<u32, String>>,
    /// The controller.
    pub controller: Option<u32>,
}

/// A process that was told to end, or killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blow {
    /// As whom it was hit.
    pub who: Who,
    /// Which process.
    pub name: String,
    /// By which signal.
    pub how: How,
    /// Whether it ran until then.
    pub ran: bool,
    /// Whether the signal reached it.
    pub reached: bool,
    /// Whether it was seen to be over.
    pub over: bool,
    /// Whether it said in its own log that it had handed its partitions over; `None` where that was not looked for.
    pub handed_over: Option<bool>,
}

/// A process that was to stand still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// As whom it was hit.
    pub who: Who,
    /// Which process.
    pub name: String,
    /// How long the system said that it was stopped, look after look.
    pub stopped_ms: u64,
    /// How often it was looked at.
    pub looks: u64,
}

/// Who led the partition that is meant by "the leader".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    /// When that was asked.
    pub at_ms: u64,
    /// The leader that all brokers that answered named; `None` when they did not agree, or there was none.
    pub leader: Option<u32>,
    /// The replica that is preferred as its leader.
    pub preferred: Option<u32>,
}

/// How the load stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many messages of each partition were acknowledged.
    pub acked: ByPartition<u64>,
    /// How many the producer had handed over and heard nothing of.
    pub in_flight: u64,
    /// How long the producer had run when it said so, in ms by its own clock; 0 when there is none.
    pub producer_ms: u64,
    /// How many records of each partition the consumer was behind, where it knows.
    pub behind: ByPartition<Option<u64>>,
    /// How long the consumer had run when it said so; 0 when there is none.
    pub consumer_ms: u64,
    /// How long both processes had been there, by our clock.
    pub running_ms: u64,
}

/// How a client process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEnd {
    /// [`Who::Producer`] or [`Who::Consumer`].
    pub who: Who,
    /// Whether it was told to end, by SIGTERM, and did so in time.
    pub asked: bool,
    /// The reason in its last line, when that is an `end` line.
    pub reason: Option<Reason>,
}

/// What a consumer process read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// Where it began.
    pub from: ByPartition<u64>,
    /// What it had received when it said its last word.
    pub received: ByPartition<u64>,
}

/// Folders of a broker that were to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emptied {
    /// The broker.
    pub broker: u32,
    /// How many folders of the drill's topic it had.
    pub folders: usize,
    /// Bytes in them.
    pub bytes: u64,
    /// How many of them were there afterwards.
    pub left: usize,
}

/// A broker's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSeen {
    /// What the API server calls it for good.
    pub uid: String,
    /// How often its container was started again.
    pub restarts: u64,
}

/// A node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSeen {
    /// When its container was started, as the engine writes it.
    pub started: Pair<String>,
    /// The first time that the engine called it paused, and the last.
    pub paused: Option<(u64, u64)>,
}

/// All that was seen of one fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// When the first move began that hits.
    pub struck_ms: Option<u64>,
    /// When each was hit first.
    pub hit_ms: BTreeMap<Who, u64>,
    /// When each was first started, resumed or made again.
    pub mending_ms: BTreeMap<Who, u64>,
    /// When everything was mended.
    pub mended_ms: u64,
    /// The same as `struck_ms` and `mended_ms`, by the clients' clock.
    pub wall: (u64, u64),
    /// Between which times servers were down, by the clients' clock.
    pub down_wall: Option<(u64, u64)>,
    /// By how many ms the wall clock went wrong meanwhile.
    pub clock_moved_ms: u64,
    /// The partition whose leader is meant.
    pub partition: u32,
    /// The brokers that each word means.
    pub targets: BTreeMap<Who, BTreeSet<u32>>,
    /// What the coordinator said, each change.
    pub registered: Vec<Registered>,
    /// Processes that were ended.
    pub blows: Vec<Blow>,
    /// Processes that were stopped.
    pub stopped: Vec<Stopped>,
    /// Who led the partition, each time that was asked.
    pub led: Vec<Led>,
    /// The leader epoch of each partition's last record.
    pub epochs: Pair<ByPartition<i32>>,
    /// How the load stood before the first move that hits, and before the first that mends.
    pub standing: Pair<Standing>,
    /// How many partitions the topic had.
    pub partitions: Pair<u32>,
    /// The topic's id.
    pub topic_id: Pair<String>,
    /// Whether the brokers knew of no such topic just before it was created.
    pub topic_absent: Option<bool>,
    /// Folders that were to be removed.
    pub emptied: Vec<Emptied>,
    /// Pods of the brokers that were hit.
    pub pods: BTreeMap<u32, Pair<PodSeen>>,
    /// Nodes of the brokers that were hit.
    pub nodes: BTreeMap<u32, NodeSeen>,
    /// The pods of CoreDNS that were not on their way out, by uid.
    pub dns: Pair<BTreeSet<String>>,
    /// Gaps that both clients told of, by their clock. What a client says, it says when it goes on: this is filled in when all is over.
    pub gaps: Vec<Gap>,
    /// How each client process ended: likewise.
    pub ends: Vec<ClientEnd>,
    /// The consumer processes, in their order: likewise.
    pub readers: Vec<Reader>,
    /// Where the run began.
    pub run_start: ByPartition<u64>,
}

impl Evidence {
    /// When `who` was hit, or else when anything was.
    pub fn hit(&self, who: Who) -> Option<u64> {
        self.hit_ms.get(&who).copied().or(self.struck_ms)
    }

    /// How many processes `who` is.
    pub fn count(&self, who: Who) -> usize {
        match who {
            Who::Coordinator | Who::Producer | Who::Consumer => 1,
            _ => self.targets.get(&who).map_or(0, BTreeSet::len),
        }
    }
}
