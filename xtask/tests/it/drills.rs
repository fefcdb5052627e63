//! Drills on the local backend, and their controls: the ledger counts lost and duplicated messages exactly.

use std::collections::BTreeSet;
use std::process::Command;

use ledger::judge::{HowEnded, Verdict};
use ledger::lines::ConsumerState;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::clients::{Clients, judged, positions};
use crate::common::lab::Lab;
use crate::common::proxy::Proxy;
use crate::common::{manifests, start, wait_for};

/// Returns the results that `drill --format json` prints.
fn drills(lab: &Lab, args: &[&str], code: i32) -> Vec<Value> {
    let ran = lab.run(&[&["drill", "--format", "json"], args].concat()).expect(code);
    let lines = ran.stdout.lines().filter(|line| line.starts_with("{\"schema\":\"kafka-lab.drill/1\""));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the only result.
#[track_caller]
fn drill(lab: &Lab, args: &[&str], code: i32) -> Value {
    let [drill] = <[Value; 1]>::try_from(drills(lab, args, code)).unwrap();
    drill
}

/// Returns the sum of a column of the ledger's report.
fn total(drill: &Value, name: &str) -> u64 {
    drill["ledger"]["partitions"].as_array().unwrap().iter().map(|row| row[name].as_u64().unwrap()).sum()
}

/// Returns the proofs of all faults of a drill.
fn proofs(drill: &Value) -> impl Iterator<Item = &Value> {
    drill["struck"].as_array().into_iter().flatten().flat_map(|struck| struck["evidence"].as_array().unwrap())
}

/// Checks that all proofs were seen. Returns their number.
#[track_caller]
fn all_shown(drill: &Value) -> usize {
    assert!(proofs(drill).all(|proof| proof["found"] == "shown"), "{drill}");
    proofs(drill).count()
}

fn topics(lab: &Lab) -> Vec<String> {
    lab.run(&["kafka-topics", "--", "--list"]).expect(0).stdout.lines().map(Into::into).collect()
}

/// Whether a broker is paused.
fn paused(lab: &Lab) -> bool {
    (0..3).any(|id| {
        let pid = lab.pid(&format!("kafka-{id}")).as_raw_nonzero();
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
    })
}

/// Reads the sequences of a run, by partition, with Kafka's own console consumer, which knows nothing of our clients.
/// It uses the Java and the class path of a running broker. `records` is the number of records in the topic.
fn independent_reader(lab: &Lab, topic: &str, run: &str, records: u64) -> Vec<(String, String)> {
    let broker = std::fs::read(format!("/proc/{}/cmdline", lab.pid("kafka-0").as_raw_nonzero())).unwrap();
    let words: Vec<String> = broker.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into()).collect();
    let class_path = &words[words.iter().position(|word| word == "-cp").unwrap() + 1];
    let server = format!("127.0.0.1:{}", lab.base);
    let output = Command::new(&words[0])
        .args(["-cp", class_path, "kafka.tools.ConsoleConsumer", "--bootstrap-server", &server, "--topic", topic])
        .args(["--from-beginning", "--timeout-ms", "20000", "--max-messages", &records.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let stamp = format!(" kl2 {run} ");
    // After the run id: producer, epoch, partition, sequence.
    let fields =
        text.lines().filter_map(|line| line.split_once(&stamp)).map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
    fields.map(|words| (words[..3].join(" "), words[3].to_string())).collect()
}

/// A control with a known number: if an answer is lost after the append, the producer resends exactly what was
/// answered. With idempotence, the broker recognises it.
fn a_lost_answer_duplicates_its_messages(lab: &Lab) {
    let direct = Clients::of(lab);
    for (run, flags) in [("retried", &["--no-idempotence"][..]), ("guarded", &[])] {
        let proxy = Proxy::before([0, 1, 2].map(|broker| lab.base + broker));
        let clients = Clients::through(&proxy.ports);
        let before = direct.ends();
        let producer = ["producer", "--run", run, "--format", "json", "--rate", "0", "--count", "2000"];
        clients.run("sent", &[&producer[..], flags].concat());
        let after = direct.ends();
        let range = ["--start", &positions(&before), "--end", &positions(&after)];
        let read = direct.run("read", &[&["consumer", "--run", run, "--format", "json"], &range[..]].concat());
        let received: ConsumerState = serde_json::from_str(read.lines().last().unwrap()).unwrap();
        let report = judged(run, [&before, &after], &[clients.claim("sent", HowEnded::ByItself)], &received);
        let duplicates = report.partitions.iter().map(|row| row.duplicate).sum::<u64>();
        let lost = proxy.lost();
        assert!(lost > 0);
        let all = after.iter().map(|(_, end)| u64::try_from(*end).unwrap()).sum();
        let independent = independent_reader(lab, "test", run, all);
        let distinct: BTreeSet<_> = independent.iter().collect();
        assert_eq!((independent.len() - distinct.len()) as u64, duplicates, "what the console consumer reads twice");
        let expected = if flags.is_empty() { (Verdict::Pass, 0) } else { (Verdict::Fail, lost) };
        assert_eq!((report.verdict, duplicates), expected, "{report:?}");
        assert_eq!((distinct.len(), report.partitions.iter().map(|row| row.missing).sum::<u64>()), (2000, 0));
    }
}

/// The client processes of running drills.
fn clients(lab: &Lab) -> Vec<String> {
    lab.processes().into_iter().filter(|line| line.contains("/logs/drills/")).collect()
}

/// Kills the drill's producer or consumer.
fn kill_client(lab: &Lab, role: &str) {
    let client = clients(lab).into_iter().find(|line| line.contains(&format!(" {role} "))).unwrap();
    let pid = client.split_whitespace().next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn drills_keep_their_promises_and_mend_what_they_broke() {
    let lab = Lab::new("drill");
    lab.run(&["drill", "leader-kill"]).expect(6);
    lab.up(&["--no-clients"]);
    lab.run(&["drill", "leader-kil"]).expect(2).says(&["there is no fault leader-kil"]);
    lab.run(&["drill"]).expect(2).says(&["which fault?"]);
    lab.run(&["drill", "leader-kill", "--resume"]).expect(2).says(&["--resume needs a file"]);
    let listed = lab.run(&["drill", "--list"]).expect(0).stdout;
    assert!(listed.contains("leader-kill (local)\n  breaks    kill -9 of a partition's leader"), "{listed}");
    let preview = lab.run(&["drill", "leader-kill", "--dry-run"]).expect(0).stdout;
    for line in ["# 1. lab is up", "# 2. clients build  (after 1)", "# 3. leader-kill  (after 2)", "#   wait 7 s"] {
        assert!(preview.lines().any(|other| other == line), "{line} is not in:\n{preview}");
    }

    a_killed_drill_is_cleaned_up_by_the_next(&lab);
    a_client_that_dies_breaks_the_promise(&lab);
    recorded_drills_are_skipped(&lab);

    let soak = drill(&lab, &["soak", "--seed", "5", "--duration", "1"], 0);
    assert_eq!((&soak["drill"], &soak["seed"], &soak["kept"]), (&"soak".into(), &5.into(), &true.into()), "{soak}");
    let preview = lab.run(&["drill", "soak", "--seed", "5", "--duration", "1", "--dry-run"]).expect(0).stdout;
    let first = soak["struck"][0]["fault"].as_str().unwrap();
    assert!(preview.contains(&format!("seed 5: {first}, ")), "another schedule than {first}: {preview}");

    let again = drill(&lab, &["topic-recreated"], 0);
    assert_eq!((&again["ledger"]["verdict"], &again["kept"]), (&Value::from("fail"), &Value::from(true)), "{again}");

    // Interrupted while a broker is paused, a drill mends it and leaves nothing behind. The next drill does not run.
    let mut child = start(&mut lab.command(&["drill", "leader-pause-long", "producer-kill"]));
    wait_for("a paused broker", 60, || paused(&lab));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!paused(&lab), "a broker is still paused");
    assert!(topics(&lab).iter().all(|name| !name.starts_with("drill-")), "{:?}", topics(&lab));
    assert_eq!(clients(&lab), Vec::<String>::new());
    assert!(!lab.folder().join("drill").exists());

    // A drill does not mend what was broken before, because its result would mean nothing.
    kill_process(lab.pid("kafka-1"), Signal::STOP).unwrap();
    lab.run(&["drill", "producer-kill"]).expect(4).says(&["kafka-1 (pid ", "is paused", "kill -CONT"]);
    lab.up(&["--no-clients"]);
    assert_eq!(topics(&lab), ["test"]);
    lab.verify(0);
    lab.teardown();
}

/// A drill that is itself killed leaves its clients and its topic. The next one cleans up, and keeps its promise.
fn a_killed_drill_is_cleaned_up_by_the_next(lab: &Lab) {
    let mut child = start(&mut lab.command(&["drill", "leader-kill"]));
    wait_for("the drill's clients", 60, || clients(lab).len() == 2);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    assert_eq!(clients(lab).len(), 2);
    let left = std::fs::read_to_string(lab.folder().join("drill")).unwrap();
    assert!(topics(lab).contains(&left), "{left}");

    let killed = drill(lab, &["leader-kill"], 0);
    assert_eq!((&killed["kept"], &killed["ledger"]["verdict"]), (&Value::from(true), &Value::from("pass")), "{killed}");
    assert_eq!(all_shown(&killed), 4, "{killed}");
    // The final read covers the whole run.
    let read = &killed["final_read"];
    assert_eq!(read["records"].as_u64().unwrap(), total(&killed, "records"), "{killed}");
    assert!(read["elapsed_ms"].as_u64().unwrap() > 0, "{killed}");
    let struck = &killed["struck"][0];
    assert!(struck["detected_after_ms"].as_u64().unwrap() > 0, "{struck}");
    assert_eq!(struck["stuck"], Value::Array(vec![]), "{struck}");
    let acked = |row: &Value| row["acked_after_ms"].as_u64();
    assert!(struck["partitions"].as_array().unwrap().iter().filter_map(acked).max().unwrap() > 1000, "{struck}");
}

/// A load that does not continue breaks the promise even if everything acknowledged is kept. A client that is gone
/// before the move was not killed by the drill.
fn a_client_that_dies_breaks_the_promise(lab: &Lab) {
    let dead = std::thread::scope(|scope| {
        let drill = scope.spawn(|| drill(lab, &["leader-pause-short"], 5));
        wait_for("a paused leader", 60, || paused(lab));
        kill_client(lab, "producer");
        drill.join().unwrap()
    });
    assert_eq!(
        (&dead["outcome"], &dead["ledger"]["verdict"]),
        (&Value::from("broken"), &Value::from("fail")),
        "{dead}"
    );
    assert_eq!(dead["ledger"]["findings"][0]["kind"], "died", "the drill had not killed it: {dead}");
    assert_eq!(dead["faults"], serde_json::json!(["producer-1 ended by itself"]), "{dead}");
    assert_eq!(dead["struck"][0]["stuck"], serde_json::json!([0, 1, 2, 3]), "{dead}");

    let gone = std::thread::scope(|scope| {
        let drill = scope.spawn(|| drill(lab, &["consumer-kill"], 5));
        wait_for("the drill's clients", 60, || clients(lab).len() == 2);
        kill_client(lab, "consumer");
        drill.join().unwrap()
    });
    assert_eq!((&gone["kept"], &gone["outcome"]), (&Value::from(false), &Value::from("broken")), "{gone}");
    assert!(gone["error"].as_str().unwrap().starts_with("consumer-1 ended by itself"), "{gone}");
}

/// What a file already has of this commit is a skipped step.
fn recorded_drills_are_skipped(lab: &Lab) {
    let file = lab.state.0.join("drills.jsonl");
    let out = ["--out", file.to_str().unwrap()];
    drill(lab, &[&["producer-kill"], &out[..]].concat(), 0);
    let resumed = ["drill", "producer-kill", "consumer-kill", "--resume", "--format", "json"];
    let ran = lab.run(&[&resumed[..], &out].concat()).expect(0);
    let [died] = <[Value; 1]>::try_from(ran.json("kafka-lab.drill/1")).unwrap();
    assert_eq!((&died["drill"], &died["kept"]), (&Value::from("consumer-kill"), &Value::from(true)), "{died}");
    let events = ran.json("kafka-lab.event/1");
    assert_eq!(
        events[0]["steps"],
        serde_json::json!(["lab is up", "clients build", "producer-kill", "consumer-kill"]),
        "{events:?}"
    );
    let states = events.iter().filter(|event| event["event"] == "finished").map(|event| event["state"].as_str());
    let states: Vec<&str> = states.map(Option::unwrap).collect();
    assert_eq!(states[2..], ["skipped", "passed"], "{events:?}");
    let kept: Vec<Value> =
        std::fs::read_to_string(&file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.iter().map(|drill| &drill["drill"]).collect::<Vec<_>>(), ["producer-kill", "consumer-kill"]);
}

#[test]
fn what_is_lost_and_what_comes_twice_is_found_to_the_message() {
    let lab = Lab::new("controls");
    lab.up(&["--no-clients"]);

    // With acks=1 the promise is that the ledger finds the loss.
    let lost = drill(&lab, &["acks-1-leader-kill", "--keep-topic"], 0);
    assert_eq!(lost["ledger"]["verdict"], "fail", "{lost}");
    let sum = |name: &str| total(&lost, name);
    let (topic, run) = (lost["topic"].as_str().unwrap(), lost["ledger"]["run"].as_str().unwrap());
    let read = independent_reader(&lab, topic, run, sum("end"));
    let distinct: BTreeSet<_> = read.iter().collect();
    assert!(sum("missing") > 0, "{lost}");
    assert_eq!(sum("acked") - distinct.len() as u64, sum("missing"), "what the console consumer misses: {lost}");

    // Without idempotence, the producer resends what leaders appended and could not acknowledge in time.
    let twice = drill(&lab, &["no-idempotence-retry", "--keep-topic"], 0);
    assert_eq!(twice["ledger"]["verdict"], "fail", "{twice}");
    let duplicates = total(&twice, "duplicate");
    let (other, run) = (twice["topic"].as_str().unwrap(), twice["ledger"]["run"].as_str().unwrap());
    let read = independent_reader(&lab, other, run, total(&twice, "end"));
    let distinct: BTreeSet<_> = read.iter().collect();
    assert!(duplicates > 0, "{twice}");
    assert_eq!((read.len() - distinct.len()) as u64, duplicates, "what the console consumer reads twice: {twice}");

    // A leader that is restarted without its logs loses everything acknowledged before, and nothing else.
    let cut = drill(&lab, &["last-replica-wiped"], 0);
    assert_eq!((&cut["ledger"]["verdict"], &cut["kept"]), (&Value::from("fail"), &Value::from(true)), "{cut}");
    for row in cut["ledger"]["partitions"].as_array().unwrap() {
        let [acked, received, missing] = ["acked", "received", "missing"].map(|name| row[name].as_u64().unwrap());
        assert!(missing > 0 && received > 0 && received + missing == acked, "{row}");
    }
    for stream in cut["ledger"]["evidence"].as_array().unwrap() {
        let missing = stream["missing"].as_array().unwrap();
        assert!(missing.len() == 1 && missing[0][0] == 0, "from the first message on, without a hole: {stream}");
    }

    let kept: Vec<String> = topics(&lab).into_iter().filter(|name| name.starts_with("drill-")).collect();
    assert_eq!(kept, [topic, other], "only those with --keep-topic");
    a_lost_answer_duplicates_its_messages(&lab);
    lab.teardown();
}

/// Returns the drills of the local backend, as `--list` names them.
fn on_local(lab: &Lab) -> Vec<String> {
    let listed = lab.run(&["drill", "--list"]).expect(0).stdout;
    let places = [" (local)", " (local, kind)", " (local; zookeeper only)", " (local, kind; zookeeper only)"];
    listed.lines().filter_map(|line| places.iter().find_map(|place| line.strip_suffix(place))).map(Into::into).collect()
}

/// Runs drills with a part left out. Returns their results.
fn without(lab: &Lab, part: &str, names: &[&str], codes: &[i32]) -> Vec<Value> {
    let ran = lab.run(&[&["drill", "--format", "json", "--without", part], names].concat());
    assert!(codes.contains(&ran.code), "without {part}: {ran:?}");
    ran.json("kafka-lab.drill/1")
}

/// Runs all drills with parts left out: none is kept.
fn none_is_kept(lab: &Lab, parts: &[&str]) {
    let names = on_local(lab);
    assert!(names.len() > 20, "{names:?}");
    let drills = without(lab, &parts.join(","), &["all"], &[4, 5, 7]);
    let told: Vec<&str> = drills.iter().map(|drill| drill["drill"].as_str().unwrap()).collect();
    assert_eq!(told, names, "without {parts:?}");
    for drill in &drills {
        assert_eq!((&drill["kept"], &drill["without"]), (&Value::from(false), &serde_json::json!(parts)), "{drill}");
        assert_ne!(drill["outcome"], "kept", "{drill}");
        // Without its topic, a drill cannot be finished.
        let name = drill["drill"].as_str().unwrap();
        assert_eq!(drill["error"].is_string(), name == "topic-late", "{drill}");
        // Missing evidence is not the only reason: if nothing was sent, the ledger is inconclusive too.
        assert!(!parts.contains(&"load") || drill["promise"] != "kept", "{drill}");
        assert!(drill["error"].is_string() || proofs(drill).any(|proof| proof["found"] != "shown"), "{drill}");
    }
}

/// Without its strike, a drill has no evidence that it struck, and is not kept.
#[test]
fn a_drill_without_its_strike_is_never_kept() {
    let lab = Lab::new("unstruck");
    lab.up(&["--no-clients"]);
    none_is_kept(&lab, &["strike"]);
    lab.teardown();
}

/// Without a load nothing is promised, and without a producer's last line nobody knows what was. No such drill is kept.
#[test]
fn a_drill_without_its_load_or_its_ledger_is_never_kept() {
    let lab = Lab::new("unloaded");
    lab.up(&["--no-clients"]);
    none_is_kept(&lab, &["strike", "load"]);
    // These do strike.
    for (part, names) in [
        ("load", &["leader-pause-short", "topic-recreated"][..]),
        ("ledger", &["producer-kill", "no-idempotence-retry", "partitions-grow"]),
    ] {
        for drill in without(&lab, part, names, &[5, 7]) {
            assert_eq!(drill["kept"], false, "{drill}");
            assert_ne!(drill["promise"], "kept", "{drill}");
            if part == "ledger" {
                all_shown(&drill);
                let cut = drill["ledger"]["findings"].as_array().unwrap().iter();
                assert!(cut.into_iter().any(|finding| finding["kind"] == "no_last_word"), "{drill}");
            }
        }
    }
    lab.teardown();
}

/// If sessions outlast the pause, no leader is elected, and the drill reports that it could not tell.
#[test]
fn a_strike_that_the_settings_soften_is_not_taken_for_one() {
    let mut lab = Lab::new("softened");
    let session = "KAFKA_ZOOKEEPER_SESSION_TIMEOUT_MS, value: ";
    let longer = manifests(&[("kafka.yml", &format!("{session}\"4000\""), &format!("{session}\"18000\""))]);
    lab.manifests = Some(longer);
    lab.up(&["--no-clients"]);
    let soft = drill(&lab, &["leader-pause-long"], 7);
    let [kept, promise, outcome] = ["kept", "promise", "outcome"].map(|name| soft[name].clone());
    assert_eq!((kept, promise, outcome), (false.into(), "kept".into(), "could_not_tell".into()), "{soft}");
    let found =
        |words: &str| proofs(&soft).find(|proof| proof["looked_for"].as_str().unwrap().contains(words)).unwrap();
    assert_eq!(found("was paused")["found"], "shown", "{soft}");
    assert_eq!(found("the session of")["found"], "contradicted", "{soft}");
    assert_eq!(found("leader epoch")["found"], "contradicted", "{soft}");
    lab.teardown();
}
