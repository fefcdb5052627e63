//! The programs of the clients that are measured: found or built. Who lacks something is named, with what to install.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lab::Lab;
use crate::peers::Family;
use crate::process::{Variables, find, run, words};
use crate::result::NotRun;
use crate::stop::{Interrupted, Stop};

/// Downloads and builds may take this long.
const BUILD_WITHIN: Duration = Duration::from_secs(900);

/// A program that is ready to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// What goes before the arguments.
    pub argv: Vec<String>,
    /// The same as it is shown.
    pub shown: String,
    pub version: String,
}

/// Why a program is not ready, and what to install.
#[derive(Debug)]
struct Missing {
    why: String,
    fix: Option<&'static str>,
}

impl From<anyhow::Error> for Missing {
    fn from(error: anyhow::Error) -> Self {
        Self { why: format!("{error:#}"), fix: None }
    }
}

/// The programs of those who take part, and who does not.
#[derive(Debug, Default)]
pub struct Programs {
    pub ready: BTreeMap<Family, Program>,
    pub not_run: Vec<NotRun>,
}

/// What builds need.
struct Workshop<'a> {
    /// The folder of this crate.
    crate_dir: PathBuf,
    /// Where products go.
    products: PathBuf,
    lab: &'a Lab,
    stop: &'a Stop,
}

/// Finds or builds the programs of `families`.
///
/// # Errors
/// A signal interrupted it.
pub fn prepare(families: &[Family], lab: &Lab, repo: &Path, stop: &Stop) -> Result<Programs> {
    let ours = std::env::current_exe().context("our own program is not known")?;
    // …/target/release/bench
    let products = ours.ancestors().nth(2).context("our own program has no folder")?.join("bench-peers");
    let shop = Workshop { crate_dir: repo.join("bench"), products, lab, stop };
    std::fs::create_dir_all(&shop.products)?;
    let mut programs = Programs::default();
    for family in families {
        let made = match family {
            Family::Ours => shop.ours(),
            Family::RdkafkaPerformance => shop.rdkafka_performance(),
            Family::Kcat => shop.kcat(),
            Family::Kafka => shop.kafka(),
            Family::Sarama => shop.go("sarama"),
            Family::FranzGo => shop.go("franz-go"),
            Family::RustRdkafka => Ok(shop.rust(&ours)),
        };
        match made {
            Ok(program) => drop(programs.ready.insert(*family, program)),
            Err(Missing { why, fix }) => {
                stop.check()?;
                let name = clap::ValueEnum::to_possible_value(family).map_or_else(String::new, |v| v.get_name().into());
                programs.not_run.push(NotRun { name, why, fix: fix.map(str::to_owned) });
            }
        }
    }
    Ok(programs)
}

/// librdkafka's version, as it is linked.
fn librdkafka() -> String {
    format!("librdkafka {}", rdkafka::util::get_rdkafka_version().1)
}

