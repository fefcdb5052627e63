//! The program with nothing, or fake tools, on PATH: what it says and how it ends when something is wrong.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::common::{Dir, bare, manifests, run, xtask};

/// `up` with only the tools of `tools` on PATH, and empty caches.
fn up(state: &Dir, tools: &Dir, args: &[&str]) -> Command {
    let backend = if args.contains(&"--backend") { &[][..] } else { &["--backend", "local"] };
    bare(state, tools, &[&["up", "--port-base", "21500"], backend, args].concat())
}

fn basics() -> Dir {
    let tools = Dir::new("tools");
    for name in ["cc", "c++", "make", "bash", "setsid"] {
        tools.tool(name, "exit 0");
    }
    java(&tools, "java", "openjdk version \"17.0.1\" 2021-10-19");
    tools
}

/// A Java that is no more than its version, and the process that was started.
fn java(tools: &Dir, name: &str, banner: &str) {
    tools.tool(name, &format!("echo '{banner}' >&2; echo \"[$$] Using Serial\""));
}

#[test]
fn a_bare_machine_hears_everything_it_lacks_at_once_and_nothing_is_touched() {
    let (state, tools) = (Dir::new("state"), Dir::new("tools"));
    run(&mut up(&state, &tools, &[])).expect(3).says(&[
        "no java in JAVA_HOME or on PATH",
        "no mvn on PATH",
        "no cc, c++, make, bash on PATH",
        "no setsid on PATH",
        "apt-get install -y --no-install-recommends",
        "cargo xtask up --fix",
    ]);
    assert!(!state.0.join("kafka-lab").exists(), "a state folder was left behind");
}

#[test]
fn an_old_java_is_refused_and_a_new_one_only_warned_of() {
    let (state, tools) = (Dir::new("state"), basics());
    java(&tools, "java", "java version \"1.8.0_292\"");
    run(&mut up(&state, &tools, &[])).expect(3).says(&["is Java 1.8.0_292; Kafka 3.3 runs on Java 11 or 17"]);
    java(&tools, "java", "openjdk version \"25\" 2025-09-16");
    tools.tool("mvn", "echo 'no route to the repository'; exit 1");
    tools.tool("cargo", "exit 0");
    let ran = run(up(&state, &tools, &[]).env("CARGO", tools.0.join("cargo")));
    ran.expect(4).says(&["Java 25: Kafka 3.3 documents 11 and 17"]);
}

#[test]
fn java_home_comes_before_path() {
    let (state, tools, home) = (Dir::new("state"), basics(), Dir::new("jdk"));
    std::fs::create_dir(home.0.join("bin")).unwrap();
    java(&home, "bin/java", "openjdk version \"9.0.4\"");
    run(up(&state, &tools, &[]).env("JAVA_HOME", &home.0)).expect(3).says(&["bin/java is Java 9.0.4"]);
}

#[test]
fn a_script_that_starts_java_and_waits_is_refused_unless_the_java_behind_it_is_found() {
    let (state, tools, home) = (Dir::new("state"), basics(), Dir::new("a jdk"));
    std::fs::create_dir(home.0.join("bin")).unwrap();
    let version = "echo 'openjdk version \"17.0.1\" 2021-10-19' >&2";
    // Its Java is a process of its own, and tells nobody where it is.
    home.tool("bin/java", &format!("{version}; /bin/sh -c 'echo \"[$$] Using Serial\"'; exit 0"));
    let mut command = up(&state, &tools, &[]);
    run(command.env("JAVA_HOME", &home.0)).expect(3).says(&[
        "bin/java is a script that starts Java and waits for it",
        "fix: set JAVA_HOME to a Java 11 or 17 whose bin/java is not a script",
    ]);
    assert!(!state.0.join("kafka-lab").exists(), "a state folder was left behind");
    // This one tells.
    let real = Dir::new("the jdk");
    std::fs::create_dir(real.0.join("bin")).unwrap();
    java(&real, "bin/java", "openjdk version \"17.0.1\" 2021-10-19");
    home.tool("bin/java", &format!("echo '    java.home = {}' >&2; {version}; exit 0", real.0.display()));
    tools.tool("mvn", "exit 1");
    tools.tool("cargo", "exit 0");
    let mut command = up(&state, &tools, &[]);
    let ran = run(command.env("JAVA_HOME", &home.0).env("CARGO", tools.0.join("cargo"))).expect(4);
    ran.says(&["Java 17.0.1 of ", "the jdk/bin/java"]);
}

