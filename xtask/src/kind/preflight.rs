//! Checks this machine and the Docker engine before a lab on kind.

use std::path::Path;
use std::time::Duration;

use crate::config::{Env, Lab, xtask_line};
use crate::environment::Purpose;
use crate::exec::Cmd;
use crate::failure::{Exit, Result};
use crate::findings::{BUILD_PROGRAMS, Findings, Problem, compilers, lab_of, room, writable};
use crate::k8s::render::CLIENT_IMAGE;
use crate::kind::import;
use crate::kind::nodes::{self, NodeContainer};
use crate::kind::setup;
use crate::local::ports;
use crate::state::{ImageSource, Toolchain};
use crate::system::{MIB, available_memory, free_space};
use crate::task::Task;
use crate::tools::docker::{self, Info, NoEngine};
use crate::tools::kind;

/// The fix for an unreachable registry.
const OTHER_WAYS: &str = "`--images packages` builds the images without a registry; `--backend local` needs no images";

/// What [`look`] would check.
pub fn preview(lab: &Lab) -> Vec<String> {
    let ports: Vec<String> = lab.host_ports().iter().map(ToString::to_string).collect();
    let mut lines = vec![
        docker::info().to_string(),
        docker::nodes(lab.cluster()).to_string(),
        "# versions of kind and kubectl; the engine's cgroup version, inotify limits, memory and disk".into(),
        format!("# ports {} of 127.0.0.1: free or ours; the state folder", ports.join(", ")),
    ];
    if !lab.program_becomes_image() {
        lines.push("# the base image of the clients' Dockerfile: whether its registry answers".into());
    }
    lines.push(match lab.images {
        ImageSource::Packages => "# go, jq, zstd, mmdebstrap, busybox, mvn and a JDK 17, which build the images".into(),
        ImageSource::Registry => "# images that the engine lacks: whether their registry answers".into(),
    });
    lines
}

/// Checks everything, and chooses programs and images.
///
/// # Errors
/// An interruption.
pub fn look(task: &Task<'_>, findings: &mut Findings) -> Result<()> {
    let lab = task.lab();
    let info = if lab.env.find("docker").is_some() {
        engine(task, findings)?
    } else {
        let what = "no docker on PATH: kind's nodes are Docker containers; `--backend local` works without";
        findings.package(what, &["docker.io"]);
        None
    };
    // Also without an engine, so that one command can install all that is missing.
    builders(task, findings)?;
    let setup = settle(task, findings)?;
    let (Some(info), Some(setup)) = (info, setup) else {
        let what = "not asked before the above is mended: kind's version, nodes, ports, memory, limits, disk, images";
        findings.not_asked.push(what.into());
        return Ok(());
    };
    versions(task, &setup, &info, findings)?;
    let nodes = nodes::find(lab, task.ctx.exec, &task.log, task.ctx.stop)?;
    if nodes.is_empty() {
        free_ports(task, &nodes, findings)?;
    } else if !nodes::is_ours(lab, &nodes) {
        findings.problem(
            format!("this lab did not create the kind cluster {}", lab.cluster()),
            format!("`kind delete cluster --name {}` if you may delete it, or use another --name", lab.cluster()),
        );
    } else if task.ctx.recreate {
        findings.notes.push("the cluster will be recreated".into());
        free_ports(task, &nodes, findings)?;
    } else {
        let differences = nodes::differences(lab, &setup, &nodes);
        // An incomplete cluster of an interrupted `up` is recreated anyway.
        if !differences.is_empty() && lab.state.join(crate::kind::cluster::CREATED_MARK).exists() {
            findings.problem(
                format!("cluster {} differs from the manifests: {}", lab.cluster(), differences.join("; ")),
                format!("{}, which deletes its messages", lab.xtask("up --recreate")),
            );
        }
    }
    memory(lab, &info, nodes.iter().any(|node| node.running), findings);
    limits(lab, &info, findings);
    folders(lab, &info, &setup, findings);
    registry(task, &setup, findings)?;
    let _ = task.ctx.setup.set(setup);
    Ok(())
}

