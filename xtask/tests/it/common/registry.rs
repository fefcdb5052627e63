//! An image registry on loopback, which the engine uses without TLS and without a proxy. The program is in
//! tests/registry; its flags inject the faults of real registries.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

use super::engine::{docker, need_engine};
use super::{Dir, run};

/// A registry that ends with the test. The engine's names of its images are removed then, too.
pub struct Registry {
    /// Its host and port, which its images' names begin with.
    pub address: String,
    /// Its process.
    pub process: Child,
    names: Mutex<Vec<String>>,
    _blobs: Dir,
}

impl Registry {
    /// Starts a registry with flags of the program.
    pub fn start(flags: &[&str]) -> Self {
        need_engine();
        let blobs = Dir::new("registry");
        let mut command = Command::new(program());
        command.arg("-dir").arg(&blobs.0).args(flags).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the registry ended: {:?}", process.wait());
        Registry { address: line.trim().into(), process, names: Mutex::default(), _blobs: blobs }
    }

    /// Pushes an image of the engine as `name`, such as `lab/kafka:1`, and returns the name to pull. That name is
    /// removed from the engine, so that a pull asks the registry. The engine does not fetch layers that it has under
    /// other names.
    #[track_caller]
    pub fn push(&self, image: &str, name: &str) -> String {
        let name = self.name(name);
        docker(["tag", image, &name]).expect(0);
        self.send(name)
    }

    /// Pushes a new image, `from` with one small layer, and removes it from the engine, so that a pull fetches the
    /// layer.
    #[track_caller]
    pub fn push_new(&self, from: &str, name: &str) -> String {
        let name = self.name(name);
        let context = Dir::new("context");
        std::fs::write(context.0.join("Dockerfile"), format!("FROM {from}\nCOPY new /\n")).unwrap();
        std::fs::write(context.0.join("new"), format!("{name} {:?}", SystemTime::now())).unwrap();
        docker(["build", "--quiet", "--tag", &name, context.0.to_str().unwrap()]).expect(0);
        self.send(name)
    }

    /// The full name of an image in this registry. It is removed from the engine with the registry.
    pub fn name(&self, name: &str) -> String {
        let name = format!("{}/{name}", self.address);
        self.names.lock().unwrap().push(name.clone());
        name
    }

    #[track_caller]
    fn send(&self, name: String) -> String {
        docker(["push", "--quiet", &name]).expect(0);
        docker(["rmi", &name]).expect(0);
        name
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for name in self.names.lock().unwrap().iter() {
            let known = docker(["image", "inspect", name]).code == 0;
            if known && docker(["rmi", name]).code != 0 {
                eprintln!("image {name} is left");
            }
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program, built once, outside the source tree.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let go = Command::new("go").arg("version").output();
        assert!(go.is_ok(), "no go on PATH: Go 1.24 or newer builds the tests' registry");
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("registry");
        // Two concurrent test runs build one each, and the second replaces the first.
        let fresh = built.with_extension(std::process::id().to_string());
        let mut build = Command::new("go");
        build.args(["build", "-mod=readonly", "-buildvcs=false", "-o"]).arg(&fresh).arg(".").env("GOWORK", "off");
        run(build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/registry"))).expect(0);
        std::fs::rename(&fresh, &built).unwrap();
        built
    })
}
