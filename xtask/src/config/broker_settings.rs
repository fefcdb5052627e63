//! The names of the brokers' settings: which property a variable becomes, and which are misspelt, since Kafka ignores
//! what it does not know.

use strsim::damerau_levenshtein;

use crate::coordination::releases::Version;

/// The names of a version, one a line, after a comment.
fn names(kafka: Version) -> impl Iterator<Item = &'static str> {
    let list = match kafka {
        Version::V3_3 => include_str!("broker-settings/3.3.2.txt"),
        Version::V3_9 => include_str!("broker-settings/3.9.2.txt"),
        Version::V4_3 => include_str!("broker-settings/4.3.1.txt"),
    };
    list.lines().filter(|line| !line.starts_with('#'))
}

/// How many letters a misspelt name differs in, at most.
const TYPOS: usize = 3;

/// Variables that only the image's start scripts use, without `KAFKA_`.
const NOT_PROPERTIES: [&str; 6] = ["VERSION", "HEAP_OPTS", "OPTS", "JMX_OPTS", "JVM_PERFORMANCE_OPTS", "GC_LOG_OPTS"];

/// Returns the variable of the start scripts that `key` is most likely meant to be, and is not.
pub fn misspelt_variable(key: &str) -> Option<String> {
    let name = key.strip_prefix("KAFKA_")?;
    let near = NOT_PROPERTIES.iter().map(|one| (damerau_levenshtein(one, name), *one)).min()?;
    ((1..=2).contains(&near.0) && near.0 <= name.len() / 4).then(|| format!("KAFKA_{}", near.1))
}

/// The property that cp-kafka derives from an environment variable: `_` becomes a dot, `__` an underscore, `___` a
/// dash. `None` for variables that only its start scripts use.
pub fn property_name(key: &str) -> Option<String> {
    let name = key.strip_prefix("KAFKA_")?;
    if NOT_PROPERTIES.contains(&name) || name.starts_with("LOG4J_") || name.starts_with("TOOLS_LOG4J_") {
        return None;
    }
    let name = name.to_ascii_lowercase().replace("___", "-").replace("__", "\u{0}").replace('_', ".");
    Some(name.replace('\u{0}', "_"))
}

/// Returns the setting that an unknown `property` is most likely meant to be. `None` for a known property, and for one
/// that resembles none, such as a plugin's own.
pub fn misspelt(property: &str, kafka: Version) -> Option<&'static str> {
    if names(kafka).any(|name| name == property) {
        return None;
    }
    let near = names(kafka).map(|name| (damerau_levenshtein(name, property), name)).min()?;
    (near.0 <= TYPOS.min(property.len() / 4)).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_properties_as_in_cp_kafka() {
        for (key, property) in [
            ("KAFKA_NUM_PARTITIONS", Some("num.partitions")),
            ("KAFKA_MIN_INSYNC_REPLICAS", Some("min.insync.replicas")),
            ("KAFKA_A__B", Some("a_b")),
            ("KAFKA_A___B_C", Some("a-b.c")),
            ("KAFKA_HEAP_OPTS", None),
            ("KAFKA_OPTS", None),
            ("KAFKA_LOG4J_ROOT_LOGLEVEL", None),
            ("LAB_HOST_PORT_BASE", None),
            ("POD_NAME", None),
        ] {
            assert_eq!(property_name(key).as_deref(), property, "{key}");
        }
    }

    #[test]
    fn only_what_resembles_a_setting_is_misspelt() {
        for (property, meant) in [
            ("min.insync.replicas", None),
            ("min.insync.replics", Some("min.insync.replicas")),
            ("num.partition", Some("num.partitions")),
            ("unclean.leader.election.enabled", Some("unclean.leader.election.enable")),
            ("confluent.support.metrics.enable", None),
            ("listener.name.external.ssl.keystore.location", None),
            ("jmx.port", None),
        ] {
            for kafka in [Version::V3_3, Version::V3_9, Version::V4_3] {
                assert_eq!(misspelt(property, kafka), meant, "{property}");
            }
        }
        // Each version has its own list.
        assert_eq!(misspelt("eligible.leader.replicas.enabl", Version::V3_3), None);
        assert_eq!(misspelt("eligible.leader.replicas.enabl", Version::V3_9), Some("eligible.leader.replicas.enable"));
    }
}