/// Checks that a Docker engine answers.
fn engine(task: &Task<'_>, findings: &mut Findings) -> Result<Option<Info>> {
    let output = match task.capture(&docker::info()) {
        Ok(output) => output,
        Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
        Err(failure) => {
            findings.problem(format!("the Docker engine does not answer: {}", failure.message), "restart it");
            return Ok(None);
        }
    };
    // A lab that is up on kind cannot change its backend.
    let other = if task.lab().kubeconfig().exists() { "" } else { "; `--backend local` works without" };
    let start = |error: &str| format!("{}{other}", docker::start_line(error));
    let default = "unset DOCKER_HOST and DOCKER_CONTEXT, or run `docker context use default`";
    match docker::parse_info(&output) {
        Ok(info) => {
            // Podman's socket answers Docker's client almost like Docker.
            let version = task.capture(&docker::version())?;
            if let Some(name) = docker::parse_version(&version) {
                not_docker(name, findings);
                return Ok(None);
            }
            if let Some((what, fix)) = info.lack() {
                let fix = format!("{fix}; or use root's engine: {default}{other}");
                findings.problem(format!("the Docker engine runs without root (rootless), and has {what}"), fix);
            } else if info.rootless() {
                let note = "the Docker engine runs without root (rootless): kind can use it, but this lab was never \
                            tested with one";
                findings.warnings.push(note.into());
            }
            findings.notes.push(format!("Docker {}, cgroup v{}", info.server_version, info.cgroup_version));
            return Ok(Some(info));
        }
        Err(NoEngine::NotRunning(error)) => {
            let fix = start(&error);
            findings.problem(format!("no Docker engine is running: {error}"), fix);
        }
        // Its user's alone: no group opens it to others.
        Err(NoEngine::NoPermission(error)) if error.contains("/run/user/") => {
            findings.problem(format!("the Docker engine is another user's: {error}"), format!("{default}{other}"))
        }
        Err(NoEngine::NoPermission(error)) => findings.problem(
            format!("no permission to use the Docker engine: {error}"),
            "`sudo usermod --append --groups docker $USER`, then log in again",
        ),
        Err(NoEngine::NotDocker(name)) => not_docker(name, findings),
        Err(NoEngine::Elsewhere(error)) => findings.problem(
            format!("the Docker engine that `docker` points to does not answer: {error}"),
            format!("{default}{other}"),
        ),
        Err(NoEngine::Other(error)) => {
            let fix = start(&error);
            findings.problem(format!("the Docker engine cannot be used: {error}"), fix);
        }
    }
    Ok(None)
}

/// Reports that `docker` talks to another engine.
fn not_docker(name: &str, findings: &mut Findings) {
    findings.problem(
        format!("`docker` is {name}, not Docker; the kind backend relies on Docker's own commands"),
        "install Docker (docker.io) and put its `docker` first on PATH, or point DOCKER_HOST at it; or use `--backend local`",
    );
}

/// The missing programs that pack images and, from packages, build them, each with its Debian package.
pub fn missing_programs(env: &Env, images: ImageSource) -> Vec<(&'static str, &'static str)> {
    let packing = [("zstd", "zstd")];
    let building = [
        ("jq", "jq"),
        ("tar", "tar"),
        ("bash", "bash"),
        ("sha256sum", "coreutils"),
        ("mmdebstrap", "mmdebstrap"),
        ("busybox", "busybox-static"),
        ("mvn", "maven"),
    ];
    let building = building.iter().filter(|_| images == ImageSource::Packages);
    let programs = packing.iter().chain(building).filter(|(program, _)| env.find(program).is_none()).copied();
    let jdk = (images == ImageSource::Packages && !has_jdk_17(env))
        .then_some(("jlink of a JDK 17", "openjdk-17-jdk-headless"));
    programs.chain(jdk).collect()
}

fn has_jdk_17(env: &Env) -> bool {
    let machines = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path());
    env.java_home.iter().cloned().chain(machines).any(|home| {
        home.join("bin/jlink").exists()
            && std::fs::read_to_string(home.join("release")).is_ok_and(|text| text.contains("JAVA_VERSION=\"17"))
    })
}

