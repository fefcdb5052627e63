//! Reads YAML files, with line numbers in errors. The only user of serde_yaml.

use std::fmt;
use std::io::Read;
use std::path::Path;

use ledger::cause::in_words;
use serde::Deserialize;
use serde::de::DeserializeOwned;
#[cfg(test)]
pub use serde_yaml::Deserializer;
pub use serde_yaml::{Mapping, Value, from_str, to_string};

use crate::coordination::Release;
use crate::files::own::open_regular;

/// Limit of a file's size, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// A problem in a file, with its fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestProblem {
    /// File name in the manifests folder.
    pub file: String,
    /// Field or line.
    pub field: String,
    /// What is wrong, and what would be valid.
    pub message: String,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.field, self.message)
    }
}

#[derive(Deserialize)]
struct Head {
    kind: Option<String>,
    metadata: Option<HeadMeta>,
}

#[derive(Deserialize)]
struct HeadMeta {
    name: Option<Value>,
    namespace: Option<Value>,
}

impl Document {
    fn new(file: &str, first_line: usize, text: String) -> Self {
        Document { file: file.into(), first_line, text, kind: String::new(), name: String::new(), namespace: None }
    }
}

/// Reads files, and collects problems instead of stopping at the first.
pub(super) struct ManifestReader<'a> {
    dir: &'a Path,
    /// What the manifests are read for.
    pub(super) release: Release,
    /// The manifest of the servers.
    pub(super) servers: &'static str,
    pub(super) problems: Vec<ManifestProblem>,
}

/// A YAML document of a file.
pub(super) struct Document {
    file: String,
    first_line: usize,
    text: String,
    pub(super) kind: String,
    /// Name and namespace, as text.
    pub(super) name: String,
    pub(super) namespace: Option<String>,
}

/// Reads the text of a manifest. Removes a byte order mark and converts Windows line ends.
///
/// # Errors
/// The file cannot be read, is no regular file, is too large, is not UTF-8, or is nested too deeply.
pub fn text_of(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(std::io::Error::other(format!("it is larger than {FILE_MAX} bytes")));
    }
    let other = |_| std::io::Error::other("it is not UTF-8: save it as UTF-8");
    let text = String::from_utf8(bytes).map_err(other)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if is_deep(text) {
        return Err(std::io::Error::other(format!("more than {DEPTH_MAX} brackets are open at once")));
    }
    Ok(text.replace("\r\n", "\n"))
}

/// Brackets that may be open at once. The parser takes quadratic time for them.
const DEPTH_MAX: usize = 200;

/// Whether more brackets are open at once than any manifest has. Text in quotes counts too.
fn is_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH_MAX
    })
}

impl<'a> ManifestReader<'a> {
    /// Creates a reader of the files in `dir`.
    pub(super) fn new(dir: &'a Path, release: Release) -> Self {
        Self { dir, release, servers: release.mode.manifest(), problems: Vec::new() }
    }

    pub(super) fn problem(&mut self, file: &str, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(ManifestProblem { file: file.into(), field: field.into(), message: message.into() });
    }

    fn text(&mut self, file: &str) -> Option<String> {
        match text_of(&self.dir.join(file)) {
            Ok(text) => Some(text),
            Err(error) => {
                self.problem(file, "file", format!("cannot be read in {}: {}", self.dir.display(), in_words(error)));
                None
            }
        }
    }

    /// Splits a file at its `---` lines. serde_yaml could too, but its errors would not name the file's line.
    pub(super) fn documents(&mut self, file: &str) -> Vec<Document> {
        let Some(text) = self.text(file) else { return Vec::new() };
        let mut parts = vec![(0, String::new())];
        for (index, line) in text.lines().enumerate() {
            // Kubernetes expands merge keys; serde_yaml would ignore them.
            if line.trim_start().trim_start_matches("- ").starts_with("<<:") || line.contains("{<<:") {
                self.problem(file, format!("line {}", index + 1), "has a merge key (<<): write out its content");
            }
            if line.trim_end() == "---" {
                parts.push((index + 1, String::new()));
            } else if let Some((_, part)) = parts.last_mut() {
                part.push_str(line);
                part.push('\n');
            }
        }
        let mut documents = Vec::new();
        for (first_line, text) in parts {
            let mut document = Document::new(file, first_line, text);
            if let Some(Some(head)) = self.parse::<Option<Head>>(&document) {
                document.kind = head.kind.unwrap_or_default();
                let text = |value: Value| to_string(&value).unwrap_or_default().trim().to_string();
                if let Some(meta) = head.metadata {
                    document.name = meta.name.map(text).unwrap_or_default();
                    document.namespace = meta.namespace.map(text);
                }
                documents.push(document);
            }
        }
        documents
    }

    /// Parses a file with a single document.
    pub(super) fn whole<T: DeserializeOwned>(&mut self, file: &str) -> Option<T> {
        let text = self.text(file)?;
        self.parse(&Document::new(file, 0, text))
    }

    fn parse<T: DeserializeOwned>(&mut self, document: &Document) -> Option<T> {
        match from_str(&document.text) {
            Ok(value) => Some(value),
            Err(error) => {
                let line = error.location().map_or(0, |place| place.line());
                let mut message = error.to_string();
                if let Some(place) = message.find(" at line ") {
                    message.truncate(place);
                }
                self.problem(&document.file, format!("line {}", document.first_line + line), message);
                None
            }
        }
    }

    /// Parses the documents of `kind`. Each invalid one is a problem.
    pub(super) fn all<T: DeserializeOwned>(&mut self, documents: &[Document], kind: &str) -> Vec<T> {
        documents.iter().filter(|doc| doc.kind == kind).filter_map(|doc| self.parse(doc)).collect()
    }
}

/// Parses the valid documents of `kind`. The invalid ones are reported elsewhere.
pub(super) fn readable<'a, T: DeserializeOwned + 'a>(
    documents: &'a [Document],
    kind: &'a str,
) -> impl Iterator<Item = T> + 'a {
    documents.iter().filter(move |doc| doc.kind == kind).filter_map(|doc| from_str(&doc.text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_or_no_ground_is_refused_at_once() {
        let dir = std::env::temp_dir().join(format!("kafka-lab-yaml-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (pipe, deep, socket) = (dir.join("pipe"), dir.join("deep"), dir.join("socket"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        std::fs::write(&deep, "[".repeat(20_000)).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, why) in [(&pipe, "not a regular file"), (&socket, "not a regular file"), (&deep, "brackets")] {
            let error = text_of(path).unwrap_err().to_string();
            assert!(error.contains(why), "{}: {error}", path.display());
        }
        assert!(text_of(Path::new("/dev/zero")).unwrap_err().to_string().contains("not a regular file"));
        // A manifest may be a link.
        std::os::unix::fs::symlink("/etc/hostname", dir.join("link")).unwrap();
        assert!(text_of(&dir.join("link")).is_ok());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
