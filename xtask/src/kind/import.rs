//! Builds or pulls images into the engine, and imports them into every node.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::Lab;
use crate::exec::Cmd;
use crate::failure::{Failure, IoContext, Result};
use crate::files::own::read_own_text;
use crate::files::{self, private_dir};
use crate::k8s::render::CLIENT_IMAGE;
use crate::kind::config::MARK;
use crate::kind::images::{self, Archive, own_name};
use crate::kind::pack::{Packer, from_engine, from_program};
use crate::kind::setup::Recipe;
use crate::state::{ImageSource, Toolchain};
use crate::task::{Outcome, Task};
use crate::tools::docker;
use crate::wait::{self, Poll};

/// Each attempt runs a program in a node, which takes CPU time that a starting node needs.
const INTERVAL: Duration = Duration::from_secs(1);

fn packer<'a>(task: &'a Task<'_>) -> Packer<'a> {
    let (lab, ctx) = (task.lab(), task.ctx);
    let deadline = lab.timeout(|t| t.load);
    Packer { cache: &lab.env.cache, exec: ctx.exec, log: &task.log, stop: ctx.stop, deadline, status: task.status }
}

fn build_in_docker(lab: &Lab) -> Cmd {
    docker::build(&dockerfile(lab), CLIENT_IMAGE, &id_file(lab), &lab.env.repo, lab.timeout(|t| t.clients_build))
}

/// The Dockerfile of the clients' image.
pub fn dockerfile(lab: &Lab) -> PathBuf {
    lab.env.repo.join("manifests/images/clients/Dockerfile")
}

/// The file in which a build in Docker leaves the image's id.
fn id_file(lab: &Lab) -> PathBuf {
    lab.state.join("clients.id")
}

/// What [`image`] would run.
pub fn preview_image(lab: &Lab, setup: &Toolchain, recipe: Recipe) -> Vec<String> {
    if recipe == Recipe::Clients && lab.program_becomes_image() {
        let program = lab.clients_program();
        let load = docker::load(Path::new("ARCHIVE"), lab.timeout(|t| t.load));
        return vec![
            format!("# make an image of {} alone; load it unless the engine has it:", program.display()),
            load.to_string(),
        ];
    }
    if recipe == Recipe::Clients {
        return vec![build_in_docker(lab).to_string(), docker::tag("ID", &own_name("FIRST-12-OF-ID")).to_string()];
    }
    match wanted(setup, recipe) {
        Some(image) => vec!["# unless the engine has it:".into(), fetch(lab, setup, recipe, &image).to_string()],
        None => vec!["# kind pulls its own node image".into()],
    }
}

/// What [`load`] would run.
pub fn preview_load(lab: &Lab, setup: &Toolchain, recipe: Recipe) -> Vec<String> {
    let node = lab.facts.cluster.node_names(lab.cluster()).pop().unwrap_or_default();
    let mut lines = match recipe {
        Recipe::Clients if lab.program_becomes_image() => vec!["# archive=ARCHIVE, as loaded into the engine".into()],
        Recipe::Clients => preview_pack(lab, &own_name("FIRST-12-OF-ID")),
        _ => preview_pack(lab, &setup.kafka_image),
    };
    lines.push("# in every node at once, unless it has the image:".into());
    let name = match recipe {
        Recipe::Clients => "NAME".to_string(),
        _ => images::full_name(&setup.kafka_image),
    };
    let import =
        docker::ImageImport { archive: Path::new("ARCHIVE"), seen: "", name: &name, id: "sha256:ID", unpack: true };
    lines.push(docker::import_image(&node, import, Duration::ZERO).to_string().replace("<ARCHIVE", "<\"$archive\""));
    lines
}

/// The command that builds an image in the engine or pulls it.
fn fetch(lab: &Lab, setup: &Toolchain, recipe: Recipe, image: &str) -> Cmd {
    let timeout = lab.timeout(|t| t.images);
    match setup.source {
        ImageSource::Packages => recipe.build(lab, timeout),
        ImageSource::Registry => docker::pull(image, timeout),
    }
}

/// What packing an image would run.
fn preview_pack(lab: &Lab, image: &str) -> Vec<String> {
    let deadline = lab.timeout(|t| t.load);
    vec![
        format!("archive=$(mktemp) && {} >\"$archive\"", docker::save(image, deadline)),
        format!("# compress each layer, once per image: {}", from_engine::zstd(Path::new("LAYER"), deadline)),
    ]
}

/// The image that is used for a recipe; `None` if kind chooses it.
fn wanted(setup: &Toolchain, recipe: Recipe) -> Option<String> {
    match recipe {
        Recipe::Node => setup.node_image.clone(),
        _ => Some(setup.kafka_image.clone()),
    }
}

