//! The lab of a benchmark: xtask brings it up with a name, ports and a folder of its own, and takes it down again.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::machine;
use crate::process::{Running, Variables, find, words};
use crate::result::RegimeName;
use crate::stop::Stop;

/// ZooKeeper's port is this much above the first broker's (manifests/lab.yml and manifests/kafka.yml).
const ZOOKEEPER_ABOVE: u16 = 2091;

/// A running lab; taken down when dropped.
pub struct Lab {
    xtask: Vec<String>,
    name: String,
    /// XDG_STATE_HOME of the lab, removed with it.
    folder: PathBuf,
    /// Addresses of the brokers, with commas between them.
    pub brokers: String,
    /// Number of brokers.
    pub count: usize,
    /// The clients' program.
    pub client: String,
    /// Java and its class path, as the brokers use them.
    pub java: String,
    pub class_path: String,
    /// The processes of ZooKeeper and the brokers.
    pub servers: Vec<u32>,
    /// Cores of the servers and the core of clients, if they are pinned.
    pub pinned: Option<Pinned>,
}

/// Which cores belong to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// As taskset(1) reads them.
    pub servers: String,
    pub server_cores: usize,
    pub client: String,
}

impl Pinned {
    /// The last core for the client, the others for the servers. `None` of a machine with one core.
    pub fn of(cores: usize) -> Option<Self> {
        let last = cores.checked_sub(1).filter(|last| *last > 0)?;
        let servers = if last == 1 { "0".into() } else { format!("0-{}", last - 1) };
        Some(Self { servers, server_cores: last, client: last.to_string() })
    }
}

