//! Advice that can be followed: every command that a message suggests is read from the sources and tried. Those of
//! `cargo xtask` must parse; those that change nothing outside a folder of the test run; others are asked for their
//! help.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{Dir, run, xtask};

fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The string literals of a source, without those of its tests.
fn literals(source: &str) -> Vec<String> {
    let source = ["mod tests {", "pub mod tests {"]
        .iter()
        .filter_map(|tests| source.find(&format!("\n#[cfg(test)]\n{tests}")))
        .min()
        .map_or(source, |end| &source[..end]);
    let mut found = Vec::new();
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().find(|c| *c == '\n');
            }
            // A character, unless it is a lifetime.
            '\'' => {
                let mut rest = chars.clone();
                let skip = match (rest.next(), rest.next()) {
                    (Some('\\'), _) => 3,
                    (_, Some('\'')) => 2,
                    _ => 0,
                };
                chars.by_ref().take(skip).for_each(drop);
            }
            '"' => {
                let mut text = String::new();
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => match chars.next() {
                            Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                            Some('n') => text.push('\n'),
                            Some(other) => text.push(other),
                            None => {}
                        },
                        c => text.push(c),
                    }
                }
                found.push(text);
            }
            _ => {}
        }
    }
    found
}

/// The first literal in the call that begins at `call`, if it is on the next lines.
fn argument(call: &str) -> Option<String> {
    let end = call.find(';').unwrap_or(call.len());
    let start = call[..end].find('"')?;
    literals(&call[start..end]).into_iter().next()
}

/// What messages suggest: the text between backquotes, what follows `cargo xtask`, and what is given to the functions
/// that write such a line. `{…}` stands for a value.
fn suggestions() -> BTreeSet<String> {
    let mut files = Vec::new();
    for dir in ["xtask/src", "clients/src"] {
        sources(&repo().join(dir), &mut files);
    }
    let mut found = BTreeSet::new();
    for file in files {
        let source = fs::read_to_string(file).unwrap();
        for text in literals(&source) {
            for (at, part) in text.split('`').enumerate() {
                if at % 2 == 1 && !part.contains('\n') {
                    found.insert(part.to_owned());
                } else if let Some((_, line)) = part.split_once("cargo xtask ") {
                    let end = line.find([',', ';', ':', '\n']).unwrap_or(line.len());
                    // What it is for, in an example, or where its output goes.
                    let ends = ["  ", " >"].iter().filter_map(|mark| line[..end].find(mark));
                    let end = ends.min().unwrap_or(end);
                    found.insert(format!("cargo xtask {}", &line[..end]));
                }
            }
            if let Some((_, line)) = text.split_once(": rm -") {
                found.insert(format!("rm -{line}"));
            }
            if text.starts_with("apt-get ") {
                found.insert(text);
            }
        }
        for (at, call) in source.match_indices(".xtask(").chain(source.match_indices("xtask_line(")) {
            let line = &source[at + call.len()..];
            if !source[..at].ends_with("fn ")
                && let Some(command) = argument(&line[..line.len().min(200)])
            {
                found.insert(format!("cargo xtask {command}"));
            }
        }
    }
    found
}

/// Words between backquotes that are no commands: names of faults, kinds of drills, settings, and separators of code.
const NAMES: [&str; 6] = ["all", "matrix", "soak", "docker", " of ", "replicas: {}"];

/// Programs that run in the tests' folder, since they change nothing elsewhere.
const HARMLESS: [&str; 8] = ["rm", "ls", "df", "chmod", "cd", "export", "ulimit", "kill"];

/// Whether `cargo xtask` takes these words. With `--help` it parses them and does nothing.
fn parses(words: &[&str]) -> Result<(), String> {
    let sample = |(at, word): (usize, &&str)| match (at.checked_sub(1).map(|at| words[at]), word.contains('{')) {
        (_, false) => (*word).to_owned(),
        (Some("--port-base"), true) => "23000".into(),
        (Some("--backend"), true) => "local".into(),
        _ => "x".into(),
    };
    let mut args: Vec<String> = words.iter().enumerate().map(sample).collect();
    // What follows is for another program.
    let end = args.iter().position(|word| word == "--").unwrap_or(args.len());
    args.insert(end, "--help".into());
    let ran = run(&mut xtask(&std::env::temp_dir(), &args));
    if ran.code == 0 && ran.stdout.contains("Usage: ") { Ok(()) } else { Err(ran.stderr) }
}

fn is_on_path(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", program])
        .status()
        .is_ok_and(|status| status.success())
}

fn ran(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&text).into_owned()) }
}

/// Runs a harmless command in a folder of its own, on a file and a process of its own.
fn runs(words: &[&str]) -> Result<(), String> {
    let dir = Dir::new("advice");
    let file = dir.0.join("file");
    fs::write(&file, "").unwrap();
    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    let sample = |word: &&str| match (words[0], *word) {
        ("kill", word) if word.contains('{') => sleeper.id().to_string(),
        ("export", word) => word.replace("{xdg}", "XDG_STATE_HOME"),
        ("ulimit", "{flag}") => "-n".into(),
        ("ulimit", "{raise}") => "256".into(),
        (_, word) if word.contains('{') => file.display().to_string(),
        (_, word) => word.into(),
    };
    let line: Vec<String> = words.iter().map(sample).collect();
    let result = ran(Command::new("bash").args(["-c", &line.join(" ")]).current_dir(&dir.0));
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    match result {
        // This shell's own limits decide.
        Err(why) if words[0] == "ulimit" && why.contains("cannot modify limit") => Ok(()),
        result => result,
    }
}