/// Checks what building needs. The recipes check it too, but one at a time.
fn builders(task: &Task<'_>, findings: &mut Findings) -> Result<()> {
    let (lab, env) = (task.lab(), &task.lab().env);
    let missing = missing_programs(env, lab.images);
    if missing.is_empty() {
        findings.fine.push(format!("what packs and builds images from the {}", lab.images));
    }
    for (program, package) in missing {
        findings.package(format!("no {program}, which builds or packs images"), &[package]);
    }
    compilers(lab, findings);
    if lab.images == ImageSource::Registry {
        return Ok(());
    }
    if !cfg!(target_os = "linux") {
        findings.problem("images from packages can only be built on Linux", "use `--images registry`");
    } else if !env.root {
        findings.problem(
            "images from packages contain files of several owners, which only root can create",
            "run this as root; the results stay in the cache",
        );
    }
    let advice = "install Go 1.24 or newer from your distribution, go.dev/dl or conda-forge, and put it on PATH";
    match env.find("go") {
        None => findings.problem("no go on PATH, which builds Kubernetes, kind and CoreDNS", advice),
        Some(go) => {
            let cmd = Cmd::new(go, Duration::from_secs(20)).args(["env", "GOVERSION"]).purpose(Purpose::Build);
            let found = task.capture(&cmd)?.stdout;
            let version = kind::parse_version(&found.trim().replace("go", "v"));
            if version.is_none_or(|version| version < (1, 24)) {
                findings.problem(format!("Go is {}, too old for Kubernetes 1.33", found.trim()), advice);
            }
        }
    }
    Ok(())
}

/// Chooses programs and images, or reports what is missing.
fn settle(task: &Task<'_>, findings: &mut Findings) -> Result<Option<Toolchain>> {
    let env = &task.lab().env;
    // Without their tools, the recipes cannot name their products.
    let asks_recipes = task.lab().images == ImageSource::Packages || env.find("go").is_some();
    if asks_recipes && !findings.problems.is_empty() {
        return Ok(None);
    }
    let images = env.repo.join("manifests/images");
    for script in ["stages", "node/build", "kafka/build"].map(|script| images.join(script)) {
        if std::fs::read(&script).is_ok_and(|text| text.windows(2).any(|pair| pair == b"\r\n")) {
            findings.problem(
                format!("{} has Windows line endings, which bash cannot read", script.display()),
                "clone the project again with Unix line endings, as its .gitattributes asks",
            );
            return Ok(None);
        }
    }
    match setup::resolve(task.lab(), task.ctx.exec, &task.log, task.ctx.stop) {
        Ok(setup) => return Ok(Some(setup)),
        Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
        Err(failure) if failure.command.is_some() => {
            findings.problem(format!("{}: {}", failure.message, failure.output.join(" ")), "see its own message");
        }
        Err(failure) => {
            let line = BUILD_PROGRAMS;
            if env.find("go").is_some() {
                findings.problems.push(Problem {
                    what: failure.message,
                    fix: Some(format!("`{line}` builds both from Go modules, once; --fix runs it")),
                    packages: Vec::new(),
                    programs: true,
                });
            } else {
                findings
                    .problem(failure.message, format!("install kind and kubectl, or install Go 1.24 and run `{line}`"));
            }
        }
    }
    Ok(None)
}

/// Checks that kind and kubectl run, and that Kubernetes supports this machine's cgroup version.
fn versions(task: &Task<'_>, setup: &Toolchain, info: &Info, findings: &mut Findings) -> Result<()> {
    // A program that the recipe has yet to build has the right version.
    if setup.kind.exists() {
        let cmd = Cmd::new(&setup.kind, Duration::from_secs(20)).arg("version").purpose(Purpose::Engine);
        let found = task.capture(&cmd)?.stdout;
        match kind::parse_version(&found) {
            Some(version) if version < (0, 27) => findings.problem(
                format!("{} is {}, too old for this cluster.yml", setup.kind.display(), found.trim()),
                "`manifests/images/node/build kind` builds 0.30; or install a newer kind",
            ),
            Some((major, minor)) => findings.notes.push(format!("kind {major}.{minor}")),
            None => findings
                .problem(format!("{} does not print its version", setup.kind.display()), "install kind 0.30 or newer"),
        }
    }
    if setup.kubectl.exists() {
        let cmd = Cmd::new(&setup.kubectl, Duration::from_secs(20)).args(["version", "--client"]);
        let found = task.capture(&cmd)?.stdout;
        match kind::parse_version(&found) {
            Some((major, minor)) => findings.notes.push(format!("kubectl {major}.{minor}")),
            None => findings.problem(
                format!("{} does not print its version", setup.kubectl.display()),
                "install kubectl 1.32 or newer",
            ),
        }
    }
    let kubernetes = setup.node_image.as_deref().and_then(kind::parse_version);
    if let Some((major, minor)) = kubernetes {
        findings.notes.push(format!("Kubernetes {major}.{minor}"));
        // Kubernetes 1.35 (KEP-5573): the kubelet refuses cgroup v1 unless told otherwise.
        if info.cgroup_version == "1" && (major, minor) >= (1, 35) {
            findings.problem(
                format!("this machine uses cgroup v1, which Kubernetes {major}.{minor} does not support"),
                "boot with systemd.unified_cgroup_hierarchy=1, or name an older node image in cluster.yml",
            );
        }
    }
    Ok(())
}

