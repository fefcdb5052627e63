//! The lab of a benchmark: xtask brings it up with a name, ports and a folder of its own, and takes it down again.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::machine;
use crate::process::{Ran, Running, Variables, find, words};
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
    /// How long `up` took, and the CPU time of xtask and what it waited for meanwhile: the servers' is not in it.
    pub up_s: f64,
    pub up_cpu_s: f64,
}

/// What a lab is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The end of the lab's name.
    pub name: &'static str,
    /// Files in memory, and servers and clients on cores of their own.
    pub client_bound: bool,
    /// `None` for as many as the manifests say.
    pub brokers: Option<usize>,
}

impl Shape {
    /// The lab of a regime.
    pub fn of(regime: RegimeName) -> Self {
        let client_bound = regime == RegimeName::ClientBound;
        Self { name: regime.name(), client_bound, brokers: client_bound.then_some(1) }
    }
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
    /// Brings up a lab of its own. `xtask` is the command that does it.
    ///
    /// # Errors
    /// The lab does not come up; what came up is taken down.
    pub fn up(shape: &Shape, xtask: &[String], repo: &Path, stop: &Stop) -> Result<Self> {
        let home = if shape.client_bound { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let pinned = if shape.client_bound {
            if !in_memory(&home, &std::fs::read_to_string("/proc/mounts").unwrap_or_default()) {
                bail!("{} is no tmpfs", home.display());
            }
            find("taskset").context("taskset is missing; `apt-get install util-linux` has it")?;
            Some(Pinned::of(machine::cores()).context("this machine has one core, and two are needed")?)
        } else {
            None
        };
        let name = format!("bench-{}", shape.name);
        let folder = home.join(format!("kafka-lab-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (brokers, client, java, class_path) = Default::default();
        let xtask = xtask.to_vec();
        let (servers, up_s, up_cpu_s) = Default::default();
        let mut lab =
            Self { xtask, name, folder, brokers, count: 0, client, java, class_path, servers, pinned, up_s, up_cpu_s };
        let manifests = repo.join("manifests");
        let manifests = shape.brokers.map_or(Ok(manifests.clone()), |count| lab.manifests(&manifests, count))?;
        let manifests = manifests.to_str().context("the path of the manifests is no text")?;
        let base = free_ports()?.to_string();
        let up = ["up", "--backend", "local", "--no-clients", "--port-base", &base, "--manifests", manifests];
        let ran = lab.xtask(&up, Duration::from_secs(3600), stop)?;
        (lab.up_s, lab.up_cpu_s) = (ran.wall_s, ran.cpu_s);
        lab.learn(stop)?;
        Ok(lab)
    }

    /// A copy of the manifests with another number of brokers.
    fn manifests(&self, manifests: &Path, brokers: usize) -> Result<PathBuf> {
        let copy = self.folder.join("manifests");
        // Kafka's log4j files are below it.
        copy_folder(manifests, &copy)?;
        let path = copy.join("kafka.yml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        std::fs::write(&path, with_brokers(&text, brokers)?)?;
        Ok(copy)
    }

    fn xtask(&self, args: &[&str], within: Duration, stop: &Stop) -> Result<Ran> {
        // What xtask starts inherits the cores.
        let pin = self.pinned.as_ref().map(|pinned| words(&["taskset", "--cpu-list", &pinned.servers]));
        let mut argv = [pin.unwrap_or_default(), self.xtask.clone(), words(&["--name", &self.name])].concat();
        argv.extend(words(args));
        let running = Running::start(&argv, Variables::All, &[("XDG_STATE_HOME", &self.folder)])?;
        running.finish(within, stop).with_context(|| format!("`xtask {}` failed", args.join(" ")))
    }

    /// Asks the lab for what the benchmark needs.
    fn learn(&mut self, stop: &Stop) -> Result<()> {
        let within = Duration::from_secs(120);
        let status = self.xtask(&["status", "--format", "json"], within, stop)?.stdout;
        let report: Value = serde_json::from_str(status.lines().last().unwrap_or_default())
            .context("`xtask status` did not end with a report")?;
        let brokers: Vec<&str> = report["brokers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (self.brokers, self.count) = (brokers.join(","), brokers.len());
        let plan = self.xtask(&["up", "--dry-run"], within, stop)?.stdout;
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

/// A first port so that the lab's ports are free. Where the search begins depends on the process, so that two
/// benchmarks that start at once do not find the same ports.
fn free_ports() -> Result<u16> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let lab = |first: &u16| (*first..first + 20).chain([first + ZOOKEEPER_ABOVE]).all(free);
    let all = (20_100..30_000).step_by(20);
    let begin = std::process::id() as usize % all.len();
    let mut turned = all.clone().skip(begin).chain(all.take(begin));
    turned.find(lab).context("no free ports for a lab between 20100 and 32091")
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

/// kafka.yml with another number of brokers than three, and no more replicas than there are brokers.
fn with_brokers(text: &str, count: usize) -> Result<String> {
    let mut changed = 0;
    let mut line = |line: &str| {
        let most = |names: &[&str], least| names.iter().any(|name| line.contains(name)).then_some(count.min(least));
        let replicas = most(&["_REPLICATION_FACTOR,"], 3).or(most(&["_MIN_INSYNC_REPLICAS,", "_MIN_ISR,"], 2));
        if line.trim() == "replicas: 3" {
            changed += 1;
            return line.replace('3', &count.to_string());
        }
        match (line.split_once("value: \""), replicas) {
            (Some((name, _)), Some(replicas)) => {
                changed += 1;
                format!("{name}value: \"{replicas}\"}}")
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
    fn the_manifest_gets_another_number_of_brokers() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/kafka.yml")).unwrap();
        let one = with_brokers(&text, 1).unwrap();
        let differ: Vec<(&str, &str)> = text.lines().zip(one.lines()).filter(|(a, b)| a != b).collect();
        assert_eq!((differ.len(), text.lines().count()), (6, one.lines().count()));
        assert_eq!(differ[0], ("  replicas: 3", "  replicas: 1"));
        assert!(one.contains("{name: KAFKA_MIN_INSYNC_REPLICAS, value: \"1\"}"));
        assert!(one.contains("{name: KAFKA_NUM_PARTITIONS, value: \"4\"}"));
        assert_eq!(with_brokers(&text, 3).unwrap(), text);
        let ten = with_brokers(&text, 10).unwrap();
        assert_eq!(text.lines().zip(ten.lines()).filter(|(a, b)| a != b).count(), 1);
        assert!(with_brokers("replicas: 3\n", 1).unwrap_err().to_string().contains("1 lines"));
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
