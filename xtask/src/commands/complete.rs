//! `completions` and `complete`: completes words of `cargo xtask` in a shell. clap's own description of the command
//! line says what may come; the lab says which processes and topics there are.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete};
use ledger::cause::in_words;
use ledger::lines::Metadata;

use crate::backend::Backend;
use crate::cli::{Cli, CompleteArgs, CompletionsArgs, Global, Shell};
use crate::commands::drill::SEVERAL;
use crate::config::{Env, Lab, Overrides, state_dir};
use crate::drill::faults::FAULTS;
use crate::exec::{Cmd, Exec, RealExec};
use crate::failure::{Exit, Failure, Result};
use crate::service::Service;
use crate::show::print_text;
use crate::signal::Stop;
use crate::state::read_record;
use crate::tools::clients;
use crate::words::quoted;

/// What the brokers have to answer within, in ms: nobody waits longer for a word.
const PATIENCE: u64 = 1500;

/// The flags of Kafka's tool that the lab's users need most.
const TOPIC_FLAGS: [&str; 9] = [
    "--alter",
    "--create",
    "--delete",
    "--describe",
    "--list",
    "--partitions",
    "--replication-factor",
    "--topic",
    "--under-replicated-partitions",
];

/// `completions`: prints the script of a shell.
///
/// # Errors
/// Our own program is not known.
pub fn script(args: &CompletionsArgs) -> Result<Exit> {
    let us = std::env::current_exe().map_err(|error| {
        Failure::new(Exit::Unexpected, format!("our own program is not known: {}", in_words(error)))
    })?;
    let template = match args.shell {
        Shell::Bash => include_str!("complete/bash.sh"),
        Shell::Zsh => include_str!("complete/zsh.zsh"),
        Shell::Fish => include_str!("complete/fish.fish"),
        Shell::Power => include_str!("complete/powershell.ps1"),
    };
    let program = match args.shell {
        Shell::Power => format!("'{}'", us.display().to_string().replace('\'', "''")),
        // fish reads such quotes too, but for the way in which a quote is quoted.
        Shell::Fish => format!("'{}'", us.display().to_string().replace('\\', "\\\\").replace('\'', "\\'")),
        Shell::Bash | Shell::Zsh => quoted(us.as_os_str()),
    };
    print_text(&template.replace("@PROGRAM@", &program));
    Ok(Exit::Ok)
}

/// `complete`: prints what the last word can become, each with its description after a tab. Whatever fails, there is
/// nothing to complete: a message would land in the middle of what is being typed.
pub fn run(args: &CompleteArgs, global: &Global, env: &Env, stop: &Stop) -> Exit {
    let mut words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    if args.new || words.is_empty() {
        words.push("");
    }
    let place = Place { global: named(global, &words), env: env.clone(), stop: stop.clone() };
    for (value, about) in place.candidates(&words) {
        let tab = if about.is_empty() { "" } else { "\t" };
        print_text(&format!("{value}{tab}{about}\n"));
    }
    Exit::Ok
}

/// The flags of the line that is being typed, as far as they say which lab is meant.
fn named(global: &Global, words: &[&str]) -> Global {
    let value = |flag: &str| {
        let apart = words.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1]);
        apart.or_else(|| words.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('=')))
    };
    Global {
        name: value("--name").unwrap_or(&global.name).into(),
        manifests: value("--manifests").map(Into::into),
        ..global.clone()
    }
}

/// Where words are completed.
#[derive(Clone)]
struct Place {
    global: Global,
    env: Env,
    stop: Stop,
}

impl Place {
    /// Returns what the last of `words` can become, with a description each.
    fn candidates(&self, words: &[&str]) -> Vec<(String, String)> {
        let current = words.last().copied().unwrap_or_default();
        let before = words.len().checked_sub(2).map_or("", |at| words[at]);
        if words.contains(&"kafka-topics") && words.len() > 2 {
            let topics = if before == "--topic" { self.topics() } else { TOPIC_FLAGS.map(String::from).into() };
            return topics
                .into_iter()
                .filter(|name| name.starts_with(current))
                .map(|name| (name, String::new()))
                .collect();
        }
        let line: Vec<OsString> = std::iter::once("xtask").chain(words.iter().copied()).map(Into::into).collect();
        let found = complete(&mut self.command(), line, words.len(), None).unwrap_or_default();
        let mut shown: Vec<_> = found.iter().filter(|candidate| !candidate.is_hide_set()).collect();
        let is_flag = |candidate: &&CompletionCandidate| candidate.get_value().to_string_lossy().starts_with('-');
        // Who has not typed a dash wants no flag as long as there is something else.
        if !current.starts_with('-') && shown.iter().any(|candidate| !is_flag(candidate)) {
            shown.retain(|candidate| !is_flag(candidate));
        }
        shown
            .into_iter()
            .map(|candidate| {
                let about = candidate.get_help().map(ToString::to_string).unwrap_or_default();
                let about = about.lines().next().unwrap_or_default().replace('\t', " ");
                (candidate.get_value().to_string_lossy().into_owned(), about)
            })
            .collect()
    }

