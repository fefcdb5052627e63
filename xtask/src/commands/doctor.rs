//! `doctor`: everything that each backend would need, what is there, what is missing, and how to get it. Changes
//! nothing.

use serde::Serialize;

use crate::backend::Backend;
use crate::cli::{DoctorArgs, Format};
use crate::commands::session::Session;
use crate::config::{Env, Lab, Overrides, state_dir};
use crate::failure::{Exit, Result};
use crate::findings::Findings;
use crate::local::jars::Jars;
use crate::show::{print_json, print_text};
use crate::state::read_record;
use crate::steps::preflight;
use crate::task::Task;

/// The line of `doctor --format json`.
#[derive(Debug, Serialize)]
pub struct DoctorLine {
    schema: &'static str,
    lab: String,
    exit: i32,
    grounds: Vec<Ground>,
}

/// The schema of [`DoctorLine`].
const SCHEMA: &str = "kafka-lab.doctor/1";

/// What a backend would find here.
#[derive(Debug, Serialize)]
struct Ground {
    backend: Backend,
    ready: bool,
    there: Vec<String>,
    missing: Vec<Missing>,
    warnings: Vec<String>,
    not_asked: Vec<String>,
    /// The commands that bring what is missing, each once, in order.
    commands: Vec<String>,
}

/// Something that is missing.
#[derive(Debug, Serialize)]
struct Missing {
    what: String,
    fix: String,
    /// Empty if the fix is no command.
    commands: Vec<String>,
}

impl Session<'_> {
    /// `doctor`.
    ///
    /// # Errors
    /// A flag or a manifest is invalid.
    pub fn doctor(&self, args: &DoctorArgs) -> Result<Exit> {
        let record = read_record(&state_dir(self.global, self.env)?)?;
        let mut grounds = Vec::new();
        for backend in Backend::ALL.into_iter().filter(|backend| args.backend.0.is_none_or(|only| only == *backend)) {
            let images = args.images.map(Into::into);
            let overrides = Overrides { images, port_base: args.port_base, ..Overrides::recorded(backend) };
            // What is recorded of another backend says nothing about this one.
            let record = record.as_ref().filter(|record| record.backend == backend);
            let lab = Lab::load(self.global, self.env, record, overrides)?;
            let jars = Jars::describe(self.env, lab.release.version)?;
            if self.global.dry_run {
                let ctx = self.ctx(&lab, &jars, self.stop);
                print_text(&format!("# {backend}\n{}\n", preflight::preview(&ctx).join("\n")));
                continue;
            }
            let ctx = self.ctx(&lab, &jars, self.stop).forgetting_setup(false);
            let task = Task { ctx: &ctx, log: "/dev/null".into(), status: &|_| {}, tell: &|_| {} };
            grounds.push(Ground::of(backend, preflight::inspect(&task)?, self.env));
        }
        let exit = if grounds.iter().all(|ground| ground.ready) { Exit::Ok } else { Exit::Preflight };
        if self.global.dry_run {
            return Ok(Exit::Ok);
        }
        match self.global.format {
            Format::Json => {
                let lab = self.global.name.clone();
                print_json(&DoctorLine { schema: SCHEMA, lab, exit: exit as i32, grounds });
            }
            Format::Text => {
                let texts: Vec<String> = grounds.iter().map(|ground| ground.text(self.env.screen_colour)).collect();
                print_text(&texts.join("\n"));
            }
        }
        Ok(exit)
    }
}

impl Ground {
    fn of(backend: Backend, findings: Findings, env: &Env) -> Self {
        let commands = findings.commands(env);
        let missing: Vec<Missing> = findings
            .problems
            .iter()
            .map(|problem| {
                let commands = problem.commands(env);
                Missing { what: problem.what.clone(), fix: problem.advice(env), commands }
            })
            .collect();
        let there = findings.notes.into_iter().chain(findings.fine).collect();
        let (warnings, not_asked) = (findings.warnings, findings.not_asked);
        Ground { backend, ready: missing.is_empty(), there, missing, warnings, not_asked, commands }
    }

