//! Builds: Kafka's jars and the clients' program.

use std::fs;
use std::time::{Duration, SystemTime};

use ledger::cause::in_words;
use xshell::{Shell, cmd};

use crate::config::{Lab, static_target};
use crate::environment::Purpose;
use crate::exec::Cmd;
use crate::failure::{Failure, IoContext, Result};
use crate::files::own::try_lock_own;
use crate::files::{beside, private_dir};
use crate::local::jars::Jars;
use crate::local::process;
use crate::sha256;
use crate::task::{Outcome, Task};
use crate::wait::Poll;
use crate::words::quoted;

fn shell() -> Result<Shell> {
    Shell::new().map_err(|error| Failure::step(format!("the current folder cannot be used: {}", in_words(error))))
}

fn maven(jars: &Jars, into: &std::path::Path, deadline: Duration) -> Result<Cmd> {
    let (sh, pom) = (shell()?, &jars.pom);
    let goal = "dependency:copy-dependencies";
    // Maven checks downloads against its repository's checksums; `verify` then checks them against our lock.
    Ok(Cmd::from_xshell(
        cmd!(sh, "mvn -B --strict-checksums -f {pom} {goal} -DincludeScope=runtime")
            .arg(format!("-DoutputDirectory={}", into.display())),
        deadline,
    )
    .purpose(Purpose::Build))
}

fn cargo(lab: &Lab) -> Result<Cmd> {
    let (sh, cargo) = (shell()?, &lab.env.cargo);
    // Explicit, whatever cargo's own settings say: we must know where the program is.
    let target = &lab.env.target;
    let cmd = cmd!(sh, "{cargo} build --release --locked --package clients --target-dir {target}");
    Ok(Cmd::from_xshell(cmd, lab.timeout(|t| t.clients_build)).dir(&lab.env.repo).purpose(Purpose::Build))
}

/// Returns the command that builds [`Lab::clients_program`].
fn build_program(lab: &Lab) -> Result<Cmd> {
    if lab.program_becomes_image() { cargo_static(lab) } else { cargo(lab) }
}

/// As [`cargo`], for the clients' image: a static program whose bytes do not depend on where it was built.
fn cargo_static(lab: &Lab) -> Result<Cmd> {
    let target = static_target();
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_string()];
    // Panic messages name source files; those of dependencies have absolute paths.
    flags.extend(lab.env.cargo_home.iter().map(|home| format!("--remap-path-prefix={}=cargo", home.display())));
    let config = format!("target.{target}.rustflags={flags:?}");
    Ok(cargo(lab)?.args(["--target", &target, "--config", &config]))
}

/// Returns the preview of [`jars`].
pub fn preview_jars(jars: &Jars) -> Vec<String> {
    let mut lines = vec![format!("# unless {} exists:", jars.dir.display())];
    let partial = beside(&jars.dir, "partial");
    lines.extend(maven(jars, &partial, Duration::ZERO).map(|cmd| cmd.to_string()));
    lines.push(format!("# compare the checksum of each jar with {}", jars.lock.display()));
    lines.push(format!("mv {} {}", quoted(partial.as_os_str()), quoted(jars.dir.as_os_str())));
    lines
}

/// Returns the preview of [`clients`].
pub fn preview_clients(lab: &Lab) -> Vec<String> {
    build_program(lab).map(|cmd| format!("(cd {} && {cmd})", lab.env.repo.display())).into_iter().collect()
}

/// Resolves the jars with Maven and verifies them. The folder gets its final name last.
///
/// # Errors
/// Maven cannot reach its repository, or a jar does not match the lock.
pub fn jars(task: &Task<'_>) -> Result<Outcome> {
    let jars = task.ctx.jars;
    let there = || format!("{} jars of Kafka {} in {}", jars.names.len(), jars.version, jars.dir.display());
    if jars.present() {
        return Ok(Outcome::unchanged(there()));
    }
    let cache = &task.lab().env.cache;
    private_dir(cache)?;
    // Two labs may need the same jars at once; the second waits for the first.
    let lock = cache.join("lock");
    let timeout = task.lab().timeout(|t| t.jars);
    let _held = task.wait("the cache's lock", timeout, Duration::from_millis(200), || {
        Ok(match try_lock_own(&lock).cannot("lock", &lock)? {
            Some(file) => Poll::Ready(file),
            None => Poll::NotYet("another lab is fetching the jars, or removes them".into()),
        })
    })?;
    if jars.present() {
        return Ok(Outcome::unchanged(there()));
    }
    // Copied or touched since, or fetched by an earlier version: fetched again only if a checksum is wrong.
    if jars.dir.is_dir() && verify(task, &jars.dir).is_ok() {
        jars.note_checked(&jars.dir)?;
        return Ok(Outcome::unchanged(format!("{}, checksums match the lock", there())));
    }
    let partial = beside(&jars.dir, "partial");
    for leftover in [&partial, &jars.dir] {
        if leftover.exists() {
            fs::remove_dir_all(leftover).cannot("remove", leftover)?;
        }
    }
    private_dir(&partial)?;
    let cmd = maven(jars, &partial, timeout)?;
    task.build(&cmd).map_err(|failure| {
        failure.fix_unless_known(
            "Maven must reach a repository: check its proxy and mirror settings (~/.m2/settings.xml), then rerun",
        )
    })?;
    verify(task, &partial)?;
    jars.note_checked(&partial)?;
    fs::rename(&partial, &jars.dir).cannot("create", &jars.dir)?;
    Ok(Outcome::changed(format!("{}, checksums match the lock", there())))
}

