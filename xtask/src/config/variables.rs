//! The variables of a container, as the kubelet computes them from `env`, ConfigMaps and Secrets in the manifests. What
//! cannot be read is rejected by name, because otherwise the lab would differ from the manifests.

use std::collections::BTreeMap;

use crate::config::facts::POD_NAME;
use crate::config::objects::{ConfigMap, Container, EnvFrom, EnvVar, KeyRef, ObjectRef, Secret, ValueFrom};
use crate::config::yaml::{self, Document, ManifestReader, Value, readable};

/// The namespace of every lab: the default of the cluster's kubeconfig.
pub(super) const NAMESPACE: &str = "default";

/// The ConfigMaps and Secrets of some files, by kind and name.
#[derive(Default)]
pub(super) struct Sources {
    /// Names of the files.
    files: Vec<&'static str>,
    objects: BTreeMap<(&'static str, String), Data>,
}

/// The keys and values of an object; `None` for bytes that are not text.
type Data = BTreeMap<String, Option<String>>;

const CONFIG_MAP: &str = "ConfigMap";
const SECRET: &str = "Secret";

impl Sources {
    /// Adds the objects of a file.
    pub(super) fn add(&mut self, file: &'static str, documents: &[Document]) {
        self.files.push(file);
        for map in readable::<ConfigMap>(documents, CONFIG_MAP) {
            let text = map.data.into_iter().map(|(key, text)| (key, Some(text)));
            let bytes = map.binary_data.into_keys().map(|key| (key, None));
            self.objects.insert((CONFIG_MAP, map.metadata.name), text.chain(bytes).collect());
        }
        for secret in readable::<Secret>(documents, SECRET) {
            let decoded = secret.data.into_iter().map(|(key, text)| (key, decoded(&text)));
            let text = secret.string_data.into_iter().map(|(key, text)| (key, Some(text)));
            self.objects.insert((SECRET, secret.metadata.name), decoded.chain(text).collect());
        }
    }
}

/// What is known about a variable.
enum Known {
    /// Its value; [`POD_NAME`] is a placeholder for the pod's name.
    Value(String),
    /// Known only in the pod; with its source.
    InPod(String),
}

/// The owner of variables.
pub(super) struct Owner<'a> {
    /// Name of the manifest.
    pub(super) file: &'a str,
    /// Kind and name: `StatefulSet kafka`.
    pub(super) name: &'a str,
    /// Whether the lab must know a variable.
    pub(super) must_know: fn(&str) -> bool,
}

impl Owner<'_> {
    fn problem(&self, reader: &mut ManifestReader<'_>, field: &str, message: String) {
        reader.problem(self.file, format!("{} {field}", self.name), message);
    }
}

