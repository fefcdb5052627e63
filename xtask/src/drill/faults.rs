//! The catalogue: what can be broken, in which order, what is promised, and what shows that it struck. And a scenario:
//! what is drilled under one load. Pure.

use std::time::Duration;

use crate::backend::{Backend, Reach};
use crate::drill::moves::{How, Move, Who};
use crate::drill::promise::Promise;
use crate::drill::proof::Proof;

/// Something that can be broken.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name on the command line.
    pub name: &'static str,
    /// What breaks.
    pub breaks: &'static str,
    /// What is promised.
    pub promise: Promise,
    /// What must be seen for the promise to count: that it struck as it says.
    pub proofs: &'static [Proof],
    /// What to look at while it goes on.
    pub look: &'static str,
    /// What is done, in this order. Whatever is still broken then is mended.
    pub moves: &'static [Move],
    /// Which load it is drilled under.
    pub load: LoadKind,
}

/// Which load a fault is drilled under: what is there when it begins, and how the producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadKind {
    /// The topic, the producer and the consumer.
    Steady,
    /// The consumer is started by the moves only.
    WithoutConsumer,
    /// The topic is created by the moves only.
    WithoutTopic,
    /// All, and the producer retries without idempotence.
    NotIdempotent,
    /// All, and the producer takes the leader's word alone for an acknowledgement: acks=1.
    AcksOne,
    /// All, and the producer sends as fast as the brokers take it.
    Flat,
}

impl Fault {
    /// Whether it can be done there: the lab's servers are processes on local and pods on kind, a drill's clients are
    /// processes on both.
    pub fn runs_on(&self, backend: Backend) -> bool {
        let on = |reach: Reach| backend.reaches() == reach;
        self.moves.iter().all(|step| match step {
            Move::DeletePod(_)
            | Move::KillContainer(_)
            | Move::PauseNode(_)
            | Move::ResumeNode(_)
            | Move::RestartNode(_)
            | Move::DeleteDns => on(Reach::Pods),
            Move::Kill(who) | Move::Term(who) | Move::Pause(who) | Move::Resume(who) | Move::Start(who) => {
                matches!(who, Who::Producer | Who::Consumer) || on(Reach::Processes)
            }
            Move::Wipe(_) | Move::WipeTopic(_) | Move::Rolling => on(Reach::Processes),
            Move::Wait(_) | Move::CreateTopic | Move::RecreateTopic | Move::GrowTopic => true,
        })
    }

    /// Whether it fits into a soak: it ends as it began, and its promise is `pass`.
    pub fn soaks(&self) -> bool {
        self.promise == Promise::Pass && self.load == LoadKind::Steady && !self.moves.contains(&Move::GrowTopic)
    }
}

use Move::{
    CreateTopic, DeleteDns, DeletePod, GrowTopic, Kill, KillContainer, Pause, PauseNode, RecreateTopic, RestartNode,
    Resume, ResumeNode, Rolling, Start, Term, Wait, Wipe, WipeTopic,
};
use Proof::{
    AckedMeanwhile, AcksWaited, CaughtUp, ConsumerLate, ContainerRestarted, DnsReplaced, Emptied, EndLines, Ended,
    EpochRaised, EpochSame, Expired, HandedOver, HeldBack, Lagged, NewController, NewPod, NodePaused, NodeRestarted,
    PartitionsDoubled, ReadAgain, SessionGone, SessionsKept, Silent, StoodStill, Stopped, TopicIdChanged, TopicLate,
};

/// Longer than zookeeper.session.timeout.ms of kafka.yml, 4 s, and what the controller needs after it.
const EXPIRED: Move = Wait(7_000);

macro_rules! fault {
    ($name:literal, $promise:ident, $load:ident, $breaks:literal, $look:literal, [$($step:expr),* $(,)?], [$($proof:expr),* $(,)?]) => {
        Fault {
            name: $name,
            breaks: $breaks,
            promise: Promise::$promise,
            look: $look,
            moves: &[$($step),*],
            load: LoadKind::$load,
            proofs: &[$($proof),*],
        }
    };
}

