//! What was observed of a fault, as one value. The observers collect it, and [`crate::drill::proof`] judges it.
//!
//! Times are ms since the drill began, by a monotonic clock. Names with `wall` are the clients' times, in ms since the
//! Unix epoch.

use std::collections::{BTreeMap, BTreeSet};

use ledger::lines::{Gap, Reason};

use crate::drill::moves::{EndSignal, Target};

/// A value for each partition.
pub type ByPartition<T> = BTreeMap<u32, T>;

/// The same observation before and after the fault; `None` if it could not be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair<T> {
    /// Before the fault.
    pub before: Option<T>,
    /// After the fault.
    pub after: Option<T>,
}

/// An answer of the coordinator, for as long as it stayed the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrations {
    /// The first time.
    pub from_ms: u64,
    /// The last time.
    pub to_ms: u64,
    /// The session of each registered broker; `None` while the coordinator does not answer.
    pub sessions: Option<BTreeMap<u32, String>>,
    /// Broker id of the controller.
    pub controller: Option<u32>,
}

/// A process that got SIGTERM or SIGKILL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// The target that it belongs to.
    pub target: Target,
    /// The process's name.
    pub name: String,
    /// Which signal.
    pub signal: EndSignal,
    /// Whether it was running.
    pub ran: bool,
    /// Whether the signal was delivered.
    pub reached: bool,
    /// Whether it ended in time.
    pub ended: bool,
    /// Whether the broker's log reports a controlled shutdown; `None` if the log was not read.
    pub handed_over: Option<bool>,
}

/// A process that got SIGSTOP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PausedProcess {
    /// The target that it belongs to.
    pub target: Target,
    /// The process's name.
    pub name: String,
    /// How long its state was T: the time between adjacent samples that both saw it.
    pub paused_ms: u64,
    /// The number of samples.
    pub samples: u64,
}

/// The leadership of the partition that [`Target::Leader`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderSeen {
    /// When the brokers were asked.
    pub at_ms: u64,
    /// The leader that all brokers named; `None` if they disagreed or named none.
    pub leader: Option<u32>,
    /// The preferred replica.
    pub preferred: Option<u32>,
}

/// The progress of the load, by the last process of each client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadProgress {
    /// Acknowledged messages.
    pub acked: ByPartition<u64>,
    /// Messages that the producer has sent and has no answer for.
    pub in_flight: u64,
    /// The running time in the producer's last state, in ms; 0 without a producer.
    pub producer_ms: u64,
    /// The consumer's lag in records; `None` if it does not know it.
    pub behind: ByPartition<Option<u64>>,
    /// The running time in the consumer's last state, in ms; 0 without a consumer.
    pub consumer_ms: u64,
    /// How long both processes have been running, in ms by our clock.
    pub running_ms: u64,
}

/// The end of a client process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEnd {
    /// [`Target::Producer`] or [`Target::Consumer`].
    pub target: Target,
    /// Whether it got SIGTERM and ended in time.
    pub asked: bool,
    /// The reason in its `end` line.
    pub reason: Option<Reason>,
}

/// What a consumer process read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerRead {
    /// Start offsets.
    pub from: ByPartition<u64>,
    /// Received messages, by its last line.
    pub received: ByPartition<u64>,
}

/// The topic's folders that a move removed from a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedFolders {
    /// Broker id.
    pub broker: u32,
    /// The number of folders before.
    pub folders: usize,
    /// The bytes in their logs.
    pub bytes: u64,
    /// The number of folders afterwards.
    pub left: usize,
}

/// A broker's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSeen {
    /// `metadata.uid`.
    pub uid: String,
    /// `restartCount` of its container.
    pub restarts: u64,
}

impl std::fmt::Display for PodSeen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pod {}, {} restarts", self.uid, self.restarts)
    }
}

/// A broker's node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSeen {
    /// Start time of its container, as Docker prints it.
    pub started: Pair<String>,
    /// The first and the last time that Docker reported it as paused.
    pub paused: Option<(u64, u64)>,
}

/// Everything observed of one fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observations {
    /// The start of the first move that strikes.
    pub struck_ms: Option<u64>,
    /// The first strike on each target.
    pub hit_ms: BTreeMap<Target, u64>,
    /// When each target was first started or resumed.
    pub mending_ms: BTreeMap<Target, u64>,
    /// When everything was mended.
    pub mended_ms: u64,
    /// `struck_ms` and `mended_ms` by the clients' clock.
    pub wall: (u64, u64),
    /// When servers went down and came back, by the clients' clock.
    pub down_wall: Option<(u64, u64)>,
    /// How far the wall clock was moved during the drill: gaps before and after the fault count too.
    pub clock_moved_ms: u64,
    /// The partition that [`Target::Leader`] refers to.
    pub partition: u32,
    /// The brokers of each target.
    pub brokers: BTreeMap<Target, BTreeSet<u32>>,
    /// The coordinator's answers.
    pub registrations: Vec<Registrations>,
    /// Terminated processes.
    pub terminations: Vec<Termination>,
    /// Paused processes.
    pub paused: Vec<PausedProcess>,
    /// The leaders of the partition.
    pub leaders: Vec<LeaderSeen>,
    /// The leader epoch of each partition's last record.
    pub epochs: Pair<ByPartition<i32>>,
    /// The load before the first move that strikes, and before the first that mends.
    pub progress: Pair<LoadProgress>,
    /// The topic's number of partitions.
    pub partitions: Pair<u32>,
    /// The topic's id.
    pub topic_id: Pair<String>,
    /// Whether no broker knew the topic just before it was created.
    pub topic_absent: Option<bool>,
    /// Removed folders.
    pub removed: Vec<RemovedFolders>,
    /// Pods of the targets.
    pub pods: BTreeMap<u32, Pair<PodSeen>>,
    /// Nodes of the targets.
    pub nodes: BTreeMap<u32, NodeSeen>,
    /// Uids of the CoreDNS pods that are not terminating.
    pub dns: Pair<BTreeSet<String>>,
    /// Gaps that the clients reported, by their clock. A client reports a gap when it is over, so this and the next two
    /// fields are filled in at the end of the drill.
    pub gaps: Vec<Gap>,
    /// The end of each client process.
    pub ends: Vec<ClientEnd>,
    /// The consumer processes, in order.
    pub readers: Vec<ConsumerRead>,
    /// The start offsets of the run.
    pub run_start: ByPartition<u64>,
}

impl Observations {
    /// When `target` was struck; without such a time, when anything was.
    pub fn hit(&self, target: Target) -> Option<u64> {
        self.hit_ms.get(&target).copied().or(self.struck_ms)
    }

    /// The brokers of all targets that were struck.
    pub fn struck_brokers(&self) -> BTreeSet<u32> {
        self.hit_ms.keys().filter_map(|target| self.brokers.get(target)).flatten().copied().collect()
    }

    /// The number of processes of `target`.
    pub fn count(&self, target: Target) -> usize {
        match target {
            Target::Coordinator | Target::ActiveController | Target::Producer | Target::Consumer => 1,
            // At least: of three.
            Target::MostControllers => 2,
            _ => self.brokers.get(&target).map_or(0, BTreeSet::len),
        }
    }
}
