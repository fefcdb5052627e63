//! Combines flags, environment and manifests into a complete [`Lab`]. Nothing else reads flags, variables or YAML.

pub mod broker_settings;
pub mod facts;
#[cfg(test)]
mod lab_schema;
pub mod manifests;
mod objects;
mod quorum;
#[cfg(test)]
mod restricted;
mod variables;
pub mod yaml;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::backend::{Backend, Reach};
use crate::cli::{Format, Global};
use crate::coordination::{Addresses, Mode, Release};
use crate::failure::{Exit, Failure, Result};
use crate::state::{ImageSource, LabRecord, Toolchain};
use crate::words::quoted;
use facts::{BuiltOn, Facts, Settings, Timeouts};

/// The environment, read once.
#[derive(Clone, Debug)]
pub struct Env {
    /// `$XDG_STATE_HOME/kafka-lab` or `~/.local/state/kafka-lab`, with a folder for each lab.
    pub state_root: PathBuf,
    /// `$XDG_CACHE_HOME/kafka-lab` or `~/.cache/kafka-lab`.
    pub cache: PathBuf,
    /// The project's folder.
    pub repo: PathBuf,
    /// Folders of `PATH`.
    pub path: Vec<PathBuf>,
    /// `JAVA_HOME`, if set and not empty.
    pub java_home: Option<PathBuf>,
    /// The cargo that runs xtask, or `cargo`.
    pub cargo: OsString,
    /// Cargo's folder, which has the sources of dependencies: `CARGO_HOME` or `~/.cargo`.
    pub cargo_home: Option<PathBuf>,
    /// Cargo's target folder: `CARGO_TARGET_DIR`, or `target` in the project.
    pub target: PathBuf,
    /// Whether to use colour: on a terminal, unless NO_COLOR is set (no-color.org).
    pub colour: bool,
    /// Whether standard error is a terminal that can redraw lines.
    pub terminal: bool,
    /// Whether standard output is a terminal that can redraw lines.
    pub screen: bool,
    /// Whether to use colour on standard output, as [`Env::colour`].
    pub screen_colour: bool,
    /// Whether we are root.
    pub root: bool,
    /// The user's kubeconfig: the first of KUBECONFIG, or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// DOCKER_HOST, if set: the engine may be on another machine.
    pub docker_host: Option<String>,
}

impl Env {
    /// Reads the environment.
    ///
    /// # Errors
    /// Neither the XDG variables nor HOME are set.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn read() -> Result<Self> {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dir = |xdg: &str, below_home: &str| -> Result<PathBuf> {
            // The XDG specification requires that relative paths are ignored. In another folder, one of HOME would be
            // another lab.
            let absolute = |name: &str| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
            match absolute(xdg).or_else(|| absolute("HOME").map(|home| home.join(below_home))) {
                Some(path) => Ok(path.join("kafka-lab")),
                None => Err(Failure::usage(format!(
                    "neither {xdg} nor HOME is set to an absolute path; one must name a folder for files"
                ))
                .fix(format!("`export {xdg}=/DIR`"))),
            }
        };
        let crate_dir = var("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let repo = Path::new(&crate_dir).parent().unwrap_or(Path::new(".")).to_path_buf();
        let redraws = var("TERM").is_none_or(|term| term != "dumb");
        let (terminal, screen) =
            (std::io::stderr().is_terminal() && redraws, std::io::stdout().is_terminal() && redraws);
        Ok(Env {
            state_root: dir("XDG_STATE_HOME", ".local/state")?,
            cache: dir("XDG_CACHE_HOME", ".cache")?,
            path: var("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default(),
            java_home: var("JAVA_HOME").map(PathBuf::from),
            cargo: var("CARGO").unwrap_or_else(|| "cargo".into()),
            cargo_home: var("CARGO_HOME")
                .map(PathBuf::from)
                .or_else(|| var("HOME").map(|home| PathBuf::from(home).join(".cargo"))),
            target: var("CARGO_TARGET_DIR")
                .map_or_else(|| repo.join("target"), |dir| std::path::absolute(&dir).unwrap_or_else(|_| dir.into())),
            colour: terminal && var("NO_COLOR").is_none(),
            terminal,
            screen,
            screen_colour: screen && var("NO_COLOR").is_none(),
            root: rustix::process::geteuid().is_root(),
            kubeconfig: var("KUBECONFIG")
                .and_then(|list| std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty()))
                .or_else(|| var("HOME").map(|home| PathBuf::from(home).join(".kube/config"))),
            docker_host: var("DOCKER_HOST").map(|host| host.to_string_lossy().into_owned()),
            repo,
        })
    }

    /// Finds the program `name` on `PATH`.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|dir| dir.join(name)).find(|file| is_program(file))
    }
}