/// All faults, in the order of `--list`.
pub const FAULTS: &[Fault] = &[
    fault!(
        "leader-kill",
        Pass,
        Steady,
        "kill -9 of a partition's leader; it comes back after its session expired",
        "`kafka-topics -- --describe`: Leader and Isr of its partitions, before and after four seconds",
        [Kill(Who::Leader), EXPIRED, Start(Who::Leader)],
        [Ended(Who::Leader, How::Kill), Expired(Who::Leader), EpochRaised(Who::Leader), AcksWaited(1_000)]
    ),
    fault!(
        "leader-kill-restart",
        Pass,
        Steady,
        "kill -9 of a partition's leader; it is started again at once",
        "`logs kafka-N`: it waits for its own former session",
        [Kill(Who::Leader), Start(Who::Leader)],
        [Ended(Who::Leader, How::Kill), SessionGone(Who::Leader), EpochRaised(Who::Leader), AcksWaited(1_000)]
    ),
    fault!(
        "controller-kill",
        Pass,
        Steady,
        "kill -9 of the controller",
        "`zookeeper-shell -- get /controller`: another broker id",
        [Kill(Who::Controller), EXPIRED, Start(Who::Controller)],
        [Ended(Who::Controller, How::Kill), Expired(Who::Controller), NewController]
    ),
    fault!(
        "leader-and-controller-kill",
        Pass,
        Steady,
        "kill -9 of a leader and of the controller: two of three brokers",
        "partitions with one replica left: no acknowledgement until a second one is back",
        [Kill(Who::LeaderAndController), EXPIRED, Start(Who::LeaderAndController)],
        [
            Ended(Who::LeaderAndController, How::Kill),
            Expired(Who::LeaderAndController),
            NewController,
            EpochRaised(Who::LeaderAndController),
            AcksWaited(1_000)
        ]
    ),
    fault!(
        "rolling-restart",
        Pass,
        Steady,
        "each broker stopped and started again, one after the other",
        "leaders move away before a broker stops: controlled shutdown",
        [Rolling],
        [
            Ended(Who::AllBrokers, How::Term),
            HandedOver(Who::AllBrokers),
            SessionGone(Who::AllBrokers),
            EpochRaised(Who::AllBrokers)
        ]
    ),
    fault!(
        "leader-pause-short",
        Pass,
        Steady,
        "SIGSTOP of a leader for 1 s, much less than the session timeout",
        "no new leader: acknowledgements wait for the old one",
        // A ZooKeeper client that has heard nothing for two thirds of its session connects anew, after up to a second. It asks each third: what
        // stands still for longer than a third may lose its session.
        [Pause(Who::Leader), Wait(1_000), Resume(Who::Leader)],
        [Stopped(Who::Leader, 900), SessionsKept(Who::Leader), EpochSame, AcksWaited(700)]
    ),
    fault!(
        "leader-pause-long",
        Pass,
        Steady,
        "SIGSTOP of a leader for 10 s, longer than the session timeout",
        "a new leader epoch; the old leader comes back and finds that it is none any more",
        [Pause(Who::Leader), Wait(10_000), Resume(Who::Leader)],
        [Stopped(Who::Leader, 9_000), Expired(Who::Leader), EpochRaised(Who::Leader), AcksWaited(1_000)]
    ),
    fault!(
        "two-brokers-down",
        PassStandingStill,
        Steady,
        "kill -9 of two of three brokers: below min.insync.replicas",
        "`logs kafka-N` of the one that is left: NotEnoughReplicasException, until acknowledgements resume by themselves",
        [Kill(Who::TwoBrokers), Wait(12_000), Start(Who::TwoBrokers)],
        [Ended(Who::TwoBrokers, How::Kill), Expired(Who::TwoBrokers), StoodStill]
    ),
    fault!(
        "all-brokers-kill",
        PassStandingStill,
        Steady,
        "kill -9 of every broker",
        "the clients wait; nothing acknowledged is lost when all come back",
        [Kill(Who::AllBrokers), Wait(8_000), Start(Who::AllBrokers)],
        [Ended(Who::AllBrokers, How::Kill), Expired(Who::AllBrokers), StoodStill]
    ),
    fault!(
        "zookeeper-kill",
        Pass,
        Steady,
        "kill -9 of ZooKeeper; it is started again after 8 s",
        "leaders go on without it; nobody could be elected meanwhile",
        [Kill(Who::Coordinator), Wait(8_000), Start(Who::Coordinator)],
        [Ended(Who::Coordinator, How::Kill), Silent(7_000), AckedMeanwhile(Who::Coordinator)]
    ),
    fault!(
        "zookeeper-pause",
        Pass,
        Steady,
        "SIGSTOP of ZooKeeper for 8 s, longer than the session timeout",
        "leaders go on without it; when it goes on, most sessions have expired and their brokers register anew",
        [Pause(Who::Coordinator), Wait(8_000), Resume(Who::Coordinator)],
        [Stopped(Who::Coordinator, 7_000), Silent(4_000), AckedMeanwhile(Who::Coordinator)]
    ),
    fault!(
        "zookeeper-and-leader-kill",
        Pass,
        Steady,
        "kill -9 of ZooKeeper and of a leader",
        "no new leader until ZooKeeper is back and the session has expired",
        [Kill(Who::Coordinator), Kill(Who::Leader), Wait(3_000), Start(Who::Coordinator), EXPIRED, Start(Who::Leader)],
        [
            Ended(Who::Coordinator, How::Kill),
            Silent(2_000),
            Ended(Who::Leader, How::Kill),
            Expired(Who::Leader),
            EpochRaised(Who::Leader),
            AcksWaited(3_000)
        ]
    ),
    fault!(
        "empty-disk",
        Pass,
        Steady,
        "kill -9 of a leader, which comes back with an empty log folder",
        "it is out of every ISR until it has fetched all of it from the new leaders",
        [Kill(Who::Leader), EXPIRED, Wipe(Who::Leader), Start(Who::Leader)],
        [Ended(Who::Leader, How::Kill), Expired(Who::Leader), EpochRaised(Who::Leader), Emptied(Who::Leader)]
    ),
    fault!(
        "producer-term",
        Pass,
        Steady,
        "SIGTERM of the producer; another one goes on",
        "it flushes, and its last line speaks for all it sent",
        [Term(Who::Producer), Wait(1_000), Start(Who::Producer)],
        [Ended(Who::Producer, How::Term), EndLines(Who::Producer)]
    ),
    fault!(
        "producer-kill",
        Pass,
        Steady,
        "kill -9 of the producer; another one goes on",
        "its promise is its last checkpoint; what it had in flight may or may not be there",
        [Kill(Who::Producer), Wait(1_000), Start(Who::Producer)],
        [Ended(Who::Producer, How::Kill)]
    ),
    fault!(
        "producer-pause",
        Pass,
        Steady,
        "SIGSTOP of the producer for 5 s",
        "lag falls to nothing",
        [Pause(Who::Producer), Wait(5_000), Resume(Who::Producer)],
        [Stopped(Who::Producer, 4_500), CaughtUp]
    ),
    fault!(
        "consumer-term",
        Pass,
        Steady,
        "SIGTERM of the consumer; another one reads the run from its start",
        "the account is rebuilt, not added to",
        [Term(Who::Consumer), Wait(2_000), Start(Who::Consumer)],
        [Ended(Who::Consumer, How::Term), EndLines(Who::Consumer), ReadAgain]
    ),
    fault!(
        "consumer-kill",
        Pass,
        Steady,
        "kill -9 of the consumer; another one reads the run from its start",
        "the account is rebuilt, not added to",
        [Kill(Who::Consumer), Wait(2_000), Start(Who::Consumer)],
        [Ended(Who::Consumer, How::Kill), ReadAgain]
    ),
    fault!(
        "consumer-pause",
        Pass,
        Steady,
        "SIGSTOP of the consumer for 5 s",
        "lag grows, and is caught up with",
        [Pause(Who::Consumer), Wait(5_000), Resume(Who::Consumer)],
        [Stopped(Who::Consumer, 4_500), Lagged(4_000)]
    ),
    fault!(
        "consumer-late",
        Pass,
        WithoutConsumer,
        "the consumer is started 5 s after the producer",
        "it begins where the run began, not at the end of the log",
        [Wait(5_000), Start(Who::Consumer)],
        [ConsumerLate]
    ),
    fault!(
        "slow-consumer",
        Pass,
        Steady,
        "the consumer is stopped for 0.7 s of each second",
        "lag grows while it is slow",
        [
            Pause(Who::Consumer),
            Wait(700),
            Resume(Who::Consumer),
            Wait(300),
            Pause(Who::Consumer),
            Wait(700),
            Resume(Who::Consumer),
            Wait(300),
            Pause(Who::Consumer),
            Wait(700),
            Resume(Who::Consumer),
            Wait(300),
            Pause(Who::Consumer),
            Wait(700),
            Resume(Who::Consumer),
            Wait(300),
        ],
        [Stopped(Who::Consumer, 2_400), Lagged(500)]
    ),
    fault!(
        "overloaded-producer",
        Pass,
        Flat,
        "the producer sends as fast as it can while a leader stands still for 2 s",
        "each partition keeps the batch it has; the producer makes no more, and loses nothing",
        [Pause(Who::Leader), Wait(2_000), Resume(Who::Leader)],
        [Stopped(Who::Leader, 1_800), AcksWaited(1_500), HeldBack]
    ),
    fault!(
        "acks-1-leader-kill",
        AckedLost,
        AcksOne,
        "with acks=1: the followers stand still for 2 s, and the leader is killed before they have fetched",
        "acknowledged, and gone: what acks=all and min.insync.replicas are for",
        [Pause(Who::Followers), Wait(2_000), Kill(Who::Leader), Resume(Who::Followers), EXPIRED, Start(Who::Leader)],
        [Stopped(Who::Followers, 1_800), Ended(Who::Leader, How::Kill), Expired(Who::Leader), EpochRaised(Who::Leader)]
    ),
    fault!(
        "last-replica-wiped",
        LogLost,
        WithoutConsumer,
        "both followers are killed, then the leader, which comes back first and without the topic's logs; then a consumer starts",
        "the last one in the ISR leads whatever it has: the followers cut their logs back to nothing",
        [
            Kill(Who::Followers),
            EXPIRED,
            Kill(Who::Leader),
            WipeTopic(Who::Leader),
            EXPIRED,
            Start(Who::Leader),
            Start(Who::Followers),
            Start(Who::Consumer)
        ],
        [
            Ended(Who::Followers, How::Kill),
            Expired(Who::Followers),
            Ended(Who::Leader, How::Kill),
            Expired(Who::Leader),
            Emptied(Who::Leader)
        ]
    ),
    fault!(
        "no-idempotence-retry",
        Duplicates,
        NotIdempotent,
        "with idempotence off: the followers stand still for 2 s, so that leaders append and cannot acknowledge in time",
        "the producer sends again what is there already: what idempotence is for",
        [Pause(Who::Followers), Wait(2_000), Resume(Who::Followers)],
        [Stopped(Who::Followers, 1_800)]
    ),
    fault!(
        "topic-late",
        Pass,
        WithoutTopic,
        "both clients are started 3 s before the topic exists",
        "they wait for it",
        [Wait(3_000), CreateTopic],
        [TopicLate(2_500)]
    ),
    fault!(
        "topic-recreated",
        TopicRecreated,
        Steady,
        "the topic is deleted and created again under the same name",
        "the same name, another topic id: what was acknowledged is gone",
        [RecreateTopic],
        [TopicIdChanged]
    ),
    fault!(
        "partitions-grow",
        Pass,
        Steady,
        "the topic's partitions are doubled while both clients run",
        "both find the new ones by themselves",
        [GrowTopic],
        [PartitionsDoubled]
    ),
    fault!(
        "pod-delete",
        Pass,
        Steady,
        "`kubectl delete pod` of a partition's leader",
        "`kubectl -- get pods -w`: the same name, another address",
        [DeletePod(Who::Leader), Wait(2_000)],
        [NewPod(Who::Leader), SessionGone(Who::Leader), EpochRaised(Who::Leader)]
    ),
    fault!(
        "container-kill",
        Pass,
        Steady,
        "SIGKILL of a leader's container; the kubelet starts it again in its pod",
        "RESTARTS of `kubectl -- get pods`",
        [KillContainer(Who::Leader), Wait(2_000)],
        [ContainerRestarted(Who::Leader), SessionGone(Who::Leader), EpochRaised(Who::Leader)]
    ),
    fault!(
        "node-pause",
        Pass,
        Steady,
        "the node of a leader stands still for 10 s",
        "the session expires long before Kubernetes calls the node NotReady",
        [PauseNode(Who::Leader), Wait(10_000), ResumeNode(Who::Leader)],
        [NodePaused(Who::Leader, 9_000), Expired(Who::Leader), EpochRaised(Who::Leader)]
    ),
    fault!(
        "node-restart",
        Pass,
        Steady,
        "the node of a leader is restarted",
        "its pods come back on it: their volumes are there",
        [RestartNode(Who::Leader), Wait(5_000)],
        [NodeRestarted(Who::Leader), SessionGone(Who::Leader), EpochRaised(Who::Leader)]
    ),
    fault!(
        "dns-delete",
        Pass,
        Steady,
        "the pods of CoreDNS are deleted",
        "connections that are there go on; nobody finds a new one",
        [DeleteDns, Wait(5_000)],
        [DnsReplaced]
    ),
];

