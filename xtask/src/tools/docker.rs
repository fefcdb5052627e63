//! The docker client: its commands, and parsers for its output.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::config::Env;
use crate::environment::Purpose;
use crate::exec::{Cmd, Exec, Output};
use crate::signal::Stop;

/// How to start root's engine.
const START: &str = "`systemctl start docker`, or on a machine without systemd `.ci/engine start`";

/// How to start an engine that runs without root.
const START_OWN: &str = "`systemctl --user start docker`";

/// Limit for a question to the engine.
const ASK: Duration = Duration::from_secs(20);

fn docker(deadline: Duration) -> Cmd {
    Cmd::new("docker", deadline).purpose(Purpose::Engine)
}

/// Prints the engine's properties.
pub fn info() -> Cmd {
    docker(Duration::from_secs(10)).args(["info", "--format", "{{json .}}"])
}

/// Whether an engine answers.
pub fn answers(env: &Env, exec: &dyn Exec, stop: &Stop) -> bool {
    env.find("docker").is_some()
        && exec.capture(&info(), Path::new("/dev/null"), stop).is_ok_and(|output| parse_info(&output).is_ok())
}

/// Prints the ids of a kind cluster's containers.
pub fn nodes(cluster: &str) -> Cmd {
    docker(ASK)
        .args(["ps", "--all", "--quiet", "--no-trunc", "--filter"])
        .arg(format!("label=io.x-k8s.kind.cluster={cluster}"))
}

/// Prints the name of the container that publishes `port` on this host.
pub fn publisher(port: u16) -> Cmd {
    docker(ASK).args(["ps", "--format", "{{.Names}}", "--filter"]).arg(format!("publish={port}"))
}

/// Prints containers as JSON.
pub fn inspect(containers: &[&str]) -> Cmd {
    docker(ASK).args(["container", "inspect"]).args(containers.iter().copied())
}

/// Prints the id of an image; exits with 1 if it is missing.
pub fn image_id(image: &str) -> Cmd {
    docker(ASK).args(["image", "inspect", "--format", "{{.Id}}", image])
}

/// Prints the ids of images; skips missing ones.
pub fn image_ids(images: &[&str]) -> Cmd {
    docker(ASK).args(["image", "inspect", "--format", "{{.Id}}"]).args(images.iter().copied())
}

/// Writes an image to standard output as a tar archive.
pub fn save(image: &str, deadline: Duration) -> Cmd {
    docker(deadline).args(["save", image])
}

/// Loads an image from an archive.
pub fn load(archive: &Path, deadline: Duration) -> Cmd {
    docker(deadline).args(["load", "--quiet", "--input"]).arg(archive)
}

/// Fetches an image.
pub fn pull(image: &str, deadline: Duration) -> Cmd {
    docker(deadline).args(["pull", image])
}

