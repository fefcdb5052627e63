//! The backends, by name, and the few facts about them that the commands and the drills need. What they do is in their
//! folders.

use serde::{Deserialize, Serialize};

/// Where a lab runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Processes of this machine.
    Local,
    /// A kind cluster on Docker.
    Kind,
}

/// What a drill can take hold of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The servers' processes and their folders, on this machine.
    Processes,
    /// The servers' pods, their containers and their nodes.
    Pods,
}

impl Backend {
    /// All of them. Processes come last: a lab on any other backend has some too.
    pub const ALL: [Backend; 2] = [Backend::Kind, Backend::Local];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Local => "local",
            Backend::Kind => "kind",
        }
    }

    /// What it is, in the help of the command line.
    pub fn about(self) -> &'static str {
        match self {
            Backend::Local => "Processes of this machine, bound to 127.0.0.1",
            Backend::Kind => "A kind cluster on Docker: 1 control-plane node and 4 workers",
        }
    }

    /// What a drill can take hold of there. Its clients are processes everywhere.
    pub fn reaches(self) -> Reach {
        match self {
            Backend::Local => Reach::Processes,
            Backend::Kind => Reach::Pods,
        }
    }

    /// The longest name of a lab, in characters.
    pub fn name_max(self) -> usize {
        match self {
            Backend::Local => 50,
            // A node is called NAME-control-plane, which is a host name of 63 characters at most.
            Backend::Kind => 40,
        }
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