/// What is drilled under one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One fault.
    One(&'static Fault),
    /// Faults of a seed's schedule, until so much time has passed.
    Soak {
        /// The seed.
        seed: u64,
        /// How long.
        duration: Duration,
    },
}

impl Scenario {
    /// The fault's name, or `soak`.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::One(fault) => fault.name,
            Scenario::Soak { .. } => "soak",
        }
    }

    /// What is promised.
    pub fn promise(self) -> Promise {
        match self {
            Scenario::One(fault) => fault.promise,
            Scenario::Soak { .. } => Promise::Pass,
        }
    }

    /// The seed of a soak, and how long it is asked for in s.
    pub fn schedule(self) -> (Option<u64>, Option<u64>) {
        match self {
            Scenario::One(_) => (None, None),
            Scenario::Soak { seed, duration } => (Some(seed), Some(duration.as_secs())),
        }
    }

    /// Messages a second, where `asked` were asked for; 0 is as many as the brokers take.
    pub fn rate(self, asked: u32) -> u32 {
        if self.load() == LoadKind::Flat { 0 } else { asked }
    }

    /// Which load it is drilled under.
    pub fn load(self) -> LoadKind {
        match self {
            Scenario::One(fault) => fault.load,
            Scenario::Soak { .. } => LoadKind::Steady,
        }
    }
}