/// Whether a pull that ended with these lines had reached its registry: before that, docker names no layers.
pub fn is_pulling(lines: &[String]) -> bool {
    let of_layer = |line: &str| {
        line.split_once(": ").is_some_and(|(id, _)| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    lines.iter().any(|line| line.contains("Pulling from") || of_layer(line))
}

/// Builds an image in the engine from a Dockerfile, using only the files that .dockerignore admits. BuildKit's
/// attestations are off: they would turn the image into an index. The id goes to a file, because the name may soon be
/// another image's.
pub fn build(dockerfile: &Path, name: &str, id: &Path, context: &Path, deadline: Duration) -> Cmd {
    let cmd = docker(deadline).arg("build").arg("--file").arg(dockerfile).args(["--tag", name]);
    cmd.arg("--iidfile").arg(id).arg(context).env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1")
}

/// Returns the first base image of a Dockerfile.
pub fn base_image(dockerfile: &str) -> Option<&str> {
    dockerfile.lines().find_map(|line| line.strip_prefix("FROM ")?.split_whitespace().next())
}

/// Gives an image a second name.
pub fn tag(image: &str, name: &str) -> Cmd {
    docker(ASK).args(["tag", image, name])
}

/// Removes an image.
pub fn remove_image(image: &str) -> Cmd {
    docker(Duration::from_secs(60)).args(["image", "rm", image])
}

/// Prints the images built by our recipes, by name and tag.
pub fn our_images() -> Cmd {
    docker(ASK).args(["image", "ls", "--filter", "label=kafka-lab.made-from", "--format", "{{.Repository}}:{{.Tag}}"])
}

/// Prints the cluster of each node of a lab, whichever lab: its nodes mount `mark`.
pub fn clusters_of_labs(mark: &str) -> Cmd {
    let volume = format!("volume={mark}");
    let cluster = r#"{{.Label "io.x-k8s.kind.cluster"}}"#;
    docker(ASK).args(["ps", "--all", "--filter", &volume, "--format", cluster])
}

/// Starts stopped containers.
pub fn start(containers: &[&str]) -> Cmd {
    docker(Duration::from_secs(120)).arg("start").args(containers.iter().copied())
}

/// Sets a container's CPU weight; the default is 1024.
pub fn favour(container: &str, shares: u32) -> Cmd {
    docker(ASK).args(["update", "--cpu-shares", &shares.to_string(), container])
}

/// Resumes paused containers.
pub fn unpause(containers: &[&str]) -> Cmd {
    docker(ASK).arg("unpause").args(containers.iter().copied())
}

/// Pauses a container.
pub fn pause(container: &str) -> Cmd {
    docker(ASK).args(["pause", container])
}

/// Restarts a container; `grace` is its time to stop by itself.
pub fn restart(container: &str, grace: Duration) -> Cmd {
    docker(Duration::from_secs(120)).args(["restart", "--time", &grace.as_secs().to_string(), container])
}

/// Kills a pod's container in its node.
pub fn kill_container(node: &str, container: &str) -> Cmd {
    ctr(node, ASK).args(["tasks", "kill", "--signal", "SIGKILL", container])
}

/// Removes containers with their volumes, running or not.
pub fn remove(containers: &[&str]) -> Cmd {
    docker(Duration::from_secs(120)).args(["rm", "--force", "--volumes"]).args(containers.iter().copied())
}

/// Runs containerd's client in a node.
fn ctr(node: &str, deadline: Duration) -> Cmd {
    docker(deadline).args(["exec", "--interactive", node, "ctr", "--namespace", "k8s.io"])
}

/// Imports an image into a node. Runs in the node, because each docker exec slows a starting node down. Shortly after
/// the import, containerd's CRI plugin also lists the image by its configuration's id; the node has the image once both
/// names have the same digest. Prints `there` or `sent`.
const IMPORT: &str = r#"
has() {
    first= second=
    while read -r name type digest rest; do
        case $name in "$2") first=$digest ;; "$3") second=$digest ;; esac
    done <<LIST
$(ctr --namespace k8s.io images ls "name==$2" "name==$3")
LIST
    [ -n "$first" ] && [ "$first" = "$second" ]
}
within() {
    tries=$1 what=$2
    shift 2
    until "$@" 2>/dev/null; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "$what" >&2 && exit 3; }
        sleep 0.5
    done
}
within 1200 "containerd does not answer" test -S /run/containerd/containerd.sock
within 100 "containerd does not answer" ctr version >/dev/null
has "$@" && echo there && exit
archive=-
[ ! -r "$4" ] || archive=$4
ctr --namespace k8s.io images import "--no-unpack=$1" "$archive" >/dev/null || exit 3
within 40 "it was imported, and is not listed" has "$@"
echo sent"#;

/// Waits in a node until a port is open, for at most five minutes.
pub fn listening(node: &str, port: u16, deadline: Duration) -> Cmd {
    let wait = "for _ in {1..1500}; do (: >/dev/tcp/127.0.0.1/$0) 2>/dev/null && exit; sleep 0.2; done; exit 1";
    docker(deadline).args(["exec", node, "bash", "-c", wait, &port.to_string()])
}

/// Exit code of [`import_image`] if the node does not take the image. Others are docker's, as for a missing node.
pub const REFUSED: i32 = 3;

/// An image to import into a node.
#[derive(Clone, Copy, Debug)]
pub struct ImageImport<'a> {
    /// Its archive on this host, sent unless the node can read it.
    pub archive: &'a Path,
    /// Path of the archive in the node.
    pub seen: &'a str,
    /// The image's name in containerd.
    pub name: &'a str,
    /// The image's id.
    pub id: &'a str,
    /// Whether pods will run there. Unpacking is half of the work; if left out, containerd does it when a pod needs it.
    pub unpack: bool,
}

/// Imports an image into a node unless it is there.
pub fn import_image(node: &str, image: ImageImport<'_>, deadline: Duration) -> Cmd {
    let no_unpack = if image.unpack { "false" } else { "true" };
    docker(deadline)
        .args([
            "exec",
            "--interactive",
            node,
            "sh",
            "-c",
            IMPORT,
            "import",
            no_unpack,
            image.name,
            image.id,
            image.seen,
        ])
        .stdin(image.archive)
}