    /// The command line, with what only the lab knows.
    fn command(&self) -> clap::Command {
        let values = |of: fn(&Place) -> Vec<(String, String)>| {
            let place = self.clone();
            ArgValueCandidates::new(move || {
                let found = of(&place).into_iter();
                found.map(|(value, about)| CompletionCandidate::new(value).help(Some(about.into()))).collect()
            })
        };
        Cli::command()
            .mut_arg("name", |arg| arg.add(values(Place::labs)))
            .mut_subcommand("logs", |logs| logs.mut_arg("process", |arg| arg.add(values(Place::processes))))
            .mut_subcommand("drill", |drill| drill.mut_arg("faults", |arg| arg.add(values(Place::faults))))
            .mut_subcommand("clients", |clients| {
                clients.mut_subcommand("scale", |scale| {
                    // clap puts a changed argument last: so it stays before the number.
                    scale.mut_arg("client", |arg| arg.add(values(Place::clients))).mut_arg("replicas", |arg| arg)
                })
            })
    }

    /// The lab that is meant; one that is not up has the processes of its manifests.
    fn lab(&self) -> Option<Lab> {
        let record = read_record(&state_dir(&self.global, &self.env).ok()?).ok()?;
        let [.., last] = Backend::ALL;
        let backend = record.as_ref().map_or(last, |record| record.backend);
        Lab::load(&self.global, &self.env, record.as_ref(), Overrides::recorded(backend)).ok()
    }

    fn labs(&self) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(&self.env.state_root).into_iter().flatten().flatten();
        let labs = entries.filter(|entry| entry.path().join("lab.json").exists());
        let mut names: Vec<_> =
            labs.map(|entry| (entry.file_name().to_string_lossy().into_owned(), String::new())).collect();
        names.sort();
        names
    }

    fn processes(&self) -> Vec<(String, String)> {
        let Some(lab) = self.lab() else { return Vec::new() };
        let services = Service::servers(&lab).into_iter().chain(Service::clients(&lab));
        services.map(|service| (service.name(&lab), String::new())).collect()
    }

    fn clients(&self) -> Vec<(String, String)> {
        let clients = self.lab().map(|lab| lab.facts.clients).unwrap_or_default();
        clients.into_iter().map(|client| (client.name, format!("{} now", client.replicas))).collect()
    }

    fn faults(&self) -> Vec<(String, String)> {
        let record = state_dir(&self.global, &self.env).and_then(|state| read_record(&state)).ok().flatten();
        let here = |record: &crate::state::LabRecord| record.backend;
        let backend = record.as_ref().map(here);
        let allowed = FAULTS.iter().filter(|fault| backend.is_none_or(|backend| fault.runs_on(backend)));
        let faults = allowed.map(|fault| (fault.name.to_string(), fault.breaks.to_string()));
        faults.chain(SEVERAL.map(|name| (name.to_string(), "several faults".to_string()))).collect()
    }

    /// The topics that the brokers know now; none if they do not answer, or the clients' program is not built.
    fn topics(&self) -> Vec<String> {
        let Some(lab) = self.lab().filter(|lab| lab.clients_program().exists()) else { return Vec::new() };
        let (brokers, limit) = (lab.bootstrap(), PATIENCE.to_string());
        let cmd = Cmd::new(lab.clients_program(), Duration::from_millis(2 * PATIENCE)).args([
            "metadata",
            "--brokers",
            &brokers,
            "--timeout-ms",
            &limit,
        ]);
        let Ok(output) = RealExec.capture(&cmd, Path::new("/dev/null"), &self.stop) else { return Vec::new() };
        let answers: Vec<Metadata> = clients::lines(&output.stdout);
        let mut topics: Vec<String> =
            answers.into_iter().flat_map(|answer| answer.topics).map(|topic| topic.topic).collect();
        topics.retain(|topic| !topic.starts_with("__"));
        topics.sort();
        topics.dedup();
        topics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;

    fn completed(words: &[&str]) -> Vec<String> {
        let global = sample::global("kafka-lab");
        let place = Place { global: named(&global, words), env: sample::lab().env, stop: Stop::default() };
        place.candidates(words).into_iter().map(|(value, _)| value).collect()
    }

    #[test]
    fn commands_flags_and_their_values_are_completed() {
        assert_eq!(completed(&["stat"]), ["status"]);
        assert!(completed(&[""]).contains(&"teardown".into()) && !completed(&[""]).contains(&"complete".into()));
        assert_eq!(completed(&["up", "--port"]), ["--port-base"]);
        assert_eq!(completed(&["up", "--backend", ""]), ["auto", "kind", "local"]);
        assert_eq!(completed(&["up", "--backend=l"]), ["--backend=local"]);
        assert_eq!(completed(&["clients", "sta"]), ["start"]);
        assert_eq!(completed(&["completions", "p"]), ["powershell"]);
        assert_eq!(completed(&["no-such", "x"]), Vec::<String>::new());
    }

    #[test]
    fn names_of_processes_faults_and_clients_are_completed() {
        assert_eq!(completed(&["logs", "kafka-"]), ["kafka-0", "kafka-1", "kafka-2"]);
        assert_eq!(completed(&["logs", "-f", "z"]), ["zookeeper"]);
        assert_eq!(completed(&["clients", "scale", ""]), ["producer", "consumer"]);
        assert!(completed(&["drill", ""]).len() == FAULTS.len() + SEVERAL.len());
        assert_eq!(completed(&["drill", "leader-kill", "so"]), ["soak"]);
        assert_eq!(completed(&["kafka-topics", "--", "--desc"]), ["--describe"]);
        assert!(completed(&["kafka-topics", "--", "--topic", ""]).is_empty(), "nobody is there to ask");
    }

    #[test]
    fn the_line_says_which_lab_is_meant() {
        let global = sample::global("kafka-lab");
        for words in [&["--name", "second", "logs", ""][..], &["logs", "--name=second", ""]] {
            assert_eq!(named(&global, words).name, "second");
        }
        assert_eq!(named(&global, &["logs", ""]).name, "kafka-lab");
    }
}
