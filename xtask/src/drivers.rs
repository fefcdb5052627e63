//! Which driver does what a backend does, and which backend a lab gets: the lines to add for another one.

use crate::backend::Backend;
use crate::config::{Env, spelled};
use crate::exec::Exec;
use crate::failure::{Exit, Failure, Result};
use crate::kind::driver::KindDriver;
use crate::local::driver::LocalDriver;
use crate::signal::Stop;
use crate::state::Record;
use crate::task::Driver;
use crate::tools::docker;

/// The driver of a backend.
pub fn of(backend: Backend) -> &'static dyn Driver {
    match backend {
        Backend::Local => &LocalDriver,
        Backend::Kind => &KindDriver,
    }
}

/// The backend of lab `name`, and why: the one that was asked for, the recorded one, or one that this machine can run.
///
/// # Errors
/// The lab is up on another one than was asked for.
pub fn choose(
    asked: Option<Backend>,
    record: Option<&Record>,
    name: &str,
    env: &Env,
    exec: &dyn Exec,
    stop: &Stop,
) -> Result<(Backend, String)> {
    match (asked, record) {
        (Some(asked), Some(record)) if record.backend != asked => {
            let what = format!("lab {name} is up on backend {}, and a lab is in one place", record.backend);
            let fix = format!("`{}` first, or another --name and --port-base", spelled(name, "teardown"));
            Err(Failure::new(Exit::Preflight, what).fix(fix))
        }
        (Some(asked), _) => Ok((asked, "asked for".into())),
        (None, Some(record)) => Ok((record.backend, "recorded by an earlier up".into())),
        (None, None) if env.find("docker").is_none() => Ok((Backend::Local, "there is no docker on PATH".into())),
        (None, None) => Ok(match docker::answers(env, exec, stop) {
            true => (Backend::Kind, "a Docker engine answers".into()),
            false => (Backend::Local, "no Docker engine answers".into()),
        }),
    }
}
