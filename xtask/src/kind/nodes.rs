//! Inspects the nodes of a kind cluster in Docker: their state, their owner, and how they differ from cluster.yml.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::Lab;
use crate::exec::Exec;
use crate::failure::{Failure, Result};
use crate::kind::config::MARK;
use crate::signal::Stop;
use crate::state::Toolchain;
use crate::tools::docker;

/// The container of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeContainer {
    /// The name of the container and the node.
    pub name: String,
    /// `control-plane` or `worker`.
    pub role: String,
    /// The image name it was created with.
    pub image: String,
    /// Whether it is running and not paused.
    pub running: bool,
    /// The folder of this host that it mounts at [`MARK`].
    pub mark: Option<PathBuf>,
    /// The ports that it publishes on this host.
    pub host_ports: Vec<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    name: String,
    state: State,
    config: Config,
    #[serde(default)]
    mounts: Vec<Mount>,
    host_config: HostConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    #[serde(default)]
    paused: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    image: String,
    labels: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    source: PathBuf,
    destination: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    port_bindings: Option<std::collections::BTreeMap<String, Option<Vec<Binding>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_port: String,
}

/// Parses the output of `docker inspect`. Control-plane nodes come first; `None` if it is malformed.
pub fn parse(json: &str) -> Option<Vec<NodeContainer>> {
    let inspected: Vec<Inspected> = serde_json::from_str(json).ok()?;
    let mut nodes: Vec<NodeContainer> = inspected
        .into_iter()
        .map(|found| NodeContainer {
            name: found.name.trim_start_matches('/').into(),
            role: found.config.labels.unwrap_or_default().remove("io.x-k8s.kind.role").unwrap_or_default(),
            image: found.config.image,
            running: found.state.running && !found.state.paused,
            mark: found.mounts.into_iter().find(|mount| mount.destination == Path::new(MARK)).map(|mount| mount.source),
            host_ports: found
                .host_config
                .port_bindings
                .unwrap_or_default()
                .into_values()
                .flatten()
                .flatten()
                .filter_map(|binding| binding.host_port.parse().ok())
                .collect(),
        })
        .collect();
    nodes.sort_by(|a, b| (&a.role, &a.name).cmp(&(&b.role, &b.name)));
    Some(nodes)
}

/// The nodes of the lab's cluster; empty if it does not exist.
///
/// # Errors
/// The engine does not answer.
pub fn find(lab: &Lab, exec: &dyn Exec, log: &Path, stop: &Stop) -> Result<Vec<NodeContainer>> {
    let list = docker::nodes(lab.cluster());
    let ids = exec.capture(&list, log, stop)?.success(&list, log)?.stdout;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let inspect = docker::inspect(&ids);
    // A container may disappear between the two commands.
    let output = exec.capture(&inspect, log, stop)?;
    parse(&output.stdout).ok_or_else(|| {
        Failure::step("cannot parse the output of docker inspect").command(&inspect).output(&output.stderr)
    })
}

/// Whether every node has this lab's mark.
pub fn is_ours(lab: &Lab, nodes: &[NodeContainer]) -> bool {
    let mark = lab.mark();
    nodes.iter().all(|node| node.mark.as_deref() == Some(&mark))
}

/// How a cluster differs from cluster.yml and the images in use, as messages.
pub fn differences(lab: &Lab, setup: &Toolchain, nodes: &[NodeContainer]) -> Vec<String> {
    let wanted = lab.facts.cluster.node_names(lab.cluster());
    let mut differences = Vec::new();
    for name in wanted.iter().filter(|name| !nodes.iter().any(|node| node.name == **name)) {
        differences.push(format!("node {name} of cluster.yml is missing"));
    }
    for node in nodes.iter().filter(|node| !wanted.contains(&node.name)) {
        differences.push(format!("node {} is not in cluster.yml", node.name));
    }
    for (node, config) in wanted
        .iter()
        .zip(&lab.facts.cluster.nodes)
        .filter_map(|(name, config)| nodes.iter().find(|node| node.name == *name).map(|node| (node, config)))
    {
        let image = setup.node_image.as_ref().or(config.image.as_ref());
        if let Some(image) = image.filter(|image| same_image(image) != same_image(&node.image)) {
            differences.push(format!("node {} runs {}, not {image}", node.name, node.image));
        }
    }
    let missing: Vec<String> = lab
        .host_ports()
        .iter()
        .filter(|port| !nodes.iter().any(|node| node.host_ports.contains(port)))
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        differences.push(format!("not published on 127.0.0.1: port {}", missing.join(", ")));
    }
    differences
}