/// Tries what a message suggests.
fn follow(suggestion: &str) -> Result<(), String> {
    let commands = ["up", "verify", "teardown", "status", "logs", "clients", "drill", "render", "test"];
    let with_tools = ["kubectl", "kafka-topics", "zookeeper-shell"];
    if NAMES.contains(&suggestion) {
        return Ok(());
    }
    for command in suggestion.split(" && ") {
        let words: Vec<&str> = command.split_whitespace().skip_while(|word| *word == "sudo").collect();
        match words[..] {
            // A line that another part of the sources writes, where it is tried.
            [] => {}
            [value, ..] if value.starts_with('{') => {}
            ["cargo", "xtask", value] if value.starts_with('{') => {}
            // A program of its own, which would have to be built first.
            ["cargo", "xtask", "bench", ..] => {}
            ["cargo", "xtask", ..] => parses(&words[2..])?,
            [flag, ..] if flag.starts_with("--") => {
                let mut taken = commands.iter().map(|command| parses(&[&[*command], &words[..]].concat()));
                if !taken.any(|taken| taken.is_ok()) {
                    return Err(format!("no command takes {flag}"));
                }
            }
            [command, ..] if commands.contains(&command) => parses(&words)?,
            [tool, "--", ..] if with_tools.contains(&tool) => parses(&words)?,
            ["kafka", _, "--", ..] => parses(&words)?,
            [program, ..] if HARMLESS.contains(&program) => runs(&words)?,
            [script, ..] if script.contains('/') => {
                let path = repo().join(script);
                path.is_file().then_some(()).ok_or_else(|| format!("there is no {}", path.display()))?;
            }
            [setting] if setting.starts_with("kind.") => {}
            ["kind.clients_image:", "host"] => {}
            // They have no such flag as --help, or look at this system's file systems and groups before it.
            [program @ ("lsattr" | "chattr" | "usermod"), ..] if is_on_path(program) => {
                runs(&[&["command", "-v"], &words[..1]].concat())?
            }
            // Asked for its help, a program reads its flags and does nothing.
            [program, ..] if is_on_path(program) => {
                ran(Command::new(program).args(words[1..].iter().map(|word| word.replace('|', ""))).arg("--help"))?;
            }
            [program, _, ..]
                if [
                    "docker",
                    "kind",
                    "kubectl",
                    "systemctl",
                    "usermod",
                    "rustup",
                    "apt-get",
                    "echo",
                    "lsattr",
                    "chattr",
                ]
                .contains(&program) =>
            {
                eprintln!("left out, since there is no {program} here: {command}");
            }
            _ => return Err("it is no command: name it in NAMES, or leave its backquotes out".into()),
        }
    }
    Ok(())
}

#[test]
fn whatever_a_message_suggests_can_be_followed() {
    let suggestions = suggestions();
    for known in ["cargo xtask up", "cargo xtask clients logs -n 200", "rm -r {}", "df -h", "docker info"] {
        assert!(suggestions.contains(known), "{known} is not among {suggestions:#?}");
    }
    let failed: Vec<String> = suggestions
        .iter()
        .filter_map(|suggestion| Some(format!("`{suggestion}`: {}", follow(suggestion).err()?)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// How commands begin that would hide from [`suggestions`] without backquotes.
const BARE: [&str; 6] = ["kill -CONT", "chmod ", "export ", "kubectl config ", "run: apt-get ", "root: apt-get "];

#[test]
fn a_suggested_command_is_between_backquotes() {
    let mut files = Vec::new();
    sources(&repo().join("xtask/src"), &mut files);
    for file in files {
        for text in literals(&fs::read_to_string(&file).unwrap()) {
            for part in text.split('`').step_by(2) {
                let bare = BARE.iter().find(|start| part.contains(**start));
                assert_eq!(bare, None, "{}: {text}", file.display());
            }
        }
    }
}

#[test]
fn what_does_not_exist_is_noticed() {
    for invented in [
        "cargo xtask up --invented",
        "cargo xtask invented",
        "cargo xtask up --backend invented",
        "--invented",
        "drill --invented matrix",
        "rm --invented {}",
        "ls -l --invented",
        "manifests/invented build",
        "invented --flag",
        "ulimit --invented 4096",
    ] {
        assert!(follow(invented).is_err(), "{invented}");
    }
}

#[test]
fn literals_are_found_and_comments_are_not() {
    let source = "// \"no\"\nlet c = '\"'; let d = '\\''; fn f<'a>(x: &'a str) { g(\"a \\\"b\\\" \\\n   c\"); }\n\
                  /// `\"no\"`\nh(\"d\");\n#[cfg(test)]\nmod tests { k(\"no\"); }";
    assert_eq!(literals(source), ["a \"b\" c", "d"]);
}