/// The engine's properties that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    pub server_version: String,
    pub cgroup_version: String,
    pub mem_total: u64,
    #[serde(rename = "NCPU")]
    pub ncpu: u64,
    pub docker_root_dir: std::path::PathBuf,
    pub architecture: String,
    pub operating_system: String,
    pub kernel_version: String,
    pub server_errors: Option<Vec<String>>,
    pub cgroup_driver: String,
    pub memory_limit: bool,
    pub pids_limit: bool,
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    pub security_options: Option<Vec<String>>,
}

impl Info {
    /// Whether the engine runs without root. Each option is a list such as `name=seccomp,profile=default`.
    pub fn rootless(&self) -> bool {
        let options = self.security_options.iter().flatten();
        options.flat_map(|option| option.split(',')).any(|part| part == "name=rootless")
    }

    /// Returns what kind needs and this engine has not, with the fix. Only an engine without root can lack it; kind
    /// refuses such an engine when it creates the cluster.
    pub fn lack(&self) -> Option<(String, String)> {
        if !self.rootless() {
            return None;
        }
        if self.cgroup_version != "2" {
            let what = format!("cgroup v{}, on which it cannot limit a node's resources", self.cgroup_version);
            return Some((what, "boot with systemd.unified_cgroup_hierarchy=1".into()));
        }
        if self.cgroup_driver == "none" {
            // What it says about limits then means nothing.
            let what = "no cgroups: it was not started by the user's systemd".into();
            return Some((what, format!("stop it and start it with {START_OWN}")));
        }
        let limits = [(self.cpu_shares, "cpu"), (self.memory_limit, "memory"), (self.pids_limit, "pids")];
        let missing: Vec<&str> = limits.iter().filter(|(has, _)| !has).map(|(_, name)| *name).collect();
        (!missing.is_empty()).then(|| {
            let what = format!("no right to limit {}: systemd does not delegate it", missing.join(", "));
            let fix = "as root, put the lines [Service] and Delegate=cpu cpuset io memory pids into \
                       /etc/systemd/system/user@.service.d/delegate.conf and run `systemctl daemon-reload`; then log \
                       out, log in, and restart the engine";
            (what, fix.into())
        })
    }
}

/// How to start the engine that does not answer at the socket that `told` names: an error, or DOCKER_HOST.
pub fn start_line(told: &str) -> &'static str {
    if told.contains("unix:///run/user/") { START_OWN } else { START }
}

/// Why no engine can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEngine {
    /// Nothing listens on its socket.
    NotRunning(String),
    /// The engine denies access.
    NoPermission(String),
    /// The client is configured for another machine or a missing context, and gets no answer.
    Elsewhere(String),
    /// Another engine answers, of this name.
    NotDocker(&'static str),
    /// Any other reason.
    Other(String),
}

/// Recognizes Podman's and nerdctl's stand-ins for docker by the answer of `docker info`: its shape, or values that
/// Docker never has.
fn other_engine(answer: &serde_json::Value, info: &Info, stderr: &str) -> Option<&'static str> {
    let root = info.docker_root_dir.to_string_lossy();
    if (answer["host"].is_object() && answer["store"].is_object())
        || root.ends_with("containers/storage")
        || stderr.to_ascii_lowercase().contains("podman")
    {
        return Some("Podman");
    }
    // nerdctl's answer has no root folder, and its version begins with `v`.
    let nerdctl = (info.server_version.starts_with('v') && root.is_empty()) || stderr.contains("nerdctl");
    nerdctl.then_some("nerdctl")
}

/// Prints the engine's components.
pub fn version() -> Cmd {
    docker(ASK).args(["version", "--format", "{{json .}}"])
}

/// Returns the engine that answers [`version`] if it is not Docker, whose component is `Engine`.
pub fn parse_version(output: &Output) -> Option<&'static str> {
    let answer: serde_json::Value = serde_json::from_str(output.stdout.trim()).ok()?;
    let parts = answer["Server"]["Components"].as_array().into_iter().flatten();
    let names: Vec<&str> = parts.filter_map(|part| part["Name"].as_str()).collect();
    if names.iter().any(|name| name.contains("Podman")) {
        return Some("Podman");
    }
    (names.contains(&"containerd") && !names.contains(&"Engine")).then_some("nerdctl")
}

