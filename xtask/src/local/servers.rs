//! Starts and stops the lab's processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger::cause::in_words;
use rustix::process::Signal;

use crate::backend::Reach;
use crate::config::Lab;
use crate::coordination::{self, Mode};
use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::{self, private_dir};
use crate::local::process::{self, Identity, Life, Started};
use crate::local::service::{Spec, is_whole, stamp_of};
use crate::local::storage;
use crate::service::Service;
use crate::system::{self, MIB};
use crate::task::{Ctx, Outcome, Task};
use crate::tools::causes::{self, Remedy};
use crate::tools::java::Java;
use crate::wait::Poll;
use crate::words::quoted;

/// How often a broker is started if its ZooKeeper session expires.
const ATTEMPTS: u32 = 3;
/// The interval between two looks at a process.
const INTERVAL: Duration = Duration::from_millis(50);

/// What starting `service` would run.
pub fn preview_start(ctx: &Ctx<'_>, service: Service) -> Vec<String> {
    let lab = ctx.lab;
    let spec = service.spec(lab, ctx.jars, &ctx.shown_java());
    let mut lines = vec![format!("# unless {} is running with these settings:", service.name(lab))];
    lines.push(format!("mkdir -p {}", quoted(service.dir(lab).as_os_str())));
    for (path, text) in &spec.files {
        lines.push(format!("cat >{} <<'END'\n{text}END", quoted(path.as_os_str())));
    }
    let coordinator = lab.release.mode.noun();
    lines.extend(storage::preview(ctx, service, &spec));
    if let (Service::Broker(id), false) = (service, lab.release.mode == Mode::KRaft) {
        lines.push(format!("# wait until {coordinator} has expired any former session of broker {id}"));
    }
    // `env` sets variables for a program that setsid(1) starts.
    lines.push(format!("setsid env {} </dev/null >>{} 2>&1 &", spec.cmd, quoted(service.out(lab).as_os_str())));
    lines.push(match service {
        Service::Coordinator(_) if lab.release.mode == Mode::KRaft => "# wait until it answers".into(),
        Service::Coordinator(_) => {
            format!("# wait until `echo srvr | nc 127.0.0.1 {}` prints its mode", lab.ports.coordinator)
        }
        Service::Broker(id) => format!("# wait until {coordinator} lists broker {id}"),
        Service::Client(..) => "# wait until it reports its start on the topic's partitions".into(),
    });
    lines
}

/// What stopping `service` would run.
pub fn preview_stop(lab: &Lab, service: Service) -> Vec<String> {
    match service.living(lab) {
        Some(identity) if is_needless(lab, service) => vec![format!("kill -KILL {}", identity.pid)],
        Some(identity) => vec![format!("kill {}", identity.pid)],
        None => vec![format!("# {} is not running", service.name(lab))],
    }
}

