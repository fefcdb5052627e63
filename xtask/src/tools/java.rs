//! The Java runtime: which one, and what it can do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Env, is_program};
use crate::exec::{Cmd, Exec};
use crate::failure::{Failure, Result};
use crate::signal::Stop;

/// A Java version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The feature release: 8, 11, 17, …
    pub major: u32,
    /// As printed: "17.0.15".
    pub text: String,
}

/// The Java runtime that runs ZooKeeper, the brokers and the tools.
#[derive(Clone, Debug)]
pub struct Java {
    /// The program.
    pub program: PathBuf,
    /// Its version.
    pub version: Version,
    /// All that `java -version` printed: changes with every build of a runtime.
    pub banner: String,
}

impl Version {
    /// Whether Kafka 3.3 is documented to run on it (kafka.apache.org/33, "Java Version": 8, 11 and 17; 8 is deprecated
    /// there and left out here).
    pub fn is_supported(&self) -> bool {
        [11, 17].contains(&self.major)
    }

    /// Whether it writes class-data archives when it ends (JEP 350, since 13).
    pub fn has_dynamic_archives(&self) -> bool {
        self.major >= 13
    }
}

impl Java {
    /// `program`, not asked for its version: for previews, and where only the program counts.
    pub fn unasked(program: impl Into<PathBuf>) -> Self {
        Java { program: program.into(), version: Version { major: 0, text: String::new() }, banner: String::new() }
    }
}

/// Where java is: JAVA_HOME before PATH.
pub fn locate(env: &Env) -> Option<PathBuf> {
    let home = env.java_home.as_ref().map(|home| home.join("bin/java")).filter(|java| is_program(java));
    home.or_else(|| env.find("java"))
}

/// Asks `program` for its version.
///
/// # Errors
/// It does not run, or prints nothing that looks like a version.
pub fn ask(program: &Path, exec: &dyn Exec, log: &Path, stop: &Stop) -> Result<Java> {
    let cmd = Cmd::new(program, Duration::from_secs(30)).arg("-version");
    let output = exec.capture(&cmd, log, stop)?.success(&cmd, log)?;
    let banner = format!("{}{}", output.stderr, output.stdout);
    match parse_version(&banner) {
        Some(version) => Ok(Java { program: program.into(), version, banner }),
        None => Err(Failure::step(format!("{} prints no version", program.display())).command(cmd).output(&banner)),
    }
}

/// Finds the version in what `java -version` or `java --version` prints, whatever stands around it.
pub fn parse_version(banner: &str) -> Option<Version> {
    let quoted = banner.lines().find_map(|line| line.split_once("version \"")?.1.split('"').next());
    let bare = || {
        banner.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            ["openjdk", "java"]
                .contains(&name)
                .then(|| words.find(|word| word.starts_with(|c: char| c.is_ascii_digit())))?
        })
    };
    let text = quoted.or_else(bare)?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let first = numbers.next()?.ok()?;
    // Up to Java 8 the version was 1.8.
    let major = if first == 1 { numbers.next()?.ok()? } else { first };
    Some(Version { major, text: text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Output;
    use crate::exec::fake::FakeExec;

    #[test]
    fn versions_of_many_shapes_are_understood() {
        for (banner, major) in [
            (
                "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6-Debian-1deb12u1)",
                17,
            ),
            ("Picked up JAVA_TOOL_OPTIONS: -Dx=1\nopenjdk version \"11.0.2\" 2018-10-16", 11),
            ("java version \"1.8.0_292\"\nJava(TM) SE Runtime Environment", 8),
            ("openjdk version \"21-ea\" 2023-09-19", 21),
            ("openjdk version \"25\" 2025-09-16", 25),
            ("openjdk 11.0.2 2018-10-16\nOpenJDK Runtime Environment 18.9", 11),
            ("java 17.0.1 2021-10-19 LTS", 17),
        ] {
            assert_eq!(parse_version(banner).map(|version| version.major), Some(major), "{banner}");
        }
        for banner in
            ["", "bash: java: command not found", "openjdk version \"\"", "openjdk version \"x.y\"", "version \"1\""]
        {
            assert_eq!(parse_version(banner), None, "{banner}");
        }
    }

    #[test]
    fn a_java_that_fails_is_an_error_with_its_words() {
        let exec =
            FakeExec::new(|_| Ok(Output { code: Some(1), stdout: String::new(), stderr: "no JVM found".into() }));
        let failure = ask(Path::new("/x/java"), &exec, Path::new("/dev/null"), &Stop::default()).unwrap_err();
        assert_eq!(failure.output, ["no JVM found"]);
        let exec = FakeExec::new(|_| Ok(Output { code: Some(0), stdout: "hello".into(), stderr: String::new() }));
        assert!(ask(Path::new("/x/java"), &exec, Path::new("/dev/null"), &Stop::default()).is_err());
        let exec = FakeExec::new(|_| Err(Failure::step("cannot start")));
        assert!(ask(Path::new("/x/java"), &exec, Path::new("/dev/null"), &Stop::default()).is_err());
    }
}
