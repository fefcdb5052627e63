//! cluster.yml as kind is given it: with the lab's own name, node image, ports and mark.

use std::path::Path;

use crate::config::Lab;
use crate::config::yaml::{self, Mapping, Value};
use crate::failure::{Failure, IoContext, Result};
use crate::state::Setup;

/// How a kind cluster is made from cluster.yml.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Making<'a> {
    /// What the cluster is called.
    pub name: &'a str,
    /// The node image; `None` leaves the choice to cluster.yml and kind.
    pub image: Option<&'a str>,
    /// How far ports of this host are from those of cluster.yml.
    pub port_shift: i32,
    /// A folder of this host that every node mounts, by which the cluster is known as ours.
    pub mark: Option<&'a Path>,
}

/// Where [`Making::mark`] is mounted in the nodes.
pub const MARK: &str = "/kafka-lab";

/// cluster.yml as it is in use; `ours` adds the mark.
///
/// # Errors
/// It cannot be read.
pub fn rendered(lab: &Lab, setup: &Setup, ours: bool) -> Result<String> {
    let mark = lab.mark();
    let making = Making {
        name: lab.cluster(),
        image: setup.node_image.as_deref(),
        port_shift: lab.port_shift(),
        mark: ours.then_some(mark.as_path()),
    };
    cluster_config(&lab.manifests, &making)
}

/// cluster.yml for `kind create cluster --config`, with what is in use filled in. It was read and checked before.
///
/// # Errors
/// It cannot be read any more.
pub fn cluster_config(dir: &Path, making: &Making<'_>) -> Result<String> {
    let path = dir.join("cluster.yml");
    let text = yaml::text_of(&path).cannot("read", &path)?;
    let mut config: Value = yaml::from_str(&text).cannot("understand", &path)?;
    // serde takes a list for a struct, in the order of its fields; an index by name panics at one.
    let nodes = config.get("nodes").and_then(Value::as_sequence);
    if !config.is_mapping() || !nodes.into_iter().flatten().all(Value::is_mapping) {
        return Err(Failure::usage("cluster.yml: the document and each of its nodes must be a mapping"));
    }
    config["name"] = making.name.into();
    for node in config.get_mut("nodes").and_then(Value::as_sequence_mut).into_iter().flatten() {
        if let Some(image) = making.image {
            node["image"] = image.into();
        }
        for mapping in node.get_mut("extraPortMappings").and_then(Value::as_sequence_mut).into_iter().flatten() {
            if let Some(port) = mapping.get_mut("hostPort")
                && let Some(number) = port.as_i64()
            {
                *port = number.saturating_add(making.port_shift.into()).into();
            }
        }
        if let Some(mark) = making.mark {
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
