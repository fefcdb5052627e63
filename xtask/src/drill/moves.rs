//! What can be done to whom in a drill. Pure.

use crate::coordination::NAME;
use std::fmt;

/// Who is hit. Who that is, is found out when it is hit first, and stays so for the rest of the drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The leader of partition 0 of the drill's topic.
    Leader,
    /// The controller.
    Controller,
    /// The leader of partition 0 and the controller; when one broker is both, it and the next one.
    LeaderAndController,
    /// The leader of partition 0 and the broker after it: with three brokers, min.insync.replicas is not met.
    TwoBrokers,
    /// All brokers.
    AllBrokers,
    /// All brokers but the leader of partition 0.
    Followers,
    /// Who coordinates the brokers.
    Coordinator,
    /// The drill's producer.
    Producer,
    /// The drill's consumer.
    Consumer,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Who::Leader => "the leader",
            Who::Controller => "the controller",
            Who::LeaderAndController => "the leader and the controller",
            Who::TwoBrokers => "the leader and the next broker",
            Who::AllBrokers => "every broker",
            Who::Followers => "the followers",
            Who::Coordinator => NAME,
            Who::Producer => "the producer",
            Who::Consumer => "the consumer",
        })
    }
}

impl Who {
    /// The same, with the partition that is meant where nothing chooses another one.
    fn in_full(self) -> &'static str {
        match self {
            Who::Leader => "the leader of partition 0",
            Who::Controller => "the controller",
            Who::LeaderAndController => "the leader of partition 0 and the controller",
            Who::TwoBrokers => "the leader of partition 0 and the next broker",
            Who::AllBrokers => "every broker",
            Who::Followers => "the followers of partition 0",
            Who::Coordinator => NAME,
            Who::Producer => "the producer",
            Who::Consumer => "the consumer",
        }
    }
}

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By SIGKILL.
    Kill,
    /// By SIGTERM.
    Term,
}

/// One thing done in a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// SIGKILL.
    Kill(Who),
    /// SIGTERM, and its end is waited for.
    Term(Who),
    /// SIGSTOP.
    Pause(Who),
    /// SIGCONT.
    Resume(Who),
    /// Started again: a server as `up` starts it, a client as another process of the same run.
    Start(Who),
    /// The broker's log folder is removed; it must have ended.
    Wipe(Who),
    /// The broker's folders of the drill's topic are removed, and nothing else; it must have ended.
    WipeTopic(Who),
    /// So many milliseconds pass.
    Wait(u64),
    /// Each broker in turn: SIGTERM, started again, in every ISR again.
    Rolling,
    /// On kind: the broker's pod is deleted.
    DeletePod(Who),
    /// On kind: SIGKILL of the broker's container, in the pod that stays.
    KillContainer(Who),
    /// On kind: the node that the broker's pod is on stands still.
    PauseNode(Who),
    /// On kind: it goes on.
    ResumeNode(Who),
    /// On kind: it is restarted.
    RestartNode(Who),
    /// On kind: the pods of CoreDNS are deleted.
    DeleteDns,
    /// The topic comes into being.
    CreateTopic,
    /// The topic is deleted and created again under the same name.
    RecreateTopic,
    /// The topic gets twice as many partitions.
    GrowTopic,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Kill(who) => write!(f, "kill {} (SIGKILL)", who.in_full()),
            Move::Term(who) => write!(f, "stop {} (SIGTERM) and wait until it has ended", who.in_full()),
            Move::Pause(who) => write!(f, "pause {} (SIGSTOP)", who.in_full()),
            Move::Resume(who) => write!(f, "resume {} (SIGCONT)", who.in_full()),
            Move::Start(Who::Producer) => f.write_str("start another producer of the run"),
            Move::Start(Who::Consumer) => f.write_str("start a consumer that reads the run from its beginning"),
            Move::Start(who) => write!(f, "start {}", who.in_full()),
            Move::Wipe(who) => write!(f, "delete the log folder of {}", who.in_full()),
            Move::WipeTopic(who) => write!(f, "delete the topic's records from the disk of {}", who.in_full()),
            Move::Wait(ms) => write!(f, "wait {} s", *ms as f64 / 1000.0),
            Move::Rolling => {
                f.write_str("restart each broker (SIGTERM), the next one when the last is in every ISR again")
            }
            Move::DeletePod(who) => write!(f, "delete the pod of {}", who.in_full()),
            Move::KillContainer(who) => write!(f, "kill the container of {} (SIGKILL)", who.in_full()),
            // Which partition's, depends on where ZooKeeper runs.
            Move::PauseNode(who) => write!(f, "pause the node of {who}"),
            Move::ResumeNode(who) => write!(f, "resume the node of {who}"),
            Move::RestartNode(who) => write!(f, "restart the node of {who}"),
            Move::DeleteDns => f.write_str("delete the pods of CoreDNS"),
            Move::CreateTopic => f.write_str("create the topic"),
            Move::RecreateTopic => f.write_str("delete the topic and create it again under the same name"),
            Move::GrowTopic => f.write_str("double the topic's partitions"),
        }
    }
}
