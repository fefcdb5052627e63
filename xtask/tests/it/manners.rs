//! What people and CI systems expect of a program: exit codes told apart, what is at work, a doctor, JUnit, examples,
//! completions. With nothing, or fake tools, on PATH.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::{Dir, Ran, bare, run, xtask};

fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every path below a folder.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path());
        found.extend(below(&entry.path()));
    }
    found.sort();
    found
}

#[test]
fn the_doctor_names_what_is_missing_and_changes_nothing() {
    let (state, tools) = (Dir::new("state"), Dir::new("tools"));
    tools.tool("apt-get", "echo called >&2; exit 1");
    let before = below(&state.0);
    let ran = run(&mut bare(&state, &tools, &["doctor"])).expect(3);
    for words in [
        "local: 4 things are missing",
        "✗ no java in JAVA_HOME or on PATH; Kafka 3.3 runs on Java 11 or 17",
        "fix: apt-get install -y --no-install-recommends openjdk-17-jre-headless",
        "✗ no docker on PATH",
        "apt-get update\n",
        "apt-get install -y --no-install-recommends bash build-essential maven openjdk-17-jre-headless util-linux\n",
    ] {
        let words =
            if rustix::process::geteuid().is_root() { words.into() } else { words.replace("apt-get", "sudo apt-get") };
        assert!(ran.stdout.contains(&words), "{words:?} is not in:\n{}", ran.stdout);
    }
    assert_eq!(below(&state.0), before, "something was written");
    assert!(!ran.stderr.contains("called"), "{}", ran.stderr);

    let ran = run(&mut bare(&state, &tools, &["doctor", "--backend", "local", "--format", "json"])).expect(3);
    let line = ran.json("kafka-lab.doctor/1").pop().unwrap();
    assert_eq!((&line["exit"], line["grounds"].as_array().unwrap().len()), (&json!(3), 1));
    assert_eq!((&line["grounds"][0]["backend"], &line["grounds"][0]["ready"]), (&json!("local"), &json!(false)));
    assert_eq!(line["grounds"][0]["missing"].as_array().unwrap().len(), 4);
}

#[test]
fn the_doctor_asks_for_what_preflight_asks_for() {
    let (state, tools) = (Dir::new("state"), Dir::new("tools"));
    for name in ["cc", "c++", "make", "bash", "setsid", "mvn"] {
        tools.tool(name, "exit 0");
    }
    let problems = |ran: &Ran| -> Vec<String> {
        let line = ran.json("kafka-lab.doctor/1").pop().unwrap();
        let missing = line["grounds"][0]["missing"].as_array().unwrap().clone();
        missing.iter().map(|missing| missing["what"].as_str().unwrap().to_string()).collect()
    };
    let doctor = ["doctor", "--backend", "local", "--port-base", "21800", "--format", "json"];
    let ran = run(&mut bare(&state, &tools, &doctor)).expect(3);
    let found = problems(&ran);
    let up = run(&mut bare(&state, &tools, &["up", "--backend", "local", "--port-base", "21800"])).expect(3);
    for what in &found {
        assert!(up.stderr.contains(what), "preflight does not say {what:?}: {}", up.stderr);
    }
    assert!(
        up.stderr.contains(&format!("this machine lacks {}", if found.len() == 1 { "one thing" } else { "2" })),
        "{found:?}"
    );
    tools.tool("java", "echo 'openjdk version \"17.0.1\" 2021-10-19' >&2; echo \"[$$] Using Serial\"");
    let ran = run(&mut bare(&state, &tools, &doctor)).expect(0);
    assert_eq!(problems(&ran), Vec::<String>::new());
    let line = ran.json("kafka-lab.doctor/1").pop().unwrap();
    assert!(line["grounds"][0]["there"].as_array().unwrap().contains(&json!("Java 17.0.1")), "{line}");
}