/// Ensures that `service` runs with its settings: reuses, resumes, restarts or starts it.
///
/// # Errors
/// It exits, or is not ready in time. The failure quotes its log.
pub fn start(task: &Task<'_>, service: Service) -> Result<Outcome> {
    let lab = task.lab();
    let spec = spec_of(task, service)?;
    let record = Started::read(&service.record(lab));
    let found = process::find(record.as_ref(), &service.mark(lab));
    let same = record.as_ref().is_some_and(|record| record.settings == spec.settings);

    // Also checked if it is running: it would reject brokers that know another ZooKeeper, and they would wait.
    if matches!(service, Service::Coordinator(_))
        && let Some(failure) = wrong_data(lab, service)
    {
        return Err(failure);
    }
    if matches!(service, Service::Client(..))
        && let Some(failure) = state_cannot_be_written(lab, service)
    {
        return Err(failure);
    }
    let mut why = if record.is_some() { "had died, restarted" } else { "started" };
    if let Some(identity) = found {
        let mut stays_away = false;
        if same {
            let resumed = identity.life() == Life::Paused && identity.signal(Signal::CONT)?;
            match ready(task, service, &identity, None) {
                Ok(()) => {
                    let mended = mend_files(&spec)?;
                    let proof = proof(lab, service, &identity);
                    return Ok(match (resumed, mended) {
                        (true, _) => Outcome::changed(format!("was paused, resumed, {proof}")),
                        (false, Some(name)) => Outcome::changed(format!("wrote its {name} again, {proof}")),
                        (false, None) => Outcome::unchanged(proof),
                    });
                }
                Err(failure) if !is_away(lab, service, &identity, &failure) => return Err(failure),
                Err(_) => stays_away = true,
            }
        }
        why = match record {
            _ if stays_away => "did not reconnect to the coordinator, restarted",
            Some(_) => "restarted with changed settings",
            None => "restarted, its record was lost",
        };
        (task.status)("stopping it for a restart");
        files::remove_file(&service.record(lab))?;
        identity.end(lab.timeout(|t| t.stop), task.ctx.stop, task.status)?;
    } else if let Some(died) = &record {
        // It may have been killed just now and still hold its port and the lock of its data.
        died.identity.end(lab.timeout(|t| t.stop), task.ctx.stop, task.status)?;
    }
    if let Service::Broker(id) = service {
        if let Some(failure) = wrong_data(lab, service) {
            return Err(failure);
        }
        former_session_gone(task, id)?;
    }
    storage::prepare(task, service, &spec)?;
    let mut warnings = Vec::new();
    if matches!(service, Service::Coordinator(_)) && lab.release.mode != Mode::KRaft {
        for log in coordination::headless_logs(&coordinator_files(lab)) {
            files::remove_file(&log)?;
            warnings.push(format!("removed {}, which a full disk left empty", log.display()));
        }
    }
    Ok(Outcome { warnings, ..start_anew(task, service, spec, why)? })
}

/// Why a client cannot write its state: it replaces whatever is there except a folder. It would run and say nothing.
fn state_cannot_be_written(lab: &Lab, client: Service) -> Option<Failure> {
    let path = client.state_file(lab);
    let failure = || Failure::step(format!("the client cannot write {}: it is a folder", path.display()));
    let is_folder = std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
    is_folder.then(|| files::naming_what_is_in_the_way(failure(), &path))
}

/// The folder of the coordinator's snapshots and logs.
fn coordinator_files(lab: &Lab) -> PathBuf {
    Service::Coordinator(0).dir(lab).join("data/version-2")
}

/// Starts several servers: controllers and brokers of KRaft mode at once, because none of them may be ready before most
/// voters are there; otherwise one after the other.
///
/// # Errors
/// As [`start`].
pub fn start_all(task: &Task<'_>, services: Vec<Service>) -> Result<()> {
    if task.lab().release.mode != Mode::KRaft {
        return services.into_iter().try_for_each(|service| start(task, service).map(drop));
    }
    std::thread::scope(|scope| {
        let started: Vec<_> = services.into_iter().map(|service| scope.spawn(move || start(task, service))).collect();
        started.into_iter().try_for_each(|one| match one.join() {
            Ok(started) => started.map(drop),
            Err(_) => Err(Failure::new(Exit::Unexpected, "a thread that started a server panicked")),
        })
    })
}

/// What a service's process needs. Clients need no java, so a lab without one can still start them.
fn spec_of(task: &Task<'_>, service: Service) -> Result<Spec> {
    Ok(match service {
        Service::Client(..) => service.spec(task.lab(), task.ctx.jars, &Java::unasked("")),
        _ => service.spec(task.lab(), task.ctx.jars, &task.java()?),
    })
}