/// Whether `file` is executable.
pub fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Ports of the coordinator and the brokers on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Port of broker 0; broker N has this plus N.
    pub base: u16,
    /// The coordinator's client port: ZooKeeper's, or that of the first controller; the next one has this plus one.
    pub coordinator: u16,
}

impl Ports {
    /// Returns the port of broker `id`.
    pub fn broker(self, id: u32) -> u16 {
        self.base.saturating_add(u16::try_from(id).unwrap_or(u16::MAX))
    }
}

/// Everything a command needs to know about a lab, complete and validated.
#[derive(Clone, Debug)]
pub struct Lab {
    /// Name of the lab.
    pub name: String,
    /// Backend on which it runs.
    pub backend: Backend,
    /// Why it runs there.
    pub backend_why: String,
    /// The version of Kafka, and who coordinates its brokers.
    pub release: Release,
    /// Content of the manifests.
    pub facts: Facts,
    /// Content of lab.yml.
    pub settings: Settings,
    /// Absolute path of the manifests.
    pub manifests: PathBuf,
    /// State folder of this lab.
    pub state: PathBuf,
    /// Ports on this host.
    pub ports: Ports,
    /// The environment.
    pub env: Env,
    /// Format of the results.
    pub format: Format,
    /// Source of the images.
    pub images: ImageSource,
    /// Programs and images recorded by an earlier `up`.
    pub setup: Option<Toolchain>,
    /// Replicas that `clients scale` set.
    pub scaled: BTreeMap<String, u32>,
    /// The user's kubeconfig that has our context.
    pub merged: Option<PathBuf>,
}

/// What is decided before the manifests are read.
#[derive(Clone, Debug)]
pub struct Overrides {
    /// Backend of the lab.
    pub backend: Backend,
    /// Why this backend.
    pub why: String,
    /// The version and the mode that `up` chose; otherwise the recorded ones.
    pub release: Option<Release>,
    /// `--port-base`, if given.
    pub port_base: Option<u16>,
    /// `--images`, if given.
    pub images: Option<ImageSource>,
}

impl Overrides {
    /// Overrides nothing but the backend.
    pub fn recorded(backend: Backend) -> Self {
        Overrides { backend, why: "recorded".into(), release: None, port_base: None, images: None }
    }
}

impl Lab {
    /// Reads the manifests and resolves all settings.
    ///
    /// # Errors
    /// All problems of the manifests at once; an invalid lab name or port.
    pub fn load(global: &Global, env: &Env, record: Option<&LabRecord>, overrides: Overrides) -> Result<Self> {
        let state = state_dir(global, env)?;
        let manifests = match (&global.manifests, record) {
            (Some(dir), _) => std::path::absolute(dir).unwrap_or_else(|_| dir.clone()),
            (None, Some(record)) => record.manifests.clone(),
            (None, None) => env.repo.join("manifests"),
        };
        let release = overrides.release.or(record.map(|record| record.kafka)).unwrap_or_default();
        let (mut facts, settings) = manifests::read(&manifests, release).map_err(|problems| {
            let list: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
            let count = problems.len();
            let what = format!(
                "{count} problem{} in {}:{}",
                if count == 1 { "" } else { "s" },
                manifests.display(),
                list.concat()
            );
            let failure = Failure::usage(what);
            if global.manifests.is_some() || record.is_none() {
                return failure;
            }
            failure.fix(format!(
                "`{1}`, or mend the folder, with which the lab was brought up, says {0}",
                state.join("lab.json").display(),
                xtask_line(&global.name, &format!("up --manifests {}", quoted(env.repo.join("manifests").as_os_str())))
            ))
        })?;
        let scaled = record.map(|record| record.scaled.clone()).unwrap_or_default();
        for client in &mut facts.clients {
            client.replicas = scaled.get(&client.name).copied().unwrap_or(client.replicas);
        }
        let setup = record.and_then(|record| record.setup.clone());
        let images = overrides.images.or(setup.as_ref().map(|setup| setup.source)).unwrap_or(ImageSource::Registry);
        let base =
            overrides.port_base.or(record.map(|record| record.port_base)).unwrap_or(facts.brokers.host_port_base);
        let ports = ports(base, release.mode, &facts, &settings).map_err(|failure| match overrides.port_base {
            None if record.is_some() => {
                Failure { message: format!("{}: {}", state.join("lab.json").display(), failure.message), ..failure }
                    .fix(xtask_line(&global.name, &format!("up --port-base {}", facts.brokers.host_port_base)))
            }
            _ => failure,
        })?;
        let name = global.name.clone();
        let most = overrides.backend.name_max();
        if name.len() > most {
            let what = format!("--name {name}: on {} a name has at most {most} characters", overrides.backend);
            return Err(Failure::usage(what));
        }
        Ok(Lab {
            name,
            backend: overrides.backend,
            backend_why: overrides.why,
            release,
            facts,
            settings,
            manifests,
            state,
            ports,
            env: env.clone(),
            format: global.format,
            images,
            setup,
            scaled,
            merged: record.and_then(|record| record.merged.clone()),
        })
    }

