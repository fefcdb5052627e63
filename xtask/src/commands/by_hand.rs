//! Commands for manual work: `render`, `kubectl`, and Kafka's tools.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::backend::Backend;
use crate::cli::{Passthrough, RenderArgs};
use crate::commands::session::Session;
use crate::config::{Lab, Overrides, state_dir};
use crate::exec::{Exec, RealExec};
use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::private_dir;
use crate::k8s::kubectl::Kubectl;
use crate::k8s::render;
use crate::kafka_tools::catalogue;
use crate::kind::{config, images, setup};
use crate::local::jars::Jars;
use crate::plan;
use crate::show::{print_text, tell};
use crate::state::{Toolchain, read_record};
use crate::task::Task;
use crate::tools::docker;

impl Session<'_> {
    /// `render`: writes the manifests as they are applied.
    ///
    /// # Errors
    /// The folder is not writable, or the images in use are unknown.
    pub fn render(&self, args: &RenderArgs) -> Result<Exit> {
        let record = read_record(&state_dir(self.global, self.env)?)?.filter(|record| record.backend == Backend::Kind);
        let overrides = Overrides { images: args.images.map(Into::into), ..Overrides::recorded(Backend::Kind) };
        let lab = Lab::load(self.global, self.env, record.as_ref(), overrides)?;
        let jars = Jars::describe(self.env, lab.release.version)?;
        let same = |setup: &Toolchain| setup.source == lab.images;
        let setup = match lab.setup.clone().filter(same) {
            Some(setup) => setup,
            None => setup::resolve(&lab, &RealExec, Path::new("/dev/null"), self.stop)?,
        };
        let plan = plan::clients_build(&lab);
        if self.global.dry_run {
            return Ok(self.dry_run("render", &lab, &jars, &plan));
        }
        if !docker::answers(self.env, &RealExec, self.stop) {
            let what = "no Docker engine answers; one is needed to build the clients' image that clients.yml names";
            let start = docker::start_line(self.env.docker_host.as_deref().unwrap_or_default());
            return Err(Failure::new(Exit::Preflight, what).fix(format!("start it, {start}")));
        }
        let folder_was_there = lab.state.exists();
        let lock = self.lock("render")?;
        private_dir(&lab.state)?;
        let stop = self.stop.next_plan();
        let ctx = self.ctx(&lab, &jars, &stop);
        let report = self.run_in("render", &ctx, &plan);
        if !folder_was_there && report.exit() == Exit::Ok {
            // It contains only the build's logs.
            std::fs::remove_dir_all(&lab.state).cannot("remove", &lab.state)?;
        }
        drop(lock);
        if report.exit() != Exit::Ok {
            return Ok(report.exit());
        }
        let client = ctx.client_image.get().map_or(render::CLIENT_IMAGE, |archive: &images::Archive| &archive.name);
        std::fs::create_dir_all(&args.out).cannot("create", &args.out)?;
        for (file, text) in [
            ("cluster.yml", config::rendered(&lab, &setup, false)?),
            ("kafka.yml", render::kafka(&lab, &setup)?),
            ("host-access.yml", render::host_access(&lab)?),
            ("clients.yml", render::clients(&lab, client)?),
        ] {
            print_text(&format!("{}\n", render::write(&args.out, file, &text)?.display()));
        }
        Ok(Exit::Ok)
    }

    /// `kubectl`: runs it with the lab's kubeconfig and context; returns its exit code.
    ///
    /// # Errors
    /// The lab is not up, or does not run on a cluster.
    pub fn kubectl(&self, args: &Passthrough) -> Result<i32> {
        let (lab, _) = self.recorded()?;
        let Some(setup) = &lab.setup else {
            return Err(Failure::usage(format!(
                "lab {} runs on backend {}, which has no cluster for kubectl",
                lab.name, lab.backend
            )));
        };
        let cmd = Kubectl::of(&lab, setup).cmd(Duration::ZERO, &args.args);
        if self.global.dry_run {
            print_text(&format!("{cmd}\n"));
            return Ok(0);
        }
        RealExec.attached(&cmd)
    }

    /// Runs one of Kafka's tools on our terminal, or lists them; returns its exit code.
    ///
    /// # Errors
    /// The lab is not up, it has no such tool, or Java is missing.
    pub fn kafka(&self, tool: Option<&str>, args: &Passthrough) -> Result<i32> {
        for flag in ["--name", "--manifests", "--format", "--dry-run"] {
            if args.args.iter().any(|arg| arg == flag || arg.starts_with(&format!("{flag}="))) {
                return Err(Failure::usage(format!("{flag} would go to the tool; put it before the command's name")));
            }
        }
        let (lab, jars) = self.recorded()?;
        let version = lab.release.version;
        let Some(tool) = tool else {
            catalogue::tools(version).for_each(|tool| print_text(&format!("{}\n", tool.name)));
            return Ok(0);
        };
        let instead = lab.release.mode.without_shell(|command| lab.xtask(command));
        if tool.starts_with("zoo")
            && let Some(instead) = instead
        {
            return Err(Failure::usage(format!("{tool}: lab {} runs Kafka {}", lab.name, lab.release)).fix(instead));
        }
        let tool = catalogue::find(tool, version)?;
        let ctx = self.ctx(&lab, &jars, self.stop);
        let task = Task { ctx: &ctx, log: "/dev/null".into(), status: &|_| {}, tell: &|_| {} };
        let tools = task.kafka_tools()?.interactive();
        let typed: Vec<OsString> = args.args.iter().map(Into::into).collect();
        tools.check(tool, &typed)?;
        let cmd = tools.tool(tool, typed);
        if self.global.dry_run {
            print_text(&format!("{cmd}\n"));
            return Ok(0);
        }
        for server in ctx.driver.paused(&lab) {
            let name = server.name(&lab);
            tell(&format!("note: {name} is paused: the tool may wait for it; `{}` resumes it", lab.xtask("up")));
        }
        RealExec.attached(&cmd)
    }
}
