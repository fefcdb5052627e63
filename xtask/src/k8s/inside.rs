//! Queries the brokers from inside the cluster, at the listener that brokers and clients there use.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use ledger::lines::Metadata;

use crate::brokers::not_serving;
use crate::config::Lab;
use crate::exec::Cmd;
use crate::failure::Result;
use crate::k8s::job;
use crate::k8s::kubectl::Kubectl;
use crate::task::{Ctx, Outcome, Task};
use crate::tools::clients;
use crate::wait::Poll;

/// The limit for the cluster's DNS to resolve a pod that has just become ready.
const NAMED_WITHIN: Duration = Duration::from_secs(30);

/// What [`serving`] would run.
pub fn preview_serving(ctx: &Ctx<'_>, with_clients: bool) -> Vec<String> {
    let (lab, metadata) = (ctx.lab, metadata(ctx.lab));
    let kubectl = Kubectl::of(lab, &ctx.shown_setup());
    let pod = with_clients.then(|| job::in_producer(lab, &kubectl, &metadata)).flatten();
    vec![match pod {
        Some(cmd) => cmd.to_string(),
        None => format!("# in a Job with the clients' image: {metadata}"),
    }]
}

/// Asks each broker for its metadata at its address inside the cluster.
fn metadata(lab: &Lab) -> Cmd {
    let addresses: Vec<String> = lab.broker_ids().map(|id| lab.facts.brokers.inner_address(id)).collect();
    let ask = Duration::from_secs(20);
    let cmd = clients::metadata(Path::new("clients"), &addresses.join(","), &lab.facts.topic, ask);
    Cmd { deadline: lab.timeout(|t| t.clients) + Duration::from_secs(30), ..cmd }
}

/// Waits until every broker answers a pod at its address inside the cluster.
///
/// # Errors
/// After the limit, a broker still does not answer there, or reports other addresses.
pub fn serving(task: &Task<'_>, with_clients: bool) -> Result<Outcome> {
    let (lab, cmd) = (task.lab(), metadata(task.lab()));
    let wanted: Vec<(u32, String)> = lab.broker_ids().map(|id| (id, lab.facts.brokers.inner_address(id))).collect();
    let pod = match with_clients {
        true => job::in_producer(lab, &task.kubectl()?, &cmd),
        false => None,
    };
    let last = RefCell::new(String::new());
    let answered = task.wait("the brokers inside the cluster", NAMED_WITHIN, Duration::from_secs(1), || {
        let output = match &pod {
            Some(in_pod) => task.capture(in_pod)?,
            None => job::run(task, "metadata", &cmd)?,
        };
        let obstacle = not_serving(&wanted, &clients::lines::<Metadata>(&output.stdout));
        *last.borrow_mut() = output.stdout;
        Ok(Poll::unless(obstacle))
    });
    answered.map_err(|failure| match failure.log {
        None => failure.output(&last.borrow()).log(&task.log).fix(lab.xtask("logs kafka-0 -n 100")),
        Some(_) => failure,
    })?;
    let addresses: Vec<&str> = wanted.iter().map(|(_, address)| address.as_str()).collect();
    Ok(Outcome::passed(format!("each broker answers at {}", addresses.join(", "))))
}