#[test]
fn what_the_callers_variables_mean_reaches_no_program() {
    let (state, tools) = (Dir::new("state"), basics());
    let dump = |name: &str| format!("/usr/bin/env >>'{}'; exit 1", state.0.join(name).display());
    // Whoever fails first ends the other.
    let cargo = state.0.join("cargo").display().to_string();
    tools.tool("mvn", &format!("until [ -s '{cargo}' ]; do /bin/sleep 0.05; done; {}", dump("mvn")));
    tools.tool("cargo", &format!("/usr/bin/env >'{cargo}'; exec /bin/sleep 30"));
    // An engine that answers, so that kubectl is asked for its version.
    let info = "case $1 in info) echo '{\"ServerVersion\":\"28.2\",\"CgroupVersion\":\"2\"}';; esac";
    tools.tool("docker", &format!("{info}; {}", dump("docker").replace("exit 1", "exit 0")));
    tools.tool("zstd", "exit 0");
    tools.tool("kind", "echo 'kind v0.30.0'");
    tools.tool("kubectl", &dump("kubectl"));
    tools.tool(
        "java",
        &format!("/usr/bin/env >>'{}'; echo 'java version \"1.8.0\"' >&2", state.0.join("java").display()),
    );
    let theirs = [
        "COUNT",
        "TOPIC",
        "KAFKA_OPTS",
        "JAVA_TOOL_OPTIONS",
        "CLASSPATH",
        "BASH_ENV",
        "GREP_OPTIONS",
        "RUSTFLAGS",
        "KUBECONFIG",
        "KUBECTL_KUBERC",
    ];
    let chosen = |command: &mut Command| {
        command.envs(theirs.map(|name| (name, "/theirs"))).env("CARGO", tools.0.join("cargo"));
        command.env("LC_ALL", "de_DE.UTF-8").env("https_proxy", "http://proxy.example").env("DOCKER_CONTEXT", "far");
        command.env("GOPROXY", "http://goproxy.example").env("CARGO_NET_OFFLINE", "true");
        run(command)
    };
    chosen(&mut up(&state, &tools, &[])).expect(3);
    java(&tools, "java", "openjdk version \"17.0.1\" 2021-10-19");
    chosen(&mut up(&state, &tools, &[])).expect(4);
    let mut on_kind = xtask(&state.0, ["up", "--backend", "kind", "--name", "other"]);
    chosen(on_kind.env("PATH", &tools.0)).expect(3).says(&["kubectl does not print its version"]);
    let network = ["https_proxy=", "DOCKER_CONTEXT=far"];
    let build = ["GOPROXY=", "CARGO_NET_OFFLINE=true"];
    for (name, more, less) in [
        ("java", &[][..], &[&network[..], &build].concat()[..]),
        ("docker", &network, &build),
        ("kubectl", &["KUBERC=off"], &[&network[..], &build].concat()),
        ("mvn", &network, &[]),
        ("cargo", &build, &[]),
    ] {
        let said = std::fs::read_to_string(state.0.join(name)).unwrap_or_else(|_| panic!("{name} was not started"));
        let has = |start: &str| said.lines().any(|line| line.starts_with(start));
        for their in theirs {
            assert!(!has(&format!("{their}=")), "{name} is given {their}:\n{said}");
        }
        assert!(!said.contains("/theirs"), "{name}:\n{said}");
        assert!(has("PATH=") && has("HOME=") && has("LC_ALL=C.UTF-8"), "{name}:\n{said}");
        assert!(more.iter().all(|start| has(start)) && !less.iter().any(|start| has(start)), "{name}:\n{said}");
    }
}

#[test]
fn a_failing_maven_is_shown_with_command_output_log_and_fix() {
    let (state, tools) = (Dir::new("state"), basics());
    tools.tool("mvn", "echo '[ERROR] Could not transfer artifact: no route to the repository'; exit 1");
    tools.tool("cargo", "exec /bin/sleep 60");
    let ran = run(up(&state, &tools, &[]).env("CARGO", tools.0.join("cargo")));
    ran.expect(4).says(&[
        "mvn exited with 1",
        "command: mvn -B --strict-checksums",
        "no route to the repository",
        "log: ",
        "kafka-jars.log",
        "fix: Maven must reach a repository",
        "not run: stopped, because another step failed",
    ]);
}

