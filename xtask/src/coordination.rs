//! The brokers' coordinator, ZooKeeper or KRaft's controllers (no group coordinator): which brokers are registered and
//! connected, and which is the controller. ZooKeeper answers all of it to one four-letter word. In KRaft mode, the
//! leading controller tells who fetches the metadata from it, and a broker which of them are unfenced. Neither needs a
//! JVM.

use std::collections::{BTreeMap, BTreeSet};

use ledger::cause::in_words;

pub mod kraft;
pub mod releases;
mod zookeeper;

pub use releases::{Mode, Release};
pub use zookeeper::{has_stored, headless_logs, parse_get, parse_ls};

/// ZooKeeper's name in messages.
pub const NAME: &str = "ZooKeeper";

/// ZooKeeper's StatefulSet, and its process on local.
pub const WORKLOAD: &str = "zookeeper";

/// Its pod.
pub const POD: &str = "zookeeper-0";

/// The ConfigMap that holds its settings.
pub const CONFIG_MAP: &str = "zookeeper-config";

/// Its address inside the cluster.
pub const SERVICE_ADDRESS: &str = "zookeeper-service:2181";

/// The four-letter word whose answer holds its [`Membership`].
pub const QUESTION: &str = "dump";

/// The state of the brokers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The session of each registered broker, by its id in ZooKeeper; `None` if the answer was incomplete, as during
    /// its start.
    pub sessions: Option<BTreeMap<u32, String>>,
    /// Ids of the registered brokers.
    pub registered: BTreeSet<u32>,
    /// Ids of the registered brokers whose session has a connection. One that lost it stays registered until its
    /// session expires.
    pub in_touch: BTreeSet<u32>,
    /// Broker id of the controller; in KRaft mode the node id of the active controller.
    pub controller: Option<u32>,
}

impl Mode {
    /// Returns the coordinator's name in messages.
    pub fn noun(self) -> &'static str {
        match self {
            Mode::ZooKeeper => NAME,
            Mode::KRaft => "the controller quorum",
        }
    }

    /// Returns the coordinator's StatefulSet. Its processes on local have the same name.
    pub fn workload(self) -> &'static str {
        match self {
            Mode::ZooKeeper => WORKLOAD,
            Mode::KRaft => "controller",
        }
    }

    /// Returns the manifest of the servers.
    pub fn manifest(self) -> &'static str {
        match self {
            Mode::ZooKeeper => "kafka.yml",
            Mode::KRaft => "kraft/kafka.yml",
        }
    }

    /// Returns what to say instead of a command of ZooKeeper's shell. `xtask` spells a command for the lab.
    pub fn without_shell(self, xtask: impl Fn(&str) -> String) -> Option<String> {
        let instead = || {
            format!(
                "this lab has no ZooKeeper: `{}` tells who leads the controllers, `{}` which brokers are registered and \
                 unfenced",
                xtask("kafka metadata-quorum -- describe --status"),
                xtask("kafka broker-api-versions")
            )
        };
        (self == Mode::KRaft).then(instead)
    }
}

/// Where the servers are, on 127.0.0.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Who coordinates the brokers.
    pub mode: Mode,
    /// The ports of ZooKeeper or the controllers.
    pub coordinators: Vec<u16>,
    /// Each broker's id and port.
    pub brokers: Vec<(u32, u16)>,
    /// How long the session of a silent broker lasts in KRaft mode, in ms.
    pub session_ms: u32,
}

/// Within how many ms a broker must have fetched the metadata to be in touch. One that has nothing to fetch asks again
/// after half a second.
const IN_TOUCH_MS: i64 = 2_000;

impl Addresses {
    /// Asks the coordinator about the brokers. Returns why there is no answer.
    ///
    /// # Errors
    /// Nobody answers in time.
    pub fn membership(&self) -> Result<Membership, String> {
        match (self.mode, self.coordinators.first()) {
            (Mode::ZooKeeper, Some(port)) => Membership::read(&ask(*port).map_err(in_words)?),
            (Mode::ZooKeeper, None) => Err("there is none".into()),
            (Mode::KRaft, _) => self.quorum_and_brokers(),
        }
    }