#[test]
fn a_status_tells_nothing_up_apart_from_what_could_not_be_asked() {
    let state = Dir::new("state");
    run(&mut xtask(&state.0, ["status"])).expect(6).says(&["no lab kafka-lab is up"]);
    let lab = state.0.join("kafka-lab/kafka-lab");
    std::fs::create_dir_all(&lab).unwrap();
    std::fs::write(lab.join("lab.json"), "{").unwrap();
    run(&mut xtask(&state.0, ["status"])).expect(7).says(&["cannot parse", "lab.json", "fix:"]);
    let ran = run(&mut xtask(&state.0, ["status", "--format", "json"])).expect(7);
    assert_eq!(ran.json("kafka-lab.report/1")[0]["exit"], 7);
}

#[test]
fn a_status_names_the_command_at_work_and_the_one_that_was_killed() {
    let (state, tools) = (Dir::new("state"), Dir::new("tools"));
    for name in ["cc", "c++", "make", "bash", "setsid"] {
        tools.tool(name, "exit 0");
    }
    tools.tool("java", "echo 'openjdk version \"17.0.1\" 2021-10-19' >&2; echo \"[$$] Using Serial\"");
    tools.tool("mvn", "exec /bin/sleep 60");
    tools.tool("cargo", "exec /bin/sleep 60");
    let mut up = bare(&state, &tools, &["up", "--backend", "local", "--port-base", "21900"]);
    up.env("CARGO", tools.0.join("cargo")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut up = up.spawn().unwrap();
    let status = |code: &[i32]| -> (Ran, Value) {
        let ran = run(&mut bare(&state, &tools, &["status", "--format", "json"]));
        assert!(code.contains(&ran.code), "{ran:?}");
        let line = ran.json("kafka-lab.report/1").pop().unwrap();
        (ran, line)
    };
    let begin = std::time::Instant::now();
    let line = loop {
        let (_, line) = status(&[6]);
        if line["at_work"].is_object() {
            break line;
        }
        assert!(begin.elapsed() < std::time::Duration::from_secs(60), "{line}");
    };
    assert_eq!((&line["at_work"]["command"], &line["at_work"]["pid"]), (&json!("up"), &json!(up.id())));
    let text = run(&mut bare(&state, &tools, &["status"])).expect(6);
    let words = format!("`cargo xtask up` (pid {}, since ", up.id());
    assert!(text.stderr.contains(&words) && text.stderr.contains("is at work"), "{}", text.stderr);
    up.kill().unwrap();
    up.wait().unwrap();
    let (_, line) = status(&[6]);
    assert_eq!((&line["interrupted"]["command"], &line["at_work"]), (&json!("up"), &Value::Null));
    run(&mut bare(&state, &tools, &["status"])).says(&["was interrupted"]);
    run(&mut bare(&state, &tools, &["teardown"])).expect(0);
    let (_, line) = status(&[6]);
    assert!(line["interrupted"].is_null(), "{line}");
}

#[test]
fn a_watched_status_is_a_block_for_each_look_elsewhere() {
    use std::io::{BufRead, BufReader};
    let state = Dir::new("state");
    let mut command = xtask(&state.0, ["status", "--watch", "--every", "1"]);
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let block = |lines: &mut dyn Iterator<Item = std::io::Result<String>>| -> Vec<String> {
        lines.map(|line| line.unwrap()).filter(|line| !line.is_empty()).take(2).collect()
    };
    let first = block(&mut lines);
    assert!(first[0].ends_with("UTC  lab kafka-lab: nothing is up"), "{first:?}");
    assert_eq!(first[1], "  no lab kafka-lab is up");
    let second = block(&mut lines);
    assert!(second[0] != first[0] && !second.concat().contains('\u{1b}'), "{second:?}");
    let pid = rustix::process::Pid::from_raw(i32::try_from(watch.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}

#[test]
fn a_command_that_fails_before_its_first_step_still_writes_its_junit_file() {
    let state = Dir::new("state");
    let file = state.0.join("results.xml");
    for (args, name) in [(&["verify"][..], "verify"), (&["drill", "leader-kill"], "drill")] {
        let mut command = xtask(&state.0, args);
        run(command.arg("--junit").arg(&file)).expect(6);
        let xml = std::fs::read_to_string(&file).unwrap();
        let document = roxmltree::Document::parse(&xml).unwrap();
        let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
        assert_eq!((suite.attribute("name"), suite.attribute("errors")), (Some(name), Some("1")));
        let error = document.descendants().find(|node| node.has_tag_name("error")).unwrap();
        assert_eq!(error.attribute("message"), Some("no lab kafka-lab is up"));
    }
    run(&mut xtask(&state.0, ["verify", "--junit", "no/such/folder.xml"]))
        .expect(2)
        .says(&["--junit: cannot write", "fix:"]);
}

#[test]
fn quiet_shows_failures_only_and_verbose_each_start() {
    let (state, tools) = (Dir::new("state"), Dir::new("tools"));
    for name in ["cc", "c++", "make", "bash", "setsid"] {
        tools.tool(name, "exit 0");
    }
    tools.tool("java", "echo 'openjdk version \"17.0.1\" 2021-10-19' >&2; echo \"[$$] Using Serial\"");
    tools.tool("mvn", "echo 'no route to the repository'; exit 1");
    tools.tool("cargo", "exec /bin/sleep 60");
    let up = |flag: &str| {
        let mut up = bare(&state, &tools, &["up", "--backend", "local", "--port-base", "21600", flag]);
        run(up.env("CARGO", tools.0.join("cargo"))).expect(4)
    };
    let quiet = up("--quiet");
    assert!(quiet.stderr.starts_with("error: ") && !quiet.stderr.contains("✓"), "{}", quiet.stderr);
    let verbose = up("-v");
    assert!(verbose.stderr.contains(" > kafka jars         started"), "{}", verbose.stderr);
    run(&mut xtask(&state.0, ["up", "-q", "-v"])).expect(2).says(&["cannot be used with"]);
    run(&mut bare(&state, &tools, &["teardown"])).expect(0);
}

#[test]
fn a_misspelt_fault_is_answered_with_what_was_meant() {
    let state = Dir::new("state");
    run(&mut xtask(&state.0, ["drill", "leader-kil"]))
        .expect(2)
        .says(&["there is no fault leader-kil", "did you mean leader-kill?"]);
}

/// What a shell offers after `line`, by the script that `completions` prints.
fn offered(shell: &str, driver: &str) -> Option<String> {
    let state = Dir::new("state");
    let script = run(&mut xtask(&state.0, ["completions", shell])).expect(0).stdout;
    let file = state.0.join("script");
    std::fs::write(&file, script).unwrap();
    let driver = driver.replace("@SCRIPT@", file.to_str().unwrap());
    let mut command = Command::new(shell);
    command.args(if shell == "zsh" { &["-f", "-c"][..] } else { &["-c"] }).arg(driver);
    match command.env("XDG_STATE_HOME", &state.0).env("HOME", &state.0).output() {
        Ok(output) => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
        }
        Err(error) => {
            eprintln!("skipped: cannot run {shell}: {error}");
            None
        }
    }
}

#[test]
fn bash_completes_what_the_program_offers() {
    let driver = "source @SCRIPT@
        try() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _kafka_lab_cargo; echo \"[${COMPREPLY[*]}]\"; COMPREPLY=(); }
        try cargo xtask stat
        try cargo xtask logs kafka-
        try cargo +stable xtask drill leader-k
        try cargo xtask up --backend = l
        try cargo build --rel
        other() { COMPREPLY=(other); }
        complete -F other cargo; source @SCRIPT@
        try cargo build --rel";
    let said = offered("bash", driver).unwrap();
    assert_eq!(said, "[status]\n[kafka-0 kafka-1 kafka-2]\n[leader-kill leader-kill-restart]\n[local]\n[]\n[other]\n");
}

#[test]
fn fish_completes_what_the_program_offers() {
    let driver = "source @SCRIPT@
        for line in 'cargo xtask stat' 'cargo xtask logs kafka-' 'cargo +stable xtask drill leader-k' 'cargo xtask clients s'
            complete -C $line | string split -f1 \\t | string join ' '
        end
        complete -C 'cargo xtask clients ' | string match -q 'scale*'; and echo new";
    let Some(said) = offered("fish", driver) else { return };
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        ["status", "kafka-0 kafka-1 kafka-2", "leader-kill leader-kill-restart", "scale start stop", "new"],
        "{said}"
    );
}

#[test]
fn zsh_reads_the_script_and_offers_values_with_descriptions() {
    // zsh completes only in its line editor, so _describe is watched in its place.
    let driver = "compdef() { :; }; typeset -A _comps; functions[_describe]='print -rl -- ${(P)3}'
        _default() { print none; }
        source @SCRIPT@
        words=(xtask logs kafka-); CURRENT=3; _cargo-xtask
        words=(cargo xtask up --backend lo); CURRENT=5; _kafka_lab_cargo
        words=(cargo build x); CURRENT=3; _kafka_lab_cargo";
    let Some(said) = offered("zsh", driver) else { return };
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        ["kafka-0", "kafka-1", "kafka-2", "local:Processes on this machine, bound to 127.0.0.1", "none"],
        "{said}"
    );
}

