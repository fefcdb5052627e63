//! The docker client: how it is asked, and what it answers.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::config::Env;
use crate::environment::Purpose;
use crate::exec::{Cmd, Exec, Output};
use crate::signal::Stop;

/// How an engine is started.
pub const START: &str = "`systemctl start docker`, or on a machine without systemd `.ci/engine start`";

/// An engine that has not answered by then hangs.
const ASK: Duration = Duration::from_secs(20);

fn docker(deadline: Duration) -> Cmd {
    Cmd::new("docker", deadline).purpose(Purpose::Engine)
}

/// Everything the engine tells about itself.
pub fn info() -> Cmd {
    docker(Duration::from_secs(10)).args(["info", "--format", "{{json .}}"])
}

/// Whether an engine answers.
pub fn answers(env: &Env, exec: &dyn Exec, stop: &Stop) -> bool {
    env.find("docker").is_some()
        && exec.capture(&info(), Path::new("/dev/null"), stop).is_ok_and(|output| parse_info(&output).is_ok())
}

/// The ids of a kind cluster's containers.
pub fn nodes(cluster: &str) -> Cmd {
    docker(ASK)
        .args(["ps", "--all", "--quiet", "--no-trunc", "--filter"])
        .arg(format!("label=io.x-k8s.kind.cluster={cluster}"))
}

/// Who publishes `port` of this host.
pub fn publisher(port: u16) -> Cmd {
    docker(ASK).args(["ps", "--format", "{{.Names}}", "--filter"]).arg(format!("publish={port}"))
}

/// Containers as JSON.
pub fn inspect(containers: &[&str]) -> Cmd {
    docker(ASK).args(["container", "inspect"]).args(containers.iter().copied())
}

/// The id of an image; exit code 1 when it is not there.
pub fn image_id(image: &str) -> Cmd {
    docker(ASK).args(["image", "inspect", "--format", "{{.Id}}", image])
}

/// The ids of the given images, without those that are missing.
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

/// Whether a pull that said these lines last was getting layers: before a registry has answered, docker names none.
pub fn is_pulling(lines: &[String]) -> bool {
    let of_layer = |line: &str| {
        line.split_once(": ").is_some_and(|(id, _)| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    lines.iter().any(|line| line.contains("Pulling from") || of_layer(line))
}

/// Builds an image in the engine from a Dockerfile, with so many of the repository's files as .dockerignore leaves. Without
/// BuildKit's attestations, which would make an index of an image. Its id goes to a file: the name may be another image's
/// a moment later.
pub fn build(dockerfile: &Path, name: &str, id: &Path, context: &Path, deadline: Duration) -> Cmd {
    let cmd = docker(deadline).arg("build").arg("--file").arg(dockerfile).args(["--tag", name]);
    cmd.arg("--iidfile").arg(id).arg(context).env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1")
}

/// The image that a Dockerfile begins with.
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

/// Images that our recipes made, by name and tag.
pub fn our_images() -> Cmd {
    docker(ASK).args(["image", "ls", "--filter", "label=kafka-lab.made-from", "--format", "{{.Repository}}:{{.Tag}}"])
}

/// Starts containers that were stopped.
pub fn start(containers: &[&str]) -> Cmd {
    docker(Duration::from_secs(120)).arg("start").args(containers.iter().copied())
}

/// Puts a container before others when the processors are busy: its weight against their 1024.
pub fn favour(container: &str, shares: u32) -> Cmd {
    docker(ASK).args(["update", "--cpu-shares", &shares.to_string(), container])
}

/// Resumes containers that were paused.
pub fn unpause(containers: &[&str]) -> Cmd {
    docker(ASK).arg("unpause").args(containers.iter().copied())
}

/// Pauses a container.
pub fn pause(container: &str) -> Cmd {
    docker(ASK).args(["pause", container])
}

/// Restarts a container, with so long to end by itself.
pub fn restart(container: &str, grace: Duration) -> Cmd {
    docker(Duration::from_secs(120)).args(["restart", "--time", &grace.as_secs().to_string(), container])
}

/// Kills a container of a pod, in its node.
pub fn kill_container(node: &str, container: &str) -> Cmd {
    ctr(node, ASK).args(["tasks", "kill", "--signal", "SIGKILL", container])
}

/// Removes containers with their volumes, running or not.
pub fn remove(containers: &[&str]) -> Cmd {
    docker(Duration::from_secs(120)).args(["rm", "--force", "--volumes"]).args(containers.iter().copied())
}

/// containerd's own client in a node.
fn ctr(node: &str, deadline: Duration) -> Cmd {
    docker(deadline).args(["exec", "--interactive", node, "ctr", "--namespace", "k8s.io"])
}

/// Brings an image into a node, run there: a question from outside costs a starting node more than the answer is worth.
/// containerd's Kubernetes part knows each image by the id of its configuration too, a moment after the import; the node has
/// the image when both names lead to the same digest. Prints `there` or `sent`.
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

/// Waits in a node until something listens on a port there; for five minutes, should nobody wait for the answer any more.
pub fn listening(node: &str, port: u16, deadline: Duration) -> Cmd {
    let wait = "for _ in {1..1500}; do (: >/dev/tcp/127.0.0.1/$0) 2>/dev/null && exit; sleep 0.2; done; exit 1";
    docker(deadline).args(["exec", node, "bash", "-c", wait, &port.to_string()])
}

/// The exit code of [`import_image`] if the node rejects the image. Others are docker's own, as for a node that does not
/// exist yet.
pub const REFUSED: i32 = 3;

/// An image, where it is for a node, and what is wanted of it there.
#[derive(Clone, Copy, Debug)]
pub struct ImageImport<'a> {
    /// Its archive here, which is sent unless the node sees it itself.
    pub archive: &'a Path,
    /// The archive as the node may see it.
    pub seen: &'a str,
    /// The name that containerd knows it by.
    pub name: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Whether pods will run there. Unpacking it is half of the work, and containerd makes up for it when a pod does come
    /// to a node where it was left out.
    pub unpack: bool,
}

/// Brings an image into a node unless it is there.
pub fn import_image(node: &str, what: ImageImport<'_>, deadline: Duration) -> Cmd {
    let no_unpack = if what.unpack { "false" } else { "true" };
    docker(deadline)
        .args(["exec", "--interactive", node, "sh", "-c", IMPORT, "import", no_unpack, what.name, what.id, what.seen])
        .stdin(what.archive)
}

/// What the engine tells about itself, as far as it matters.
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
}

