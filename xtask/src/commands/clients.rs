//! `clients`: the producer and the consumer.

use crate::cli::{ClientsCommand, Format, ScaleArgs};
use crate::commands::session::Session;
use crate::config::facts::MAX_CLIENTS;
use crate::failure::{Exit, Failure, Result};
use crate::plan;
use crate::report;
use crate::state::{read_record, write_record};

impl Session<'_> {
    /// `clients` and its subcommands.
    ///
    /// # Errors
    /// The lab is not up.
    pub fn clients(&self, command: &ClientsCommand) -> Result<Exit> {
        let (lab, jars) = self.recorded()?;
        let (name, plan) = match command {
            ClientsCommand::Logs(args) => return self.client_logs(args),
            ClientsCommand::Scale(scale) => return self.scale(scale),
            ClientsCommand::Build => ("clients build", plan::clients_build(&lab)),
            ClientsCommand::Load => ("clients load", plan::clients_load(&lab)),
            ClientsCommand::Start => ("clients start", plan::clients_start(&lab)),
            ClientsCommand::Stop => ("clients stop", plan::clients_stop(&lab)),
        };
        if self.global.dry_run {
            return Ok(self.dry_run(name, &lab, &jars, &plan));
        }
        let _lock = self.lock(name)?;
        let report = self.run(name, &lab, &jars, &plan);
        if lab.format == Format::Json {
            report::json(name, &self.ctx(&lab, &jars, self.stop), &report);
        }
        Ok(report.exit())
    }

    /// `clients scale`: records the number of replicas and applies it.
    fn scale(&self, scale: &ScaleArgs) -> Result<Exit> {
        let lock = self.lock("clients scale")?;
        let (lab, _) = self.recorded()?;
        if !lab.facts.clients.iter().any(|client| client.name == scale.client) {
            let names: Vec<&str> = lab.facts.clients.iter().map(|client| client.name.as_str()).collect();
            return Err(Failure::usage(format!(
                "client {} does not exist; clients.yml declares {}",
                scale.client,
                names.join(", ")
            )));
        }
        if scale.replicas > MAX_CLIENTS {
            return Err(Failure::usage(format!(
                "{} replicas are too many; the limit is {MAX_CLIENTS}",
                scale.replicas
            )));
        }
        if let Some(mut record) = read_record(&lab.state)?.filter(|_| !self.global.dry_run) {
            record.scaled.insert(scale.client.clone(), scale.replicas);
            write_record(&lab.state, &record)?;
        }
        drop(lock);
        self.clients(&ClientsCommand::Start)
    }
}
