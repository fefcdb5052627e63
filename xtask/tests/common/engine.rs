//! The Docker engine and what the recipes have put into it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{Ran, run};

/// Runs docker to its end.
pub fn docker<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    run(Command::new("docker").args(args))
}

/// Fails the test unless an engine answers.
pub fn need_engine() {
    static ANSWERS: OnceLock<bool> = OnceLock::new();
    let asked = || Command::new("docker").arg("info").output().is_ok_and(|answer| answer.status.success());
    assert!(ANSWERS.get_or_init(asked), "no Docker engine answers: `.ci/engine start` brings one");
}

/// The Kafka image from packages.
pub fn kafka_image() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| image("kafka"))
}

/// The node image from packages.
pub fn node_image() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| image("node"))
}

/// The image that a recipe names, made by it where the engine has none: that takes minutes the first time.
fn image(name: &str) -> String {
    need_engine();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/images").join(name).join("build");
    let name = run(Command::new(&recipe).arg("--tag")).expect(0).stdout.trim().to_string();
    if docker(["image", "inspect", &name]).code != 0 {
        assert!(Command::new(&recipe).status().unwrap().success(), "{} failed", recipe.display());
    }
    name
}

/// A container that goes when the test ends.
pub struct Container(pub String);

impl Container {
    /// Starts one, with the options of `docker run`.
    #[track_caller]
    pub fn start<A: AsRef<OsStr>>(options: impl IntoIterator<Item = A>, image: &str, command: &[&str]) -> Self {
        let mut docker = Command::new("docker");
        docker.args(["run", "--detach"]).args(options).arg(image).args(command);
        Container(run(&mut docker).expect(0).stdout.trim().into())
    }

    /// Runs a command in it.
    pub fn exec(&self, command: &[&str]) -> Ran {
        docker([&["exec", &self.0], command].concat())
    }

    /// Waits until a command in it says `word`. An error is the end of what the container said instead.
    pub fn answers(&self, command: &[&str], word: &str) -> Result<(), String> {
        let begin = Instant::now();
        let runs = || docker(["inspect", "--format", "{{.State.Running}}", &self.0]).stdout == "true\n";
        while !self.exec(command).stdout.contains(word) {
            if !runs() || begin.elapsed() > Duration::from_secs(20) {
                let logs = docker(["logs", "--tail=10", &self.0]);
                return Err(format!("no {word:?} within {:?}:\n{}{}", begin.elapsed(), logs.stdout, logs.stderr));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Its anonymous volumes go with it.
        let ran = docker(["rm", "--force", "--volumes", &self.0]);
        if ran.code != 0 {
            eprintln!("container {} is left: {}", self.0, ran.stderr);
        }
    }
}