fn free_ports(task: &Task<'_>, nodes: &[NodeContainer], findings: &mut Findings) -> Result<()> {
    let lab = task.lab();
    let publisher = |port| task.capture(&docker::publisher(port));
    let mut taken = Vec::new();
    for port in lab.host_ports().into_iter().filter(|port| !ports::is_free(*port)) {
        let container = publisher(port)?.stdout;
        if !container.lines().any(|container| nodes.iter().any(|node| node.name == container)) {
            taken.push((port, container));
        }
    }
    let (Some(first), Some(last)) = (lab.host_ports().first().copied(), lab.host_ports().last().copied()) else {
        return Ok(());
    };
    let Some((port, container)) = taken.first() else {
        findings.notes.push(format!("ports {first}–{last}"));
        return Ok(());
    };
    let holder = match container.lines().next() {
        Some(container) => format!("container {container}"),
        None => ports::taken([*port], task.ctx.stop)
            .pop()
            .map_or_else(|| "a process that has just ended".into(), |(_, holder)| holder),
    };
    let shift = lab.port_shift();
    let moved = (1..20u16).map(|step| lab.ports.base.wrapping_add(step * 100)).find(|base| {
        let ports = lab
            .facts
            .cluster
            .host_ports
            .iter()
            .map(|port| i32::from(*port) + shift + i32::from(*base) - i32::from(lab.ports.base));
        *base >= 1024 && ports.into_iter().all(|port| u16::try_from(port).is_ok_and(ports::is_free))
    });
    let other =
        moved.map(|base| format!(", or `{}`", lab.xtask(&format!("up --port-base {base}")))).unwrap_or_default();
    let all: Vec<String> = taken.iter().map(|(port, _)| port.to_string()).collect();
    let fix = match lab_of(&holder) {
        Some(name) => format!("`{}`{other}", xtask_line(&name, "teardown")),
        None => format!("end it{other}"),
    };
    findings.problem(format!("127.0.0.1:{} in use by {holder}", all.join(", ")), fix);
    Ok(())
}

/// Checks memory. Measured: 625 MB for a control-plane node, 120 MB for a worker without its pods.
fn memory(lab: &Lab, info: &Info, running: bool, findings: &mut Findings) {
    let workers = lab.facts.cluster.nodes.len().saturating_sub(1) as u64;
    let need = lab.facts.requests.memory + (650 + 120 * workers) * MIB;
    if info.mem_total > 0 && info.mem_total < need {
        findings.problem(
            format!(
                "the engine has {} MiB of memory; the nodes and the requests in the manifests need {} MiB",
                info.mem_total / MIB,
                need / MIB
            ),
            "give the engine more, or lower replicas or resources.requests in the manifests",
        );
    } else if let Some(free) = available_memory().filter(|free| !running && !remote(lab) && *free < need) {
        findings.warnings.push(format!("{} MiB of memory are free; the lab may need {} MiB", free / MIB, need / MIB));
    }
    let (cpu, cores) = (lab.facts.requests.cpu_milli, info.ncpu);
    if cpu > cores * 1000 {
        findings
            .warnings
            .push(format!("the pods request {cpu}m of CPU, but there are {cores} cores: expect a slow lab"));
    }
}