/// Reads the answer to [`info`].
///
/// # Errors
/// The reason why no engine can be used.
pub fn parse_info(output: &Output) -> Result<Info, NoEngine> {
    let answer: serde_json::Value = serde_json::from_str(output.stdout.trim()).unwrap_or_default();
    let info: Info = serde_json::from_value(answer.clone()).unwrap_or_default();
    if let Some(other) = other_engine(&answer, &info, &output.stderr) {
        return Err(NoEngine::NotDocker(other));
    }
    if output.code == Some(0) && !info.server_version.is_empty() {
        return Ok(info);
    }
    let text = info.server_errors.unwrap_or_default().join(" ") + output.stderr.trim();
    let text = if text.is_empty() { unexplained(output) } else { text };
    let lower = text.to_ascii_lowercase();
    let context = lower.contains("context") && ["not found", "does not exist"].iter().any(|sign| lower.contains(sign));
    let far = ["tcp://", "ssh://", "http://", "https://", "dial tcp", "no such host", "could not resolve hostname"];
    Err(if lower.contains("permission denied") && !lower.contains("publickey") {
        NoEngine::NoPermission(text)
    } else if context || far.iter().any(|sign| lower.contains(sign)) || lower.contains("publickey") {
        NoEngine::Elsewhere(text)
    } else if [
        "is the docker daemon running",
        "cannot connect to the docker daemon",
        "connection refused",
        "no such file",
    ]
    .iter()
    .any(|sign| lower.contains(sign))
    {
        NoEngine::NotRunning(text)
    } else {
        NoEngine::Other(text)
    })
}

