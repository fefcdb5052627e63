//! Checks JSON lines against docs/schema, which describes them for programs. For tests only.
#![warn(clippy::too_many_lines)]
#![expect(clippy::unwrap_used, reason = "only tests link it, and a test may stop at the first surprise")]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

/// A file of docs/schema, with the others that it refers to. Supports only the part of JSON Schema that these files
/// use; any other keyword fails the test.
#[derive(Debug)]
pub struct Schema {
    file: String,
    files: BTreeMap<String, Value>,
}

impl Schema {
    /// Reads docs/schema, to check lines against `file`.
    pub fn read(file: &str) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
        let read = |path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let files = entries.map(|entry| (entry.file_name().into_string().unwrap(), read(entry.path()))).collect();
        Schema { file: file.into(), files }
    }

    /// The whole file.
    pub fn json(&self) -> &Value {
        &self.files[&self.file]
    }

    /// The kinds of lines that the file describes.
    pub fn kinds(&self) -> Vec<&str> {
        let kinds = self.json()["oneOf"].as_array().unwrap().iter();
        kinds.map(|kind| kind["$ref"].as_str().unwrap().strip_prefix("#/$defs/").unwrap()).collect()
    }

    /// What is wrong with a line of this kind.
    fn problem_as(&self, kind: &str, line: &Value) -> Option<String> {
        self.check(&self.file, &json!({ "$ref": format!("#/$defs/{kind}") }), line, kind).err()
    }

    /// The kinds that a line matches: one, if the line and the schema are right.
    pub fn kinds_of(&self, line: &Value) -> Vec<&str> {
        self.kinds().into_iter().filter(|kind| self.problem_as(kind, line).is_none()).collect()
    }

    /// What is wrong with a line. Stricter than the schema: unknown fields are rejected.
    pub fn problem(&self, line: &Value) -> Option<String> {
        match &self.kinds_of(line)[..] {
            [_] => None,
            [] => {
                let named = |kind: &&str| {
                    let properties = &self.json()["$defs"][*kind]["properties"];
                    ["schema", "event"].iter().all(|name| match &properties[*name]["const"] {
                        Value::Null => true,
                        rule => *rule == line[*name],
                    })
                };
                let answers = self.kinds().into_iter().filter(named).filter_map(|kind| self.problem_as(kind, line));
                Some(format!("no kind of line: {:?}", answers.collect::<Vec<_>>()))
            }
            several => Some(format!("more than one kind of line: {several:?}")),
        }
    }

    /// Asserts that a line is valid.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn expect(&self, line: &Value) {
        assert_eq!(self.problem(line), None, "{line}");
    }

    /// Asserts that a line is valid, and that it is no longer valid when any field is removed, added or changed. Lines
    /// may lack the fields in `optional`. Returns the number of changes tried.
    ///
    /// # Panics
    /// If either does not hold.
    #[track_caller]
    pub fn expect_exactly(&self, line: &Value, optional: &[&str]) -> usize {
        self.expect(line);
        let mut tried = 0;
        bend(line, optional, &mut |bent, what| {
            tried += 1;
            assert!(self.problem(&bent).is_some(), "{what} fits all the same: {bent}");
        });
        tried
    }

    fn check(&self, file: &str, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        let wrong = |what: String| Err(format!("{at}: {what}"));
        for (keyword, rule) in schema.as_object().unwrap() {
            match keyword.as_str() {
                "description" | "default" | "properties" => {}
                "$ref" => {
                    let (other, name) = rule.as_str().unwrap().split_once("#/$defs/").unwrap();
                    let file = if other.is_empty() { file } else { other };
                    self.check(file, self.files[file]["$defs"].get(name).unwrap(), value, at)?;
                }
                "oneOf" => {
                    let answers: Vec<_> =
                        rule.as_array().unwrap().iter().map(|one| self.check(file, one, value, at)).collect();
                    if answers.iter().filter(|answer| answer.is_ok()).count() != 1 {
                        return wrong(format!("not one of {} fits: {answers:?}", answers.len()));
                    }
                }
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(file, rule, item, &format!("{at}[{n}]"))?;
                    }
                }
                "prefixItems" => {
                    for (one, item) in rule.as_array().unwrap().iter().zip(value.as_array().into_iter().flatten()) {
                        self.check(file, one, item, at)?;
                    }
                }
                "required" => {
                    for name in rule.as_array().unwrap() {
                        if value.get(name.as_str().unwrap()).is_none() {
                            return wrong(format!("{name} is missing"));
                        }
                    }
                }
                // Fields that are not described never fit here.
                "additionalProperties" if *rule == Value::Bool(false) => {}
                "additionalProperties" => {
                    for (name, field) in value.as_object().into_iter().flatten() {
                        self.check(file, rule, field, &format!("{at}.{name}"))?;
                    }
                }
                _ => check_value(keyword, rule, value).or_else(wrong)?,
            }
        }
        if schema.get("properties").is_some() {
            for (name, field) in value.as_object().into_iter().flatten() {
                let Some(known) = properties.get(name) else { return wrong(format!("{name} is not described")) };
                self.check(file, known, field, &format!("{at}.{name}"))?;
            }
        }
        Ok(())
    }
}