#[test]
fn the_powershell_script_names_the_program() {
    let state = Dir::new("state");
    let script = run(&mut xtask(&state.0, ["completions", "powershell"])).expect(0).stdout;
    assert!(script.contains(&format!("$program = '{}'", env!("CARGO_BIN_EXE_xtask"))), "{script}");
    assert_eq!(script.matches('{').count(), script.matches('}').count());
    run(&mut xtask(&state.0, ["completions", "tcsh"])).expect(2);
}

#[test]
fn the_action_calls_xtask_and_nothing_else() {
    let text = std::fs::read_to_string(repo().join(".github/actions/lab/action.yml")).unwrap();
    let scripts: Vec<&str> = text.split("      run: |\n").skip(1).collect();
    assert_eq!(scripts.len(), 4, "{text}");
    let dir = Dir::new("action");
    dir.tool("cargo", "printf '%s ' cargo \"$@\" >>\"$CALLS\"; echo >>\"$CALLS\"");
    let mut calls = Vec::new();
    for script in scripts {
        let lines: Vec<&str> = script.lines().take_while(|line| line.starts_with("        ")).collect();
        let calls_file = dir.0.join("calls");
        let _ = std::fs::remove_file(&calls_file);
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &lines.join("\n")]);
        bash.env("PATH", format!("{}:/usr/bin:/bin", dir.0.display())).env("CALLS", &calls_file);
        bash.env("LAB", "ci")
            .env("UP", "--backend local")
            .env("VERIFY", "--messages 1000")
            .env("DRILLS", "leader-kill soak");
        bash.env("RESULTS", dir.0.join("results")).env("RUNNER_TEMP", &dir.0);
        run(&mut bash).expect(0);
        calls.push(std::fs::read_to_string(&calls_file).unwrap());
    }
    let results = dir.0.join("results");
    let wanted = [
        "cargo xtask up --name ci --fix --backend local \n".to_string(),
        format!("cargo xtask verify --name ci --junit {}/verify.xml --messages 1000 \n", results.display()),
        format!("cargo xtask drill --name ci --junit {}/drill.xml leader-kill soak \n", results.display()),
        "cargo xtask teardown --name ci \n".to_string(),
    ];
    assert_eq!(calls, wanted);
    // What it calls can be parsed: without a lab, and with nothing done.
    let state = Dir::new("state");
    for call in &wanted {
        let words = call.split_whitespace().skip(2).chain(["--dry-run"]);
        let ran = run(&mut xtask(&state.0, words));
        assert!(ran.code != 2, "{call}: {ran:?}");
    }
}
