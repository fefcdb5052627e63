//! Chooses the programs and images of a lab on kind: the recipes' products, or the registry images that the manifests
//! and kind name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Lab;
use crate::environment::Purpose;
use crate::exec::{Cmd, Exec};
use crate::failure::{Exit, Failure, Result};
use crate::kind::images::{Stage, parse_stages};
use crate::signal::Stop;
use crate::state::{ImageSource, Toolchain};
use crate::tools::kind;

/// A recipe that builds an image from packages.
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
    /// The recipe's name in step titles, and its folder in manifests/images.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::Node => "node",
            Recipe::Kafka => "kafka",
            Recipe::Clients => "clients",
        }
    }

    /// The path of its build script.
    pub fn script(self, lab: &Lab) -> PathBuf {
        lab.env.repo.join("manifests/images").join(self.name()).join("build")
    }

    /// The command that runs it. It names bash, because a checkout from an archive may have lost the script's mode.
    pub fn build(self, lab: &Lab, deadline: Duration) -> Cmd {
        Cmd::new("bash", deadline).arg(self.script(lab)).purpose(Purpose::Build)
    }

    /// The stages and their state.
    ///
    /// # Errors
    /// The recipe lacks a tool, which its output names.
    pub fn stages(self, lab: &Lab, exec: &dyn Exec, log: &Path, stop: &Stop) -> Result<Vec<Stage>> {
        let cmd = self.build(lab, Duration::from_secs(120)).arg("--list");
        Ok(parse_stages(&exec.capture(&cmd, log, stop)?.success(&cmd, log)?.stdout))
    }
}

/// Chooses programs and images without building or downloading anything.
///
/// # Errors
/// A recipe fails, or a program is missing.
pub fn resolve(lab: &Lab, exec: &dyn Exec, log: &Path, stop: &Stop) -> Result<Toolchain> {
    let product = |stages: &[Stage], name: &str| -> Result<PathBuf> {
        let stage = stages.iter().find(|stage| stage.name == name);
        stage
            .map(|stage| stage.product.clone())
            .ok_or_else(|| Failure::step(format!("manifests/images has no stage {name}")))
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
            // Programs that the recipe built earlier will do too.
            if programs.iter().any(Option::is_none) && lab.env.find("go").is_some() {
                let stages = Recipe::Node.stages(lab, exec, log, stop)?;
                for (name, program) in ["kind", "kubectl"].into_iter().zip(&mut programs) {
                    if program.is_none() {
                        *program = Some(product(&stages, name)?.join(name)).filter(|path| path.exists());
                    }
                }
            }
            let [found_kind, found_kubectl] = programs;
            let missing = |name: &str| {
                Failure::new(Exit::Preflight, format!("no {name} on PATH"))
                    .fix(format!("install {name}, or use `--images packages`, which builds it"))
            };
            let kind_program = found_kind.ok_or_else(|| missing("kind"))?;
            // The first image in cluster.yml stands for all nodes.
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
