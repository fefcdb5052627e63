//! Tests only: docs/schema/lab.json, which editors read, says the same of lab.yml as its parser, and docs/reference.md
//! explains every key.

use std::path::{Path, PathBuf};

use schema::Schema;
use serde_json::{Map, Value, json};

use super::yaml::{from_str, to_string};
use super::{Lab, Overrides, sample};
use crate::backend::Backend;
use crate::cli::Global;

/// The committed file, as JSON.
fn committed() -> Value {
    let text = std::fs::read_to_string(manifests().join("lab.yml")).unwrap();
    from_str(&text).unwrap()
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

/// A copy of the manifests.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("kafka-lab-schema-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for file in ["cluster.yml", "kafka.yml", "clients.yml", "host-access.yml"] {
            std::fs::copy(manifests().join(file), dir.join(file)).unwrap();
        }
        Copy(dir)
    }

    /// Whether the parser accepts a lab.yml.
    fn parses(&self, settings: &Value) -> bool {
        std::fs::write(self.0.join("lab.yml"), to_string(settings).unwrap()).unwrap();
        let global = Global { manifests: Some(self.0.clone()), ..sample::global("kafka-lab") };
        let [.., last] = Backend::ALL;
        Lab::load(&global, &sample::lab().env, None, Overrides::recorded(last)).is_ok()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Every key of a schema of an object, by its path, with its own schema.
fn keys(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    for (name, field) in schema["properties"].as_object().unwrap_or(&Map::new()) {
        let path = format!("{path}/{name}");
        found.push((path.clone(), field.clone()));
        keys(field, &path, found);
    }
}

fn all_keys() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    keys(&Schema::read("lab.json").json()["$defs"]["lab"], "", &mut found);
    assert!(found.len() > 20, "{found:#?}");
    found
}

#[test]
fn schema_and_parser_accept_and_refuse_the_same() {
    let (schema, copy, settings) = (Schema::read("lab.json"), Copy::new("both"), committed());
    let mut tried = 0;
    let mut both = |settings: &Value, fits: bool, what: &str| {
        tried += 1;
        assert_eq!(schema.problem(settings).is_none(), fits, "the schema, {what}");
        assert_eq!(copy.parses(settings), fits, "the parser, {what}");
    };
    both(&settings, true, "as it is committed");
    for (path, rule) in all_keys() {
        let with = |new: Value| {
            let mut changed = settings.clone();
            *changed.pointer_mut(&path).unwrap() = new;
            changed
        };
        assert!(rule["description"].is_string(), "{path} has no description");
        let (parent, name) = path.rsplit_once('/').unwrap();
        let mut without = settings.clone();
        without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        both(&without, rule.get("default").is_some(), &format!("without {path}"));
        both(&with(json!({"surprise": 1})), false, &format!("{path} is something else"));
        for (bound, outside) in [("minimum", -1), ("maximum", 1)] {
            if let Some(bound) = rule[bound].as_i64() {
                both(&with(json!(bound)), true, &format!("{path} is {bound}"));
                both(&with(json!(bound + outside)), false, &format!("{path} is {}", bound + outside));
            }
        }
        for word in rule["enum"].as_array().into_iter().flatten() {
            both(&with(word.clone()), true, &format!("{path} is {word}"));
            both(&with(json!(format!("{}x", word.as_str().unwrap()))), false, &format!("{path} is misspelt"));
        }
        if rule["type"] == "object" {
            let mut more = settings.clone();
            more.pointer_mut(&path).unwrap()["surprise"] = json!(1);
            both(&more, false, &format!("{path} has an unknown key"));
        }
    }
    let mut more = settings.clone();
    more["surprise"] = json!(1);
    both(&more, false, "an unknown key");
    assert!(tried > 80, "{tried}");
}

#[test]
fn every_key_is_explained_and_the_file_names_its_schema() {
    let reference = std::fs::read_to_string(manifests().join("../docs/reference.md")).unwrap();
    for (path, rule) in all_keys().iter().filter(|(_, rule)| rule["type"] != "object") {
        let key = path[1..].replace('/', ".");
        assert!(reference.contains(&format!("| `{key}` |")), "docs/reference.md does not explain {key}");
        if let (Some(least), Some(most)) = (rule["minimum"].as_i64(), rule["maximum"].as_i64()) {
            let row = reference.lines().find(|line| line.contains(&format!("| `{key}` |"))).unwrap();
            let range = format!("{least} to {most}");
            assert!(row.contains(&range), "docs/reference.md does not say that {key} is {range}");
        }
    }
    let text = std::fs::read_to_string(manifests().join("lab.yml")).unwrap();
    let path = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
    assert!(manifests().join(path).is_file(), "{path}");
}