/// Checks that the folder contains exactly the jars of the lock, with their checksums.
fn verify(task: &Task<'_>, dir: &std::path::Path) -> Result<()> {
    let jars = task.ctx.jars;
    let lock = jars.lock.display();
    let fix = format!("rerun; if it persists, compare {lock} with a trusted machine before changing it");
    (task.status)("comparing checksums with the lock");
    let mut wrong = Vec::new();
    for (sum, name) in jars.sums()? {
        let path = dir.join(name);
        if !path.exists() {
            wrong.push(format!("{name}: missing"));
        } else if sha256::of_file(&path, task.ctx.stop)?.0 != sum {
            wrong.push(format!("{name}: wrong checksum"));
        }
    }
    if !wrong.is_empty() {
        let what = format!("{} of {} jars do not match {lock}", wrong.len(), jars.names.len());
        return Err(Failure::step(what).output(&wrong.join("\n")).fix(fix));
    }
    for entry in fs::read_dir(dir).cannot("read", dir)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".jar") && !jars.names.contains(&name) {
            return Err(Failure::step(format!("Maven fetched {name}, which is not in {lock}")).fix(fix));
        }
    }
    Ok(())
}

/// Builds the clients' program. cargo decides whether there is anything to do.
///
/// # Errors
/// The program does not compile.
pub fn clients(task: &Task<'_>) -> Result<Outcome> {
    let program = task.lab().clients_program();
    let modified = || -> Option<SystemTime> { fs::metadata(&program).ok()?.modified().ok() };
    let before = modified();
    let cmd = build_program(task.lab())?;
    // Cargo last named the crate that it started last, but for minutes it is librdkafka that compiles.
    let status = |line: &str| match librdkafka_compiles(&task.lab().env.target) {
        true => (task.status)(&format!("compiling librdkafka, which takes minutes; {line}")),
        false => (task.status)(line),
    };
    Task { ctx: task.ctx, log: task.log.clone(), status: &status, tell: task.tell }.build(&cmd)?;
    match modified() {
        None => Err(Failure::step(format!("cargo did not build {}", program.display())).log(&task.log)),
        after if after == before => Ok(Outcome::unchanged(program.display().to_string())),
        _ => Ok(Outcome::changed(program.display().to_string())),
    }
}

/// Whether the build script of rdkafka-sys, which compiles librdkafka, runs below cargo's target folder.
fn librdkafka_compiles(target: &std::path::Path) -> bool {
    let script = |program: &[u8]| {
        let program = String::from_utf8_lossy(program);
        let of_crate = program.contains("/rdkafka-sys-") && program.ends_with("/build-script-build");
        of_crate && program.starts_with(&*target.to_string_lossy())
    };
    !process::with_arguments(|args| args.first().is_some_and(|program| script(program))).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::config::facts::BuiltOn;
    use crate::config::sample;

    #[test]
    fn the_program_of_the_image_loads_nothing_and_tells_no_paths() {
        let mut lab = sample::lab();
        let line = cargo_static(&lab).unwrap().to_string();
        let target = static_target();
        for part in [
            &format!(" --target {target} "),
            &format!("'target.{target}.rustflags=[\"-Ctarget-feature=+crt-static\", "),
            "\"--remap-path-prefix=/home/user/.cargo=cargo\"]'",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        lab.backend = Backend::Kind;
        lab.settings.kind.clients_image = BuiltOn::Host;
        assert!(lab.clients_program().ends_with(format!("target/{target}/release/clients")));
        // If Docker builds the image, this host's program only queries the brokers.
        lab.settings.kind.clients_image = BuiltOn::Docker;
        assert!(lab.clients_program().ends_with("target/release/clients"));
        assert!(!build_program(&lab).unwrap().to_string().contains("crt-static"));
    }
}
