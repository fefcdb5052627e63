//! The storage of controllers and brokers in KRaft mode: formatted once, with kafka-storage, before a server's first
//! start. ZooKeeper mode has nothing of it: brokers there write meta.properties themselves.

use std::path::{Path, PathBuf};

use crate::config::Lab;
use crate::exec::Cmd;
use crate::failure::{Failure, Result};
use crate::files::{self, private_dir};
use crate::kafka_tools::{KafkaTools, Tool};
use crate::local::service::Spec;
use crate::service::Service;
use crate::task::{Ctx, Task};
use crate::tools::causes::Remedy;

/// The data folder of a server.
pub fn data(lab: &Lab, service: Service) -> PathBuf {
    service.dir(lab).join("data")
}

/// The file that marks formatted storage, and says whose it is. kafka-storage writes it last.
fn mark(lab: &Lab, service: Service) -> PathBuf {
    data(lab, service).join("meta.properties")
}

/// A property that a server stored about itself in its data folder.
pub fn stored(data: &Path, key: &str) -> Option<String> {
    let text = files::own::read_own_text(&data.join("meta.properties")).ok()??;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim().to_string())
}

/// The command that formats a server's storage; `None` in ZooKeeper mode and for a client.
fn format(ctx: &Ctx<'_>, tools: &KafkaTools, service: Service, spec: &Spec) -> Option<Cmd> {
    let quorum = ctx.lab.facts.coordinator.quorum.as_ref()?;
    let (config, _) = spec.files.first()?;
    let config = config.display().to_string();
    let args = ["format", "--cluster-id", &quorum.cluster_id, "--config", &config];
    (!matches!(service, Service::Client(..))).then(|| tools.tool(Tool::STORAGE, args))
}

/// The preview of [`prepare`].
pub fn preview(ctx: &Ctx<'_>, service: Service, spec: &Spec) -> Vec<String> {
    match format(ctx, &ctx.driver.kafka_tools(ctx), service, spec) {
        Some(cmd) => vec![format!("# unless {} exists:", mark(ctx.lab, service).display()), cmd.to_string()],
        None => Vec::new(),
    }
}

/// Formats a server's storage, unless it is formatted.
///
/// # Errors
/// kafka-storage fails.
pub fn prepare(task: &Task<'_>, service: Service, spec: &Spec) -> Result<()> {
    let lab = task.lab();
    if lab.facts.coordinator.quorum.is_none() || matches!(service, Service::Client(..)) || mark(lab, service).exists() {
        return Ok(());
    }
    let Some(cmd) = format(task.ctx, &task.kafka_tools()?, service, spec) else { return Ok(()) };
    private_dir(&service.dir(lab))?;
    private_dir(&lab.logs())?;
    for (path, text) in &spec.files {
        files::write_file(path, text)?;
    }
    (task.status)("formatting its storage");
    task.run(&cmd).map(drop)
}

/// The failure of a server whose data is of another cluster, another node or the other mode. It would not start, or
/// would stand in for another one.
pub fn wrong(lab: &Lab, service: Service) -> Option<Failure> {
    let quorum = lab.facts.coordinator.quorum.as_ref()?;
    let id = match service {
        Service::Coordinator(number) => *quorum.voters.get(number as usize)?,
        Service::Broker(id) => id,
        Service::Client(..) => return None,
    };
    let (data, name) = (data(lab, service), service.name(lab));
    let found = |key: &str| stored(&data, key);
    let other = |key: &str, wanted: &str| found(key).filter(|found| found != wanted);
    let what = if let Some(broker) = found("broker.id") {
        format!("{name} has data of a lab in another mode: its meta.properties has broker.id={broker}")
    } else if let Some(node) = other("node.id", &id.to_string()) {
        format!("{name} has another server's data: its meta.properties has node.id={node}, not {id}")
    } else {
        let cluster = other("cluster.id", &quorum.cluster_id)?;
        let manifest = lab.release.mode.manifest();
        format!("{name} has data of cluster {cluster}, but CLUSTER_ID in {manifest} is {}", quorum.cluster_id)
    };
    Some(Failure::step(format!("{what} ({})", data.display())).fix(Remedy::OwnData.fix(lab)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;
    use crate::coordination::releases::RELEASES;

    #[test]
    fn data_of_another_server_cluster_or_mode_is_told_before_a_server_starts_on_it() {
        let [.., kraft] = RELEASES;
        let mut lab = sample::of(kraft);
        lab.state = std::env::temp_dir().join(format!("kafka-lab-storage-{}", std::process::id()));
        let id = &lab.facts.coordinator.quorum.as_ref().unwrap().cluster_id;
        let own = |node: u32| format!("#\nversion=1\nnode.id={node}\ncluster.id={id}\ndirectory.id=x\n");
        let found = |service: Service, text: &str| {
            private_dir(&data(&lab, service)).unwrap();
            files::write_file(&mark(&lab, service), text).unwrap();
            wrong(&lab, service).map(|failure| failure.message)
        };
        let (controller, broker) = (Service::Coordinator(1), Service::Broker(1));
        assert_eq!(wrong(&lab, controller).map(|failure| failure.message), None, "not formatted yet");
        assert_eq!(found(controller, &own(101)), None);
        assert_eq!(found(broker, &own(1)), None);
        for (service, text, said) in [
            (
                controller,
                own(100),
                "controller-1 has another server's data: its meta.properties has node.id=100, not 101",
            ),
            (broker, own(2), "kafka-1 has another server's data"),
            (
                broker,
                own(1).replace(id.as_str(), "other"),
                "kafka-1 has data of cluster other, but CLUSTER_ID in kraft/kafka.yml",
            ),
            (broker, "version=0\nbroker.id=1\ncluster.id=c\n".into(), "kafka-1 has data of a lab in another mode"),
        ] {
            let message = found(service, &text).unwrap();
            assert!(message.starts_with(said), "{message}");
        }
        std::fs::remove_dir_all(&lab.state).unwrap();
        assert_eq!(wrong(&sample::lab(), Service::Broker(1)).map(|failure| failure.message), None);
    }
}
