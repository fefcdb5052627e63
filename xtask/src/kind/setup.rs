//! Which programs and images a lab on kind uses. The recipes know what they make; the registry's images are named by
//! the manifests and by kind itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Lab;
use crate::environment::Purpose;
use crate::exec::{Cmd, Exec};
use crate::failure::{Failure, Result};
use crate::kind::images::{Stage, parse_stages};
use crate::signal::Stop;
use crate::state::{ImageSource, Toolchain};
use crate::tools::kind;

/// A recipe of images from packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// kind's node image, and the kind and kubectl programs.
    Node,
    /// The image of ZooKeeper and the brokers.
    Kafka,
    /// The image of the producer and the consumer.
    Clients,
}

impl Recipe {
    /// Its name, in titles and in manifests/images.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::Node => "node",
            Recipe::Kafka => "kafka",
            Recipe::Clients => "clients",
        }
    }

    /// Its script.
    pub fn script(self, lab: &Lab) -> PathBuf {
        lab.env.repo.join("manifests/images").join(self.name()).join("build")
    }

    /// Runs it. Through bash: a checkout that came as an archive may have lost that it can be run.
    pub fn build(self, lab: &Lab, deadline: Duration) -> Cmd {
        Cmd::new("bash", deadline).arg(self.script(lab)).purpose(Purpose::Build)
    }

    /// Its stages as they are now.
    ///
    /// # Errors
    /// It lacks a tool, and says which.
    pub fn stages(self, lab: &Lab, exec: &dyn Exec, log: &Path, stop: &Stop) -> Result<Vec<Stage>> {
        let cmd = self.build(lab, Duration::from_secs(120)).arg("--list");
        Ok(parse_stages(&exec.capture(&cmd, log, stop)?.success(&cmd, log)?.stdout))
    }
}

/// Settles programs and images, building and fetching nothing.
///
/// # Errors
/// A recipe cannot be asked, or a program is nowhere.
pub fn resolve(lab: &Lab, exec: &dyn Exec, log: &Path, stop: &Stop) -> Result<Toolchain> {
    let product = |stages: &[Stage], name: &str| -> Result<PathBuf> {
        let stage = stages.iter().find(|stage| stage.name == name);
        stage
            .map(|stage| stage.product.clone())
            .ok_or_else(|| Failure::step(format!("manifests/images names no stage {name}")))
    };
    match lab.images {
        ImageSource::Packages => {
            let node = Recipe::Node.stages(lab, exec, log, stop)?;
            let kafka = Recipe::Kafka.stages(lab, exec, log, stop)?;
            Ok(Toolchain {
                source: ImageSource::Packages,
                kind: product(&node, "kind")?.join("kind"),
                kubectl: product(&node, "kubectl")?.join("kubectl"),
                node_image: Some(product(&node, "image")?.to_string_lossy().into_owned()),
                kafka_image: product(&kafka, "image")?.to_string_lossy().into_owned(),
            })
        }
        ImageSource::Registry => {
            let mut programs = ["kind", "kubectl"].map(|name| lab.env.find(name));
            // What the recipe built once serves here too.
            if programs.iter().any(Option::is_none) && lab.env.find("go").is_some() {
                let stages = Recipe::Node.stages(lab, exec, log, stop)?;
                for (name, program) in ["kind", "kubectl"].into_iter().zip(&mut programs) {
                    if program.is_none() {
                        *program = Some(product(&stages, name)?.join(name)).filter(|path| path.exists());
                    }
                }
            }
            let [found_kind, found_kubectl] = programs;
            let missing = |name: &str| Failure::step(format!("no {name} on PATH"));
            let kind_program = found_kind.ok_or_else(|| missing("kind"))?;
            // One image of cluster.yml stands for all: nodes of several versions are nobody's lab.
            let named = lab.facts.cluster.nodes.iter().find_map(|node| node.image.clone());
            let node_image =
                named.or_else(|| std::fs::read(&kind_program).ok().and_then(|bytes| kind::default_node_image(&bytes)));
            Ok(Toolchain {
                source: ImageSource::Registry,
                kind: kind_program,
                kubectl: found_kubectl.ok_or_else(|| missing("kubectl"))?,
                node_image,
                kafka_image: lab.facts.kafka_image.clone(),
            })
        }
    }
}