    /// Asks the controllers who leads, and a broker that follows them which brokers are unfenced. An unfenced broker
    /// has no session id: it counts as one session until it is fenced.
    fn quorum_and_brokers(&self) -> Result<Membership, String> {
        let mut why = "no controller leads".to_string();
        let mut found = None;
        for port in &self.coordinators {
            match kraft::quorum(*port) {
                Ok(Some(quorum)) => found = Some(quorum),
                Ok(None) => {}
                Err(error) => why = format!("no controller leads; port {port}: {}", in_words(error)),
            }
            if found.is_some() {
                break;
            }
        }
        let quorum = found.ok_or(why)?;
        let near = quorum.in_touch(IN_TOUCH_MS);
        // The one that fetched last is the likeliest to answer at once.
        let mut asked: Vec<(u32, u16)> = self.brokers.iter().copied().filter(|(id, _)| near.contains(id)).collect();
        asked.sort_by_key(|(id, _)| std::cmp::Reverse(quorum.fetched_ms(*id)));
        let answer = asked.into_iter().find_map(|(_, port)| kraft::unfenced(port).ok());
        // If no broker answers, only their sessions are left, which end when they have been silent for long enough.
        let registered = answer.unwrap_or_else(|| {
            let recent = quorum.in_touch(i64::from(self.session_ms));
            self.brokers.iter().map(|(id, _)| *id).filter(|id| recent.contains(id)).collect()
        });
        Ok(Membership {
            sessions: Some(registered.iter().map(|id| (*id, "unfenced".to_string())).collect()),
            in_touch: registered.intersection(&near).copied().collect(),
            registered,
            controller: Some(quorum.leader),
        })
    }

    /// Whether the coordinator serves: ZooKeeper, or a quorum that has a leader.
    pub fn serves(&self) -> bool {
        match (self.mode, self.coordinators.first()) {
            (Mode::ZooKeeper, Some(port)) => serves(*port).unwrap_or(false),
            (Mode::ZooKeeper, None) => false,
            (Mode::KRaft, _) => self.coordinators.iter().any(|port| matches!(kraft::quorum(*port), Ok(Some(_)))),
        }
    }

    /// Whether one of the coordinator's servers, at `port`, answers. A controller alone does, but does not lead.
    ///
    /// # Errors
    /// Nothing listens there, or it does not answer in time.
    pub fn answers(&self, port: u16) -> std::io::Result<bool> {
        match self.mode {
            Mode::ZooKeeper => serves(port),
            Mode::KRaft => kraft::quorum(port).map(|_| true),
        }
    }

    /// Whether a broker that was just started has registered. A former life of it may still be registered, so in KRaft
    /// mode the broker itself must say so.
    ///
    /// # Errors
    /// Nobody answers in time.
    pub fn has_registered(&self, id: u32) -> Result<bool, String> {
        let of = |id: u32| self.brokers.iter().find(|(found, _)| *found == id).map(|(_, port)| *port);
        match (self.mode, of(id)) {
            (Mode::KRaft, Some(port)) => Ok(kraft::unfenced(port).map_err(in_words)?.contains(&id)),
            _ => Ok(self.membership()?.registered.contains(&id)),
        }
    }
}

impl Membership {
    /// Parses the answer to [`QUESTION`].
    ///
    /// # Errors
    /// The answer is empty.
    pub fn read(answer: &str) -> Result<Self, String> {
        if answer.is_empty() {
            return Err("the answer is empty".into());
        }
        Ok(Membership {
            sessions: zookeeper::sessions(answer),
            registered: zookeeper::registered(answer),
            in_touch: zookeeper::connected(answer),
            controller: zookeeper::controller(answer),
        })
    }
}

/// Asks ZooKeeper on 127.0.0.1:`port` the [`QUESTION`].
///
/// # Errors
/// Nothing listens there, or it does not answer in time.
fn ask(port: u16) -> std::io::Result<String> {
    zookeeper::four_letter_word(port, QUESTION)
}

/// Whether ZooKeeper on 127.0.0.1:`port` serves.
///
/// # Errors
/// Nothing listens there, or it does not answer in time.
fn serves(port: u16) -> std::io::Result<bool> {
    Ok(zookeeper::mode(&zookeeper::four_letter_word(port, "srvr")?).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_who_is_registered_in_touch_and_controller() {
        let dump = "SessionTracker dump:\nephemeral nodes dump:\nSessions with Ephemerals (2):\n0x1:\n\t/brokers/ids/0\n\
                    \t/controller\n0x2:\n\t/brokers/ids/1\nConnections dump:\nremoteAddress: /127.0.0.1:1, sessionId: 0x1\n";
        let found = Membership::read(dump).unwrap();
        assert_eq!(found.registered, BTreeSet::from([0, 1]));
        assert_eq!((found.in_touch, found.controller), (BTreeSet::from([0]), Some(0)));
        assert_eq!(found.sessions.map(|sessions| sessions.len()), Some(2));
        let starting = Membership::read("This ZooKeeper instance is not currently serving requests\n").unwrap();
        assert_eq!(starting, Membership::default());
        assert!(Membership::read("").is_err());
    }
}
