//! The Docker engine and what the recipes have put into it.

use std::ffi::OsStr;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::{Dir, Ran, run};

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

/// A way to the engine that can be cut. Who takes it sees what comes of an engine that died: connections end, and nothing
/// listens any more.
pub struct Way {
    folder: Dir,
    open: Arc<Mutex<Vec<UnixStream>>>,
}

impl Way {
    /// A way that is open.
    pub fn to_engine() -> Self {
        let asked = docker(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]).expect(0).stdout;
        let engine = PathBuf::from(asked.trim().strip_prefix("unix://").unwrap());
        let way = Way { folder: Dir::new("way"), open: Arc::default() };
        let (listener, open) = (UnixListener::bind(way.socket()).unwrap(), Arc::clone(&way.open));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = UnixStream::connect(&engine).unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    open.lock().unwrap().push(from.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        // One direction may end before the other: docker closes what a command reads.
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        way
    }

    fn socket(&self) -> PathBuf {
        self.folder.0.join("docker.sock")
    }

    /// What DOCKER_HOST is for those who are to take it.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Cuts it.
    pub fn cut(&self) {
        std::fs::remove_file(self.socket()).unwrap();
        for stream in self.open.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