#[test]
fn jars_that_do_not_match_the_lock_are_not_kept() {
    let (state, tools) = (Dir::new("state"), basics());
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/images/kafka/jars.sha256");
    let fetch = "for arg; do case $arg in -DoutputDirectory=*) dir=${arg#*=};; esac; done";
    tools.tool("mvn", &format!("{fetch}; while read sum name; do : >\"$dir/$name\"; done <'{}'", lock.display()));
    tools.tool("cargo", "exec /bin/sleep 60");
    let ran = run(up(&state, &tools, &[]).env("CARGO", tools.0.join("cargo")));
    ran.expect(4).says(&["42 of 42 jars do not match ", "zstd-jni-1.5.2-1.jar: wrong checksum"]);
    let kept: Vec<_> = std::fs::read_dir(state.0.join("cache/kafka-lab")).unwrap().flatten().collect();
    assert!(kept.iter().all(|entry| !entry.path().join("checked").exists()), "{kept:?}");
}

#[test]
fn fix_runs_the_line_it_shows() {
    let (state, tools) = (Dir::new("state"), basics());
    tools.tool("sudo", "exec \"$@\"");
    let said = state.0.join("said");
    tools.tool("apt-get", &format!("echo \"$@\" >>'{}'; [ \"$1\" = update ]", said.display()));
    let install = "-o DPkg::Lock::Timeout=300 install -y --no-install-recommends maven";
    run(&mut up(&state, &tools, &["--fix"])).expect(3).says(&[
        "--fix runs: ",
        &format!("apt-get {install}"),
        "exited with 1",
        "`--backend kind` would need more: docker.io, zstd, no kind on PATH",
    ]);
    assert_eq!(std::fs::read_to_string(said).unwrap(), format!("update\n{install}\n"));
    // Whoever asks for kind hears of the backend that needs less.
    let mut on_kind = up(&state, &tools, &["--backend", "kind", "--fix"]);
    run(&mut on_kind).expect(3).says(&["or use `--backend local`, which needs less: maven"]);
}

#[test]
fn what_a_lab_keeps_is_its_users_own_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let (state, tools) = (Dir::new("state"), basics());
    tools.tool("mvn", "exit 1");
    tools.tool("cargo", "exit 0");
    let (root, cache) = (state.0.join("kafka-lab"), state.0.join("cache/kafka-lab"));
    for open in [&root, &cache] {
        std::fs::create_dir_all(open).unwrap();
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut failing = up(&state, &tools, &[]);
    failing.env("CARGO", tools.0.join("cargo"));
    let mut careless = Command::new("/bin/sh");
    careless.args(["-c", "umask 000; exec \"$@\"", "sh"]).arg(failing.get_program()).args(failing.get_args());
    careless.env_remove("JAVA_HOME").envs(failing.get_envs().filter_map(|(key, value)| Some((key, value?))));
    run(&mut careless).expect(4);
    assert!(root.join("kafka-lab/lab.json").exists() && root.join("kafka-lab/logs/steps").exists());
    // Whoever may not enter a folder reaches nothing in it, whatever the modes there are.
    for private in [&root, &root.join("kafka-lab"), &cache] {
        let mode = std::fs::metadata(private).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{} is {mode:o}", private.display());
    }
    let mode = std::fs::metadata(root.join("kafka-lab/lab.json")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "lab.json is {mode:o}");
}

#[test]
fn a_taken_port_is_named_with_its_holder_and_another_base() {
    let (state, tools) = (Dir::new("state"), basics());
    tools.tool("mvn", "exit 1");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut command = up(&state, &tools, &[]);
    command.args(["--name", "taken"]);
    let args: Vec<String> =
        ["up", "--name", "taken", "--port-base"].map(Into::into).into_iter().chain([port.to_string()]).collect();
    let mut command2 = xtask(&state.0, args);
    command2.envs(command.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))));
    run(command2.env_remove("JAVA_HOME"))
        .expect(3)
        .says(&[&format!("127.0.0.1:{port} (kafka-0) is in use by pid {} (", std::process::id()), "end it"]);
}

#[test]
fn every_problem_of_the_manifests_is_told_at_once_with_file_and_field() {
    let state = Dir::new("state");
    let broken = manifests(&[
        ("kafka.yml", "NUM_PARTITIONS, value: \"4\"", "NUM_PARTITIONS, value: \"0\""),
        ("kafka.yml", "KAFKA_MIN_INSYNC_REPLICAS, value: \"2\"", "KAFKA_MIN_INSYNC_REPLICAS, value: \"5\""),
        ("lab.yml", "messages: 20000", "mesages: 20000"),
        ("clients.yml", "value: consumer", "value: reader"),
    ]);
    let args = ["up", "--manifests", broken.0.to_str().unwrap()];
    run(&mut xtask(&state.0, args)).expect(2).says(&[
        "kafka.yml: KAFKA_NUM_PARTITIONS: is 0",
        "kafka.yml: KAFKA_MIN_INSYNC_REPLICAS: is 5",
        "lab.yml: line ",
        "mesages",
        "clients.yml: Deployment consumer ROLE: is \"reader\"",
    ]);
    assert!(!state.0.join("kafka-lab").exists());
}