    /// Returns the kind cluster's name: that of the lab, or for the default lab that in cluster.yml.
    pub fn cluster(&self) -> &str {
        if self.name == DEFAULT_NAME { &self.facts.cluster.name } else { &self.name }
    }

    /// Returns the name of the kubeconfig context, as kind sets it.
    pub fn context(&self) -> String {
        format!("kind-{}", self.cluster())
    }

    /// Returns the path of the lab's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// Returns the folder that our nodes mount. It identifies a cluster as this lab's.
    pub fn mark(&self) -> PathBuf {
        self.state.join("mark")
    }

    /// Returns this host's ports that are mapped to the brokers of a kind cluster.
    pub fn host_ports(&self) -> Vec<u16> {
        let shift = self.port_shift();
        self.facts.cluster.host_ports.iter().filter_map(|port| u16::try_from(i32::from(*port) + shift).ok()).collect()
    }

    /// Returns how far `--port-base` shifts the ports from those in the manifests.
    pub fn port_shift(&self) -> i32 {
        i32::from(self.ports.base) - i32::from(self.facts.brokers.host_port_base)
    }

    /// Returns the broker ids, 0 to count − 1.
    pub fn broker_ids(&self) -> std::ops::Range<u32> {
        0..self.facts.brokers.count
    }

    /// Returns the address of broker `id` on this host.
    pub fn broker_address(&self, id: u32) -> String {
        format!("127.0.0.1:{}", self.ports.broker(id))
    }

    /// Returns the bootstrap list: all brokers' addresses, joined by commas.
    pub fn bootstrap(&self) -> String {
        self.broker_ids().map(|id| self.broker_address(id)).collect::<Vec<_>>().join(",")
    }

    /// Returns the ports on 127.0.0.1 of ZooKeeper, or of the controllers.
    pub fn coordinator_ports(&self) -> Vec<u16> {
        let count = self.facts.coordinator.quorum.as_ref().map_or(1, |quorum| quorum.voters.len());
        (0..count).map(|number| self.ports.coordinator.saturating_add(number as u16)).collect()
    }

    /// Returns the coordinator's address on this host; all of them, joined by commas, if it has several servers.
    pub fn coordinator_address(&self) -> String {
        let addresses: Vec<String> = self.coordinator_ports().iter().map(|port| format!("127.0.0.1:{port}")).collect();
        addresses.join(",")
    }

    /// Returns where the servers are on this host.
    pub fn addresses(&self) -> Addresses {
        let brokers = self.broker_ids().map(|id| (id, self.ports.broker(id))).collect();
        // The default is KafkaConfig's.
        let session_ms = self.facts.brokers.env.get("KAFKA_BROKER_SESSION_TIMEOUT_MS");
        let session_ms = session_ms.and_then(|text| text.parse().ok()).unwrap_or(9_000);
        Addresses { mode: self.release.mode, coordinators: self.coordinator_ports(), brokers, session_ms }
    }

    /// Returns `cargo xtask COMMAND` for this lab, ready to paste.
    pub fn xtask(&self, command: &str) -> String {
        xtask_line(&self.name, command)
    }

    /// Returns the folder of the logs.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Returns the path of the clients' program. On kind it is the static program of the image, unless Docker builds
    /// that.
    pub fn clients_program(&self) -> PathBuf {
        let target = if self.program_becomes_image() { PathBuf::from(static_target()) } else { PathBuf::new() };
        self.env.target.join(target).join("release").join("clients")
    }

    /// Whether the clients' image contains the program that this host builds.
    pub fn program_becomes_image(&self) -> bool {
        let here = match self.settings.kind.clients_image {
            BuiltOn::Auto => cfg!(target_os = "linux"),
            BuiltOn::Host => true,
            BuiltOn::Docker => false,
        };
        self.backend.reaches() == Reach::Pods && here
    }

    /// Returns a timeout from lab.yml.
    pub fn timeout(&self, of: impl Fn(&Timeouts) -> u64) -> Duration {
        Duration::from_secs(of(&self.settings.timeouts_s))
    }
}

/// The lab's default name.
pub const DEFAULT_NAME: &str = "kafka-lab";

