//! The catalogue of faults: their moves, what is promised, and what proves that they struck. Pure.

use std::time::Duration;

use crate::backend::{Backend, Reach};
use crate::coordination::Mode;
use crate::drill::moves::{EndSignal, Move, Target};
use crate::drill::promise::Promise;
use crate::drill::proof::Proof;

/// A fault: something to break.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name on the command line.
    pub name: &'static str,
    /// What breaks.
    pub breaks: &'static str,
    /// What is promised.
    pub promise: Promise,
    /// The evidence that it struck. Without it, the promise does not count.
    pub proofs: &'static [Proof],
    /// What to look at while the drill runs.
    pub look: &'static str,
    /// Its moves, in order. What is still broken afterwards is mended.
    pub moves: &'static [Move],
    /// The load.
    pub load: LoadKind,
}

/// The load of a fault: what runs when it begins, and how the producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadKind {
    /// The topic, the producer and the consumer.
    Steady,
    /// No consumer until a move starts it.
    WithoutConsumer,
    /// No topic until a move creates it.
    WithoutTopic,
    /// As `Steady`, and the producer retries without idempotence.
    NotIdempotent,
    /// As `Steady`, and the producer sends with acks=1.
    AcksOne,
    /// As `Steady`, and the producer sends as fast as the brokers accept it.
    Flat,
}

impl Fault {
    /// Whether a backend allows it. A drill's clients are processes on every backend; servers are processes or pods.
    pub fn runs_on(&self, backend: Backend) -> bool {
        let on = |reach: Reach| backend.reaches() == reach;
        self.moves.iter().all(|action| match action {
            Move::DeletePod(_)
            | Move::KillContainer(_)
            | Move::PauseNode(_)
            | Move::ResumeNode(_)
            | Move::RestartNode(_)
            | Move::DeleteDns => on(Reach::Pods),
            Move::Kill(target)
            | Move::Term(target)
            | Move::Pause(target)
            | Move::Resume(target)
            | Move::Start(target) => matches!(target, Target::Producer | Target::Consumer) || on(Reach::Processes),
            Move::Wipe(_) | Move::WipeTopic(_) | Move::Rolling => on(Reach::Processes),
            Move::Wait(_) | Move::CreateTopic | Move::RecreateTopic | Move::GrowTopic => true,
        })
    }

    /// Returns why it cannot be done in a mode.
    pub fn not_in(&self, mode: Mode) -> Option<&'static str> {
        let acts_on =
            |targets: &[Target]| self.moves.iter().filter_map(|action| action.target()).any(|of| targets.contains(&of));
        match mode {
            Mode::KRaft if acts_on(&[Target::Coordinator]) => Some("it breaks ZooKeeper, which KRaft does not have"),
            Mode::KRaft if acts_on(&[Target::Controller, Target::LeaderAndController]) => {
                Some("it breaks a broker that is the controller; KRaft's controllers are others")
            }
            // With eligible leader replicas (KIP-966), what is left of the log depends on the version.
            Mode::KRaft if self.promise == Promise::LogLost => Some("what it promises is not known yet for KRaft"),
            Mode::ZooKeeper if acts_on(&[Target::ActiveController, Target::MostControllers]) => {
                Some("it breaks KRaft's controllers, which this mode does not have")
            }
            _ => None,
        }
    }

    /// Whether it can be part of a soak: it leaves the lab as it was, and promises `pass`.
    pub fn fits_soak(&self) -> bool {
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
    PartitionsDoubled, Paused, ReadAgain, SessionGone, SessionsKept, Silent, StoodStill, TopicIdChanged, TopicLate,
};
use Target::{
    ActiveController, AllBrokers, Consumer, Controller, Coordinator, Followers, Leader, LeaderAndController,
    MostControllers, Producer, TwoBrokers,
};

/// Longer than zookeeper.session.timeout.ms of kafka.yml (4 s) and the election after it.
const EXPIRED: Move = Wait(7_000);

