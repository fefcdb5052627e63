//! The local backend's driver.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Lab;
use crate::coordination::releases::RELEASES;
use crate::coordination::{Membership, Mode, Release};
use crate::exec::{Cmd, Exec, Output};
use crate::failure::{Exit, Failure, Result};
use crate::files;
use crate::findings::Findings;
use crate::kafka_tools::KafkaTools;
use crate::local::process::{Life, Memory, Started};
use crate::local::{logs, ports, preflight, process, servers};
use crate::service::Service;
use crate::signal::Stop;
use crate::system::now_ms;
use crate::task::{Alive, Ctx, Driver, Left, LogSource, Outcome, Pace, Tail, Task};
use crate::tools::java;

/// The driver of the local backend.
pub struct LocalDriver;

impl Driver for LocalDriver {
    fn preview_preflight(&self, lab: &Lab) -> Vec<String> {
        preflight::preview(lab)
    }

    fn preflight(&self, task: &Task<'_>, findings: &mut Findings) -> Result<()> {
        preflight::look(task, findings)
    }

    fn preview_is_up(&self, _lab: &Lab) -> String {
        "# a process of this lab is running".into()
    }

    fn is_up(&self, task: &Task<'_>) -> Result<Outcome> {
        let lab = task.lab();
        let servers = Service::servers(lab);
        let living = servers.iter().filter(|service| service.living(lab).is_some()).count();
        if living == 0 {
            let what = format!("lab {} is recorded, but none of its processes is running", lab.name);
            return Err(Failure::new(Exit::NotUp, what).fix(lab.xtask("up")));
        }
        let name = &lab.name;
        Ok(Outcome::passed(format!("lab {name}, backend local, {living} of {} servers running", servers.len())))
    }

    fn preview_healthy(&self, ctx: &Ctx<'_>, service: Service) -> String {
        format!("# the process of {} in {} is running", service.name(ctx.lab), service.record(ctx.lab).display())
    }

    fn healthy(&self, task: &Task<'_>, service: Service) -> Result<Option<Alive>> {
        let lab = task.lab();
        let record = Started::read(&service.record(lab));
        let Some(identity) = service.living(lab) else {
            if !service.record(lab).exists() && matches!(service, Service::Client(..)) {
                return Ok(None);
            }
            let ended = servers::ended(lab, service, &format!("{} is not running", service.name(lab)), 0);
            return Err(Failure { exit: Exit::Fault, ..ended });
        };
        if identity.life() == Life::Paused {
            let what = format!("{} (pid {}) is paused (SIGSTOP)", service.name(lab), identity.pid);
            return Err(Failure::fault(what).fix(format!("`kill -CONT {}`, or `{}`", identity.pid, lab.xtask("up"))));
        }
        if let Some(port) = service.port(lab)
            && ports::is_free(port)
        {
            let (name, pid) = (service.name(lab), identity.pid);
            let what = format!("{name} (pid {pid}) is running, but nothing listens on 127.0.0.1:{port}");
            return Err(Failure::fault(what).fix(lab.xtask("up")));
        }
        let age = record.map(|record| now_ms().saturating_sub(record.started_ms) / 1000);
        let mut proof = format!("pid {}", identity.pid);
        if let Some(port) = service.port(lab) {
            proof += &format!(", 127.0.0.1:{port}");
        }
        if let Some(age) = age {
            proof += &format!(", up {}", duration(age));
        }
        if let Some(kib) = identity.memory_kib(Memory::Resident) {
            proof += &format!(", {} MiB resident", kib / 1024);
        }
        Ok(Some(Alive { name: service.name(lab), proof }))
    }

    fn died(&self, lab: &Lab) -> Option<Failure> {
        servers::died(lab, &Service::servers(lab))
    }

    fn pace(&self, lab: &Lab) -> Pace {
        let (ask, watch) = (Duration::from_millis(100), Duration::from_millis(50));
        Pace { serve: lab.timeout(|t| t.broker), ask, watch }
    }

    fn settle_preview(&self, ctx: &Ctx<'_>) {
        let nowhere = Path::new("/dev/null");
        let found = java::locate(&ctx.lab.env).and_then(|java| java::ask(&java, ctx.exec, nowhere, ctx.stop).ok());
        found.map(|java| ctx.java.set(java));
    }

    fn settle(&self, task: &Task<'_>) -> Result<()> {
        task.java().map(drop)
    }

