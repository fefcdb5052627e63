//! Which versions of Kafka a lab can run, and how their brokers are coordinated. Pure.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure, Result};

/// Who coordinates the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// ZooKeeper, a server of its own.
    ZooKeeper,
    /// Kafka's own controllers, which agree by Raft (KIP-500).
    KRaft,
}

/// Both modes.
pub const MODES: [Mode; 2] = [Mode::ZooKeeper, Mode::KRaft];

impl Mode {
    /// Returns the name, as in `--mode`.
    pub fn name(self) -> &'static str {
        match self {
            Mode::ZooKeeper => "zookeeper",
            Mode::KRaft => "kraft",
        }
    }

    /// Whether the controllers are a quorum of their own, which has to be asked who leads it.
    pub fn has_quorum(self) -> bool {
        self == Mode::KRaft
    }
}

impl Display for Mode {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A version of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Version {
    /// What the course's image carries.
    #[serde(rename = "3.3.2")]
    V3_3,
    /// The last line of versions with ZooKeeper.
    #[serde(rename = "3.9.2")]
    V3_9,
    /// Without ZooKeeper.
    #[serde(rename = "4.3.1")]
    V4_3,
}

impl Version {
    /// Returns the version, as in `--kafka`.
    pub fn name(self) -> &'static str {
        match self {
            Version::V3_3 => "3.3.2",
            Version::V3_9 => "3.9.2",
            Version::V4_3 => "4.3.1",
        }
    }

    /// Returns the version without its last number, for which Kafka's documentation is written.
    pub fn line(self) -> &'static str {
        self.name().rsplit_once('.').map_or(self.name(), |(line, _)| line)
    }

    /// Returns the oldest Java that runs the brokers.
    pub fn oldest_java(self) -> u32 {
        match self {
            Version::V3_3 | Version::V3_9 => 11,
            Version::V4_3 => 17,
        }
    }

    /// Returns the Java versions that its documentation names as fully supported (kafka.apache.org/33, /39 and /40,
    /// "Java Version"), without the deprecated 8.
    pub fn documented_java(self) -> &'static [u32] {
        match self {
            Version::V3_3 => &[11, 17],
            Version::V3_9 => &[11, 17, 21],
            Version::V4_3 => &[17, 21],
        }
    }

    /// Whether it logs with log4j 2 (KIP-653); older ones use reload4j, which has other settings.
    pub fn logs_with_log4j2(self) -> bool {
        self == Version::V4_3
    }
}

impl Display for Version {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a lab runs: a version of Kafka in a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The version of Kafka.
    pub version: Version,
    /// Who coordinates the brokers.
    pub mode: Mode,
}

const fn release(version: Version, mode: Mode) -> Release {
    Release { version, mode }
}

/// Every release that the lab runs and its tests cover; nothing else is accepted. The first that fits what was asked
/// for is chosen, so the order says what `--kafka` or `--mode` alone means.
pub const RELEASES: [Release; 4] = [
    release(Version::V3_3, Mode::ZooKeeper),
    release(Version::V3_9, Mode::ZooKeeper),
    release(Version::V4_3, Mode::KRaft),
    release(Version::V3_9, Mode::KRaft),
];

impl Default for Release {
    /// What the course's image carries.
    fn default() -> Self {
        let [course, ..] = RELEASES;
        course
    }
}

impl Display for Release {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.version, self.mode)
    }
}

/// Returns releases as flags of `up`, one a line.
pub fn table(releases: &[Release]) -> String {
    releases.iter().map(|one| format!("\n  --kafka {} --mode {}", one.version, one.mode)).collect()
}