macro_rules! fault {
    ($name:literal, $promise:ident, $load:ident, $breaks:literal, $look:literal, [$($action:expr),* $(,)?], [$($proof:expr),* $(,)?]) => {
        Fault {
            name: $name,
            breaks: $breaks,
            promise: Promise::$promise,
            look: $look,
            moves: &[$($action),*],
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
        "kill -9 of a partition's leader; it is restarted after its session expired",
        "`kafka-topics -- --describe`: Leader and Isr of its partitions, during the first four seconds and after them",
        [Kill(Leader), EXPIRED, Start(Leader)],
        [Ended(Leader, EndSignal::Kill), Expired(Leader), EpochRaised(Leader), AcksWaited(1_000)]
    ),
    fault!(
        "leader-kill-restart",
        Pass,
        Steady,
        "kill -9 of a partition's leader; it is restarted at once",
        "`logs kafka-N`: it waits until its former session is gone",
        [Kill(Leader), Start(Leader)],
        [Ended(Leader, EndSignal::Kill), SessionGone(Leader), EpochRaised(Leader), AcksWaited(1_000)]
    ),
    fault!(
        "controller-kill",
        Pass,
        Steady,
        "kill -9 of the controller",
        "`zookeeper-shell -- get /controller`: another broker id",
        [Kill(Controller), EXPIRED, Start(Controller)],
        [Ended(Controller, EndSignal::Kill), Expired(Controller), NewController]
    ),
    fault!(
        "leader-and-controller-kill",
        Pass,
        Steady,
        "kill -9 of a leader and of the controller: two of three brokers",
        "partitions with one replica left: no acknowledgement until a second one is back",
        [Kill(LeaderAndController), EXPIRED, Start(LeaderAndController)],
        [
            Ended(LeaderAndController, EndSignal::Kill),
            Expired(LeaderAndController),
            NewController,
            EpochRaised(LeaderAndController),
            AcksWaited(1_000)
        ]
    ),
    fault!(
        "rolling-restart",
        Pass,
        Steady,
        "each broker is stopped and restarted, one after the other",
        "leaders move away before a broker stops: controlled shutdown",
        [Rolling],
        [Ended(AllBrokers, EndSignal::Term), HandedOver(AllBrokers), SessionGone(AllBrokers), EpochRaised(AllBrokers)]
    ),
    fault!(
        "leader-pause-short",
        Pass,
        Steady,
        "SIGSTOP of a leader for 1 s, much less than the session timeout",
        "no new leader: acknowledgements wait for the old one",
        // A ZooKeeper client pings after each third of its session timeout. After two thirds without an answer it
        // reconnects, which takes up to a second. So a pause longer than a third may cost the session.
        [Pause(Leader), Wait(1_000), Resume(Leader)],
        [Paused(Leader, 900), SessionsKept(Leader), EpochSame, AcksWaited(700)]
    ),
    fault!(
        "leader-pause-long",
        Pass,
        Steady,
        "SIGSTOP of a leader for 10 s, longer than the session timeout",
        "a new leader epoch; the old leader resumes and finds that it no longer leads",
        [Pause(Leader), Wait(10_000), Resume(Leader)],
        [Paused(Leader, 9_000), Expired(Leader), EpochRaised(Leader), AcksWaited(1_000)]
    ),
    fault!(
        "two-brokers-down",
        PassStandingStill,
        Steady,
        "kill -9 of two of three brokers: below min.insync.replicas",
        "`logs kafka-N` of the remaining broker: NotEnoughReplicasException, until acknowledgements resume by themselves",
        [Kill(TwoBrokers), Wait(12_000), Start(TwoBrokers)],
        [Ended(TwoBrokers, EndSignal::Kill), Expired(TwoBrokers), StoodStill]
    ),
    fault!(
        "all-brokers-kill",
        PassStandingStill,
        Steady,
        "kill -9 of every broker",
        "the clients wait; nothing acknowledged is lost when all come back",
        [Kill(AllBrokers), Wait(8_000), Start(AllBrokers)],
        [Ended(AllBrokers, EndSignal::Kill), Expired(AllBrokers), StoodStill]
    ),
    fault!(
        "zookeeper-kill",
        Pass,
        Steady,
        "kill -9 of ZooKeeper; it is restarted after 8 s",
        "leaders continue without it; no leader could be elected meanwhile",
        [Kill(Coordinator), Wait(8_000), Start(Coordinator)],
        [Ended(Coordinator, EndSignal::Kill), Silent(7_000), AckedMeanwhile(Coordinator)]
    ),
    fault!(
        "zookeeper-pause",
        Pass,
        Steady,
        "SIGSTOP of ZooKeeper for 8 s, longer than the session timeout",
        "leaders continue without it; when it resumes, most sessions have expired and their brokers register again",
        [Pause(Coordinator), Wait(8_000), Resume(Coordinator)],
        [Paused(Coordinator, 7_000), Silent(4_000), AckedMeanwhile(Coordinator)]
    ),
    fault!(
        "zookeeper-and-leader-kill",
        Pass,
        Steady,
        "kill -9 of ZooKeeper and of a leader",
        "no new leader until ZooKeeper is back and the session has expired",
        [Kill(Coordinator), Kill(Leader), Wait(3_000), Start(Coordinator), EXPIRED, Start(Leader)],
        [
            Ended(Coordinator, EndSignal::Kill),
            Silent(2_000),
            Ended(Leader, EndSignal::Kill),
            Expired(Leader),
            EpochRaised(Leader),
            AcksWaited(3_000)
        ]
    ),
    fault!(
        "active-controller-kill",
        Pass,
        Steady,
        "kill -9 of the active controller; it is restarted after 5 s",
        "`kafka metadata-quorum -- describe --status`: another leader and a higher epoch; brokers go on meanwhile",
        [Kill(ActiveController), Wait(5_000), Start(ActiveController)],
        [Ended(ActiveController, EndSignal::Kill), NewController, AckedMeanwhile(ActiveController)]
    ),
    fault!(
        "active-controller-pause",
        Pass,
        Steady,
        "SIGSTOP of the active controller for 8 s, longer than controller.quorum.fetch.timeout.ms",
        "the others elect a leader; the one that was paused follows it when it resumes",
        [Pause(ActiveController), Wait(8_000), Resume(ActiveController)],
        [Paused(ActiveController, 7_000), NewController, AckedMeanwhile(ActiveController)]
    ),
    fault!(
        "controllers-majority-kill",
        Pass,
        Steady,
        "kill -9 of so many controllers that the rest cannot agree; they are restarted after 8 s",
        "data goes on; no topic can be created and no leader elected until they are back",
        [Kill(MostControllers), Wait(8_000), Start(MostControllers)],
        [Ended(MostControllers, EndSignal::Kill), Silent(5_000), AckedMeanwhile(MostControllers)]
    ),
    fault!(
        "empty-disk",
        Pass,
        Steady,
        "kill -9 of a leader, which is restarted with an empty log folder",
        "it is out of every ISR until it has fetched everything from the new leaders",
        [Kill(Leader), EXPIRED, Wipe(Leader), Start(Leader)],
        [Ended(Leader, EndSignal::Kill), Expired(Leader), EpochRaised(Leader), Emptied(Leader)]
    ),
    fault!(
        "producer-term",
        Pass,
        Steady,
        "SIGTERM of the producer; another one takes over",
        "it flushes, and its last line covers everything it sent",
        [Term(Producer), Wait(1_000), Start(Producer)],
        [Ended(Producer, EndSignal::Term), EndLines(Producer)]
    ),
    fault!(
        "producer-kill",
        Pass,
        Steady,
        "kill -9 of the producer; another one takes over",
        "its last checkpoint is what it promised; what was in flight may or may not be in the log",
        [Kill(Producer), Wait(1_000), Start(Producer)],
        [Ended(Producer, EndSignal::Kill)]
    ),
    fault!(
        "producer-pause",
        Pass,
        Steady,
        "SIGSTOP of the producer for 5 s",
        "lag falls to 0",
        [Pause(Producer), Wait(5_000), Resume(Producer)],
        [Paused(Producer, 4_500), CaughtUp]
    ),
    fault!(
        "consumer-term",
        Pass,
        Steady,
        "SIGTERM of the consumer; another one reads the run from its start",
        "the account is rebuilt, not added to",
        [Term(Consumer), Wait(2_000), Start(Consumer)],
        [Ended(Consumer, EndSignal::Term), EndLines(Consumer), ReadAgain]
    ),
    fault!(
        "consumer-kill",
        Pass,
        Steady,
        "kill -9 of the consumer; another one reads the run from its start",
        "the account is rebuilt, not added to",
        [Kill(Consumer), Wait(2_000), Start(Consumer)],
        [Ended(Consumer, EndSignal::Kill), ReadAgain]
    ),
    fault!(
        "consumer-pause",
        Pass,
        Steady,
        "SIGSTOP of the consumer for 5 s",
        "lag grows, then falls to 0",
        [Pause(Consumer), Wait(5_000), Resume(Consumer)],
        [Paused(Consumer, 4_500), Lagged(4_000)]
    ),
    fault!(
        "consumer-late",
        Pass,
        WithoutConsumer,
        "the consumer is started 5 s after the producer",
        "it starts where the run began, not at the end of the log",
        [Wait(5_000), Start(Consumer)],
        [ConsumerLate]
    ),
    fault!(
        "slow-consumer",
        Pass,
        Steady,
        "the consumer is stopped for 0.7 s of each second",
        "lag grows while it is slow",
        [
            Pause(Consumer),
            Wait(700),
            Resume(Consumer),
            Wait(300),
            Pause(Consumer),
            Wait(700),
            Resume(Consumer),
            Wait(300),
            Pause(Consumer),
            Wait(700),
            Resume(Consumer),
            Wait(300),
            Pause(Consumer),
            Wait(700),
            Resume(Consumer),
            Wait(300),
        ],
        [Paused(Consumer, 2_400), Lagged(500)]
    ),
    fault!(
        "overloaded-producer",
        Pass,
        Flat,
        "the producer sends as fast as it can while a leader is paused for 2 s",
        "each partition keeps its batch in flight; the producer creates no more and loses nothing",
        [Pause(Leader), Wait(2_000), Resume(Leader)],
        [Paused(Leader, 1_800), AcksWaited(1_500), HeldBack]
    ),
    fault!(
        "acks-1-leader-kill",
        AckedLost,
        AcksOne,
        "with acks=1: the followers are paused for 2 s, and the leader is killed before they have fetched",
        "acknowledged messages are gone: what acks=all and min.insync.replicas prevent",
        [Pause(Followers), Wait(2_000), Kill(Leader), Resume(Followers), EXPIRED, Start(Leader)],
        [Paused(Followers, 1_800), Ended(Leader, EndSignal::Kill), Expired(Leader), EpochRaised(Leader)]
    ),
    fault!(
        "last-replica-wiped",
        LogLost,
        WithoutConsumer,
        "both followers are killed, then the leader, which is restarted first and without the topic's logs; then a consumer starts",
        "the last replica of the ISR leads with what it has: the followers truncate their logs to nothing",
        [
            Kill(Followers),
            EXPIRED,
            Kill(Leader),
            WipeTopic(Leader),
            EXPIRED,
            Start(Leader),
            Start(Followers),
            Start(Consumer)
        ],
        [
            Ended(Followers, EndSignal::Kill),
            Expired(Followers),
            Ended(Leader, EndSignal::Kill),
            Expired(Leader),
            Emptied(Leader)
        ]
    ),
    fault!(
        "no-idempotence-retry",
        Duplicates,
        NotIdempotent,
        "without idempotence: the followers are paused for 2 s, so leaders append and cannot acknowledge in time",
        "the producer resends what is already in the log: what idempotence prevents",
        [Pause(Followers), Wait(2_000), Resume(Followers)],
        [Paused(Followers, 1_800)]
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
        "the same name, another topic id: acknowledged messages are gone",
        [RecreateTopic],
        [TopicIdChanged]
    ),
    fault!(
        "partitions-grow",
        Pass,
        Steady,
        "the topic's partitions are doubled while both clients run",
        "both find the new partitions by themselves",
        [GrowTopic],
        [PartitionsDoubled]
    ),
    fault!(
        "pod-delete",
        Pass,
        Steady,
        "`kubectl delete pod` of a partition's leader",
        "`kubectl -- get pods -w`: the same name, another address",
        [DeletePod(Leader), Wait(2_000)],
        [NewPod(Leader), SessionGone(Leader), EpochRaised(Leader)]
    ),
    fault!(
        "container-kill",
        Pass,
        Steady,
        "SIGKILL of a leader's container; the kubelet restarts it in its pod",
        "RESTARTS of `kubectl -- get pods`",
        [KillContainer(Leader), Wait(2_000)],
        [ContainerRestarted(Leader), SessionGone(Leader), EpochRaised(Leader)]
    ),
    fault!(
        "node-pause",
        Pass,
        Steady,
        "the node of a leader is paused for 10 s",
        "the session expires long before Kubernetes reports the node as NotReady",
        [PauseNode(Leader), Wait(10_000), ResumeNode(Leader)],
        [NodePaused(Leader, 9_000), Expired(Leader), EpochRaised(Leader)]
    ),
    fault!(
        "node-restart",
        Pass,
        Steady,
        "the node of a leader is restarted",
        "its pods return to it, because their volumes are there",
        [RestartNode(Leader), Wait(5_000)],
        [NodeRestarted(Leader), SessionGone(Leader), EpochRaised(Leader)]
    ),
    fault!(
        "dns-delete",
        Pass,
        Steady,
        "the pods of CoreDNS are deleted",
        "existing connections continue; new ones cannot resolve names",
        [DeleteDns, Wait(5_000)],
        [DnsReplaced]
    ),
];

/// What a drill breaks under one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One fault.
    One(&'static Fault),
    /// The faults of a schedule, one after the other.
    Soak {
        /// The seed of the schedule.
        seed: u64,
        /// No fault starts after this time.
        duration: Duration,
    },
}

impl Scenario {
    /// Returns the fault's name, or `soak`.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::One(fault) => fault.name,
            Scenario::Soak { .. } => "soak",
        }
    }

    /// Whether it needs controllers that are no brokers: it breaks them and promises that data goes on, or it breaks
    /// most brokers and asks the controllers what they saw.
    pub fn needs_controllers(self) -> bool {
        match self {
            Scenario::One(fault) => {
                let most = [Kill(TwoBrokers), Kill(AllBrokers)];
                fault.not_in(Mode::ZooKeeper).is_some() || fault.moves.iter().any(|action| most.contains(action))
            }
            // Some of its faults do.
            Scenario::Soak { .. } => true,
        }
    }

    /// Returns the promise.
    pub fn promise(self) -> Promise {
        match self {
            Scenario::One(fault) => fault.promise,
            Scenario::Soak { .. } => Promise::Pass,
        }
    }

    /// Returns the seed and the duration of a soak, in s.
    pub fn schedule(self) -> (Option<u64>, Option<u64>) {
        match self {
            Scenario::One(_) => (None, None),
            Scenario::Soak { seed, duration } => (Some(seed), Some(duration.as_secs())),
        }
    }

    /// Returns the rate in messages a second if `asked` were asked for; 0 means as many as the brokers take.
    pub fn rate(self, asked: u32) -> u32 {
        if self.load() == LoadKind::Flat { 0 } else { asked }
    }

    /// Returns the kind of load.
    pub fn load(self) -> LoadKind {
        match self {
            Scenario::One(fault) => fault.load,
            Scenario::Soak { .. } => LoadKind::Steady,
        }
    }
}

