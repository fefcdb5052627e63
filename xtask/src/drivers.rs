//! Maps a backend to its driver, and chooses the backend of a lab.

use crate::backend::Backend;
use crate::config::{Env, xtask_line};
use crate::exec::Exec;
use crate::failure::{Exit, Failure, Result};
use crate::kind::driver::KindDriver;
use crate::local::driver::LocalDriver;
use crate::signal::Stop;
use crate::state::LabRecord;
use crate::task::Driver;
use crate::tools::docker;

/// Returns the driver of a backend.
pub fn of(backend: Backend) -> &'static dyn Driver {
    match backend {
        Backend::Local => &LocalDriver,
        Backend::Kind => &KindDriver,
    }
}

/// Chooses the backend of lab `name`, with the reason: the requested one, the recorded one, or one that this machine
/// can run.
///
/// # Errors
/// The lab is up on another backend than the requested one.
pub fn choose(
    requested: Option<Backend>,
    record: Option<&LabRecord>,
    name: &str,
    env: &Env,
    exec: &dyn Exec,
    stop: &Stop,
) -> Result<(Backend, String)> {
    match (requested, record) {
        (Some(requested), Some(record)) if record.backend != requested => {
            let what = format!("lab {name} is up on backend {}, and a lab has one backend", record.backend);
            let fix = format!("run `{}` first, or use another --name and --port-base", xtask_line(name, "teardown"));
            Err(Failure::new(Exit::Preflight, what).fix(fix))
        }
        (Some(requested), _) => Ok((requested, "requested".into())),
        (None, Some(record)) => Ok((record.backend, "recorded by an earlier up".into())),
        (None, None) if env.find("docker").is_none() => Ok((Backend::Local, "there is no docker on PATH".into())),
        (None, None) => Ok(match docker::answers(env, exec, stop) {
            true => (Backend::Kind, "a Docker engine answers".into()),
            false => (Backend::Local, "no Docker engine answers".into()),
        }),
    }
}