/// The part of an image name that identifies it: the digest, if it has one.
fn same_image(name: &str) -> &str {
    name.split_once('@').map_or(name, |(_, digest)| digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;

    fn nodes(lab: &Lab) -> Vec<NodeContainer> {
        let node = |name: String| NodeContainer {
            host_ports: if name.ends_with("control-plane") { lab.host_ports() } else { vec![] },
            role: if name.ends_with("control-plane") { "control-plane".into() } else { "worker".into() },
            name,
            image: "node:1".into(),
            running: true,
            mark: Some(lab.mark()),
        };
        lab.facts.cluster.node_names(lab.cluster()).into_iter().map(node).collect()
    }

    #[test]
    fn a_cluster_as_the_manifest_asks_has_no_differences_and_is_ours() {
        let lab = sample::lab();
        let nodes = nodes(&lab);
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "kafka-lab-control-plane",
                "kafka-lab-worker",
                "kafka-lab-worker2",
                "kafka-lab-worker3",
                "kafka-lab-worker4"
            ]
        );
        assert_eq!(differences(&lab, &sample::setup(), &nodes), Vec::<String>::new());
        assert!(is_ours(&lab, &nodes));
    }

    #[test]
    fn each_difference_is_reported() {
        let lab = sample::lab();
        let mut found = nodes(&lab);
        found.remove(2);
        found[1].image = "node:0".into();
        found[0].host_ports.retain(|port| *port != 30091);
        found.push(NodeContainer { name: "kafka-lab-worker9".into(), ..found[1].clone() });
        assert_eq!(
            differences(&lab, &sample::setup(), &found),
            [
                "node kafka-lab-worker2 of cluster.yml is missing",
                "node kafka-lab-worker9 is not in cluster.yml",
                "node kafka-lab-worker runs node:0, not node:1",
                "not published on 127.0.0.1: port 30091",
            ]
        );
    }

    #[test]
    fn a_cluster_with_one_node_without_our_mark_is_not_ours() {
        let lab = sample::lab();
        let mut found = nodes(&lab);
        found[3].mark = None;
        assert!(!is_ours(&lab, &found));
        found[3].mark = Some("/another/mark".into());
        assert!(!is_ours(&lab, &found));
    }

    #[test]
    fn images_with_a_digest_are_compared_by_it() {
        assert_eq!(same_image("kindest/node:v1@sha256:ab"), same_image("kindest/node@sha256:ab"));
        assert_ne!(same_image("kindest/node:v1"), same_image("kindest/node:v2"));
    }

    #[test]
    fn the_output_of_docker_inspect_is_parsed() {
        let json = r#"[{"Name":"/k-worker","State":{"Running":true,"Paused":false},"Image":"sha256:1",
            "Config":{"Image":"node:1","Labels":{"io.x-k8s.kind.role":"worker"}},
            "Mounts":[{"Source":"/s/mark","Destination":"/kafka-lab"}],"HostConfig":{"PortBindings":null}},
            {"Name":"/k-control-plane","State":{"Running":false},"Image":"sha256:1",
            "Config":{"Image":"node:1","Labels":{"io.x-k8s.kind.role":"control-plane"}},"Mounts":[],
            "HostConfig":{"PortBindings":{"30090/tcp":[{"HostIp":"127.0.0.1","HostPort":"30090"}],"6443/tcp":null}}}]"#;
        let nodes = parse(json).unwrap();
        assert_eq!(
            (nodes[0].name.as_str(), nodes[0].running, nodes[0].host_ports.as_slice()),
            ("k-control-plane", false, &[30090][..])
        );
        assert_eq!((nodes[1].mark.as_deref(), nodes[1].running), (Some(Path::new("/s/mark")), true));
        assert_eq!(parse("Error: no such object"), None);
    }
}