#[test]
fn wrong_flags_exit_with_2() {
    let state = Dir::new("state");
    for args in [
        &["up", "--port-base", "high"][..],
        &["up", "--port-base", "80"],
        &["up", "--name", "../x"],
        &["up", "--backend", "local", "--images", "packages"],
        &["up", "--backend", "minikube"],
        &["verify", "--messages", "0"],
        &["teer-down"],
        &["--format", "xml", "status"],
    ] {
        run(&mut xtask(&state.0, args)).expect(2);
    }
    assert!(!state.0.join("kafka-lab").exists());
}

#[test]
fn with_nothing_up_checks_exit_with_6_and_teardown_with_0() {
    let state = Dir::new("state");
    for args in [&["verify"][..], &["status"], &["logs"], &["clients", "stop"], &["kafka-topics", "--", "--list"]] {
        run(&mut xtask(&state.0, args)).expect(6).says(&["no lab kafka-lab is up", "cargo xtask up"]);
    }
    let ran = run(&mut xtask(&state.0, ["teardown"])).expect(0);
    assert!(ran.stdout.contains("nothing to tear down"), "{}", ran.stdout);
    assert!(!state.0.join("kafka-lab").exists());
}

#[test]
fn a_failure_before_the_first_step_is_a_json_line_too() {
    let state = Dir::new("state");
    let ran = run(&mut xtask(&state.0, ["verify", "--format", "json"])).expect(6);
    let lines = ran.json("kafka-lab.report/1");
    assert_eq!(lines[0]["exit"], 6);
    assert_eq!(lines[0]["failure"]["fix"], "cargo xtask up");
}

#[test]
fn every_step_of_a_plan_has_its_end_among_the_events_and_in_the_report() {
    let (state, tools) = (Dir::new("state"), basics());
    tools.tool("mvn", "echo 'no route to the repository'; exit 1");
    tools.tool("cargo", "exec /bin/sleep 60");
    let failing = run(up(&state, &tools, &["--format", "json"]).env("CARGO", tools.0.join("cargo"))).expect(4);
    let mut status = xtask(&state.0, ["status", "--format", "json"]);
    let nothing = run(status.env("PATH", &tools.0).env_remove("JAVA_HOME")).expect(6);
    for (ran, command) in [(failing, "up"), (nothing, "status")] {
        let lines = ran.lines();
        let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
        let (begun, finished, ended) = (of("plan_begun"), of("finished"), of("plan_ended"));
        assert_eq!((begun.len(), ended.len()), (1, 1), "{}", ran.stdout);
        let titles = begun[0]["steps"].as_array().unwrap();
        let report = lines.last().unwrap();
        assert_eq!((&report["schema"], &report["command"]), (&json!("kafka-lab.report/1"), &json!(command)));
        let steps = report["steps"].as_array().unwrap();
        assert_eq!((finished.len(), steps.len()), (titles.len(), titles.len()), "{}", ran.stdout);
        for line in finished {
            let place = usize::try_from(line["number"].as_u64().unwrap()).unwrap() - 1;
            assert_eq!(line["step"], titles[place]);
            assert_eq!((&line["step"], &line["state"]), (&steps[place]["step"], &steps[place]["state"]));
        }
        for state in ["failed", "not run"] {
            assert!(steps.iter().any(|step| step["state"] == state), "no step is {state}: {}", ran.stdout);
        }
    }
}

#[test]
fn without_a_lab_all_that_is_printed_as_json_fits_its_schema() {
    let (state, tools) = (Dir::new("state"), Dir::new("tools"));
    let mut commands: Vec<(&[&str], i32)> = vec![(&["verify"], 6), (&["status"], 6), (&["clients", "start"], 6)];
    commands.extend([(&["drill", "leader-kill"][..], 6), (&["drill", "no-such"], 2), (&["teardown"], 0)]);
    commands.extend([(&["up", "--backend", "local"][..], 3), (&["verify", "--messages", "0"], 2)]);
    for (args, code) in commands {
        let mut command = xtask(&state.0, [args, &["--format", "json"]].concat());
        let ran = run(command.env("PATH", &tools.0).env_remove("JAVA_HOME")).expect(code);
        assert_eq!(ran.lines().last().unwrap()["exit"], code, "{}", ran.stdout);
    }
}

