//! Renders cluster.yml for kind, with the lab's name, node image, ports and mark.

use std::path::Path;

use crate::config::Lab;
use crate::config::yaml::{self, Mapping, Value};
use crate::failure::{Failure, IoContext, Result};
use crate::state::Toolchain;

/// The values that replace those of cluster.yml.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterOverrides<'a> {
    /// The cluster's name.
    pub name: &'a str,
    /// The node image; `None` keeps the choice of cluster.yml or kind.
    pub image: Option<&'a str>,
    /// The offset of this host's ports from those in cluster.yml.
    pub port_shift: i32,
    /// A folder of this host that every node mounts, which identifies the cluster as ours.
    pub mark: Option<&'a Path>,
}

/// The mount point of [`ClusterOverrides::mark`] in the nodes.
pub const MARK: &str = "/kafka-lab";

/// Renders the lab's cluster.yml; `ours` adds the mark.
///
/// # Errors
/// It cannot be read.
pub fn rendered(lab: &Lab, setup: &Toolchain, ours: bool) -> Result<String> {
    let mark = lab.mark();
    let overrides = ClusterOverrides {
        name: lab.cluster(),
        image: setup.node_image.as_deref(),
        port_shift: lab.port_shift(),
        mark: ours.then_some(mark.as_path()),
    };
    cluster_config(&lab.manifests, &overrides)
}

/// Applies `overrides` to cluster.yml in `dir`, for `kind create cluster --config`.
///
/// # Errors
/// The file cannot be read or parsed.
pub fn cluster_config(dir: &Path, overrides: &ClusterOverrides<'_>) -> Result<String> {
    let path = dir.join("cluster.yml");
    let text = yaml::text_of(&path).cannot("read", &path)?;
    let mut config: Value = yaml::from_str(&text).cannot("parse", &path)?;
    // serde also accepts a list for a struct, and indexing a list by name panics.
    let nodes = config.get("nodes").and_then(Value::as_sequence);
    if !config.is_mapping() || !nodes.into_iter().flatten().all(Value::is_mapping) {
        return Err(Failure::usage("cluster.yml: the document and each of its nodes must be a mapping"));
    }
    config["name"] = overrides.name.into();
    for node in config.get_mut("nodes").and_then(Value::as_sequence_mut).into_iter().flatten() {
        if let Some(image) = overrides.image {
            node["image"] = image.into();
        }
        for mapping in node.get_mut("extraPortMappings").and_then(Value::as_sequence_mut).into_iter().flatten() {
            if let Some(port) = mapping.get_mut("hostPort")
                && let Some(number) = port.as_i64()
            {
                *port = number.saturating_add(overrides.port_shift.into()).into();
            }
        }
        if let Some(mark) = overrides.mark {
            let mut mount = Mapping::new();
            mount.insert("hostPath".into(), mark.to_string_lossy().into_owned().into());
            mount.insert("containerPath".into(), MARK.into());
            mount.insert("readOnly".into(), true.into());
            match node.get_mut("extraMounts").and_then(Value::as_sequence_mut) {
                Some(mounts) => mounts.push(mount.into()),
                None => node["extraMounts"] = Value::Sequence(vec![mount.into()]),
            }
        }
    }
    yaml::to_string(&config).cannot("write", &path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;

    #[test]
    fn the_cluster_gets_its_name_image_ports_and_mark() {
        let mut lab = sample::lab();
        lab.ports.base += 1000;
        let config = rendered(&lab, &sample::setup(), true).unwrap();
        assert_eq!(config.matches("image: node:1").count(), 5, "{config}");
        assert_eq!(config.matches("containerPath: /kafka-lab").count(), 5, "{config}");
        assert_eq!(config.matches("containerPort: 3009").count(), 10, "{config}");
        assert_eq!(config.matches("hostPort: 3109").count(), 10, "{config}");
        assert!(config.contains("name: kafka-lab\n"), "{config}");
        assert!(!rendered(&lab, &sample::setup(), false).unwrap().contains("/kafka-lab"));
    }
}