/// Starts a service that does not run, and again if it may start then. `why` says why it was started.
fn start_anew(task: &Task<'_>, service: Service, mut spec: Spec, why: &str) -> Result<Outcome> {
    let lab = task.lab();
    let mut attempt = 1;
    loop {
        let written = fs::metadata(service.log(lab)).map_or(0, |meta| meta.len());
        let identity = launch(task, service, spec.clone())?;
        match ready(task, service, &identity, Some(written)) {
            Ok(()) => {
                is_itself(task, service, &identity)?;
                let again = if attempt > 1 { format!(" at attempt {attempt}") } else { String::new() };
                return Ok(Outcome::changed(format!("{why}{again}, {}", proof(lab, service, &identity))));
            }
            // The archive only saves time; without it, this JVM starts.
            Err(_)
                if attempt < ATTEMPTS && identity.life() == Life::Gone && crashed_on_archive(lab, service, &spec) =>
            {
                (task.status)("the JVM crashed: trying again without the class-data archive");
                attempt += 1;
                spec.archive.iter().try_for_each(|archive| files::remove_file(archive))?;
                spec = spec_of(task, service)?;
            }
            // On a busy machine, the session can expire while the broker starts. Kubernetes would restart it too.
            Err(failure) if attempt < ATTEMPTS && identity.life() == Life::Gone && lost_session(&failure) => {
                attempt += 1;
                (task.status)("its session expired during startup: trying again");
                if let Service::Broker(id) = service {
                    former_session_gone(task, id)?;
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Writes the configuration files anew that are not as they were written. The process has read them already; the next
/// one will, and so may the user. Returns the name of one.
fn mend_files(spec: &Spec) -> Result<Option<String>> {
    let mut mended = None;
    for (path, text) in &spec.files {
        if files::own::read_own(path).ok().flatten().as_deref() != Some(text.as_bytes()) {
            files::write_file(path, text)?;
            mended = path.file_name().map(|name| name.to_string_lossy().into_owned());
        }
    }
    Ok(mended)
}

/// Whether the process started from a class-data archive and its JVM crashed.
fn crashed_on_archive(lab: &Lab, service: Service, spec: &Spec) -> bool {
    spec.archive.is_some() && log_since(&service.out(lab), 0).contains(causes::CRASH)
}

/// Whether a broker runs but stays unregistered although ZooKeeper serves. ZooKeeper rejects a broker that has seen
/// later changes than it has itself, for as long as the broker runs.
fn is_away(lab: &Lab, service: Service, identity: &Identity, failure: &Failure) -> bool {
    matches!(service, Service::Broker(_))
        && failure.exit == Exit::Step
        && identity.life() != Life::Gone
        && coordinator_died(lab).is_none()
        && lab.addresses().serves()
}

/// The failure of the coordinator if it has died: of ZooKeeper, or of so many controllers that the others cannot agree.
fn coordinator_died(lab: &Lab) -> Option<Failure> {
    let voters = Service::coordinators(lab);
    let failures: Vec<Failure> = voters.iter().filter_map(|voter| died(lab, &[*voter])).collect();
    let left = voters.len() - failures.len();
    if 2 * left > voters.len() { None } else { failures.into_iter().next() }
}

/// Checks a server's data before it is started. With wrong data, brokers would never become ready.
fn wrong_data(lab: &Lab, service: Service) -> Option<Failure> {
    let data = |service: Service| storage::data(lab, service);
    if data(service).is_symlink() {
        let what = format!("the data folder of {} is a symbolic link", service.name(lab));
        return Some(files::naming_what_is_in_the_way(Failure::step(what), &data(service)));
    }
    if lab.release.mode == Mode::KRaft {
        return storage::wrong(lab, service);
    }
    let coordinator = lab.release.mode.noun();
    let (what, way) = match service {
        Service::Coordinator(_) => {
            let cluster = |id: u32| storage::stored(&data(Service::Broker(id)), "cluster.id");
            let version = coordinator_files(lab);
            let strangers: Vec<String> = lab
                .broker_ids()
                .filter(|id| cluster(*id).is_some_and(|cluster| !coordination::has_stored(&version, &cluster)))
                .map(|id| format!("kafka-{id}"))
                .collect();
            // If it knows other brokers, the strangers' data is wrong. Each reports that when it starts.
            let known = lab.broker_ids().filter(|id| cluster(*id).is_some()).count() > strangers.len();
            if strangers.is_empty() || known {
                return None;
            }
            let what = format!(
                "{coordinator} has lost its data, or has another cluster's, and {} still have theirs: they belong to a Kafka \
                 cluster that {coordinator} does not know, and cannot join another",
                strangers.join(", ")
            );
            (what, Remedy::StartOver)
        }
        Service::Broker(id) => {
            let other = storage::stored(&data(service), "broker.id").filter(|other| *other != id.to_string())?;
            (
                format!("kafka-{id} has another broker's data: its meta.properties has broker.id={other}"),
                Remedy::OwnData,
            )
        }
        Service::Client(..) => return None,
    };
    Some(Failure::step(format!("{what} ({})", data(service).display())).fix(way.fix(lab)))
}

/// Checks that the started process is the server itself, not a launcher: the server would outlive a stopped launcher.
fn is_itself(task: &Task<'_>, service: Service, identity: &Identity) -> Result<()> {
    let all = process::marked(&service.mark(task.lab()));
    let Some(other) = all.iter().find(|other| *other != identity) else { return Ok(()) };
    let what =
        format!("{} was started as pid {}, but runs as pid {}", service.name(task.lab()), identity.pid, other.pid);
    for process in &all {
        process.end(task.lab().timeout(|t| t.stop), task.ctx.stop, task.status)?;
    }
    files::remove_file(&service.record(task.lab()))?;
    Err(Failure::step(what).fix("set JAVA_HOME to a Java whose bin/java is Java itself; use the setsid of util-linux"))
}

/// Whether a broker's last log lines blame its ZooKeeper session.
fn lost_session(failure: &Failure) -> bool {
    let causes = ["KeeperException$SessionExpired", "KeeperException$NodeExists", "KeeperException$ConnectionLoss"];
    failure.output.iter().any(|line| causes.iter().any(|cause| line.contains(cause)))
}

fn proof(lab: &Lab, service: Service, identity: &Identity) -> String {
    let port = service.port(lab).map(|port| format!(", 127.0.0.1:{port}")).unwrap_or_default();
    format!("pid {}{port}", identity.pid)
}

/// Writes the files, starts the process and records it.
fn launch(task: &Task<'_>, service: Service, spec: Spec) -> Result<Identity> {
    let lab = task.lab();
    private_dir(&service.dir(lab))?;
    private_dir(&lab.logs())?;
    for (path, text) in &spec.files {
        files::write_file(path, text)?;
    }
    let out = service.out(lab);
    if out.exists() {
        fs::rename(&out, out.with_extension("out.1")).cannot("rotate", &out)?;
    }
    (task.status)("starting");
    let pid = task.ctx.exec.start(&spec.cmd, &out)?;
    let started = Started::of(pid, spec.settings, spec.cmd.to_string(), spec.trains)
        .map_err(|failure| failure.command(&spec.cmd).with_log_tail(&out))?;
    started.write(&service.record(lab))?;
    Ok(started.identity)
}

/// Waits until the former session has expired, within zookeeper.session.timeout.ms. A broker that registers before that
/// dies of NodeExists; KAFKA-7165 covers only expired sessions.
fn former_session_gone(task: &Task<'_>, id: u32) -> Result<()> {
    let (port, mode) = (task.lab().ports.coordinator, task.lab().release.mode);
    // In KRaft mode the broker itself waits, and registers again.
    if mode == Mode::KRaft {
        return Ok(());
    }
    let coordinator = mode.noun();
    let timeout = task.lab().timeout(|t| t.broker);
    let what = format!("the former session of broker {id}");
    task.wait(&what, timeout, INTERVAL, || {
        if let Some(cause) = coordinator_died(task.lab()) {
            return Err(cause);
        }
        let sessions = task.membership()?.map(|membership| membership.sessions);
        Ok(match sessions {
            Ok(Some(held)) if held.contains_key(&id) => {
                Poll::NotYet(format!("{coordinator} still keeps the former session of broker {id}"))
            }
            Ok(Some(_)) => Poll::Ready(()),
            Ok(None) => Poll::NotYet(format!("{coordinator} on port {port} does not serve yet")),
            Err(error) => Poll::NotYet(format!("{coordinator} on port {port} does not answer: {error}")),
        })
    })
}

/// The text in a process's log after its first `written` bytes. A log that is shorter now was rotated.
fn log_since(log: &Path, written: u64) -> String {
    let bytes = files::own::read_own(log).ok().flatten().unwrap_or_default();
    let from = usize::try_from(written).ok().filter(|from| *from <= bytes.len()).unwrap_or(0);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

/// Waits until a process is ready, or is gone. `written` is the length of its log when it was started; `None` if it was
/// already running.
fn ready(task: &Task<'_>, service: Service, identity: &Identity, written: Option<u64>) -> Result<()> {
    let lab = task.lab();
    let (coordinator, addresses) = (lab.release.mode.noun(), lab.addresses());
    let port = service.port(lab).unwrap_or_default();
    let name = service.name(lab);
    let log = service.log(lab);
    let timeout = match service {
        // A controller takes as long as a broker.
        Service::Coordinator(_) if lab.release.mode == Mode::KRaft => lab.timeout(|t| t.broker),
        Service::Coordinator(_) => lab.timeout(|t| t.coordinator),
        // A running broker gets half of the time for a new session. Then it is restarted, which takes time again.
        Service::Broker(_) if written.is_none() => lab.timeout(|t| t.broker) / 2,
        Service::Broker(_) => lab.timeout(|t| t.broker),
        Service::Client(..) => lab.timeout(|t| t.clients),
    };
    task.wait(&name, timeout, INTERVAL, || {
        if identity.life() == Life::Gone {
            return Err(gone(lab, service, identity, written.unwrap_or(0)));
        }
        // Without the coordinator, a broker waits forever and does not report the cause.
        if let (Service::Broker(_), Some(cause)) = (service, coordinator_died(task.lab())) {
            return Err(cause);
        }
        let ready = match service {
            Service::Coordinator(_) => addresses.answers(port).map_err(in_words),
            Service::Broker(id) if written.is_some() => addresses.has_registered(id),
            // After an outage, the coordinator may keep a session that no broker uses any more.
            Service::Broker(id) => task.membership()?.map(|membership| membership.in_touch.contains(&id)),
            // A client logs this once it knows the topic's partitions.
            Service::Client(..) => Ok(written.is_none_or(|written| log_since(&log, written).contains(": start "))),
        };
        Ok(match (service, ready) {
            (_, Ok(true)) => Poll::Ready(()),
            (Service::Coordinator(_), Ok(false)) => Poll::NotYet("answers, but does not serve yet".into()),
            (Service::Coordinator(_), Err(error)) => Poll::NotYet(format!("port {port}: {error}")),
            (Service::Broker(_), Ok(false)) => Poll::NotYet(format!("not yet registered with {coordinator}")),
            (Service::Broker(_), Err(error)) if lab.release.mode == Mode::KRaft && written.is_some() => {
                Poll::NotYet(format!("port {port}: {error}"))
            }
            (Service::Broker(_), Err(error)) => Poll::NotYet(format!("{coordinator}: {error}")),
            (Service::Client(..), _) => {
                let last = crate::failure::tail(&log_since(&log, written.unwrap_or(0)), 1).concat();
                Poll::NotYet(if last.is_empty() { "its log is empty".into() } else { last })
            }
        })
    })
    .map_err(
        |failure| if failure.log.is_some() { failure } else { quoting(lab, service, written.unwrap_or(0), failure) },
    )
}

/// Whether no space is left on the disk of the lab's state.
fn is_disk_full(lab: &Lab) -> bool {
    system::free_space(&lab.state).is_some_and(|free| free < MIB)
}

/// Adds the service's output to the failure, without that of earlier processes. On a full disk, there may be none.
fn quoting(lab: &Lab, service: Service, written: u64, mut failure: Failure) -> Failure {
    if is_disk_full(lab) {
        failure.message += &format!("; no space is left on the disk of {}", lab.state.display());
    }
    let (log, out) = (service.log(lab), service.out(lab));
    let new = log_since(&log, written);
    let place = if new.trim().is_empty() { &out } else { &log };
    failure.output(&format!("{new}\n{}", log_since(&out, 0))).log(place)
}

fn gone(lab: &Lab, service: Service, identity: &Identity, written: u64) -> Failure {
    ended(lab, service, &format!("{} (pid {}) exited", service.name(lab), identity.pid), written)
}

/// The failure that `what` happened to a service, with the cause that it left in its log after the first `written`
/// bytes.
pub fn ended(lab: &Lab, service: Service, what: &str, written: u64) -> Failure {
    let text = format!("{}\n{}", log_since(&service.out(lab), 0), log_since(&service.log(lab), written));
    let cause = match service {
        Service::Client(..) => causes::of_client(&text),
        _ => causes::find(&text),
    };
    let (what, fix) = match cause {
        Some(cause) => (format!("{what}: {}", cause.what), cause.way.fix(lab)),
        None if is_disk_full(lab) => (what.into(), Remedy::Disk.fix(lab)),
        None => (what.into(), format!("see the log; `{}` restarts it", lab.xtask("up"))),
    };
    quoting(lab, service, written, Failure::step(what)).fix(fix)
}

/// The failure of the first service that was started and is gone, which others wait for in vain. Only valid for
/// services whose own step is over: during a restart, the record still names the former process.
pub fn died(lab: &Lab, services: &[Service]) -> Option<Failure> {
    services.iter().find_map(|service| {
        let identity = Started::read(&service.record(lab))?.identity;
        let dead = identity.life() == Life::Gone && service.living(lab).is_none();
        dead.then(|| gone(lab, *service, &identity, 0))
    })
}

/// Stops `service` if it is running: SIGTERM, and SIGKILL after a deadline. A server is stopped only by `teardown`,
/// which removes its data next, so it is killed at once unless its normal exit is of use.
///
/// # Errors
/// It does not end.
pub fn stop(task: &Task<'_>, service: Service) -> Result<Outcome> {
    let lab = task.lab();
    let path = service.record(lab);
    let record = Started::read(&path);
    let mut found: Vec<Identity> = process::marked(&service.mark(lab));
    let recorded = record.iter().map(|started| &started.identity).filter(|identity| !identity.is_over());
    let (ours, foreign): (Vec<_>, Vec<_>) = recorded.partition(|identity| process::bears(identity, &service.mark(lab)));
    found.extend(ours.into_iter().cloned());
    found.sort_by_key(|identity| identity.pid);
    found.dedup();
    let foreign = foreign
        .iter()
        .map(|identity| format!("{} names pid {}, which is not this lab's: left alone", path.display(), identity.pid));
    let mut warnings: Vec<String> = foreign.collect();
    let grace = grace(task, service, &found)?;
    // Before the signal: an `up` after an interruption must not reuse an exiting process.
    warnings.extend(files::remove_file(&path).err().map(|failure| failure.message));
    let mut proofs = Vec::new();
    for identity in &found {
        (task.status)(&format!("pid {} is stopping", identity.pid));
        if identity.end(grace, task.ctx.stop, task.status)? {
            proofs.push(format!("pid {} ended", identity.pid));
        } else {
            let after = if grace.is_zero() { String::new() } else { format!(" after {} s", grace.as_secs()) };
            proofs.push(format!("pid {} killed{after}", identity.pid));
        }
    }
    if let Some((made, kept)) = record.and_then(|record| record.trains)
        && !proofs.iter().any(|proof| proof.contains("killed"))
    {
        keep_archive(&made, &kept);
    }
    let outcome =
        if proofs.is_empty() { Outcome::unchanged("not running") } else { Outcome::changed(proofs.join(", ")) };
    Ok(Outcome { warnings, ..outcome })
}

/// Whether a normal exit of `service` is of no use: its data is removed next, and no server of the lab is to write a
/// class-data archive.
fn is_needless(lab: &Lab, service: Service) -> bool {
    let trains = |server: Service| {
        let record = Started::read(&server.record(lab));
        record.and_then(|record| record.trains).is_some_and(|(_, kept)| !kept.exists())
    };
    // A broker exits quickly only while the others are there.
    !matches!(service, Service::Client(..)) && !Service::servers(lab).into_iter().any(trains)
}

/// How long a process may take to stop. A broker hands its partitions over through the coordinator, and a client
/// flushes to brokers: without them neither gets anywhere.
fn grace(task: &Task<'_>, service: Service, found: &[Identity]) -> Result<Duration> {
    let lab = task.lab();
    if is_needless(lab, service) {
        return Ok(Duration::ZERO);
    }
    let hopeless = !found.is_empty()
        && match service {
            Service::Coordinator(_) => false,
            Service::Broker(_) => {
                let paused = found.iter().any(|identity| identity.life() == Life::Paused);
                paused || !lab.addresses().serves()
            }
            Service::Client(..) => task.ctx.driver.serving(task)? == 0,
        };
    Ok(if hopeless { Duration::from_secs(2) } else { lab.timeout(|t| t.stop) })
}

/// Moves a class-data archive into the cache. Errors are ignored, because the archive only saves time.
fn keep_archive(made: &Path, kept: &Path) {
    if !made.exists() || is_whole(kept) {
        return;
    }
    let partial = kept.with_extension(format!("partial-{}", std::process::id()));
    let keep = || -> std::io::Result<()> {
        fs::create_dir_all(kept.parent().unwrap_or(Path::new(".")))?;
        // The state folder and the cache may be on different file systems.
        fs::copy(made, &partial)?;
        fs::rename(&partial, kept)?;
        files::own::write_own(&stamp_of(kept), files::stamp(kept).as_bytes())
    };
    if keep().is_err() {
        let _ = fs::remove_file(&partial);
    }
}

/// Ends every process of this lab that the manifests no longer have, for example after fewer replicas.
///
/// # Errors
/// A process does not end.
pub fn end_strays(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    // Where the servers are pods, none of this lab's processes is one.
    let services = match lab.backend.reaches() {
        Reach::Processes => Service::servers(lab).into_iter().chain(Service::clients(lab)).collect(),
        Reach::Pods => Vec::new(),
    };
    let wanted: Vec<String> = services.into_iter().map(|service: Service| service.mark(lab)).collect();
    let strays = process::with_mark(|arg| is_mark(lab, arg) && !wanted.iter().any(|mark| mark.as_bytes() == arg));
    // They hand nothing over to each other.
    let grace = match lab.backend.reaches() {
        Reach::Processes => lab.timeout(|t| t.stop),
        Reach::Pods => Duration::from_secs(3),
    };
    strays.iter().try_for_each(|identity| identity.signal(Signal::TERM).map(drop))?;
    let (begin, mut pids) = (Instant::now(), Vec::new());
    for identity in &strays {
        (task.status)(&format!("stopping pid {}, which is no longer in the manifests", identity.pid));
        identity.end(grace.saturating_sub(begin.elapsed()), task.ctx.stop, task.status)?;
        pids.push(identity.pid.to_string());
    }
    Ok(match pids.is_empty() {
        true => Outcome::unchanged("none"),
        false => Outcome::changed(format!("ended pid {}, no longer in the manifests", pids.join(", "))),
    })
}

/// The start of the argument that marks a server.
pub const MARK: &str = "-Dkafka.lab.mark=";

/// Whether a command-line argument marks a process of this lab.
pub fn is_mark(lab: &Lab, arg: &[u8]) -> bool {
    let inside = |prefix: &str| {
        arg.strip_prefix(prefix.as_bytes())
            .and_then(|path| path.strip_prefix(lab.state.as_os_str().as_encoded_bytes()))
            .is_some_and(|rest| rest.starts_with(b"/"))
    };
    inside(MARK) || inside("--log-file=")
}
