//! The brokers' coordinator, ZooKeeper (no group coordinator): which brokers are registered and connected, and which is
//! the controller. One four-letter word answers all of it, without a JVM.

use std::collections::{BTreeMap, BTreeSet};

mod zookeeper;

pub use zookeeper::{has_stored, headless_logs, parse_get, parse_ls};

/// Its name in messages.
pub const NAME: &str = "ZooKeeper";

/// Its StatefulSet, and its process on local.
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
    /// The session id of each registered broker; `None` if the answer was incomplete, as during its start.
    pub sessions: Option<BTreeMap<u32, String>>,
    /// Ids of the registered brokers.
    pub registered: BTreeSet<u32>,
    /// Ids of the registered brokers whose session has a connection. One that lost it stays registered until its
    /// session expires.
    pub in_touch: BTreeSet<u32>,
    /// Broker id of the controller.
    pub controller: Option<u32>,
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

/// Asks the coordinator on 127.0.0.1:`port` the [`QUESTION`].
///
/// # Errors
/// Nothing listens there, or it does not answer in time.
pub fn ask(port: u16) -> std::io::Result<String> {
    zookeeper::four_letter_word(port, QUESTION)
}

/// Whether the coordinator on 127.0.0.1:`port` serves.
///
/// # Errors
/// Nothing listens there, or it does not answer in time.
pub fn serves(port: u16) -> std::io::Result<bool> {
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