#[test]
fn a_dry_run_shows_pasteable_commands_and_does_nothing() {
    let state = Dir::new("state");
    let ran = run(&mut xtask(&state.0, ["up", "--backend", "local", "--dry-run"])).expect(0);
    for words in
        ["setsid env ", "kafka.Kafka", "mvn -B", "cargo", "num.partitions=4", " probe --brokers 127.0.0.1:30090"]
    {
        assert!(ran.stdout.contains(words), "{words} is not in:\n{}", ran.stdout);
    }
    assert!(!state.0.join("kafka-lab").exists());
    let script = state.0.join("plan.sh");
    std::fs::write(&script, &ran.stdout).unwrap();
    let checked = run(Command::new("bash").arg("-n").arg(&script));
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "bash cannot read the plan");
}

#[test]
fn every_command_knows_dry_run_and_the_tests_do_not_run() {
    let state = Dir::new("state");
    let ran = run(&mut xtask(&state.0, ["test", "--dry-run", "--fix"])).expect(0);
    assert!(ran.stdout.contains("# clippy\ncargo clippy"), "{}", ran.stdout);
    let failed = state.0.join("kafka-lab/kafka-lab.failed");
    std::fs::create_dir_all(&failed).unwrap();
    let ran = run(&mut xtask(&state.0, ["teardown", "--dry-run", "--purge"])).expect(0);
    for words in ["rm -r ", "rm -rf ", &format!("rm -r {}\n", failed.display())] {
        assert!(ran.stdout.contains(words), "{words} is not in:\n{}", ran.stdout);
    }
    assert!(failed.exists());
}