/// The fault of that name.
pub fn named(name: &str) -> Option<&'static Fault> {
    FAULTS.iter().find(|fault| fault.name == name)
}

/// The schedule of a soak on a backend: the same seed gives the same one, for ever.
pub fn schedule(seed: u64, backend: Backend) -> impl Iterator<Item = &'static Fault> {
    let all: Vec<&Fault> = FAULTS.iter().filter(|fault| fault.soaks() && fault.runs_on(backend)).collect();
    // SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let place = usize::try_from((z ^ (z >> 31)) % all.len() as u64).unwrap_or_default();
        all[place]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_whoever_is_hit_by_a_kill_is_started_again() {
        for (place, fault) in FAULTS.iter().enumerate() {
            assert!(FAULTS[..place].iter().all(|other| other.name != fault.name), "{}", fault.name);
            for who in fault.moves.iter().filter_map(|step| if let Kill(who) = step { Some(*who) } else { None }) {
                assert!(fault.moves.contains(&Start(who)), "{}: {who:?} stays dead", fault.name);
            }
            for who in fault.moves.iter().filter_map(|step| if let Pause(who) = step { Some(*who) } else { None }) {
                assert!(fault.moves.contains(&Resume(who)), "{}: {who:?} stays paused", fault.name);
            }
        }
    }

    /// How long `who` stands still by the moves, in ms.
    fn stands_still(fault: &Fault, who: Who) -> u64 {
        let (mut still, mut ms) = (false, 0);
        for step in fault.moves {
            match step {
                Pause(hit) | PauseNode(hit) if *hit == who => still = true,
                Resume(hit) | ResumeNode(hit) if *hit == who => still = false,
                Wait(more) if still => ms += more,
                _ => {}
            }
        }
        ms
    }

    #[test]
    fn every_move_that_hits_has_its_proof() {
        for fault in FAULTS {
            assert!(!fault.proofs.is_empty(), "{} would be believed", fault.name);
            for step in fault.moves {
                let has = |wanted: Proof| fault.proofs.contains(&wanted);
                let long_enough = |who, least: u64| {
                    let still = stands_still(fault, who);
                    least <= still && least * 10 >= still * 7
                };
                let shown = match *step {
                    Kill(who) => has(Ended(who, How::Kill)),
                    Term(who) => has(Ended(who, How::Term)),
                    Pause(who) => fault
                        .proofs
                        .iter()
                        .any(|proof| matches!(proof, Stopped(hit, ms) if *hit == who && long_enough(who, *ms))),
                    PauseNode(who) => fault
                        .proofs
                        .iter()
                        .any(|proof| matches!(proof, NodePaused(hit, ms) if *hit == who && long_enough(who, *ms))),
                    Wipe(who) | WipeTopic(who) => has(Emptied(who)),
                    Rolling => has(Ended(Who::AllBrokers, How::Term)) && has(HandedOver(Who::AllBrokers)),
                    DeletePod(who) => has(NewPod(who)),
                    KillContainer(who) => has(ContainerRestarted(who)),
                    RestartNode(who) => has(NodeRestarted(who)),
                    DeleteDns => has(DnsReplaced),
                    CreateTopic => fault.proofs.iter().any(|proof| matches!(proof, TopicLate(_))),
                    RecreateTopic => has(TopicIdChanged),
                    GrowTopic => has(PartitionsDoubled),
                    // What brings back what was hit before, or lets time pass.
                    Resume(_) | ResumeNode(_) | Start(_) | Wait(_) => {
                        fault.moves.iter().any(|step| !matches!(step, Resume(_) | ResumeNode(_) | Start(_) | Wait(_)))
                            || has(ConsumerLate)
                    }
                };
                assert!(shown, "{}: nothing shows {step:?}", fault.name);
            }
            let stands = fault.promise == Promise::PassStandingStill;
            assert_eq!(stands, fault.proofs.contains(&StoodStill), "{}", fault.name);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_another() {
        let names = |seed| schedule(seed, Backend::Local).take(20).map(|fault| fault.name).collect::<Vec<_>>();
        assert_eq!(names(7), names(7));
        assert_ne!(names(7), names(8));
        for backend in [Backend::Local, Backend::Kind] {
            assert!(schedule(1, backend).take(500).all(|fault| fault.soaks() && fault.runs_on(backend)));
        }
        assert!(FAULTS.iter().all(|fault| fault.runs_on(Backend::Local) || fault.runs_on(Backend::Kind)));
    }
}