/// Why an engine is out of reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEngine {
    /// Nothing listens.
    NotRunning(String),
    /// It is there, and we may not speak to it.
    NoPermission(String),
    /// The client is pointed at another machine, or by a context at nothing, and gets no answer there.
    Elsewhere(String),
    /// What answers is not Docker, but this.
    NotDocker(&'static str),
    /// Something else.
    Other(String),
}

/// Podman's and nerdctl's stand-ins for docker, by what `docker info` answers: an object of a shape of its own, or Docker's shape with what Docker
/// never has.
fn other_engine(answer: &serde_json::Value, info: &Info, stderr: &str) -> Option<&'static str> {
    let root = info.docker_root_dir.to_string_lossy();
    if (answer["host"].is_object() && answer["store"].is_object())
        || root.ends_with("containers/storage")
        || stderr.to_ascii_lowercase().contains("podman")
    {
        return Some("Podman");
    }
    // nerdctl's answer has no such folder, and a version as containerd's tags are.
    let nerdctl = (info.server_version.starts_with('v') && root.is_empty()) || stderr.contains("nerdctl");
    nerdctl.then_some("nerdctl")
}

/// Who the engine is, behind whatever client.
pub fn version() -> Cmd {
    docker(ASK).args(["version", "--format", "{{json .}}"])
}

/// The engine that answers [`version`], when it is not Docker: each names its parts, Docker's is `Engine`.
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
/// Why there is no engine.
pub fn parse_info(output: &Output) -> Result<Info, NoEngine> {
    let answer: serde_json::Value = serde_json::from_str(output.stdout.trim()).unwrap_or_default();
    let info: Info = serde_json::from_value(answer.clone()).unwrap_or_default();
    if let Some(other) = other_engine(&answer, &info, &output.stderr) {
        return Err(NoEngine::NotDocker(other));
    }
    if output.code == Some(0) && !info.server_version.is_empty() {
        return Ok(info);
    }
    let said = info.server_errors.unwrap_or_default().join(" ") + output.stderr.trim();
    let said = if said.is_empty() { unexplained(output) } else { said };
    let lower = said.to_ascii_lowercase();
    let context = lower.contains("context") && ["not found", "does not exist"].iter().any(|sign| lower.contains(sign));
    let far = ["tcp://", "ssh://", "http://", "https://", "dial tcp", "no such host", "could not resolve hostname"];
    Err(if lower.contains("permission denied") && !lower.contains("publickey") {
        NoEngine::NoPermission(said)
    } else if context || far.iter().any(|sign| lower.contains(sign)) || lower.contains("publickey") {
        NoEngine::Elsewhere(said)
    } else if [
        "is the docker daemon running",
        "cannot connect to the docker daemon",
        "connection refused",
        "no such file",
    ]
    .iter()
    .any(|sign| lower.contains(sign))
    {
        NoEngine::NotRunning(said)
    } else {
        NoEngine::Other(said)
    })
}

/// What to say of an answer that explains nothing.
fn unexplained(output: &Output) -> String {
    let ended = match output.code {
        Some(0) => String::new(),
        Some(code) => format!(" and ended with exit code {code}"),
        None => " and was ended by a signal".into(),
    };
    match crate::failure::tail(&output.stdout, 1).first() {
        None => format!("`docker info` said nothing{ended}"),
        Some(line) => {
            let line: String = line.chars().take(80).collect();
            format!("`docker info` answered \"{line}\"{ended}, which Docker does not")
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
        // Only the last lines are kept of what a command said.
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
        // Newer clients exit with 0 and tell the error as data, older ones exit with 1.
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

    #[test]
    fn an_answer_without_a_reason_is_told_as_that() {
        for (code, stdout, told) in [
            (0, "", "said nothing"),
            (125, "", "said nothing and ended with exit code 125"),
            (0, "<html>gateway</html>", "answered \"<html>gateway</html>\""),
            (0, "{}", "answered \"{}\""),
            (0, "null", "answered \"null\""),
            (0, "[1]", "answered \"[1]\""),
        ] {
            let Err(NoEngine::Other(said)) = parse_info(&answer(code, stdout, "")) else { panic!("{stdout}") };
            assert!(said.contains(told), "{said}");
        }
    }
}
