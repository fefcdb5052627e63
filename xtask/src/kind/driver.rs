//! The kind backend's driver. `k8s` answers the questions about pods.

use std::path::{Path, PathBuf};

use crate::config::Lab;
use crate::coordination::releases::RELEASES;
use crate::coordination::{self, Membership, Release};
use crate::exec::{Cmd, Exec, Output};
use crate::failure::{Exit, Result};
use crate::findings::Findings;
use crate::k8s::diagnostics::Diagnostics;
use crate::k8s::kubectl::Kubectl;
use crate::k8s::workload::{self, GiveUp, WorkloadGroup};
use crate::k8s::{answers, job, logs};
use crate::kafka_tools::KafkaTools;
use crate::kind::{cluster, nodes, preflight, setup};
use crate::service::Service;
use crate::signal::Stop;
use crate::task::{Alive, Ctx, Driver, Left, LogSource, Outcome, Pace, Tail, Task};
use crate::tools::{docker, kind};
use crate::words::quoted;

/// The driver of the kind backend.
pub struct KindDriver;

impl Driver for KindDriver {
    fn preview_preflight(&self, lab: &Lab) -> Vec<String> {
        preflight::preview(lab)
    }

    fn preflight(&self, task: &Task<'_>, findings: &mut Findings) -> Result<()> {
        preflight::look(task, findings)
    }

    fn preview_is_up(&self, lab: &Lab) -> String {
        docker::nodes(lab.cluster()).to_string()
    }

    fn is_up(&self, task: &Task<'_>) -> Result<Outcome> {
        cluster::is_up(task)
    }

    fn preview_healthy(&self, ctx: &Ctx<'_>, _service: Service) -> String {
        Kubectl::of(ctx.lab, &ctx.shown_setup()).workloads().to_string()
    }

    fn healthy(&self, task: &Task<'_>, service: Service) -> Result<Option<Alive>> {
        answers::healthy(task, service)
    }

    fn pace(&self, lab: &Lab) -> Pace {
        answers::pace(lab)
    }

    fn settle_preview(&self, ctx: &Ctx<'_>) {
        if ctx.setup.get().is_none()
            && let Ok(setup) = setup::resolve(ctx.lab, ctx.exec, Path::new("/dev/null"), ctx.stop)
        {
            let _ = ctx.setup.set(setup);
        }
    }

    fn settle(&self, task: &Task<'_>) -> Result<()> {
        task.setup().map(drop)
    }

    fn kafka_tools(&self, ctx: &Ctx<'_>) -> KafkaTools {
        KafkaTools::pods(ctx.lab, &ctx.shown_setup())
    }

    fn membership(&self, task: &Task<'_>) -> Result<std::result::Result<Membership, String>> {
        Ok(answers::coordinator(task)?.and_then(|answer| Membership::read(&answer)))
    }

    fn serving(&self, task: &Task<'_>) -> Result<usize> {
        answers::ready_brokers(task)
    }

    fn client_brokers(&self, lab: &Lab) -> String {
        answers::client_brokers(lab)
    }

    fn client(&self, task: &Task<'_>, purpose: &str, cmd: &Cmd) -> Result<Output> {
        job::run(task, purpose, cmd)
    }

    fn clients(&self, task: &Task<'_>, role: &str) -> Result<Vec<String>> {
        answers::clients(task, role)
    }

    fn client_state(&self, task: &Task<'_>, client: &str) -> Result<std::result::Result<String, String>> {
        answers::client_state(task, client)
    }

    fn endpoints(&self, lab: &Lab) -> Vec<(&'static str, String)> {
        let (kubeconfig, context) = (lab.kubeconfig(), lab.context());
        vec![
            (coordination::WORKLOAD, format!("in the cluster: {}", coordination::SERVICE_ADDRESS)),
            ("kubectl", format!("--kubeconfig {} --context {context}", kubeconfig.display())),
        ]
    }

    fn coordinator_address(&self, _lab: &Lab) -> String {
        coordination::SERVICE_ADDRESS.into()
    }

    fn has_clients(&self, _lab: &Lab) -> bool {
        true
    }

    fn logs(&self, lab: &Lab, source: &LogSource, tail: Tail, _stop: &Stop) -> Result<Exit> {
        logs::print(lab, source, tail)
    }

    fn foundation_failed(&self, ctx: &Ctx<'_>) -> Option<(String, String)> {
        let answers = docker::answers(&ctx.lab.env, ctx.exec, ctx.stop);
        // Without an engine nobody can look for nodes, and the record may be of an engine that is gone for good.
        let fix = format!(
            "restart it with {}, then rerun the command; if that engine is gone for good, forget the lab: rm -r {}",
            docker::start_line(ctx.lab.env.docker_host.as_deref().unwrap_or_default()),
            quoted(ctx.lab.state.as_os_str())
        );
        (!answers).then(|| ("the Docker engine no longer answers".into(), fix))
    }

    fn diagnose(&self, ctx: &Ctx<'_>) -> Option<PathBuf> {
        let setup = ctx.setup.get()?;
        let diagnostics = Diagnostics::begin(ctx)?;
        let nodes = docker::nodes(ctx.lab.cluster());
        let nodes = Cmd { args: nodes.args.into_iter().filter(|arg| arg != "--quiet").collect(), ..nodes };
        diagnostics.ask("containers.txt", nodes)?;
        // Without an API server, only the nodes themselves can be examined.
        if !diagnostics.ask_cluster(&Kubectl::of(ctx.lab, setup)) && setup.kind.exists() {
            diagnostics.ask("kind.txt", kind::export_logs(ctx.lab, setup, &diagnostics.dir.join("nodes")));
        }
        Some(diagnostics.dir)
    }

    fn releases(&self) -> &'static [Release] {
        let [course, ..] = &RELEASES;
        std::slice::from_ref(course)
    }

    fn has_remains(&self, lab: &Lab, exec: &dyn Exec, stop: &Stop) -> bool {
        docker::answers(&lab.env, exec, stop)
            && nodes::find(lab, exec, Path::new("/dev/null"), stop)
                .is_ok_and(|nodes| !nodes.is_empty() && nodes::is_ours(lab, &nodes))
    }

    fn restore(&self, task: &Task<'_>) -> Result<()> {
        cluster::cluster(task)?;
        workload::ready_with(task, WorkloadGroup::Servers, GiveUp::with_killed()).map(drop)
    }

    fn left(&self, task: &Task<'_>) -> Result<Left> {
        let nodes = nodes::find(task.lab(), task.ctx.exec, &task.log, task.ctx.stop)?;
        let found = nodes.into_iter().map(|node| format!("container {}", node.name)).collect();
        Ok(Left { none: "no node, no process, no file", found, ports: task.lab().host_ports() })
    }
}
