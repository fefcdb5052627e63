//! The Java runtime: where it is, its version and its abilities.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Env, is_program};
use crate::exec::{Cmd, Exec, Output};
use crate::failure::{Failure, Result};
use crate::signal::Stop;

/// A Java version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The feature release: 8, 11, 17, …
    pub major: u32,
    /// The full version: "17.0.15".
    pub text: String,
}

/// The Java runtime that runs ZooKeeper, the brokers and the tools.
#[derive(Clone, Debug)]
pub struct Java {
    /// The runtime's own program, not a script that leads to it: the process we start must be Java.
    pub program: PathBuf,
    /// The runtime's version.
    pub version: Version,
    /// The output of `java -version`, which differs for every build of a runtime.
    pub banner: String,
}

impl Version {
    /// Whether this version writes class-data archives at exit (JEP 350, since 13).
    pub fn has_dynamic_archives(&self) -> bool {
        self.major >= 13
    }
}

impl Java {
    /// Returns a runtime of unknown version: for previews, or if only the program matters.
    pub fn unasked(program: impl Into<PathBuf>) -> Self {
        Java { program: program.into(), version: Version { major: 0, text: String::new() }, banner: String::new() }
    }
}

/// Finds java in JAVA_HOME, then on PATH.
pub fn locate(env: &Env) -> Option<PathBuf> {
    let home = env.java_home.as_ref().map(|home| home.join("bin/java")).filter(|java| is_program(java));
    home.or_else(|| env.find("java"))
}

/// Asks `program` for its version and for the runtime behind it. Version managers install scripts instead, some of
/// which start Java and wait.
///
/// # Errors
/// It does not run, prints no version, or the runtime behind it cannot be found.
pub fn ask(program: &Path, exec: &dyn Exec, log: &Path, stop: &Stop) -> Result<Java> {
    let cmd = question(program);
    let output = answer(program, &cmd, exec, log, stop)?;
    let output = format!("{}{}", output.stderr, output.stdout);
    let (banner, home) = parse_settings(&output);
    let Some(version) = parse_version(&banner) else {
        return Err(Failure::step(format!("{} prints no version", program.display())).command(cmd).output(&output));
    };
    let runtime = home.map(|home| Path::new(&home).join("bin/java")).filter(|runtime| is_program(runtime));
    let java = Java { program: runtime.unwrap_or_else(|| program.into()), version, banner };
    if !is_script(&java.program) || becomes_java(&java, exec, log, stop)? {
        return Ok(java);
    }
    let what = "is a script that starts Java and waits for it: the lab could neither watch its brokers nor stop them";
    let path = java.program.display();
    Err(Failure::step(format!("{path} {what}")).fix("set JAVA_HOME to a Java 11 or 17 whose bin/java is not a script"))
}

/// Returns the command that [`ask`] runs.
pub fn question(program: &Path) -> Cmd {
    Cmd::new(program, Duration::from_secs(30)).args(["-XshowSettings:properties", "-version"])
}

/// Splits the output of `java -XshowSettings:properties -version` into the version's lines and the property java.home.
pub fn parse_settings(output: &str) -> (String, Option<String>) {
    let home = output.lines().find_map(|line| line.strip_prefix("    java.home = ")).map(|home| home.trim_end().into());
    // Properties are indented.
    let version = output.lines().filter(|line| !line.starts_with([' ', '\t']) && *line != "Property settings:");
    (version.filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect(), home)
}

/// Whether an interpreter runs `program`.
fn is_script(program: &Path) -> bool {
    use std::io::Read;
    let mut start = [0; 2];
    std::fs::File::open(program).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"#!"
}

/// Whether a script execs Java: then Java reports the script's process id.
fn becomes_java(java: &Java, exec: &dyn Exec, log: &Path, stop: &Stop) -> Result<bool> {
    // Java before 9 has no such log. It is refused anyway.
    if java.version.major < 11 {
        return Ok(true);
    }
    let cmd = Cmd::new("/bin/sh", Duration::from_secs(30))
        .args(["-c", "echo \"$$\"; exec \"$0\" \"$@\""])
        .arg(&java.program)
        .args(["-XX:+UseSerialGC", "-Xlog:gc=info:stdout:pid", "-version"]);
    Ok(is_own_pid(&answer(&java.program, &cmd, exec, log, stop)?.stdout))
}

/// Runs a Java that should end well. One that does not is quoted.
fn answer(program: &Path, cmd: &Cmd, exec: &dyn Exec, log: &Path, stop: &Stop) -> Result<Output> {
    let output = exec.capture(cmd, log, stop).map_err(|failure| {
        failure.fix("set JAVA_HOME to a Java 11 or 17 that runs; if the machine was busy, rerun when it is not")
    })?;
    if output.code == Some(0) {
        return Ok(output);
    }
    let said = format!("{}{}", output.stderr, output.stdout);
    let (words, fix) = refusal(&said);
    let what = match (words.is_empty(), output.code) {
        (false, _) => format!("{} does not run: {words}", program.display()),
        (true, Some(code)) => format!("{} does not run: it exits with {code} and says nothing", program.display()),
        (true, None) => format!("{} does not run: a signal kills it", program.display()),
    };
    Err(Failure::step(what).command(cmd).output(&said).log(log).fix(fix))
}

