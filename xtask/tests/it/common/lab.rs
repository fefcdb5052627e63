//! A lab with its own name, folders and ports.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use super::interrupt::go_on;
use super::report::Report;
use super::{Dir, Ran, run, xtask};

/// A lab with its own name, state folder and ports. Dropping it tears it down.
pub struct Lab {
    pub state: Dir,
    pub name: String,
    pub base: u16,
    pub manifests: Option<Dir>,
    pub backend: &'static str,
}

impl Lab {
    pub fn in_folder(name: &str, folder: &str) -> Self {
        Self::at(Dir::new(folder), name)
    }

    /// A lab with a state folder that may not exist yet.
    pub fn at(state: Dir, name: &str) -> Self {
        let name = format!("test-{name}-{}", std::process::id());
        Lab { state, name, base: free_base(), manifests: None, backend: "local" }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = xtask(&self.state.0, [&["--name", &self.name], args].concat());
        command.env("KUBECONFIG", self.theirs());
        command
    }

    /// The user's kubeconfig, which must not change.
    pub fn theirs(&self) -> PathBuf {
        self.state.0.join("their kubeconfig")
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args))
    }

    pub fn up_command(&self, args: &[&str]) -> Command {
        go_on();
        let base = self.base.to_string();
        let mut all = vec!["up", "--backend", self.backend, "--port-base", &base];
        if self.backend == "kind" && !args.contains(&"--images") {
            all.extend(["--images", "packages"]);
        }
        if let Some(manifests) = &self.manifests {
            all.extend(["--manifests", manifests.0.to_str().unwrap()]);
        }
        all.extend(args);
        self.command(&all)
    }

    #[track_caller]
    pub fn up(&self, args: &[&str]) -> Report {
        Report::of(&run(self.up_command(args).args(["--format", "json"])), 0)
    }

    #[track_caller]
    pub fn verify(&self, code: i32) -> Report {
        go_on();
        Report::of(&self.run(&["verify", "--format", "json"]), code)
    }

    pub fn folder(&self) -> PathBuf {
        self.state.0.join("kafka-lab").join(&self.name)
    }

    /// The process ids and command lines of processes that name this lab's folder.
    pub fn processes(&self) -> Vec<String> {
        let folder = self.folder().to_str().unwrap().to_string();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let line = |entry: std::fs::DirEntry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(&folder).then(|| format!("{} {line}", entry.file_name().to_string_lossy()))
        };
        entries.filter_map(line).collect()
    }

    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.processes(), Vec::<String>::new(), "processes are left");
        #[cfg(feature = "kind")]
        if self.backend == "kind" {
            let label = format!("label=io.x-k8s.kind.cluster={}", self.name);
            let nodes = super::engine::docker(["ps", "--all", "--quiet", "--filter", &label]).expect(0).stdout;
            assert_eq!(nodes, "", "nodes are left");
        }
        assert!(!self.state.0.join("kafka-lab").exists(), "files are left");
        for port in (self.base..self.base + 10).chain([self.base + 2091]) {
            assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "port {port} is taken");
        }
    }

    #[track_caller]
    pub fn teardown(&self) {
        let ran = self.run(&["teardown"]).expect(0);
        assert!(ran.stdout.contains("nothing is left of lab"), "{}", ran.stdout);
        self.assert_nothing_left();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let ran = self.run(&["teardown"]);
        if ran.code != 0 {
            eprintln!("teardown of {} failed: {}", self.name, ran.stderr);
        }
    }
}

/// A port base with free ports for the brokers and ZooKeeper. Bases are a hundred apart, and the first depends on the
/// process id, so that two test runs at once do not collide.
fn free_base() -> u16 {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let turn = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let base = 12_000 + u16::try_from((std::process::id() * 7 + turn) % 160).unwrap() * 100;
        if (0..10).all(|n| free(base + n)) && free(base + 2091) {
            return base;
        }
        assert!(turn < 1000, "no free ports");
    }
}
