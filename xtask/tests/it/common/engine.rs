//! The Docker engine and the images in it.

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
    assert!(ANSWERS.get_or_init(asked), "no Docker engine answers: `.ci/engine start` starts one");
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

/// The image of a recipe, built first if the engine lacks it, which takes minutes.
fn image(name: &str) -> String {
    need_engine();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/images").join(name).join("build");
    let name = run(Command::new(&recipe).arg("--tag")).expect(0).stdout.trim().to_string();
    if docker(["image", "inspect", &name]).code != 0 {
        assert!(Command::new(&recipe).status().unwrap().success(), "{} failed", recipe.display());
    }
    name
}

/// A container, removed when the test ends.
pub struct Container(pub String);

impl Container {
    /// Starts a container with options of `docker run`.
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

    /// Waits until a command in it prints `word`.
    ///
    /// # Errors
    /// It does not; the error has the end of the container's log.
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
        // This removes its anonymous volumes too.
        let ran = docker(["rm", "--force", "--volumes", &self.0]);
        if ran.code != 0 {
            eprintln!("container {} is left: {}", self.0, ran.stderr);
        }
    }
}

/// A proxy to the engine that can be cut. To its users, the engine then looks dead: connections end, and nothing
/// listens.
pub struct EngineProxy {
    folder: Dir,
    open: Arc<Mutex<Vec<UnixStream>>>,
}

impl EngineProxy {
    /// Starts a proxy.
    pub fn start() -> Self {
        let asked = docker(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]).expect(0).stdout;
        let engine = PathBuf::from(asked.trim().strip_prefix("unix://").unwrap());
        let proxy = EngineProxy { folder: Dir::new("proxy"), open: Arc::default() };
        let (listener, open) = (UnixListener::bind(proxy.socket()).unwrap(), Arc::clone(&proxy.open));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = UnixStream::connect(&engine).unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    open.lock().unwrap().push(from.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        // One direction may end first: docker closes a command's standard input.
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        proxy
    }

    fn socket(&self) -> PathBuf {
        self.folder.0.join("docker.sock")
    }

    /// The value of DOCKER_HOST.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Ends all connections and accepts no more.
    pub fn cut(&self) {
        std::fs::remove_file(self.socket()).unwrap();
        for stream in self.open.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
