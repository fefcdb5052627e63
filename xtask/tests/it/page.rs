//! The page: its modules by themselves, and in a browser beside a real lab, a recording and a report.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::lab::Lab;
use crate::common::wait_for;

fn web() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../page/web")
}

/// Runs a program in the page's folder; its output is that of the test.
#[track_caller]
fn in_web(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).current_dir(web()).status().unwrap();
    assert!(status.success(), "{program} {args:?}: {status}");
}

/// A page that is served. Dropping it ends it.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(lab: &Lab, args: &[&str]) -> Self {
        let child = lab.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut served = Served { child, address: String::new() };
        let mut said = String::new();
        let mut lines = BufReader::new(served.child.stderr.take().unwrap()).lines();
        // The program may have to be built first.
        while served.address.is_empty() {
            let line = lines.next().unwrap_or_else(|| panic!("no address: {said}")).unwrap();
            let address = line.strip_prefix("page: http://").and_then(|rest| rest.split_whitespace().next());
            served.address = address.map(|address| format!("http://{address}")).unwrap_or_default();
            said += &(line + "\n");
        }
        // Whoever stops reading makes its next message fail.
        std::thread::spawn(move || lines.for_each(drop));
        served
    }

    /// Signals xtask alone, which passes it on.
    fn end(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

#[test]
fn the_page_shows_what_the_brokers_say_live_again_and_in_a_report() {
    in_web("npm", &["ci", "--no-audit", "--no-fund"]);
    in_web("npm", &["run", "--silent", "check"]);
    in_web("npm", &["test", "--silent"]);

    let lab = Lab::new("page");
    let film = lab.state.0.join("a film.jsonl");
    let (film_text, report) = (film.to_str().unwrap(), lab.state.0.join("a report.html"));
    lab.run(&["dashboard"]).expect(6).says(&["is up", "cargo xtask up --name"]);
    lab.run(&["replay", film_text]).expect(2).says(&["cannot read", "a film.jsonl", "cargo xtask record --out"]);
    lab.up(&[]);
    let live = Served::start(&lab, &["dashboard", "--out", film_text]);
    in_web("node", &["tests/browser/live.mjs", &live.address, film_text]);
    live.end();
    let last = fs::read_to_string(&film).unwrap();
    assert!(last.lines().last().unwrap().contains("\"reason\":\"signal\""), "{:?}", last.lines().last());
    lab.run(&["dashboard", "--out", film_text]).expect(2).says(&["exists", "another name"]);
    lab.teardown();

    // Neither a recording nor a report needs the lab.
    let replay = Served::start(&lab, &["replay", film_text]);
    in_web("node", &["tests/browser/replay.mjs", &replay.address, film_text]);
    replay.end();
    let written = lab.run(&["report", film_text, "--out", report.to_str().unwrap()]).expect(0);
    assert!(written.stderr.contains("any browser opens it"), "{}", written.stderr);
    let size = fs::metadata(&report).unwrap().len();
    assert!(size <= 1_000_000, "{size} bytes");
    in_web("node", &["tests/browser/replay.mjs", &format!("file://{}", report.display()), film_text]);

    // What is no recording is refused by line, and nothing is written.
    let text = fs::read_to_string(&film).unwrap();
    let broken = lab.state.0.join("broken.jsonl");
    fs::write(&broken, text.lines().take(3).collect::<Vec<_>>().join("\n") + "\n{\n").unwrap();
    let out = lab.state.0.join("none.html");
    let refused = lab.run(&["report", broken.to_str().unwrap(), "--out", out.to_str().unwrap()]).expect(1);
    assert!(refused.stderr.contains("line 4: "), "{}", refused.stderr);
    assert!(!out.exists());
    wait_for("the end of every page", 10, || lab.processes().is_empty());
}
