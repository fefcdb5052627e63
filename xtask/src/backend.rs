//! The backends, by name.

use serde::{Deserialize, Serialize};

/// Where a lab runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A kind cluster on Docker.
    Kind,
    /// Processes of this machine.
    Local,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Backend::Kind => "kind",
            Backend::Local => "local",
        })
    }
}