/// Ensures that the engine has an image.
///
/// # Errors
/// The recipe or the pull fails.
pub fn image(task: &Task<'_>, recipe: Recipe) -> Result<Outcome> {
    if recipe == Recipe::Clients {
        return clients(task);
    }
    let (lab, setup) = (task.lab(), task.setup()?);
    let Some(image) = wanted(&setup, recipe) else {
        return Ok(Outcome::skipped("kind pulls its own"));
    };
    let programs = setup.kind.exists() && setup.kubectl.exists();
    if id(task, &image)?.is_some() && (recipe != Recipe::Node || programs) {
        return Ok(Outcome::unchanged(image));
    }
    let cmd = fetch(lab, &setup, recipe, &image);
    task.build(&cmd).map_err(|failure| match setup.source {
        ImageSource::Packages => {
            failure.fix(format!("fix the problem above, then rerun `{}`: finished stages are kept", lab.xtask("up")))
        }
        ImageSource::Registry => failure.fix(
            "rerun it, or use `--images packages`, which needs no registry, or `--backend local`, which needs no images",
        ),
    })?;
    match id(task, &image)? {
        Some(_) => Ok(Outcome::changed(format!("{image}, from {}", setup.source))),
        None => Err(Failure::step(format!("the engine still has no image {image}")).command(&cmd).log(&task.log)),
    }
}

/// The id of an image in the engine.
fn id(task: &Task<'_>, image: &str) -> Result<Option<String>> {
    let output = task.capture(&docker::image_id(image))?;
    Ok((output.code == Some(0)).then(|| output.stdout.trim().to_string()))
}

/// The client image, made of the built program or built in Docker.
fn clients(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    if !lab.program_becomes_image() {
        return clients_in_docker(task);
    }
    let archive = from_program::make(&packer(task), &lab.clients_program())?;
    // With containerd's image store, the engine's id differs from the archive's, but is the same for both names.
    let there = task.capture(&docker::image_ids(&[&archive.name, CLIENT_IMAGE]))?;
    let ids: Vec<&str> = there.stdout.lines().collect();
    let loaded = !matches!(ids[..], [own, lab] if own == lab);
    if loaded {
        let load = docker::load(&archive.file, lab.timeout(|t| t.load));
        task.run(&load)?;
    }
    remove_earlier(task, &archive.name)?;
    let proof = format!("{}, {:.1} MB", archive.name, megabytes(&archive.file));
    let _ = task.ctx.client_image.set(archive);
    Ok(if loaded { Outcome::changed(proof) } else { Outcome::unchanged(proof) })
}

fn megabytes(file: &Path) -> f64 {
    fs::metadata(file).map_or(0, |meta| meta.len()) as f64 / 1e6
}

/// Removes earlier images of the clients. Nodes have their own copies.
fn remove_earlier(task: &Task<'_>, name: &str) -> Result<()> {
    let list = docker::our_images();
    let listed = task.run(&list)?;
    for old in listed.stdout.lines().filter(|old| old.starts_with(&own_name(""))) {
        if ![CLIENT_IMAGE, name].contains(&old) {
            // This fails for an image in use, which stays.
            let _ = task.capture(&docker::remove_image(old));
        }
    }
    Ok(())
}

/// Like [`clients`], on a host that cannot build Linux programs.
fn clients_in_docker(task: &Task<'_>) -> Result<Outcome> {
    let run = |cmd: &Cmd| task.run(cmd);
    let before = id(task, CLIENT_IMAGE)?;
    let build = build_in_docker(task.lab());
    task.build(&build)
        .map_err(|failure| failure.fix(format!("fix the problem above, then rerun `{}`", task.lab().xtask("up"))))?;
    let written = id_file(task.lab());
    let after = read_own_text(&written).cannot("read", &written)?.unwrap_or_default().trim().to_string();
    files::remove_file(&written)?;
    let name = own_name(&after);
    run(&docker::tag(&after, &name))?;
    let archive = packed(task, &name)?;
    remove_earlier(task, &name)?;
    let proof = format!("{name}, {:.1} MB, built in Docker", megabytes(&archive.file));
    let _ = task.ctx.client_image.set(archive);
    Ok(if before == Some(after) { Outcome::unchanged(proof) } else { Outcome::changed(proof) })
}

/// The packed archive of an image in the engine.
fn packed(task: &Task<'_>, image: &str) -> Result<Archive> {
    match id(task, image)? {
        Some(id) => from_engine::pack(&packer(task), image, &id),
        None => Err(Failure::step(format!("the engine has no image {image}")).fix(task.lab().xtask("up"))),
    }
}