impl Workshop<'_> {
    fn run(&self, argv: &[&str]) -> Result<String> {
        Ok(run(&words(argv), Variables::All, BUILD_WITHIN, self.stop)?.stdout)
    }

    fn ours(&self) -> Result<Program, Missing> {
        Ok(Program { argv: vec![self.lab.client.clone()], shown: "clients".into(), version: librdkafka() })
    }

    fn rust(&self, ours: &Path) -> Program {
        let version = format!("rdkafka crate, {}", librdkafka());
        Program { argv: vec![ours.display().to_string()], shown: "bench".into(), version }
    }

    /// librdkafka's own benchmark, linked with the library that our clients are linked with.
    fn rdkafka_performance(&self) -> Result<Program, Missing> {
        let cc =
            find("cc").ok_or(Missing { why: "cc is missing".into(), fix: Some("apt-get install build-essential") })?;
        let (rdkafka, z, zstd) = (env!("LIBRDKAFKA_DIR"), env!("LIBZ_DIR"), env!("LIBZSTD_DIR"));
        let program = self.products.join("rdkafka_performance").display().to_string();
        let library = format!("{rdkafka}/src/librdkafka.a");
        let source = format!("{rdkafka}/examples/rdkafka_performance.c");
        let (include, z, zstd) = (format!("-I{rdkafka}/src"), format!("-L{z}/lib"), format!("-L{zstd}"));
        // The flags of librdkafka's own build.
        let args = [&cc, "-O2", &include, &source, "-o", &program, &library, &z, &zstd];
        let libraries = ["-lzstd", "-lz", "-lm", "-ldl", "-lpthread", "-lrt"];
        self.run(&[&args[..], &libraries].concat()).context("it cannot be compiled")?;
        Ok(Program { argv: vec![program], shown: "rdkafka_performance".into(), version: librdkafka() })
    }

    fn kcat(&self) -> Result<Program, Missing> {
        let missing = Missing { why: "kcat is not installed".into(), fix: Some("apt-get install kcat") };
        let kcat = find("kcat").ok_or(missing)?;
        // As it is measured: cargo's LD_LIBRARY_PATH would give it our librdkafka.
        let said = run(&words(&[&kcat, "-V"]), Variables::Few, BUILD_WITHIN, self.stop)?.stdout;
        // `Version 1.7.1 (JSON, …, librdkafka 2.0.2 builtin.features=…)`
        let after = |word: &str| said.split(word).nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or("?");
        let version = format!("kcat {}, librdkafka {}", after("Version "), after("librdkafka "));
        Ok(Program { argv: vec![kcat], shown: "kcat".into(), version })
    }

    /// Kafka's tools: those in the lab's jars, and the jar that these lack.
    fn kafka(&self) -> Result<Program, Missing> {
        let recipe = self.crate_dir.join("peers/java");
        let lock = std::fs::read_to_string(recipe.join("jars.sha256")).context("cannot read jars.sha256")?;
        let jars = self.products.join("java");
        std::fs::create_dir_all(&jars).context("cannot create the folder of jars")?;
        if self.verify(&lock, &jars).is_err() {
            let missing = Missing { why: "mvn is missing".into(), fix: Some("apt-get install maven") };
            let mvn = find("mvn").ok_or(missing)?;
            let (pom, to) = (recipe.join("pom.xml"), format!("-DoutputDirectory={}", jars.display()));
            let pom = pom.display().to_string();
            self.run(&[&mvn, "-q", "-B", "-f", &pom, "dependency:copy-dependencies", &to])
                .context("Maven cannot fetch its jar")?;
            self.verify(&lock, &jars).context("its jar is not the one of bench/peers/java/jars.sha256")?;
        }
        let class_path = format!("{}:{}/*", self.lab.class_path, jars.display());
        // Kafka's script for these tools gives them this much.
        let argv = [&self.lab.java, "-Xmx512M", "-cp", &class_path].map(String::from).to_vec();
        let java = self.run(&[&self.lab.java, "--version"])?.lines().next().unwrap_or_default().to_owned();
        let said = lock.split_whitespace().nth(1).unwrap_or_default();
        let version = said.trim_start_matches("kafka-tools-").trim_end_matches(".jar");
        Ok(Program { argv, shown: "java -Xmx512M".into(), version: format!("Kafka {version}, {java}") })
    }

    fn verify(&self, lock: &str, jars: &Path) -> Result<()> {
        for line in lock.lines() {
            let (sum, name) = line.split_once("  ").context("jars.sha256 is not as sha256sum writes it")?;
            let path = jars.join(name).display().to_string();
            let said = self.run(&["sha256sum", &path])?;
            if said.split_whitespace().next() != Some(sum) {
                bail!("{name} differs");
            }
        }
        Ok(())
    }

    fn go(&self, library: &str) -> Result<Program, Missing> {
        let fix = Some("install Go 1.26 or newer from go.dev/dl");
        let go = find("go").ok_or(Missing { why: "go is missing".into(), fix })?;
        let program = self.products.join("peers").display().to_string();
        let source = self.crate_dir.join("peers/go").display().to_string();
        let built = self.run(&[&go, "build", "-C", &source, "-trimpath", "-o", &program, "."]);
        if let Err(error) = built {
            let why = format!("bench/peers/go cannot be built: {error:#}");
            return Err(Missing { why, fix: (!error.is::<Interrupted>()).then_some(fix).flatten() });
        }
        let said = self.run(&[&program, "versions"])?;
        let versions: BTreeMap<String, String> = serde_json::from_str(&said).context("it tells no versions")?;
        let of = |name: &str| versions.get(name).map_or("?", String::as_str).to_owned();
        Ok(Program { argv: vec![program], shown: "peers".into(), version: format!("{} ({})", of(library), of("go")) })
    }
}