/// Returns the target of the clients' image: Linux on this machine's architecture.
pub fn static_target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Returns `cargo xtask COMMAND` for lab `name`. The arguments of a tool stay last.
pub fn xtask_line(name: &str, command: &str) -> String {
    let (head, tail) = command.split_at(command.find(" -- ").unwrap_or(command.len()));
    let named = if name == DEFAULT_NAME { String::new() } else { format!(" --name {name}") };
    format!("cargo xtask {head}{named}{tail}")
}

/// Returns the state folder of the lab that `global` names.
///
/// # Errors
/// The name is invalid.
pub fn state_dir(global: &Global, env: &Env) -> Result<PathBuf> {
    let name = &global.name;
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 50 || !name.chars().all(legal) || name.starts_with('-') || name.ends_with('-') {
        let what = format!("--name \"{name}\": must be 1 to 50 characters a-z, 0-9 and '-', with no '-' at either end");
        return Err(Failure::usage(what));
    }
    Ok(env.state_root.join(name))
}

/// Shifts the coordinator's ports with the base, so that labs on different bases never share them.
fn ports(base: u16, mode: Mode, facts: &Facts, settings: &Settings) -> Result<Ports> {
    let shift = i32::from(base) - i32::from(facts.brokers.host_port_base);
    let first = match mode {
        Mode::KRaft => settings.local.controller_port,
        _ => settings.local.coordinator_port,
    };
    let coordinator = i32::from(first) + shift;
    let more = facts.coordinator.quorum.as_ref().map_or(0, |quorum| quorum.voters.len().saturating_sub(1));
    let last = u32::from(base) + facts.brokers.count - 1;
    match u16::try_from(coordinator) {
        Ok(coordinator)
            if base >= 1024 && last <= 65535 && coordinator >= 1024 && usize::from(coordinator) + more <= 65535 =>
        {
            Ok(Ports { base, coordinator })
        }
        _ => Err(Failure::new(
            Exit::Usage,
            format!(
                "--port-base {base}: brokers would use {base} to {last} and {} {coordinator}; all must be within 1024 \
                 to 65535",
                mode.noun()
            ),
        )),
    }
}

#[cfg(test)]
pub mod sample {
    //! A lab for unit tests.

    use super::*;

    /// Returns the flags of every command, for a lab of this name.
    pub fn global(name: &str) -> Global {
        let (name, format) = (name.into(), Format::Text);
        Global { name, manifests: None, format, dry_run: false, quiet: false, verbose: false }
    }

    /// Returns a lab with the committed manifests and invented folders.
    pub fn lab() -> Lab {
        of(Release::default())
    }

    /// Returns a lab with the committed manifests of a release.
    pub fn of(release: Release) -> Lab {
        let env = Env {
            state_root: "/state/kafka-lab".into(),
            cache: "/cache/kafka-lab".into(),
            repo: Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
            path: vec![],
            java_home: None,
            cargo: "cargo".into(),
            cargo_home: Some("/home/user/.cargo".into()),
            target: "/repo/target".into(),
            colour: false,
            terminal: false,
            screen: false,
            screen_colour: false,
            root: true,
            kubeconfig: None,
            docker_host: None,
        };
        let overrides = Overrides { release: Some(release), ..Overrides::recorded(Backend::Local) };
        Lab::load(&global("kafka-lab"), &env, None, overrides).unwrap()
    }

    /// Returns programs and images of a lab on kind.
    pub fn setup() -> Toolchain {
        Toolchain {
            source: ImageSource::Packages,
            kind: "kind".into(),
            kubectl: "kubectl".into(),
            node_image: Some("node:1".into()),
            kafka_image: "kafka:1".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_the_base_moves_zookeeper_along() {
        let lab = sample::lab();
        let moved = ports(20000, lab.release.mode, &lab.facts, &lab.settings).unwrap();
        assert_eq!((moved.broker(2), moved.coordinator), (20002, 22091));
        assert!(ports(65534, lab.release.mode, &lab.facts, &lab.settings).is_err());
        assert!(ports(80, lab.release.mode, &lab.facts, &lab.settings).is_err());
    }

    #[test]
    fn invalid_names_are_refused() {
        let lab = sample::lab();
        let mut global = sample::global("a-1");
        assert_eq!(state_dir(&global, &lab.env).unwrap(), Path::new("/state/kafka-lab/a-1"));
        for name in ["", "..", "a/b", "A", "-a", "a b", "ä"] {
            global.name = name.into();
            assert_eq!(state_dir(&global, &lab.env).unwrap_err().exit, Exit::Usage, "{name}");
        }
    }
}