/// Returns the fault with this name.
pub fn by_name(name: &str) -> Option<&'static Fault> {
    FAULTS.iter().find(|fault| fault.name == name)
}

/// Returns the endless schedule of a soak on a backend in a mode. It depends on the seed alone.
pub fn schedule(seed: u64, backend: Backend, mode: Mode) -> impl Iterator<Item = &'static Fault> {
    let fits = |fault: &&Fault| fault.fits_soak() && fault.runs_on(backend) && fault.not_in(mode).is_none();
    let all: Vec<&Fault> = FAULTS.iter().filter(fits).collect();
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
    fn names_are_unique_and_every_killed_target_is_restarted() {
        for (place, fault) in FAULTS.iter().enumerate() {
            assert!(FAULTS[..place].iter().all(|other| other.name != fault.name), "{}", fault.name);
            for target in
                fault.moves.iter().filter_map(|action| if let Kill(target) = action { Some(*target) } else { None })
            {
                assert!(fault.moves.contains(&Start(target)), "{}: {target:?} stays dead", fault.name);
            }
            for target in
                fault.moves.iter().filter_map(|action| if let Pause(target) = action { Some(*target) } else { None })
            {
                assert!(fault.moves.contains(&Resume(target)), "{}: {target:?} stays paused", fault.name);
            }
        }
    }

    /// How long the moves pause `target`, in ms.
    fn stands_still(fault: &Fault, target: Target) -> u64 {
        let (mut still, mut ms) = (false, 0);
        for action in fault.moves {
            match action {
                Pause(of) | PauseNode(of) if *of == target => still = true,
                Resume(of) | ResumeNode(of) if *of == target => still = false,
                Wait(more) if still => ms += more,
                _ => {}
            }
        }
        ms
    }

    #[test]
    fn every_move_that_strikes_has_its_proof() {
        for fault in FAULTS {
            assert!(!fault.proofs.is_empty(), "{} has no proofs", fault.name);
            for action in fault.moves {
                let has = |wanted: Proof| fault.proofs.contains(&wanted);
                let long_enough = |target, least: u64| {
                    let still = stands_still(fault, target);
                    least <= still && least * 10 >= still * 7
                };
                let shown = match *action {
                    Kill(target) => has(Ended(target, EndSignal::Kill)),
                    Term(target) => has(Ended(target, EndSignal::Term)),
                    Pause(target) => fault
                        .proofs
                        .iter()
                        .any(|proof| matches!(proof, Paused(of, ms) if *of == target && long_enough(target, *ms))),
                    PauseNode(target) => fault
                        .proofs
                        .iter()
                        .any(|proof| matches!(proof, NodePaused(of, ms) if *of == target && long_enough(target, *ms))),
                    Wipe(target) | WipeTopic(target) => has(Emptied(target)),
                    Rolling => has(Ended(Target::AllBrokers, EndSignal::Term)) && has(HandedOver(Target::AllBrokers)),
                    DeletePod(target) => has(NewPod(target)),
                    KillContainer(target) => has(ContainerRestarted(target)),
                    RestartNode(target) => has(NodeRestarted(target)),
                    DeleteDns => has(DnsReplaced),
                    CreateTopic => fault.proofs.iter().any(|proof| matches!(proof, TopicLate(_))),
                    RecreateTopic => has(TopicIdChanged),
                    GrowTopic => has(PartitionsDoubled),
                    // These undo another move, or wait.
                    Resume(_) | ResumeNode(_) | Start(_) | Wait(_) => {
                        fault
                            .moves
                            .iter()
                            .any(|action| !matches!(action, Resume(_) | ResumeNode(_) | Start(_) | Wait(_)))
                            || has(ConsumerLate)
                    }
                };
                assert!(shown, "{}: nothing shows {action:?}", fault.name);
            }
            let stands = fault.promise == Promise::PassStandingStill;
            assert_eq!(stands, fault.proofs.contains(&StoodStill), "{}", fault.name);
        }
    }

    #[test]
    fn each_mode_has_the_faults_of_its_own_servers() {
        let names =
            |mode| FAULTS.iter().filter(|one| one.not_in(mode).is_none()).map(|one| one.name).collect::<Vec<_>>();
        let (old, new) = (names(Mode::ZooKeeper), names(Mode::KRaft));
        for fault in ["zookeeper-kill", "zookeeper-and-leader-kill", "controller-kill", "leader-and-controller-kill"] {
            assert!(old.contains(&fault) && !new.contains(&fault), "{fault}");
        }
        for fault in ["leader-kill", "rolling-restart", "two-brokers-down", "producer-kill", "topic-recreated"] {
            assert!(old.contains(&fault) && new.contains(&fault), "{fault}");
        }
        assert!(FAULTS.iter().all(|one| old.contains(&one.name) || new.contains(&one.name)));
        let alone = |name| Scenario::One(by_name(name).unwrap()).needs_controllers();
        assert!(alone("active-controller-kill") && alone("all-brokers-kill") && !alone("leader-kill"));
        assert!(schedule(1, Backend::Local, Mode::KRaft).take(500).all(|fault| new.contains(&fault.name)));
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_another() {
        let names =
            |seed| schedule(seed, Backend::Local, Mode::ZooKeeper).take(20).map(|fault| fault.name).collect::<Vec<_>>();
        assert_eq!(names(7), names(7));
        assert_ne!(names(7), names(8));
        for backend in [Backend::Local, Backend::Kind] {
            let mut some = schedule(1, backend, Mode::ZooKeeper).take(500);
            assert!(some.all(|fault| fault.fits_soak() && fault.runs_on(backend)));
        }
        assert!(FAULTS.iter().all(|fault| fault.runs_on(Backend::Local) || fault.runs_on(Backend::Kind)));
    }
}
