//! What can be done to whom in a drill. Pure.

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
    /// ZooKeeper.
    ZooKeeper,
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
            Who::ZooKeeper => "ZooKeeper",
            Who::Producer => "the producer",
            Who::Consumer => "the consumer",
        })
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
