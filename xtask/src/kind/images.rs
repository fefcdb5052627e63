//! Image names, archives and the recipes' output. Pure.

use std::path::PathBuf;

use crate::k8s::render::CLIENT_IMAGE;

/// A stage of a recipe, as `build --list` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The stage's name, such as `kubectl`.
    pub name: String,
    /// Whether its product exists.
    pub done: bool,
    /// Its product: a folder, or the image's name.
    pub product: PathBuf,
}

/// Parses the output of `build --list`: name, key, `done` or `missing`, product.
pub fn parse_stages(list: &str) -> Vec<Stage> {
    list.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, _key, state) = (words.next()?, words.next()?, words.next()?);
            // A folder's name may have spaces: it is the rest of the line.
            let product = line[line.find(state)? + state.len()..].trim();
            (["done", "missing"].contains(&state) && !product.is_empty()).then(|| Stage {
                name: name.into(),
                done: state == "done",
                product: product.into(),
            })
        })
        .collect()
}

/// An image ready to be imported into nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The archive's path.
    pub file: PathBuf,
    /// The image's name in the engine.
    pub name: String,
    /// The image's id in a node: the digest of its configuration. An engine with containerd's image store has another
    /// id.
    pub id: String,
}

/// The unique name of the clients' image with this id.
pub fn own_name(id: &str) -> String {
    let digest = id.trim_start_matches("sha256:");
    format!("{}:{}", CLIENT_IMAGE.trim_end_matches(":lab"), digest.get(..12).unwrap_or(digest))
}

/// The name of an image in containerd: with the registry's host in front.
pub fn full_name(name: &str) -> String {
    let first = name.split('/').next().unwrap_or_default();
    let has_host = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    match (has_host, name.contains('/')) {
        (true, _) => name.into(),
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_read() {
        let list = "kind       acce72e570ea done    /c/my cache/kind-acce72e570ea\nimage      25de1352678a missing kafka-lab-node:v1.33.13-25de\nnoise\n";
        let stages = parse_stages(list);
        assert_eq!(stages.len(), 2);
        assert_eq!((stages[0].done, stages[0].product.to_str().unwrap()), (true, "/c/my cache/kind-acce72e570ea"));
        assert_eq!((stages[1].done, stages[1].product.to_str().unwrap()), (false, "kafka-lab-node:v1.33.13-25de"));
    }

    #[test]
    fn names_get_their_host() {
        assert_eq!(full_name("kafka-lab-kafka:1"), "docker.io/library/kafka-lab-kafka:1");
        assert_eq!(full_name("confluentinc/cp-kafka:7.3.5"), "docker.io/confluentinc/cp-kafka:7.3.5");
        assert_eq!(full_name("127.0.0.1:5000/lab/kafka:1"), "127.0.0.1:5000/lab/kafka:1");
        assert_eq!(full_name("localhost/kafka:1"), "localhost/kafka:1");
    }
}
