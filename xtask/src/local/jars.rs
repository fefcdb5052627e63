//! Kafka's jars: their names, checksums and cache folder.

use std::path::{Path, PathBuf};

use crate::config::Env;
use crate::config::yaml::text_of;
use crate::coordination::releases::Version;
use crate::failure::{Failure, IoContext, Result};
use crate::files::{stamp, write_file};

/// The file in the jars' folder that says how each jar was when its checksum matched.
pub const CHECKED: &str = "checked";

/// Kafka's jars as the committed pom and its lock describe them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jars {
    /// Kafka's version, from the lock.
    pub version: String,
    /// The pom that resolves them.
    pub pom: PathBuf,
    /// The lock, as sha256sum(1) writes it: a SHA-256 and a file name in each line.
    pub lock: PathBuf,
    /// The content of the lock, with Unix line endings.
    pub lock_text: String,
    /// The file names in the lock.
    pub names: Vec<String>,
    /// The folder of the verified jars. Its name changes with pom and lock.
    pub dir: PathBuf,
    /// The system property that names the logging's settings.
    pub log4j_option: &'static str,
    /// The logging's settings of the servers.
    pub log4j: PathBuf,
    /// The logging's settings of the command-line tools.
    pub tools_log4j: PathBuf,
}

impl Jars {
    /// Reads the recipe of a version in the project's `manifests/images/kafka`: that of the course's version is in the
    /// folder itself, beside the recipe of its image, each other one in a folder of its name.
    ///
    /// # Errors
    /// A file of the recipe is missing, or the lock names no Kafka.
    pub fn describe(env: &Env, kafka: Version) -> Result<Self> {
        let shared = env.repo.join("manifests/images/kafka");
        let recipe = if kafka == Version::V3_3 { shared.clone() } else { shared.join(kafka.name()) };
        let (pom, lock) = (recipe.join("pom.xml"), recipe.join("jars.sha256"));
        let (pom_text, lock_text) = (text_of(&pom).cannot("read", &pom)?, text_of(&lock).cannot("read", &lock)?);
        let names: Vec<String> =
            lock_text.lines().filter_map(|line| line.split_whitespace().nth(1)).map(Into::into).collect();
        let version = names
            .iter()
            .find_map(|name| name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar"))
            .ok_or_else(|| Failure::usage(format!("{}: names no kafka_2.13-VERSION.jar", lock.display())))?
            .to_string();
        if version != kafka.name() {
            let what = format!("{} is the lock of Kafka {version}, not of {kafka}", lock.display());
            return Err(Failure::usage(what));
        }
        let (log4j_option, logging, file) = match kafka.logs_with_log4j2() {
            true => ("log4j2.configurationFile", recipe, "log4j2.properties"),
            false => ("log4j.configuration", shared, "log4j.properties"),
        };
        let key = fingerprint(&[&pom_text, &lock_text]);
        Ok(Jars {
            dir: env.cache.join(format!("kafka-{version}-{key}")),
            log4j_option,
            log4j: logging.join(file),
            tools_log4j: logging.join(format!("tools-{file}")),
            version,
            pom,
            lock,
            lock_text,
            names,
        })
    }

    /// The SHA-256 and name of each jar in the lock.
    ///
    /// # Errors
    /// A line is malformed.
    pub fn sums(&self) -> Result<Vec<(&str, &str)>> {
        fn parse(line: &str) -> Option<(&str, &str)> {
            let (sum, name) = line.split_once("  ")?;
            let is_sum = sum.len() == 64 && sum.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            (is_sum && !name.is_empty() && !name.contains(['/', ' '])).then_some((sum, name))
        }
        let lines = self.lock_text.lines();
        lines
            .map(|line| {
                parse(line).ok_or_else(|| {
                    Failure::usage(format!("{}: \"{line}\" is not a checksum and a file name", self.lock.display()))
                })
            })
            .collect()
    }

    /// Whether every jar of the lock exists, unchanged since its checksum matched.
    pub fn present(&self) -> bool {
        let checked = std::fs::read_to_string(self.dir.join(CHECKED)).unwrap_or_default();
        !self.names.is_empty() && checked == self.stamps(&self.dir)
    }

    /// The name, size and time of change of each jar in `dir`, one per line.
    fn stamps(&self, dir: &Path) -> String {
        self.names.iter().map(|name| format!("{name} {}\n", stamp(&dir.join(name)))).collect()
    }

    /// Notes that the jars in `dir` match their checksums.
    ///
    /// # Errors
    /// The folder is full or cannot be written.
    pub fn note_checked(&self, dir: &Path) -> Result<()> {
        write_file(&dir.join(CHECKED), &self.stamps(dir))
    }

    /// The class path: a wildcard for every jar in the folder, which java expands.
    pub fn class_path(&self) -> String {
        format!("{}/*", self.dir.display())
    }
}

/// The 64-bit FNV-1a hash in hex, which names cache entries. It protects against nothing; checksums do.
pub fn fingerprint(parts: &[&str]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_recipe_is_kafka_3_3_2_with_a_logging_binding() {
        let jars = Jars::describe(&crate::config::sample::lab().env, Version::V3_3).unwrap();
        assert_eq!(jars.version, "3.3.2");
        for needed in ["zookeeper-3.6.3.jar", "kafka-clients-3.3.2.jar", "slf4j-reload4j-1.7.36.jar"] {
            assert!(jars.names.iter().any(|name| name == needed), "{needed}");
        }
        assert!(!jars.present());
        let named: Vec<&str> = jars.sums().unwrap().into_iter().map(|(_, name)| name).collect();
        assert_eq!(named, jars.names);
    }

    #[test]
    fn each_version_has_its_recipe_lock_cache_and_logging() {
        let env = crate::config::sample::lab().env;
        let all = [Version::V3_3, Version::V3_9, Version::V4_3].map(|version| Jars::describe(&env, version).unwrap());
        for (place, jars) in all.iter().enumerate() {
            let mut files = vec![&jars.pom, &jars.lock, &jars.log4j, &jars.tools_log4j].into_iter();
            assert!(files.all(|file| file.exists()), "{jars:?}");
            assert_eq!(jars.sums().unwrap().len(), jars.names.len());
            assert!(all[..place].iter().all(|other| other.dir != jars.dir), "{}", jars.dir.display());
            let binding = if jars.version == "4.3.1" { "log4j-slf4j-impl-" } else { "slf4j-reload4j-" };
            assert!(jars.names.iter().any(|name| name.starts_with(binding)), "{}", jars.version);
            let coordinator = jars.names.iter().any(|name| name.starts_with("zookeeper-"));
            assert_eq!(coordinator, jars.version != "4.3.1", "{}", jars.version);
        }
    }

    #[test]
    fn a_malformed_lock_is_refused() {
        let mut jars = Jars::describe(&crate::config::sample::lab().env, Version::V3_3).unwrap();
        let sum = "0123456789abcdef".repeat(4);
        jars.lock_text = format!("{sum}  a.jar\n");
        assert_eq!(jars.sums().unwrap(), [(sum.as_str(), "a.jar")]);
        for line in ["", "a.jar", &sum, &format!("{sum} a.jar"), &format!("{sum}  ../a.jar"), &format!("x{sum}  a.jar")]
        {
            jars.lock_text = format!("{sum}  a.jar\n{line}\n");
            assert!(jars.sums().is_err(), "{line}");
        }
    }

    #[test]
    fn windows_line_endings_change_nothing() {
        let mut env = crate::config::sample::lab().env;
        let committed = Jars::describe(&env, Version::V3_3).unwrap();
        let dir = std::env::temp_dir().join(format!("kafka-lab-jars-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("manifests/images/kafka")).unwrap();
        for file in ["manifests/images/kafka/pom.xml", "manifests/images/kafka/jars.sha256"] {
            let text = std::fs::read_to_string(env.repo.join(file)).unwrap();
            std::fs::write(dir.join(file), text.replace('\n', "\r\n")).unwrap();
        }
        env.repo = dir.clone();
        let found = Jars::describe(&env, Version::V3_3).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!((&found.dir, &found.lock_text), (&committed.dir, &committed.lock_text));
        assert!(!found.lock_text.contains('\r'));
    }

    #[test]
    fn fingerprints_tell_parts_apart() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        // The published test vector of FNV-1a 64 for "a", which our trailing 0 byte extends by one round.
        assert_eq!(
            fingerprint(&["a"]),
            format!("{:016x}", (0xaf63_dc4c_8601_ec8c_u64).wrapping_mul(0x0000_0100_0000_01b3))
        );
    }
}