/// Describes an answer that gives no reason.
fn unexplained(output: &Output) -> String {
    let ended = match output.code {
        Some(0) => String::new(),
        Some(code) => format!(" and exited with {code}"),
        None => " and was killed by a signal".into(),
    };
    match crate::failure::tail(&output.stdout, 1).first() {
        None => format!("`docker info` printed nothing{ended}"),
        Some(line) => {
            let line: String = line.chars().take(80).collect();
            format!("`docker info` printed \"{line}\"{ended}, which is not Docker's answer")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: i32, stdout: &str, stderr: &str) -> Output {
        Output { code: Some(code), stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn a_dockerfile_names_what_it_begins_with() {
        let text = "# FROM here\nFROM rust:1.89-bookworm AS program\nRUN true\nFROM scratch\n";
        assert_eq!(base_image(text), Some("rust:1.89-bookworm"));
        assert_eq!(base_image("# nothing\n"), None);
    }

    #[test]
    fn a_pull_of_many_layers_that_takes_long_has_reached_its_registry() {
        let said = |text: &str| text.lines().map(ToString::to_string).collect::<Vec<_>>();
        assert!(is_pulling(&said("7.3.5: Pulling from confluentinc/cp-kafka")));
        // Only the last lines of a command's output are kept.
        let layers = (0..12).map(|n| format!("{n:012x}: {}", ["Waiting", "Download complete"][n % 2]));
        assert!(is_pulling(&layers.collect::<Vec<_>>()));
        assert!(!is_pulling(&said("Using default tag: latest\nError response from daemon: Get: timeout")));
        assert!(!is_pulling(&[]));
    }

    #[test]
    fn the_causes_of_a_missing_engine_are_told_apart() {
        let info = parse_info(&answer(0, r#"{"ServerVersion":"28.2","NCPU":2,"MemTotal":5,"CgroupVersion":"2"}"#, ""));
        assert_eq!(info.unwrap().ncpu, 2);
        let not_running =
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
        // Newer clients exit with 0 and report the error as data; older ones exit with 1.
        let told = format!(r#"{{"ServerVersion":"","ServerErrors":["{not_running}"]}}"#);
        assert!(matches!(parse_info(&answer(0, &told, "")), Err(NoEngine::NotRunning(_))));
        assert!(matches!(parse_info(&answer(1, "", not_running)), Err(NoEngine::NotRunning(_))));
        let denied =
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock";
        assert!(matches!(parse_info(&answer(1, "", denied)), Err(NoEngine::NoPermission(_))));
        for elsewhere in [
            "context \"x\" does not exist",
            "Failed to initialize: unable to resolve docker endpoint: context \"far\": context not found: open /x/meta.json: no such file or directory",
            "Cannot connect to the Docker daemon at tcp://10.0.0.1:2375. Is the docker daemon running?",
            "error during connect: Get \"http://far:2375/v1.51/info\": dial tcp: lookup far: no such host",
            "error during connect: Get \"http://docker.example.com/v1.51/info\": command [ssh far] has exited: user@far: Permission denied (publickey).",
        ] {
            let found = parse_info(&answer(1, "", elsewhere));
            assert!(matches!(found, Err(NoEngine::Elsewhere(_))), "{elsewhere}: {found:?}");
        }
    }

    #[test]
    fn what_stands_in_for_docker_is_called_by_its_name() {
        let podman = r#"{"host":{"arch":"amd64","cgroupVersion":"v2"},"store":{"graphDriverName":"overlay"},"version":{"Version":"4.9.3"}}"#;
        let its_socket = r#"{"ServerVersion":"4.9.3","DockerRootDir":"/var/lib/containers/storage","NCPU":4}"#;
        let nerdctl = r#"{"ID":"x","Driver":"overlayfs","ServerVersion":"v2.1.1","CgroupVersion":"2","NCPU":4}"#;
        let hint = "Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg.\nError: x";
        assert_eq!(parse_info(&answer(0, podman, "")), Err(NoEngine::NotDocker("Podman")));
        assert_eq!(parse_info(&answer(0, its_socket, "")), Err(NoEngine::NotDocker("Podman")));
        assert_eq!(parse_info(&answer(125, "", hint)), Err(NoEngine::NotDocker("Podman")));
        assert_eq!(parse_info(&answer(0, nerdctl, "")), Err(NoEngine::NotDocker("nerdctl")));
        let parts = |names: &[&str]| {
            let parts: Vec<_> = names.iter().map(|name| serde_json::json!({"Name": name})).collect();
            parse_version(&answer(0, &serde_json::json!({"Server": {"Components": parts}}).to_string(), ""))
        };
        assert_eq!(parts(&["Engine", "containerd", "runc", "docker-init"]), None);
        assert_eq!(parts(&["Podman Engine", "Conmon", "OCI Runtime (crun)"]), Some("Podman"));
        assert_eq!(parts(&["containerd", "runc"]), Some("nerdctl"));
        assert_eq!(parse_version(&answer(1, "what?", "")), None);
    }

    /// The options are those of `SystemInfo` in the engine's API; what is needed is what kind 0.30 asks for.
    #[test]
    fn what_an_engine_without_root_lacks_for_kind_is_found() {
        let said = |cgroups: &str, limits: [bool; 3], options: &[&str]| {
            let [cpu, memory, pids] = limits;
            let (version, driver) = cgroups.split_once(' ').unwrap();
            let info = serde_json::json!({
                "ServerVersion": "28.2.2", "CgroupVersion": version, "CgroupDriver": driver, "CPUShares": cpu,
                "MemoryLimit": memory, "PidsLimit": pids, "SecurityOptions": options,
            });
            parse_info(&answer(0, &info.to_string(), "")).unwrap()
        };
        let (rootless, root) = (&["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"][..], &[][..]);
        assert!(said("2 systemd", [true; 3], rootless).rootless() && !said("2 systemd", [true; 3], root).rootless());
        for (cgroups, limits, options, lacks) in [
            ("2 systemd", [true; 3], rootless, None),
            ("1 cgroupfs", [false; 3], root, None),
            ("1 none", [true; 3], rootless, Some(("cgroup v1", "unified_cgroup_hierarchy"))),
            ("2 none", [true; 3], rootless, Some(("no cgroups", "systemctl --user start docker"))),
            ("2 systemd", [false, true, false], rootless, Some(("limit cpu, pids:", "Delegate="))),
        ] {
            match (said(cgroups, limits, options).lack(), lacks) {
                (None, None) => {}
                (Some((what, fix)), Some(words)) => {
                    assert!(what.contains(words.0) && fix.contains(words.1), "{what}: {fix}");
                }
                (found, lacks) => panic!("{cgroups} {limits:?}: {found:?} instead of {lacks:?}"),
            }
        }
        let none = parse_info(&answer(0, r#"{"ServerVersion":"28.2","SecurityOptions":null}"#, "")).unwrap();
        assert!(!none.rootless() && none.lack().is_none());
    }

    #[test]
    fn an_answer_without_a_reason_is_told_as_that() {
        for (code, stdout, told) in [
            (0, "", "printed nothing"),
            (125, "", "printed nothing and exited with 125"),
            (0, "<html>gateway</html>", "printed \"<html>gateway</html>\""),
            (0, "{}", "printed \"{}\""),
            (0, "null", "printed \"null\""),
            (0, "[1]", "printed \"[1]\""),
        ] {
            let Err(NoEngine::Other(said)) = parse_info(&answer(code, stdout, "")) else { panic!("{stdout}") };
            assert!(said.contains(told), "{said}");
        }
    }
}