impl ManifestReader<'_> {
    /// Returns a container's variables with known values, and the names of the objects that they come from.
    pub(super) fn variables(
        &mut self,
        owner: &Owner<'_>,
        container: &Container,
        sources: &Sources,
    ) -> (BTreeMap<String, String>, Vec<String>) {
        let (mut known, mut from) = (BTreeMap::new(), Vec::new());
        for source in &container.env_from {
            self.all_of(owner, source, sources, &mut known, &mut from);
        }
        let mut own: Vec<&str> = Vec::new();
        for variable in &container.env {
            if own.contains(&variable.name.as_str()) {
                self.problem(owner.file, &variable.name, format!("occurs twice in {}: remove one", owner.name));
            }
            own.push(&variable.name);
            if let Some(value) = self.value(owner, variable, sources, &known, &mut from) {
                known.insert(variable.name.clone(), value);
            }
        }
        let mut values = BTreeMap::new();
        for (name, value) in known {
            match value {
                Known::Value(value) => {
                    values.insert(name, value);
                }
                Known::InPod(place) if (owner.must_know)(&name) => {
                    let message = format!("comes from {place}, which only the pod knows: write its value instead");
                    self.problem(owner.file, name, message);
                }
                Known::InPod(_) => {}
            }
        }
        (values, from)
    }

    /// Adds all variables of one `envFrom`.
    fn all_of(
        &mut self,
        owner: &Owner<'_>,
        source: &EnvFrom,
        sources: &Sources,
        known: &mut BTreeMap<String, Known>,
        from: &mut Vec<String>,
    ) {
        let (kind, reference) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(reference), None) => (CONFIG_MAP, reference),
            (None, Some(reference)) => (SECRET, reference),
            _ => return owner.problem(self, "envFrom", "must name a configMapRef or a secretRef".into()),
        };
        let Some(data) = self.object(owner, "envFrom", kind, reference, sources, from) else { return };
        for (key, text) in data {
            let name = format!("{}{key}", source.prefix);
            match text {
                Some(text) => {
                    known.insert(name, Known::Value(text.clone()));
                }
                // The kubelet ignores a ConfigMap's binaryData.
                None if kind == CONFIG_MAP => {}
                None => owner.problem(self, "envFrom", format!("{kind} {} {key}: is not text", reference.name)),
            }
        }
    }

    /// Returns a referenced object. A missing one is a problem unless the reference is optional.
    fn object<'s>(
        &mut self,
        owner: &Owner<'_>,
        field: &str,
        kind: &'static str,
        reference: &ObjectRef,
        sources: &'s Sources,
        from: &mut Vec<String>,
    ) -> Option<&'s Data> {
        from.push(reference.name.clone());
        let found = sources.objects.get(&(kind, reference.name.clone()));
        if found.is_none() && !reference.optional {
            let message = format!(
                "{kind} {} is not in {}: its values cannot be read; add it there, or put its values into env",
                reference.name,
                sources.files.join(" or ")
            );
            owner.problem(self, field, message);
        }
        found
    }

    /// Returns the value of a variable in `env`; `None` if it is unset or invalid.
    fn value(
        &mut self,
        owner: &Owner<'_>,
        variable: &EnvVar,
        sources: &Sources,
        known: &BTreeMap<String, Known>,
        from: &mut Vec<String>,
    ) -> Option<Known> {
        match (&variable.value, &variable.value_from) {
            (None, None) => Some(Known::Value(String::new())),
            (None, Some(place)) => self.referred(owner, &variable.name, place, sources, from),
            (Some(Value::String(text)), None) => Some(expanded(text, known)),
            (Some(Value::String(_)), Some(_)) => {
                self.problem(owner.file, &variable.name, "has both value and valueFrom; Kubernetes accepts only one");
                None
            }
            (Some(other), _) => {
                let value = yaml::to_string(other).unwrap_or_default();
                let value = value.trim();
                let message = format!("is {value}, must be a string: \"{value}\"");
                self.problem(owner.file, &variable.name, message);
                None
            }
        }
    }

    /// Returns the value of a `valueFrom`.
    fn referred(
        &mut self,
        owner: &Owner<'_>,
        name: &str,
        place: &ValueFrom,
        sources: &Sources,
        from: &mut Vec<String>,
    ) -> Option<Known> {
        let mut key = |kind: &'static str, reference: &KeyRef| {
            let object = ObjectRef { name: reference.name.clone(), optional: reference.optional };
            let data = self.object(owner, name, kind, &object, sources, from)?;
            match data.get(&reference.key) {
                Some(Some(text)) => return Some(Known::Value(text.clone())),
                Some(None) => {
                    let message = format!("{kind} {} {}: is not text", reference.name, reference.key);
                    owner.problem(self, name, message);
                }
                None if reference.optional => {}
                None => {
                    let message = format!("{kind} {} has no key {}", reference.name, reference.key);
                    owner.problem(self, name, message);
                }
            }
            None
        };
        match place {
            ValueFrom { config_map_key_ref: Some(reference), .. } => key(CONFIG_MAP, reference),
            ValueFrom { secret_key_ref: Some(reference), .. } => key(SECRET, reference),
            ValueFrom { field_ref: Some(field), .. } => Some(match field.field_path.as_str() {
                "metadata.name" => Known::Value(POD_NAME.into()),
                "metadata.namespace" => Known::Value(NAMESPACE.into()),
                other => Known::InPod(format!("fieldRef {other}")),
            }),
            ValueFrom { others, .. } => {
                let kinds: Vec<&str> = others.keys().map(String::as_str).collect();
                Some(Known::InPod(if kinds.is_empty() { "an empty valueFrom".into() } else { kinds.join(", ") }))
            }
        }
    }
}

/// Resolves references `$(NAME)` in `text` like Kubernetes: to earlier variables. Unknown references stay as they are,
/// and `$$` is an escaped `$`.
fn expanded(text: &str, known: &BTreeMap<String, Known>) -> Known {
    let (mut value, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        value.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            value.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known.get(name) {
                Some(Known::Value(known)) => value.push_str(known),
                Some(Known::InPod(place)) => return Known::InPod(format!("$({name}), which is from {place}")),
                None => value.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            value.push('$');
        }
    }
    value.push_str(rest);
    Known::Value(value)
}

/// Decodes a Secret's base64 value (RFC 4648); `None` if it is not text.
fn decoded(text: &str) -> Option<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for digit in text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=') {
        let place = DIGITS.iter().position(|known| *known == digit)?;
        bits = (bits << 6 | u32::try_from(place).ok()?) & 0xfff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_like_in_kubernetes() {
        let known = BTreeMap::from([
            ("A".to_string(), Known::Value("a".into())),
            ("IP".to_string(), Known::InPod("fieldRef status.podIP".into())),
        ]);
        for (text, value) in [
            ("x$(A)y$(A)", "xaya"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$(B) $A ${A} $", "$(B) $A ${A} $"),
            ("$(A", "$(A"),
            ("$(", "$("),
            ("é$$", "é$"),
        ] {
            assert!(matches!(expanded(text, &known), Known::Value(found) if found == value), "{text}");
        }
        assert!(matches!(expanded("$(A)$(IP)", &known), Known::InPod(place) if place.contains("status.podIP")));
    }

    #[test]
    fn secrets_are_decoded() {
        for (text, value) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9v\nYmFy\n", "foobar")] {
            assert_eq!(decoded(text).as_deref(), Some(value));
        }
        assert_eq!(decoded("/w=="), None, "no UTF-8");
        assert_eq!(decoded("Zm 9*v"), None);
    }
}