/// Checks a keyword that concerns only this value and nothing inside it.
fn check_value(keyword: &str, rule: &Value, value: &Value) -> Result<(), String> {
    match keyword {
        "const" if rule == value => {}
        "enum" if rule.as_array().unwrap().contains(value) => {}
        "const" | "enum" => return Err(format!("{value} is not {rule}")),
        "type" => {
            let names = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
            let is = |name: &Value| match name.as_str().unwrap() {
                "integer" => value.is_i64() || value.is_u64(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                "array" => value.is_array(),
                "object" => value.is_object(),
                other => panic!("type {other}"),
            };
            if !names.iter().any(is) {
                return Err(format!("{value} is not {rule}"));
            }
        }
        "minimum" if value.as_i64().is_some_and(|n| n < rule.as_i64().unwrap()) => {
            return Err(format!("{value} is below {rule}"));
        }
        "maximum" if value.as_i64().is_some_and(|n| n > rule.as_i64().unwrap()) => {
            return Err(format!("{value} is above {rule}"));
        }
        "minimum" | "maximum" => {}
        "pattern" => {
            if !value.as_str().is_some_and(|text| matches(rule.as_str().unwrap(), text)) {
                return Err(format!("{value} is not {rule}"));
            }
        }
        "minItems" | "maxItems" => {
            let (length, bound) = (value.as_array().map_or(0, Vec::len) as u64, rule.as_u64().unwrap());
            if (keyword == "minItems" && length < bound) || (keyword == "maxItems" && length > bound) {
                return Err(format!("{length} items"));
            }
        }
        other => panic!("the checker does not know {other}"),
    }
    Ok(())
}

/// Matches patterns of the only form that the schemas use: `^[CLASS]{LEAST,MOST}$`.
fn matches(pattern: &str, text: &str) -> bool {
    let (class, lengths) = pattern.strip_prefix("^[").unwrap().strip_suffix("}$").unwrap().split_once("]{").unwrap();
    let (least, most) = lengths.split_once(',').unwrap_or((lengths, lengths));
    let class: Vec<char> = class.chars().collect();
    let mut legal = Vec::new();
    let mut at = 0;
    while at < class.len() {
        match class[at..] {
            [from, '-', to, ..] => {
                legal.extend(from..=to);
                at += 3;
            }
            _ => {
                legal.push(class[at]);
                at += 1;
            }
        }
    }
    let length = text.chars().count();
    (least.parse().unwrap()..=most.parse::<usize>().unwrap()).contains(&length)
        && text.chars().all(|c| legal.contains(&c))
}

/// Calls `bent` for each way to remove, add or replace a field.
fn bend(value: &Value, optional: &[&str], bent: &mut dyn FnMut(Value, &str)) {
    let something_else = |value: &Value| if value.is_boolean() { json!(7) } else { json!(false) };
    match value {
        Value::Object(fields) => {
            let free = fields.keys().any(|key| key.starts_with('_'));
            for (name, field) in fields {
                let with = |new: Option<Value>| {
                    let mut fields = fields.clone();
                    match new {
                        Some(new) => drop(fields.insert(name.clone(), new)),
                        None => drop(fields.remove(name)),
                    }
                    Value::Object(fields)
                };
                if !free && !optional.contains(&name.as_str()) {
                    bent(with(None), &format!("without {name}"));
                }
                bent(with(Some(something_else(field))), &format!("{name} is something else"));
                bend(field, optional, &mut |inner, what| bent(with(Some(inner)), &format!("{name}: {what}")));
            }
            if !free {
                let mut fields = fields.clone();
                fields.insert("surprise".into(), json!(1));
                bent(Value::Object(fields), "with a surprise");
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let with = |new: Value| {
                    let mut items = items.clone();
                    items[at] = new;
                    Value::Array(items)
                };
                bent(with(something_else(item)), "an item is something else");
                bend(item, optional, &mut |inner, what| bent(with(inner), what));
            }
        }
        _ => {}
    }
}