/// What a Java that does not run says, and what helps.
fn refusal(said: &str) -> (String, &'static str) {
    let frame = |line: &&str| {
        let line = line.trim_start();
        line.is_empty()
            || line.starts_with("at ")
            || line.starts_with('[')
            || ["#", "Error occurred during initialization of VM", "Property settings:"].contains(&line.trim_end())
    };
    let words: Vec<&str> = said.lines().filter(|line| !frame(line)).map(|line| line.trim_start_matches("# ")).collect();
    let words = words.iter().take(2).map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let says = |signs: &[&str]| signs.iter().any(|sign| words.contains(sign));
    let fix = if says(&["working directory"]) {
        "`cd` to a folder that exists, then rerun"
    } else if says(&["native thread", "pthread_create"]) {
        "end other programs, or raise the limit of processes with `ulimit -u 4096` in this shell, then rerun"
    } else if says(&["allocate", "reserve", "insufficient memory", "map shared object"]) {
        "free memory, or lift the limit of this shell with `ulimit -v unlimited`, then rerun"
    } else if says(&["missing", "shared libraries", "shared object", "libjvm", "libjava", "jvm.cfg"]) {
        "files of this Java are missing: install it again, or set JAVA_HOME to a complete Java 11 or 17"
    } else {
        "set JAVA_HOME to a working Java 11 or 17"
    };
    (words, fix)
}

/// Whether the process id in the first line is that of Java's line, `[PID] Using Serial`.
fn is_own_pid(output: &str) -> bool {
    let (first, rest) = output.split_once('\n').unwrap_or_default();
    rest.lines()
        .any(|line| line.strip_prefix('[').and_then(|line| line.split_once(']')).is_some_and(|(pid, _)| pid == first))
}

/// Finds the version in the output of `java -version` or `java --version`.
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
    fn the_runtime_is_found_behind_whatever_leads_to_it() {
        let said = "Property settings:\n    java.class.path = \n    java.home = /opt/my jdk\n    line.separator = \\n \n    \
                    user.dir = /x\n\nopenjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment (build 17)\n";
        let (banner, home) = parse_settings(said);
        assert_eq!(banner, "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment (build 17)\n");
        assert_eq!(home.as_deref(), Some("/opt/my jdk"));
        assert_eq!(parse_settings("openjdk version \"17\"\n").1, None);
        assert!(is_own_pid("77\n[77] Using Serial\n") && !is_own_pid("77\n[78] Using Serial\n") && !is_own_pid("77\n"));
    }

    #[test]
    fn a_java_that_does_not_run_is_quoted_with_the_advice_that_fits() {
        for (said, words, fix) in [
            (
                "Error occurred during initialization of VM\nCould not reserve enough space for code cache (245760K)\n",
                "Could not reserve enough space for code cache (245760K)",
                "ulimit -v",
            ),
            (
                "[0.005s][warning][gc] Failed\nError occurred during initialization of VM\nFailed to allocate mark stack.\n",
                "Failed to allocate mark stack.",
                "ulimit -v",
            ),
            (
                "#\n# There is insufficient memory for the Java Runtime Environment to continue.\n# Native memory\n",
                "There is insufficient memory",
                "ulimit -v",
            ),
            (
                "Error occurred during initialization of VM\njava.lang.Error: Properties init: Could not determine current \
                 working directory.\n\tat jdk.internal\n",
                "working directory.",
                "`cd`",
            ),
            (
                "Error: missing `server' JVM at `/j/lib/server/libjvm.so'.\nPlease install or use the JRE\n",
                "missing `server' JVM",
                "install it again",
            ),
            (
                "/j/bin/java: error while loading shared libraries: libjli.so: cannot open shared object file",
                "libjli.so",
                "install it again",
            ),
            ("Error: could not find libjava.so\n", "libjava.so", "install it again"),
            ("java: what?", "java: what?", "a working Java"),
        ] {
            let (found, advice) = refusal(said);
            assert!(found.contains(words) && !found.contains("\tat "), "{said}: {found}");
            assert!(advice.contains(fix), "{said}: {advice}");
        }
    }

    #[test]
    fn a_java_that_fails_is_an_error_with_its_words() {
        let exec =
            FakeExec::new(|_| Ok(Output { code: Some(1), stdout: String::new(), stderr: "no JVM found".into() }));
        let failure = ask(Path::new("/x/java"), &exec, Path::new("/dev/null"), &Stop::default()).unwrap_err();
        assert_eq!(failure.message, "/x/java does not run: no JVM found");
        let exec = FakeExec::new(|_| Ok(Output { code: Some(0), stdout: "hello".into(), stderr: String::new() }));
        assert!(ask(Path::new("/x/java"), &exec, Path::new("/dev/null"), &Stop::default()).is_err());
        let exec = FakeExec::new(|_| Err(Failure::step("cannot start")));
        assert!(ask(Path::new("/x/java"), &exec, Path::new("/dev/null"), &Stop::default()).is_err());
    }
}
