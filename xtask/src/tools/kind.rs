//! The kind program: its commands, its version and its default node image.

use std::path::Path;
use std::time::Duration;

use crate::config::Lab;
use crate::environment::Purpose;
use crate::exec::Cmd;
use crate::state::Toolchain;

fn kind(setup: &Toolchain, deadline: Duration) -> Cmd {
    Cmd::new(&setup.kind, deadline).purpose(Purpose::Engine)
}

/// Creates a cluster. If that fails, what it created is kept for inspection.
pub fn create(lab: &Lab, setup: &Toolchain, config: &Path) -> Cmd {
    kind(setup, lab.timeout(|t| t.cluster))
        .args(["create", "cluster", "--retain", "--name", lab.cluster(), "--config"])
        .arg(config)
        .arg("--kubeconfig")
        .arg(lab.kubeconfig())
}

/// Deletes a cluster.
pub fn delete(lab: &Lab, setup: &Toolchain) -> Cmd {
    kind(setup, Duration::from_secs(180))
        .args(["delete", "cluster", "--name", lab.cluster(), "--kubeconfig"])
        .arg(lab.kubeconfig())
}

/// Writes the cluster's kubeconfig.
pub fn export_kubeconfig(lab: &Lab, setup: &Toolchain) -> Cmd {
    kind(setup, Duration::from_secs(60))
        .args(["export", "kubeconfig", "--name", lab.cluster(), "--kubeconfig"])
        .arg(lab.kubeconfig())
}

/// Collects the logs of all nodes.
pub fn export_logs(lab: &Lab, setup: &Toolchain, dir: &Path) -> Cmd {
    kind(setup, Duration::from_secs(120)).args(["export", "logs", "--name", lab.cluster()]).arg(dir)
}

/// Returns major and minor number of the first version in `text`: `kind v0.30.0 go1.24 linux/amd64`, `v1.33.13-ab12`.
pub fn parse_version(text: &str) -> Option<(u32, u32)> {
    let start = text
        .match_indices('v')
        .map(|(at, _)| at + 1)
        .find(|at| text[*at..].starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = text[start..].split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Returns the default node image of a kind program. kind has no command for it, but the program contains the name and
/// digest.
pub fn default_node_image(program: &[u8]) -> Option<String> {
    const START: &[u8] = b"kindest/node:v";
    let named = |at: usize| {
        let rest = &program[at..program.len().min(at + 200)];
        let digest = rest.windows(8).position(|window| window == b"@sha256:")? + 8;
        let name = rest.get(..digest + 64)?;
        let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"/:.@-".contains(byte);
        name.iter().all(legal).then(|| String::from_utf8_lossy(name).into_owned())
    };
    program.windows(START.len()).enumerate().filter(|(_, window)| *window == START).find_map(|(at, _)| named(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found() {
        assert_eq!(parse_version("kind v0.30.0 go1.24.6 linux/amd64"), Some((0, 30)));
        assert_eq!(parse_version("kafka-lab-node:v1.33.13-25de1352678a"), Some((1, 33)));
        assert_eq!(parse_version("kindest/node:v1.34.0@sha256:ab"), Some((1, 34)));
        assert_eq!(parse_version("devel"), None);
    }

    #[test]
    fn the_default_node_image_is_in_the_program() {
        let digest = "0123456789abcdef".repeat(4);
        let name = format!("kindest/node:v1.34.0@sha256:{digest}");
        let program = format!("\0xkindest/node:vTOO SHORT\0{name}kindest/base\u{0}");
        assert_eq!(default_node_image(program.as_bytes()), Some(name));
        assert_eq!(default_node_image(b"#!/bin/sh\nexec kind"), None);
    }
}