/// Whether the engine is on another machine.
fn remote(lab: &Lab) -> bool {
    lab.env.docker_host.as_ref().is_some_and(|host| !host.starts_with("unix://")) || !cfg!(target_os = "linux")
}

/// Checks the inotify limits. Each node's systemd, containerd and kubelet watch files: five nodes use about 60
/// instances. The limits of an engine in a virtual machine cannot be read from here.
fn limits(lab: &Lab, info: &Info, findings: &mut Findings) {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if remote(lab) || kernel.trim() != info.kernel_version {
        return;
    }
    for (name, least, advised) in [("max_user_instances", 100, 512), ("max_user_watches", 65_536, 524_288)] {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).unwrap_or_default();
        if text.trim().parse::<u64>().is_ok_and(|limit| limit < least) {
            findings.problem(
                format!("fs.inotify.{name} is {}: nodes will fail with \"too many open files\"", text.trim()),
                format!("sysctl -w fs.inotify.{name}={advised}"),
            );
        }
    }
}

fn folders(lab: &Lab, info: &Info, setup: &Toolchain, findings: &mut Findings) {
    if lab.state.to_string_lossy().contains(':') {
        findings.problem(
            format!(
                "the path of the state folder {} has a colon, which separates the parts of a Docker mount",
                lab.state.display()
            ),
            "set XDG_STATE_HOME to a path without a colon",
        );
    }
    writable(lab, findings);
    if setup.source == ImageSource::Packages && !setup.kubectl.exists() {
        // The products take 1.4 GB, Go's own caches 5 GB.
        room(&lab.env.cache, 8 * 1024 * MIB, "building the images", findings);
    }
    if !lab.clients_program().exists() {
        room(&lab.env.target, 1024 * MIB, "the clients' build", findings);
    }
    let root: &Path = &info.docker_root_dir;
    if !remote(lab) && root.exists() && free_space(root).is_some_and(|free| free < 4 * 1024 * MIB) {
        room(root, 4 * 1024 * MIB, "the engine, for five nodes", findings);
    }
}

/// Checks that missing images can be pulled: that their registry answers in time.
fn registry(task: &Task<'_>, setup: &Toolchain, findings: &mut Findings) -> Result<()> {
    let lab = task.lab();
    let limit = Duration::from_secs(lab.settings.kind.registry_s);
    let there = |image: &str| -> Result<bool> { Ok(task.capture(&docker::image_id(image))?.code == Some(0)) };
    let mut wanted: Vec<(String, String)> = Vec::new();
    if setup.source == ImageSource::Registry {
        let images = setup.node_image.iter().chain([&setup.kafka_image]);
        wanted.extend(images.map(|image| (image.clone(), OTHER_WAYS.into())));
    }
    if !lab.program_becomes_image() && !there(CLIENT_IMAGE)? {
        let text = std::fs::read_to_string(import::dockerfile(lab)).unwrap_or_default();
        let other =
            "the clients are built in it; with `kind.clients_image: host` in lab.yml, a Linux host builds them itself";
        wanted.extend(docker::base_image(&text).map(|image| (image.to_string(), other.into())));
    }
    for (image, fix) in wanted {
        let image = image.as_str();
        if there(image)? {
            continue;
        }
        if findings.look_only {
            findings.not_asked.push(format!("image {image} is not in the engine yet: `up` pulls it"));
            continue;
        }
        (task.status)(&format!("asking the registry for {image}"));
        // Only the engine knows its proxies and mirrors, so let it try a pull.
        let error = match task.capture(&docker::pull(image, limit)) {
            Ok(output) if output.code == Some(0) => continue,
            Ok(output) => output.stderr.trim().to_string(),
            Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
            Err(failure) if docker::is_pulling(&failure.output) => continue,
            Err(_) => format!("no answer within {} s", limit.as_secs()),
        };
        findings.problem(format!("image {image} cannot be pulled: {error}"), fix);
        return Ok(());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::sample;
    use crate::kind::setup::Recipe;

    #[test]
    fn the_recipes_that_preflight_names_exist() {
        let lab = sample::lab();
        for recipe in [Recipe::Node, Recipe::Kafka] {
            assert!(recipe.script(&lab).exists(), "{}", recipe.script(&lab).display());
        }
    }
}