impl Lab {
    /// Brings up the lab of a regime. `xtask` is the command that does it.
    ///
    /// # Errors
    /// The lab does not come up; what came up is taken down.
    pub fn up(regime: RegimeName, xtask: &[String], repo: &Path, stop: &Stop) -> Result<Self> {
        let home = match regime {
            RegimeName::Real => std::env::temp_dir(),
            RegimeName::ClientBound => PathBuf::from("/dev/shm"),
        };
        let pinned = match regime {
            RegimeName::Real => None,
            RegimeName::ClientBound => {
                if !in_memory(&home, &std::fs::read_to_string("/proc/mounts").unwrap_or_default()) {
                    bail!("{} is no tmpfs", home.display());
                }
                find("taskset").context("taskset is missing; `apt-get install util-linux` has it")?;
                Some(Pinned::of(machine::cores()).context("this machine has one core, and two are needed")?)
            }
        };
        let name = format!("bench-{}", regime.name());
        let folder = home.join(format!("kafka-lab-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (brokers, client, java, class_path) = Default::default();
        let xtask = xtask.to_vec();
        let mut lab =
            Self { xtask, name, folder, brokers, count: 0, client, java, class_path, servers: Vec::new(), pinned };
        let manifests = repo.join("manifests");
        let manifests = if regime == RegimeName::Real { manifests } else { lab.one_broker(&manifests)? };
        let manifests = manifests.to_str().context("the path of the manifests is no text")?;
        let base = free_ports()?.to_string();
        let up = ["up", "--backend", "local", "--no-clients", "--port-base", &base, "--manifests", manifests];
        lab.xtask(&up, Duration::from_secs(3600), stop)?;
        lab.learn(stop)?;
        Ok(lab)
    }

    /// A copy of the manifests with one broker.
    fn one_broker(&self, manifests: &Path) -> Result<PathBuf> {
        let copy = self.folder.join("manifests");
        // Kafka's log4j files are below it.
        copy_folder(manifests, &copy)?;
        let path = copy.join("kafka.yml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        std::fs::write(&path, with_one_broker(&text)?)?;
        Ok(copy)
    }

    fn xtask(&self, args: &[&str], within: Duration, stop: &Stop) -> Result<String> {
        // What xtask starts inherits the cores.
        let pin = self.pinned.as_ref().map(|pinned| words(&["taskset", "--cpu-list", &pinned.servers]));
        let mut argv = [pin.unwrap_or_default(), self.xtask.clone(), words(&["--name", &self.name])].concat();
        argv.extend(words(args));
        let running = Running::start(&argv, Variables::All, &[("XDG_STATE_HOME", &self.folder)])?;
        let ran = running.finish(within, stop);
        Ok(ran.with_context(|| format!("`xtask {}` failed", args.join(" ")))?.stdout)
    }

    /// Asks the lab for what the benchmark needs.
    fn learn(&mut self, stop: &Stop) -> Result<()> {
        let within = Duration::from_secs(120);
        let status = self.xtask(&["status", "--format", "json"], within, stop)?;
        let report: Value = serde_json::from_str(status.lines().last().unwrap_or_default())
            .context("`xtask status` did not end with a report")?;
        let brokers: Vec<&str> = report["brokers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (self.brokers, self.count) = (brokers.join(","), brokers.len());
        let plan = self.xtask(&["up", "--dry-run"], within, stop)?;
        let line = plan.lines().find(|line| line.contains(" metadata --brokers")).unwrap_or_default();
        self.client = line.split(' ').next().unwrap_or_default().to_owned();
        for entry in std::fs::read_dir(self.folder.join("kafka-lab").join(&self.name))?.flatten() {
            let Ok(text) = std::fs::read_to_string(entry.path().join("process.json")) else { continue };
            let record: Value = serde_json::from_str(&text).context("a process record is no JSON")?;
            let pid = record["identity"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            let pid = pid.context("a process record names no pid")?;
            self.servers.push(pid);
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let args: Vec<&str> = line.split('\0').collect();
            if let Some(at) = args.iter().position(|arg| *arg == "-cp") {
                self.java = args.first().copied().unwrap_or_default().to_owned();
                self.class_path = args.get(at + 1).copied().unwrap_or_default().to_owned();
            }
        }
        if self.count == 0 || self.client.is_empty() || self.class_path.is_empty() {
            bail!("the lab is up, but its brokers, clients or class path are not where they were expected");
        }
        Ok(())
    }

    /// What goes before a client's command line.
    pub fn pin(&self) -> Vec<String> {
        self.pinned.as_ref().map(|pinned| words(&["taskset", "--cpu-list", &pinned.client])).unwrap_or_default()
    }

    /// A folder for files of the benchmark, removed with the lab.
    pub fn scratch(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        eprintln!("bench: taking the lab down");
        // Whatever interrupted us does not interrupt this.
        match self.xtask(&["teardown"], Duration::from_secs(300), &Stop::default()) {
            Ok(_) => {
                if let Err(error) = std::fs::remove_dir_all(&self.folder) {
                    eprintln!("bench: cannot remove {}: {error}", self.folder.display());
                }
            }
            Err(error) => eprintln!(
                "bench: the lab is still there: {error:#}\nfix: XDG_STATE_HOME={} cargo xtask teardown --name {}",
                self.folder.display(),
                self.name
            ),
        }
    }
}

/// A first port so that the lab's ports are free.
fn free_ports() -> Result<u16> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let lab = |base: &u16| (*base..base + 10).chain([base + ZOOKEEPER_ABOVE]).all(free);
    (20_100..30_000).step_by(20).find(lab).context("no free ports for a lab between 20100 and 32091")
}

/// Whether a folder is where a tmpfs is mounted.
fn in_memory(folder: &Path, mounts: &str) -> bool {
    let is = |line: &&str| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == folder.to_str() && fields.next() == Some("tmpfs")
    };
    mounts.lines().any(|line| is(&line))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// kafka.yml with one broker instead of three: every count of brokers or replicas becomes 1.
fn with_one_broker(text: &str) -> Result<String> {
    let mut changed = 0;
    let mut line = |line: &str| {
        let replicas = line.trim() == "replicas: 3";
        let counts = ["_REPLICATION_FACTOR,", "_MIN_INSYNC_REPLICAS,", "_MIN_ISR,"];
        if replicas {
            changed += 1;
            return line.replace('3', "1");
        }
        match line.split_once("value: \"") {
            Some((name, _)) if counts.iter().any(|count| name.contains(count)) => {
                changed += 1;
                format!("{name}value: \"1\"}}")
            }
            _ => line.to_owned(),
        }
    };
    let text: Vec<String> = text.lines().map(&mut line).collect();
    if changed != 6 {
        bail!("manifests/kafka.yml has {changed} lines that count brokers or replicas, and 6 were expected");
    }
    Ok(text.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn one_broker_is_made_of_the_manifest() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/kafka.yml")).unwrap();
        let one = with_one_broker(&text).unwrap();
        let differ: Vec<(&str, &str)> = text.lines().zip(one.lines()).filter(|(a, b)| a != b).collect();
        assert_eq!((differ.len(), text.lines().count()), (6, one.lines().count()));
        assert_eq!(differ[0], ("  replicas: 3", "  replicas: 1"));
        assert!(one.contains("{name: KAFKA_MIN_INSYNC_REPLICAS, value: \"1\"}"));
        assert!(one.contains("{name: KAFKA_NUM_PARTITIONS, value: \"4\"}"));
        assert!(with_one_broker("replicas: 3\n").unwrap_err().to_string().contains("1 lines"));
    }

    #[test]
    fn cores_are_shared_out() {
        let of = |cores| Pinned::of(cores).map(|pinned| (pinned.servers, pinned.client));
        assert_eq!(of(2), Some(("0".into(), "1".into())));
        assert_eq!(of(8), Some(("0-6".into(), "7".into())));
        assert_eq!(of(1), None);
    }

    #[test]
    fn a_tmpfs_is_known_by_its_mount() {
        let mounts = "tmpfs /dev/shm tmpfs rw 0 0\n/dev/sda / ext4 rw 0 0\n";
        assert!(in_memory(Path::new("/dev/shm"), mounts));
        assert!(!in_memory(Path::new("/"), mounts) && !in_memory(Path::new("/dev"), mounts));
    }
}
