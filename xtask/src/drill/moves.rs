//! The moves of a drill: what is done to which target. Pure.

use std::fmt;

use crate::coordination::NAME;

/// The target of a move. It is resolved on first use and stays the same for the rest of the drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The leader of partition 0 of the drill's topic.
    Leader,
    /// The controller, which is a broker in ZooKeeper mode.
    Controller,
    /// The leader of partition 0 and the controller; if one broker is both, that broker and the next one.
    LeaderAndController,
    /// The leader of partition 0 and the next broker: with three brokers, too few are left for min.insync.replicas.
    TwoBrokers,
    /// All brokers.
    AllBrokers,
    /// All brokers except the leader of partition 0.
    Followers,
    /// ZooKeeper.
    Coordinator,
    /// KRaft: the controller that leads.
    ActiveController,
    /// KRaft: so many controllers that the others cannot agree, with the one that leads.
    MostControllers,
    /// The drill's producer.
    Producer,
    /// The drill's consumer.
    Consumer,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Target::Leader => "the leader",
            Target::Controller => "the controller",
            Target::LeaderAndController => "the leader and the controller",
            Target::TwoBrokers => "the leader and the next broker",
            Target::AllBrokers => "every broker",
            Target::Followers => "the followers",
            Target::Coordinator => NAME,
            Target::ActiveController => "the active controller",
            Target::MostControllers => "a majority of the controllers",
            Target::Producer => "the producer",
            Target::Consumer => "the consumer",
        })
    }
}

impl Target {
    /// The same with the partition, for moves that never choose another one.
    fn in_full(self) -> String {
        match self {
            Target::Leader => "the leader of partition 0".into(),
            Target::LeaderAndController => "the leader of partition 0 and the controller".into(),
            Target::TwoBrokers => "the leader of partition 0 and the next broker".into(),
            Target::Followers => "the followers of partition 0".into(),
            other => other.to_string(),
        }
    }
}

/// The signal that ends a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
}

/// One action of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// SIGKILL.
    Kill(Target),
    /// SIGTERM, then wait for the process to end.
    Term(Target),
    /// SIGSTOP.
    Pause(Target),
    /// SIGCONT.
    Resume(Target),
    /// Starts a server as `up` does, or another client process of the same run.
    Start(Target),
    /// Removes the log folder of a broker that has ended.
    Wipe(Target),
    /// Removes the folders of the drill's topic, and nothing else, from a broker that has ended.
    WipeTopic(Target),
    /// Waits, in ms.
    Wait(u64),
    /// Restarts one broker after the other with SIGTERM; the next one when the last is back in every ISR.
    Rolling,
    /// kind: deletes the broker's pod.
    DeletePod(Target),
    /// kind: SIGKILL of the broker's container; the pod stays.
    KillContainer(Target),
    /// kind: pauses the node of the broker's pod.
    PauseNode(Target),
    /// kind: resumes that node.
    ResumeNode(Target),
    /// kind: restarts that node.
    RestartNode(Target),
    /// kind: deletes the pods of CoreDNS.
    DeleteDns,
    /// Creates the topic.
    CreateTopic,
    /// Deletes the topic and creates it again under the same name.
    RecreateTopic,
    /// Doubles the topic's partitions.
    GrowTopic,
}

impl Move {
    /// Returns what it acts on, if that is a process of the lab or a client.
    pub fn target(self) -> Option<Target> {
        match self {
            Move::Kill(target)
            | Move::Term(target)
            | Move::Pause(target)
            | Move::Resume(target)
            | Move::Start(target)
            | Move::Wipe(target)
            | Move::WipeTopic(target)
            | Move::DeletePod(target)
            | Move::KillContainer(target)
            | Move::PauseNode(target)
            | Move::ResumeNode(target)
            | Move::RestartNode(target) => Some(target),
            Move::Rolling => Some(Target::AllBrokers),
            Move::Wait(_) | Move::DeleteDns | Move::CreateTopic | Move::RecreateTopic | Move::GrowTopic => None,
        }
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Kill(target) => write!(f, "kill {} (SIGKILL)", target.in_full()),
            Move::Term(target) => write!(f, "stop {} (SIGTERM) and wait until it has ended", target.in_full()),
            Move::Pause(target) => write!(f, "pause {} (SIGSTOP)", target.in_full()),
            Move::Resume(target) => write!(f, "resume {} (SIGCONT)", target.in_full()),
            Move::Start(Target::Producer) => f.write_str("start another producer of the run"),
            Move::Start(Target::Consumer) => f.write_str("start a consumer that reads the run from its beginning"),
            Move::Start(target) => write!(f, "start {}", target.in_full()),
            Move::Wipe(target) => write!(f, "delete the log folder of {}", target.in_full()),
            Move::WipeTopic(target) => write!(f, "delete the topic's records from the disk of {}", target.in_full()),
            Move::Wait(ms) => write!(f, "wait {} s", *ms as f64 / 1000.0),
            Move::Rolling => {
                f.write_str("restart each broker (SIGTERM), the next one when the last is back in every ISR")
            }
            Move::DeletePod(target) => write!(f, "delete the pod of {}", target.in_full()),
            Move::KillContainer(target) => write!(f, "kill the container of {} (SIGKILL)", target.in_full()),
            // The partition depends on the coordinator's node.
            Move::PauseNode(target) => write!(f, "pause the node of {target}"),
            Move::ResumeNode(target) => write!(f, "resume the node of {target}"),
            Move::RestartNode(target) => write!(f, "restart the node of {target}"),
            Move::DeleteDns => f.write_str("delete the pods of CoreDNS"),
            Move::CreateTopic => f.write_str("create the topic"),
            Move::RecreateTopic => f.write_str("delete the topic and create it again under the same name"),
            Move::GrowTopic => f.write_str("double the topic's partitions"),
        }
    }
}