    fn text(&self, colour: bool) -> String {
        let painted = |mark: &str, code: &str| match colour {
            true => format!("\u{1b}[{code}m{mark}\u{1b}[0m"),
            false => mark.into(),
        };
        let head = match self.missing.len() {
            0 => "ready".into(),
            1 => "one thing is missing".into(),
            count => format!("{count} things are missing"),
        };
        let mut text = format!("{}: {head}\n", self.backend);
        for there in &self.there {
            text += &format!("  {} {there}\n", painted("✓", "32"));
        }
        for warning in &self.warnings {
            text += &format!("  ! {warning}\n");
        }
        for missing in &self.missing {
            text += &format!("  {} {}\n    fix: {}\n", painted("✗", "31"), missing.what, missing.fix);
        }
        for unknown in &self.not_asked {
            text += &format!("  ? {unknown}\n");
        }
        if !self.commands.is_empty() {
            text += "  these lines install it:\n";
            self.commands.iter().for_each(|command| text += &format!("    {command}\n"));
        }
        text
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::{Value, to_value};

    use super::*;
    use crate::config::sample;
    use crate::findings::Problem;

    fn findings() -> Findings {
        let mut findings = Findings::default();
        findings.package("no mvn on PATH: Maven downloads Kafka's jars, once", &["maven"]);
        findings.package("no java in JAVA_HOME or on PATH", &["openjdk-17-jre-headless"]);
        findings.problem("fs.inotify.max_user_instances is 1", "sysctl -w fs.inotify.max_user_instances=512");
        findings.problems.push(Problem {
            what: "no kind".into(),
            fix: Some("build it".into()),
            packages: Vec::new(),
            programs: true,
        });
        findings.notes.push("12 GiB free".into());
        findings.fine.push("setsid".into());
        findings.warnings.push("Java 25".into());
        findings.not_asked.push("the memory of the engine".into());
        findings
    }

    /// A line with everything that it can have.
    pub fn lines() -> Vec<Value> {
        let mut env = sample::lab().env;
        env.path = vec!["/usr/bin".into()];
        let grounds = Backend::ALL.map(|backend| Ground::of(backend, findings(), &env)).into();
        vec![to_value(DoctorLine { schema: SCHEMA, lab: "kafka-lab".into(), exit: 3, grounds }).unwrap()]
    }

    #[test]
    fn each_command_is_listed_once_and_packages_together() {
        let dir = std::env::temp_dir().join(format!("kafka-lab-doctor-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut env = sample::lab().env;
        env.path = vec![dir.clone()];
        let prose = Ground::of(Backend::Local, findings(), &env);
        assert!(prose.missing[0].commands.is_empty() && prose.missing[0].fix.contains("Debian"), "{prose:?}");
        let apt = dir.join("apt-get");
        std::fs::write(&apt, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&apt, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let ground = Ground::of(Backend::Local, findings(), &env);
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(!ground.ready);
        assert_eq!(ground.missing[0].commands, ["apt-get install -y --no-install-recommends maven"]);
        assert_eq!(
            ground.commands,
            [
                "apt-get update",
                "apt-get install -y --no-install-recommends maven openjdk-17-jre-headless",
                "sysctl -w fs.inotify.max_user_instances=512",
                "manifests/images/node/build kind kubectl",
            ]
        );
        let text = ground.text(false);
        let fix = "  ✗ no mvn on PATH: Maven downloads Kafka's jars, once\n    fix: apt-get install";
        assert!(text.starts_with("local: 4 things are missing\n  ✓ 12 GiB free\n  ✓ setsid\n"), "{text}");
        assert!(text.contains(fix) && text.contains("  ? the memory of the engine\n"), "{text}");
        env.root = false;
        let user = Ground::of(Backend::Local, findings(), &Env { path: Vec::new(), ..env });
        assert!(user.commands.iter().all(|command| !command.contains("apt-get")), "{user:?}");
    }
}