/// Chooses what a lab runs from the values of `--kafka` and `--mode`, and from what it runs already.
///
/// # Errors
/// There is no such release, or the lab is up with another one.
pub fn choose(
    version: Option<&str>,
    mode: Option<&str>,
    recorded: Option<Release>,
    (name, teardown): (&str, &str),
) -> Result<Release> {
    let fits = |one: &Release| {
        version.is_none_or(|version| one.version.name() == version) && mode.is_none_or(|mode| one.mode.name() == mode)
    };
    match (RELEASES.iter().copied().find(fits), recorded) {
        (Some(_), Some(recorded)) if fits(&recorded) => Ok(recorded),
        (Some(_), Some(recorded)) => {
            let what = format!("lab {name} is up with Kafka {recorded}, and a lab keeps its version and mode");
            let fix = format!("run `{teardown}` first, or use another --name and --port-base");
            Err(Failure::new(Exit::Preflight, what).fix(fix))
        }
        (Some(found), None) => Ok(found),
        (None, _) => {
            let flag = |flag: &str, value: Option<&str>| value.map(|value| format!("{flag} {value}"));
            let given: Vec<String> = [flag("--kafka", version), flag("--mode", mode)].into_iter().flatten().collect();
            let what = format!("{}: this lab does not run that; it runs{}", given.join(" "), table(&RELEASES));
            Err(Failure::usage(what).fix("choose one of these lines; with one flag, the first line that fits is meant"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(version: &str, mode: &str, recorded: Option<Release>) -> std::result::Result<String, Failure> {
        let given = |text: &'static str| (!text.is_empty()).then_some(text);
        let (version, mode) = (version.to_string().leak() as &str, mode.to_string().leak() as &str);
        choose(given(version), given(mode), recorded, ("l", "down")).map(|release| release.to_string())
    }

    #[test]
    fn what_is_legal_is_the_table_and_nothing_else() {
        let mut legal = Vec::new();
        for version in ["3.3.2", "3.9.2", "4.3.1", "4.3", "4", "3.3.1", "latest"] {
            for mode in ["zookeeper", "kraft", "KRaft", "none"] {
                match chosen(version, mode, None) {
                    Ok(found) => legal.push(found),
                    Err(failure) => {
                        assert_eq!(failure.exit, Exit::Usage);
                        let words = format!("--kafka {version} --mode {mode}: ");
                        assert!(failure.message.starts_with(&words), "{}", failure.message);
                        assert!(RELEASES.iter().all(|one| failure.message.contains(&table(&[*one]))));
                    }
                }
            }
        }
        assert_eq!(legal, ["3.3.2/zookeeper", "3.9.2/zookeeper", "3.9.2/kraft", "4.3.1/kraft"]);
    }

    #[test]
    fn one_flag_or_none_means_the_first_line_that_fits() {
        for (version, mode, found) in [
            ("", "", "3.3.2/zookeeper"),
            ("3.3.2", "", "3.3.2/zookeeper"),
            ("3.9.2", "", "3.9.2/zookeeper"),
            ("4.3.1", "", "4.3.1/kraft"),
            ("", "zookeeper", "3.3.2/zookeeper"),
            ("", "kraft", "4.3.1/kraft"),
        ] {
            assert_eq!(chosen(version, mode, None).unwrap(), found);
        }
    }

    #[test]
    fn a_lab_that_is_up_keeps_its_release() {
        let up = Some(release(Version::V3_9, Mode::KRaft));
        for (version, mode) in [("", ""), ("3.9.2", ""), ("", "kraft"), ("3.9.2", "kraft")] {
            assert_eq!(chosen(version, mode, up).unwrap(), "3.9.2/kraft");
        }
        for (version, mode) in [("4.3.1", ""), ("", "zookeeper"), ("3.9.2", "zookeeper"), ("3.3.2", "zookeeper")] {
            let failure = chosen(version, mode, up).unwrap_err();
            assert_eq!(failure.exit, Exit::Preflight);
            assert!(failure.message.contains("is up with Kafka 3.9.2/kraft"), "{}", failure.message);
        }
        assert_eq!(chosen("9", "", up).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_release_is_recorded_as_it_is_typed() {
        let text = r#"{"version":"4.3.1","mode":"kraft"}"#;
        let found: Release = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&found).unwrap(), text);
        assert!(serde_json::from_str::<Release>(r#"{"version":"4.3.0","mode":"kraft"}"#).is_err());
    }
}