/// The archive from which nodes import an image.
fn archive(task: &Task<'_>, recipe: Recipe) -> Result<Archive> {
    if recipe == Recipe::Clients {
        return task.ctx.client_image.get().cloned().ok_or_else(|| Failure::step("the client image was not built"));
    }
    packed(task, &task.setup()?.kafka_image)
}

/// Imports an image into all nodes that lack it, in parallel, and verifies it.
///
/// # Errors
/// A node cannot import it. The failure lists every node's error.
pub fn load(task: &Task<'_>, recipe: Recipe) -> Result<Outcome> {
    let lab = task.lab();
    let archive = archive(task, recipe)?;
    let nodes = lab.facts.cluster.node_names(lab.cluster());
    // Nodes mount the mark folder and can read the archive there, which is cheaper than sending it. If it cannot be
    // linked, or the engine is on another machine, it is sent.
    private_dir(&lab.mark())?;
    let link = archive.file.file_name().map(|name| lab.mark().join(name));
    let link = link.filter(|link| files::remove_file(link).is_ok() && fs::hard_link(&archive.file, link).is_ok());
    let loaded = load_into(task, &archive, &nodes);
    if let Some(link) = link {
        files::remove_file(&link)?;
    }
    loaded
}

fn load_into(task: &Task<'_>, archive: &Archive, nodes: &[String]) -> Result<Outcome> {
    let done = AtomicUsize::new(0);
    let results: Vec<Result<bool>> = std::thread::scope(|scope| {
        let threads: Vec<_> = nodes
            .iter()
            .map(|node| {
                let (done, count) = (&done, nodes.len());
                scope.spawn(move || {
                    let result = load_one(task, node, archive);
                    (task.status)(&format!("{} of {count} nodes", done.fetch_add(1, Ordering::SeqCst) + 1));
                    result
                })
            })
            .collect();
        let panicked = |_| Err(Failure::new(crate::failure::Exit::Unexpected, "internal error, see above"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let (mut sent, mut failures) = (0, Vec::new());
    for (node, result) in nodes.iter().zip(results) {
        match result {
            Ok(changed) => sent += usize::from(changed),
            Err(failure) if failure.exit == crate::failure::Exit::Interrupted => return Err(failure),
            Err(failure) => failures.push((node, failure)),
        }
    }
    if let Some((_, first)) = failures.first() {
        let lines: Vec<String> =
            failures.iter().map(|(node, failure)| format!("\n  - {node}: {}", failure.message)).collect();
        let what =
            format!("{} of {} nodes cannot import {}:{}", failures.len(), nodes.len(), archive.name, lines.concat());
        // The command is a script of thirty lines, which the log has.
        return Err(Failure { message: what, command: None, ..first.clone() }.log(&task.log));
    }
    let proof = format!("{} in {} nodes", archive.name, nodes.len());
    Ok(match sent {
        0 => Outcome::unchanged(proof),
        sent if sent == nodes.len() => Outcome::changed(proof),
        sent => Outcome::changed(format!("{proof}, {sent} of them lacked it")),
    })
}

/// Imports the image into one node. Returns false if the node had it already.
fn load_one(task: &Task<'_>, node: &str, archive: &Archive) -> Result<bool> {
    let lab = task.lab();
    let role = lab.facts.cluster.nodes.iter().zip(lab.facts.cluster.node_names(lab.cluster()));
    let runs_pods = !role.into_iter().any(|(config, name)| name == node && config.role == "control-plane");
    let limit = lab.timeout(|t| t.cluster);
    let name = images::full_name(&archive.name);
    let seen = archive.file.file_name().map(|file| format!("{MARK}/{}", file.to_string_lossy())).unwrap_or_default();
    let what =
        docker::ImageImport { archive: &archive.file, seen: &seen, name: &name, id: &archive.id, unpack: runs_pods };
    let import = docker::import_image(node, what, limit + lab.timeout(|t| t.load));
    // The cluster may still be starting: a node can import images long before it has joined.
    wait::until(node, limit, INTERVAL, task.ctx.stop, &|_| {}, || {
        let output = task.capture(&import)?;
        if ![Some(0), Some(docker::REFUSED)].contains(&output.code) {
            return Ok(Poll::NotYet(crate::failure::tail(&output.stderr, 1).concat()));
        }
        Ok(Poll::Ready(output.success(&import, &task.log)?.stdout.trim() == "sent"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::config::facts::BuiltOn;
    use crate::config::sample;
    use crate::events::StepState;
    use crate::exec::Output;
    use crate::exec::fake::FakeExec;
    use crate::kind::pack::{self, tarball::Tarball};
    use crate::local::jars::Jars;
    use crate::sha256;
    use crate::signal::Stop;
    use crate::task::Ctx;

    /// The output of `docker save` for an image without layers.
    fn saved() -> String {
        let mut tarball = Tarball::new(Vec::new());
        for (name, text) in [("c.json", "{}"), ("manifest.json", r#"[{"Config":"c.json","Layers":[]}]"#)] {
            tarball.file(name, 0o644, text.len() as u64, text.as_bytes()).unwrap();
        }
        String::from_utf8(tarball.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_programs_image_is_loaded_if_missing_and_earlier_ones_are_removed() {
        let mut lab = sample::lab();
        let dir = std::env::temp_dir().join(format!("kafka-lab-program-{}", std::process::id()));
        (lab.backend, lab.settings.kind.clients_image) = (Backend::Kind, BuiltOn::Host);
        (lab.env.cache, lab.env.target) = (dir.join("cache"), dir.clone());
        let program = lab.clients_program();
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, pack::program::sample::program(62, &[1])).unwrap();
        let (jars, stop) = (Jars::describe(&lab.env, lab.release.version).unwrap(), Stop::default());
        for (ids, loads) in
            [("", true), ("sha256:1\n", true), ("sha256:1\nsha256:2\n", true), ("sha256:1\nsha256:1\n", false)]
        {
            let exec = FakeExec::new(|cmd: &Cmd| {
                let words = cmd.to_string();
                let stdout = match words.split(' ').nth(2) {
                    Some("inspect") => ids.into(),
                    Some("ls") => format!("{CLIENT_IMAGE}\nkafka-lab-clients:a1135c7b456d\nkafka-lab-clients:old\n"),
                    _ => String::new(),
                };
                Ok(Output { code: Some(i32::from(words.contains(" rm "))), stdout, ..Output::default() })
            });
            let ctx = Ctx::new(&lab, &crate::kind::driver::KindDriver, &jars, &exec, &stop);
            let task = Task { ctx: &ctx, log: dir.join("log"), status: &|_| {}, tell: &|_| {} };
            let outcome = image(&task, Recipe::Clients).unwrap();
            assert_eq!(outcome.proof, "kafka-lab-clients:a1135c7b456d, 0.0 MB");
            assert_eq!(outcome.state == StepState::Changed, loads, "{ids}");
            let archive = ctx.client_image.get().unwrap().file.display();
            let mut asked: Vec<String> = exec.asked.lock().unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(asked.pop().unwrap(), "docker image rm kafka-lab-clients:old");
            assert_eq!(asked.contains(&format!("docker load --quiet --input {archive}")), loads, "{asked:?}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn an_image_built_in_docker_is_named_by_its_id_and_earlier_ones_are_removed() {
        let (mut lab, dir) =
            (sample::lab(), std::env::temp_dir().join(format!("kafka-lab-image-{}", std::process::id())));
        lab.settings.kind.clients_image = BuiltOn::Docker;
        lab.state = dir.clone();
        fs::create_dir_all(&dir).unwrap();
        lab.env.cache = dir.join("cache");
        let (id, name) = (format!("sha256:{}", "0123456789ab".repeat(5)), "kafka-lab-clients:0123456789ab");
        let exec = FakeExec::new(|cmd: &Cmd| {
            let words = cmd.to_string();
            let answer = |stdout: &str| Ok(Output { code: Some(0), stdout: stdout.into(), ..Output::default() });
            if words.contains(" build ") {
                assert!(
                    words.contains(&format!("--tag {CLIENT_IMAGE} --iidfile {}", id_file(&lab).display())),
                    "{words}"
                );
                fs::write(id_file(&lab), &id).unwrap();
            } else if words.contains(" save ") {
                assert!(words.ends_with(name), "{words}");
                return answer(&saved());
            } else if words.contains("image ls") {
                return answer(&format!("kafka-lab-clients:old\n{name}\n{CLIENT_IMAGE}\nkafka-lab-kafka:3\n"));
            }
            answer("")
        });
        let (jars, stop) = (Jars::describe(&lab.env, lab.release.version).unwrap(), Stop::default());
        let ctx = Ctx::new(&lab, &crate::kind::driver::KindDriver, &jars, &exec, &stop);
        let task = Task { ctx: &ctx, log: dir.join("log"), status: &|_| {}, tell: &|_| {} };
        image(&task, Recipe::Clients).unwrap();
        let made = ctx.client_image.get().unwrap();
        assert_eq!((made.name.as_str(), &made.id), (name, &format!("sha256:{}", sha256::of("{}"))));
        let asked: Vec<String> = exec.asked.lock().unwrap().iter().map(ToString::to_string).collect();
        assert!(asked.contains(&format!("docker tag {id} {name}")), "{asked:?}");
        let removed: Vec<_> = asked.iter().filter(|line| line.contains("image rm")).collect();
        assert_eq!(removed, ["docker image rm kafka-lab-clients:old"]);
        assert!(!id_file(&lab).exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
