//! The backends by name, and the facts about them that commands and drills need. Their code is in their folders.

use serde::{Deserialize, Serialize};

/// Where a lab runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Processes on this machine.
    Local,
    /// A kind cluster on Docker.
    Kind,
}

/// What a drill can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The servers' processes and their folders, on this machine.
    Processes,
    /// The servers' pods, their containers and their nodes.
    Pods,
}

impl Backend {
    /// All backends. `Local` is last: a lab on any other backend also has local processes.
    pub const ALL: [Backend; 2] = [Backend::Kind, Backend::Local];

    /// Returns the name, as in `--backend`.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Local => "local",
            Backend::Kind => "kind",
        }
    }

    /// Returns the description for `--help`.
    pub fn about(self) -> &'static str {
        match self {
            Backend::Local => "Processes on this machine, bound to 127.0.0.1",
            Backend::Kind => "A kind cluster on Docker: 1 control-plane node and 4 workers",
        }
    }

    /// Returns what a drill can act on. Its own clients are processes on every backend.
    pub fn reaches(self) -> Reach {
        match self {
            Backend::Local => Reach::Processes,
            Backend::Kind => Reach::Pods,
        }
    }

    /// Returns the maximum length of a lab's name.
    pub fn name_max(self) -> usize {
        match self {
            Backend::Local => 50,
            // The node name NAME-control-plane is a host name, of at most 63 characters.
            Backend::Kind => 40,
        }
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