    fn kafka_tools(&self, ctx: &Ctx<'_>) -> KafkaTools {
        KafkaTools::host(ctx.lab, ctx.jars, &ctx.shown_java())
    }

    fn membership(&self, task: &Task<'_>) -> Result<std::result::Result<Membership, String>> {
        Ok(task.lab().addresses().membership())
    }

    fn serving(&self, task: &Task<'_>) -> Result<usize> {
        let lab = task.lab();
        let runs = |id: &u32| Service::Broker(*id).living(lab).is_some_and(|broker| broker.life() == Life::Running);
        Ok(lab.broker_ids().filter(|id| runs(id) && !ports::is_free(lab.ports.broker(*id))).count())
    }

    fn paused(&self, lab: &Lab) -> Vec<Service> {
        let paused = |server: &Service| server.living(lab).is_some_and(|found| found.life() == Life::Paused);
        Service::servers(lab).into_iter().filter(paused).collect()
    }

    fn client_brokers(&self, lab: &Lab) -> String {
        lab.bootstrap()
    }

    fn client(&self, task: &Task<'_>, _purpose: &str, cmd: &Cmd) -> Result<Output> {
        task.capture(cmd)
    }

    fn clients(&self, task: &Task<'_>, role: &str) -> Result<Vec<String>> {
        let lab = task.lab();
        let of_role = |index: usize| lab.facts.clients.get(index).is_some_and(|client| client.role == role);
        let living = Service::clients(lab).into_iter().filter(|service| match service {
            Service::Client(index, _) => of_role(*index) && service.living(lab).is_some(),
            _ => false,
        });
        Ok(living.map(|service| service.name(lab)).collect())
    }

    fn client_state(&self, task: &Task<'_>, client: &str) -> Result<std::result::Result<String, String>> {
        let lab = task.lab();
        let all = Service::clients(lab);
        let found = all.iter().find(|service| service.name(lab) == client);
        let Some(service) = found else { return Ok(Err(format!("no client {client}"))) };
        let path = service.state_file(lab);
        match files::own::read_own(&path) {
            // A client that has counted nothing yet has no file.
            Ok(bytes) => Ok(Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())),
            Err(error) => {
                let failed = Failure::fault(format!("cannot read {}: {error}", path.display()));
                let failed = files::naming_what_is_in_the_way(failed, &path);
                // The client replaces a file of its own with its next state. There is nothing to wait for if
                // something else is there.
                if failed.fix.is_some() { Err(failed) } else { Ok(Err(failed.message)) }
            }
        }
    }

    fn state_files(&self, lab: &Lab) -> Vec<(String, PathBuf)> {
        Service::clients(lab).into_iter().map(|client| (client.name(lab), client.state_file(lab))).collect()
    }

    fn endpoints(&self, lab: &Lab) -> Vec<(&'static str, String)> {
        let name = if lab.release.mode == Mode::KRaft { "controller" } else { lab.release.mode.workload() };
        vec![(name, lab.coordinator_address())]
    }

    fn coordinator_address(&self, lab: &Lab) -> String {
        lab.coordinator_address()
    }

    fn has_clients(&self, lab: &Lab) -> bool {
        Service::clients(lab).iter().any(|service| service.record(lab).exists())
    }

    fn logs(&self, lab: &Lab, source: &LogSource, tail: Tail, stop: &Stop) -> Result<Exit> {
        logs::print(lab, source, tail, stop)
    }

    fn releases(&self) -> &'static [Release] {
        &RELEASES
    }

    fn meaningless_flags(&self) -> &'static [&'static str] {
        &["--images", "--recreate", "--merge-kubeconfig"]
    }

    fn has_remains(&self, lab: &Lab, _exec: &dyn Exec, _stop: &Stop) -> bool {
        !process::with_mark(|arg| servers::is_mark(lab, arg)).is_empty()
    }

    fn restore(&self, task: &Task<'_>) -> Result<()> {
        servers::start_all(task, Service::coordinators(task.lab()))?;
        servers::start_all(task, task.lab().broker_ids().map(Service::Broker).collect())
    }

    fn left(&self, task: &Task<'_>) -> Result<Left> {
        let ports = Service::servers(task.lab()).iter().flat_map(|server| server.ports(task.lab())).collect();
        Ok(Left { none: "no process, no file", found: Vec::new(), ports })
    }
}

fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