#[test]
fn a_dry_run_refuses_what_the_command_refuses() {
    let state = Dir::new("state");
    for flag in ["--recreate", "--merge-kubeconfig", "--images=packages"] {
        let ran = run(&mut xtask(&state.0, ["up", "--backend", "local", flag, "--dry-run"])).expect(2);
        assert!(ran.stderr.contains("is for --backend kind"), "{}", ran.stderr);
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let state = Dir::new("state");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = xtask(&state.0, ["up", "--backend", "local", "--dry-run"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn our_own_flags_do_not_go_to_the_tools() {
    let state = Dir::new("state");
    run(&mut xtask(&state.0, ["kafka-topics", "--list", "--name", "other"]))
        .expect(2)
        .says(&["--name would go to the tool"]);
}

#[test]
fn a_fix_that_names_a_command_names_the_lab() {
    let state = Dir::new("state");
    run(&mut xtask(&state.0, ["--name", "other", "verify"])).expect(6).says(&["cargo xtask up --name other"]);
}

#[test]
fn a_state_folder_that_cannot_be_made_says_so() {
    let state = Dir::new("state");
    let file = state.0.join("file");
    std::fs::write(&file, "").unwrap();
    let ran = run(&mut xtask(&file, ["up"])).expect(3);
    assert!(ran.stderr.contains("cannot create"), "{}", ran.stderr);
}

#[test]
fn help_teaches_every_command() {
    let state = Dir::new("state");
    let help = run(&mut xtask(&state.0, ["--help"])).expect(0).stdout;
    assert!(help.lines().any(|line| line.trim_start().starts_with("bench")), "{help}");
    for command in ["up", "verify", "teardown", "status", "logs", "clients", "kafka-topics", "zookeeper-shell", "test"]
    {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} is not in:\n{help}");
        let own = run(&mut xtask(&state.0, [command, "--help"])).expect(0).stdout;
        assert!(own.contains("Usage: cargo xtask"), "{own}");
    }
    assert!(Path::new(env!("CARGO_BIN_EXE_xtask")).exists());
}

/// `up --backend kind` with a docker that does as `script` says.
fn up_on_kind(state: &Dir, tools: &Dir, script: &str, args: &[&str]) -> Command {
    tools.tool("docker", script);
    let mut command = xtask(&state.0, [&["up", "--backend", "kind"], args].concat());
    command.env("PATH", &tools.0).env("XDG_CACHE_HOME", state.0.join("cache")).env_remove("JAVA_HOME");
    command
}

#[test]
fn the_usual_causes_of_a_missing_engine_are_told_apart() {
    let (state, tools) = (Dir::new("state"), basics());
    let mut none = xtask(&state.0, ["up", "--backend", "kind"]);
    run(none.env("PATH", &tools.0)).expect(3).says(&[
        "no docker on PATH",
        "install -y --no-install-recommends docker.io zstd",
        "no kind on PATH",
    ]);
    let table = [
        (
            "echo 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?' >&2; exit 1",
            "no Docker engine is running",
            ".ci/engine start",
        ),
        (
            "echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1",
            "no permission to use the Docker engine",
            "usermod",
        ),
        (
            "echo 'context \"far\": does not exist' >&2; exit 1",
            "that `docker` points to does not answer",
            "DOCKER_CONTEXT",
        ),
        ("exit 125", "`docker info` printed nothing and exited with 125", "--backend local"),
        ("echo what", "`docker info` printed \"what\", which is not Docker's answer", "--backend local"),
        ("echo '{\"host\":{},\"store\":{}}'", "`docker` is Podman, not Docker", "DOCKER_HOST"),
        (
            "case $1 in info) echo '{\"ServerVersion\":\"28.2\"}';; *) echo '{\"Server\":{\"Components\":[{\"Name\":\"Podman Engine\"}]}}';; esac",
            "`docker` is Podman, not Docker",
            "--backend local",
        ),
        (
            "echo 'Cannot connect to the Docker daemon at unix:///run/user/1000/docker.sock. Is the docker daemon running?' >&2; exit 1",
            "no Docker engine is running",
            "systemctl --user start docker",
        ),
        (
            "echo 'permission denied while trying to connect to the Docker daemon socket at unix:///run/user/1000/docker.sock' >&2; exit 1",
            "the Docker engine is another user's",
            "unset DOCKER_HOST",
        ),
        (
            // As Docker 20.10 describes itself without root on cgroup v1: its limits mean nothing there.
            "echo '{\"ServerVersion\":\"20.10.5\",\"CgroupDriver\":\"none\",\"CgroupVersion\":\"1\",\"MemoryLimit\":true,\"PidsLimit\":true,\"CPUShares\":true,\"SecurityOptions\":[\"name=seccomp,profile=default\",\"name=rootless\"]}'",
            "runs without root (rootless), and has cgroup v1",
            "systemd.unified_cgroup_hierarchy=1; or use root's engine: unset DOCKER_HOST",
        ),
    ];
    for (script, what, fix) in table {
        run(&mut up_on_kind(&state, &tools, script, &[])).expect(3).says(&[what, fix]);
    }
    assert!(!state.0.join("kafka-lab").exists(), "a state folder was left behind");
}

#[test]
fn what_building_images_takes_is_told_at_once() {
    let (state, tools) = (Dir::new("state"), basics());
    let engine = "echo '{\"ServerVersion\":\"28.2\",\"CgroupVersion\":\"2\",\"MemTotal\":16000000000,\"NCPU\":4}'";
    let ran = run(&mut up_on_kind(&state, &tools, engine, &["--images", "packages"])).expect(3);
    ran.says(&[
        "no jq",
        "no zstd",
        "no mmdebstrap",
        "no busybox",
        "no mvn",
        "no go on PATH",
        "apt-get install -y",
        "busybox-static",
    ]);
    assert!(!state.0.join("kafka-lab").exists(), "a state folder was left behind");
}

#[test]
fn an_engine_that_answers_makes_kind_the_default_and_the_plan_can_be_pasted() {
    let (state, tools) = (Dir::new("state"), basics());
    tools.tool("docker", "echo '{\"ServerVersion\":\"28.2\"}'");
    let mut dry = xtask(&state.0, ["up", "--dry-run"]);
    let ran = run(dry.env("PATH", &tools.0)).expect(0);
    for words in [
        "# up: backend kind",
        "docker pull confluentinc/cp-kafka:7.3.5",
        "kind create cluster --retain --name kafka-lab",
        "ctr --namespace k8s.io images import",
        "--context kind-kafka-lab",
        "apply --server-side",
    ] {
        assert!(ran.stdout.contains(words), "{words} is not in:\n{}", ran.stdout);
    }
    tools.tool("docker", "exit 1");
    let mut dry = xtask(&state.0, ["up", "--dry-run"]);
    let ran = run(dry.env("PATH", &tools.0)).expect(0);
    assert!(ran.stdout.starts_with("# up: backend local"), "{}", ran.stdout);
}
