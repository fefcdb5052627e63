//! Fills images, names and ports into the manifests. They remain plain YAML and keep their comments.

use std::path::Path;

use crate::config::{Lab, yaml};
use crate::failure::{Failure, IoContext, Result};
use crate::state::Toolchain;

/// The client image's name in clients.yml.
pub const CLIENT_IMAGE: &str = "kafka-lab-clients:lab";

/// kafka.yml as it is applied.
///
/// # Errors
/// It cannot be read, or has changed since it was loaded.
pub fn kafka(lab: &Lab, setup: &Toolchain) -> Result<String> {
    let text = read(lab, "kafka.yml")?;
    let text = with_image(&text, &lab.facts.kafka_image, &setup.kafka_image)
        .ok_or_else(|| unclear("kafka.yml", &format!("image: {}", lab.facts.kafka_image)))?;
    let text = with_min_domains(&text, lab.facts.cluster.workers());
    let (old, new) = (lab.facts.brokers.host_port_base, lab.ports.base);
    if old == new {
        return Ok(text);
    }
    with_value(&text, "LAB_HOST_PORT_BASE", &old.to_string(), &new.to_string())
        .ok_or_else(|| unclear("kafka.yml", &format!("LAB_HOST_PORT_BASE, value: \"{old}\"")))
}

/// clients.yml as it is applied. `image` names the client image and changes with its content.
///
/// # Errors
/// It cannot be read, or names another image.
pub fn clients(lab: &Lab, image: &str) -> Result<String> {
    let text = read(lab, "clients.yml")?;
    let text = with_image(&text, CLIENT_IMAGE, image)
        .ok_or_else(|| unclear("clients.yml", &format!("image: {CLIENT_IMAGE}")))?;
    lab.scaled.iter().try_fold(text, |text, (name, replicas)| {
        with_replicas(&text, name, *replicas)
            .ok_or_else(|| unclear("clients.yml", &format!("replicas: N` of `name: {name}")))
    })
}

/// host-access.yml as it is applied.
///
/// # Errors
/// It cannot be read.
pub fn host_access(lab: &Lab) -> Result<String> {
    read(lab, "host-access.yml")
}

fn read(lab: &Lab, file: &str) -> Result<String> {
    let path = lab.manifests.join(file);
    yaml::text_of(&path).cannot("read", &path)
}

/// Writes one file into `dir`.
///
/// # Errors
/// The folder cannot be written.
pub fn write(dir: &Path, file: &str, text: &str) -> Result<std::path::PathBuf> {
    let path = dir.join(file);
    crate::files::write_atomically(&path, text)?;
    Ok(path)
}

fn unclear(file: &str, wanted: &str) -> Failure {
    Failure::usage(format!("{file}: no line has `{wanted}`")).fix("write it on one line, as the committed file does")
}

/// Replaces every `image: OLD` by `image: NEW`; `None` if there is none.
fn with_image(text: &str, old: &str, new: &str) -> Option<String> {
    let mut found = false;
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let value = line.trim_start().trim_start_matches("- ").strip_prefix("image:").map(str::trim);
            let value = value.map(|value| value.split(" #").next().unwrap_or(value).trim().trim_matches(['"', '\'']));
            if value == Some(old) {
                found = true;
                line.replacen(old, new, 1)
            } else {
                line.to_string()
            }
        })
        .collect();
    found.then(|| lines.join("\n") + "\n")
}

/// Sets every `minDomains` to the number of nodes that brokers are spread over.
fn with_min_domains(text: &str, domains: usize) -> String {
    let lines = text.lines().map(|line| match line.split_once("minDomains: ") {
        Some((indent, number)) if indent.trim().is_empty() && number.trim().parse::<usize>().is_ok() => {
            format!("{indent}minDomains: {domains}\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// Sets the first `replicas:` after `name: NAME` to NEW; `None` if there is none.
fn with_replicas(text: &str, name: &str, new: u32) -> Option<String> {
    let (mut named, mut found) = (false, false);
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            named |= line.trim() == format!("name: {name}");
            match line.split_once("replicas:") {
                Some((indent, _)) if named && !found && indent.trim().is_empty() => {
                    found = true;
                    format!("{indent}replicas: {new}")
                }
                _ => line.to_string(),
            }
        })
        .collect();
    found.then(|| lines.join("\n") + "\n")
}

/// Sets the value of the variable `name` to NEW, on its line or the next; `None` if it is missing.
fn with_value(text: &str, name: &str, old: &str, new: &str) -> Option<String> {
    let at = text.match_indices(name).map(|(at, _)| at).find(|at| text[..*at].trim_end().ends_with("name:"))?;
    let end = text[at..].match_indices('\n').nth(1).map_or(text.len(), |(end, _)| at + end);
    let value = at + text[at..end].find("value:")?;
    let place = value + text[value..end].find(old)?;
    Some(format!("{}{new}{}", &text[..place], &text[place + old.len()..]))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::sample;

    #[test]
    fn images_and_ports_are_filled_in_and_nothing_else_changes() {
        let mut lab = sample::lab();
        let committed = fs::read_to_string(lab.manifests.join("kafka.yml")).unwrap();
        let rendered = kafka(&lab, &sample::setup()).unwrap();
        assert_eq!(rendered.matches("image: kafka:1\n").count(), 2);
        assert_eq!(rendered.replace("image: kafka:1\n", &format!("image: {}\n", lab.facts.kafka_image)), committed);
        lab.facts.cluster.nodes.truncate(3);
        assert!(kafka(&lab, &sample::setup()).unwrap().contains("          minDomains: 2\n"), "as many as workers");
        lab.ports.base += 100;
        assert!(kafka(&lab, &sample::setup()).unwrap().contains("name: LAB_HOST_PORT_BASE, value: \"30190\""));
        assert_eq!(clients(&lab, "kafka-lab-clients:ab").unwrap().matches("image: kafka-lab-clients:ab\n").count(), 2);
        lab.scaled.insert("consumer".into(), 3);
        let scaled = clients(&lab, "kafka-lab-clients:ab").unwrap();
        let consumer = scaled.find("name: consumer").unwrap();
        assert!(
            scaled[..consumer].contains("replicas: 1\n") && scaled[consumer..].contains("replicas: 3\n"),
            "{scaled}"
        );
    }

    #[test]
    fn other_spellings_are_accepted_and_the_rest_is_refused() {
        assert_eq!(with_image("  - image: \"a:1\" # why\n", "a:1", "b:2").unwrap(), "  - image: \"b:2\" # why\n");
        assert_eq!(with_image("image: a:10\n", "a:1", "b:2"), None);
        let two = "# BASE\n- name: BASE\n  value: '30090'\n- name: X\n  value: '30090'\n";
        assert_eq!(
            with_value(two, "BASE", "30090", "1").unwrap(),
            "# BASE\n- name: BASE\n  value: '1'\n- name: X\n  value: '30090'\n"
        );
        assert_eq!(with_value("- name: BASE\n\n\n  value: 30090", "BASE", "30090", "1"), None);
    }
}
