//! The rounds of a regime: everybody once in each round, one after the other, on a topic of their own.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lab::{Lab, Shape};
use crate::latency;
use crate::machine::Busy;
use crate::peers::{CONTESTANTS, Clock, Contestant, Family, Job, PACED, Paced, Seen};
use crate::process::{self, Variables, words};
use crate::programs::{self, Program, Programs};
use crate::result::{FailedRun, Latency, Quantiles, Regime, RegimeName, Role, Round, Setup, Throughput};
use crate::stop::Stop;
use crate::topics::{Offsets, Topics};
use crate::verdict;

/// What is measured, whatever the regime.
#[derive(Clone, Debug)]
pub struct Order {
    pub families: Vec<Family>,
    pub roles: Vec<Role>,
    /// Rounds that count; one more goes before them.
    pub rounds: u32,
    pub messages: u64,
    pub size: usize,
    pub partitions: u32,
    /// Of the latency, in messages per second.
    pub rate: u64,
    pub latency_seconds: u64,
}

/// Everything that a round needs.
struct Rounds<'a> {
    order: &'a Order,
    lab: &'a Lab,
    topics: Topics,
    programs: Programs,
    replicas: usize,
    /// How many topics there were so far.
    topic: u32,
    /// A log to read, and where its partitions begin and end.
    log: Option<(String, Offsets)>,
    /// A file with all messages, for a client that reads them from one.
    file: Option<String>,
    stop: &'a Stop,
}

/// Brings up the lab of a regime, measures everybody on it, and takes it down.
///
/// # Errors
/// The lab does not come up, or a signal arrived. A client that fails is in the result.
pub fn regime(name: RegimeName, order: &Order, xtask: &[String], repo: &Path, stop: &Stop) -> Result<Regime> {
    eprintln!("bench: {}: bringing the lab up", name.name());
    let lab = Lab::up(&Shape::of(name), xtask, repo, stop)?;
    let programs = programs::prepare(&order.families, &lab, repo, stop)?;
    for absent in &programs.not_run {
        eprintln!("bench: not run: {}: {}", absent.name, absent.why);
    }
    let replicas = lab.count.min(3);
    let setup = Setup {
        brokers: lab.count,
        replicas,
        partitions: order.partitions,
        size: order.size,
        rounds: order.rounds,
        server_cores: lab.pinned.as_ref().map(|pinned| pinned.servers.clone()),
        client_core: lab.pinned.as_ref().map(|pinned| pinned.client.clone()),
    };
    let topics = Topics::of(&lab.brokers)?;
    let mut rounds = Rounds { order, lab: &lab, topics, programs, replicas, topic: 0, log: None, file: None, stop };
    let mut regime = Regime {
        name,
        setup,
        throughput: rounds.contestants().iter().map(|one| rounds.entry(one)).collect::<Result<_>>()?,
        latency: rounds.paced().iter().map(|one| rounds.paced_entry(one)).collect::<Result<_>>()?,
        not_run: rounds.programs.not_run.clone(),
        failed: Vec::new(),
    };
    for round in 0..=order.rounds {
        rounds.round(round, &mut regime)?;
    }
    let server_cores = lab.pinned.as_ref().map_or(1, |pinned| pinned.server_cores);
    for result in &mut regime.throughput {
        result.void = verdict::void(name, server_cores, &result.rounds);
    }
    Ok(regime)
}

impl Rounds<'_> {
    /// Who takes part at full speed.
    fn contestants(&self) -> Vec<&'static Contestant> {
        let takes_part = |one: &&Contestant| self.has(one.family) && self.order.roles.contains(&one.role);
        CONTESTANTS.iter().filter(takes_part).collect()
    }

    /// Who takes part at a rate.
    fn paced(&self) -> Vec<&'static Paced> {
        let latency = self.order.roles.contains(&Role::Latency);
        PACED.iter().filter(|one| latency && self.has(one.family)).collect()
    }

    fn has(&self, family: Family) -> bool {
        self.programs.ready.contains_key(&family)
    }

    fn program(&self, family: Family) -> Result<&Program> {
        self.programs.ready.get(&family).context("a program is not ready")
    }

    fn job(&self, messages: u64) -> Job {
        let order = self.order;
        let (partitions, size, rate) = (order.partitions, order.size, order.rate);
        Job { brokers: self.lab.brokers.clone(), partitions, messages, size, rate, ..Job::default() }
    }

    fn paced_messages(&self) -> u64 {
        self.order.rate * self.order.latency_seconds
    }

    /// A result without rounds.
    fn entry(&self, one: &Contestant) -> Result<Throughput> {
        let program = self.program(one.family)?;
        let messages = one.messages(self.order.messages);
        let command = shown(&self.lab.pin(), program, (one.args)(&self.job(messages).in_words()));
        Ok(Throughput {
            name: one.name.into(),
            role: one.role,
            version: program.version.clone(),
            command,
            settings: one.settings.into(),
            timed: one.timed.into(),
            messages,
            rounds: Vec::new(),
            void: None,
        })
    }

    fn paced_entry(&self, one: &Paced) -> Result<Latency> {
        let program = self.program(one.family)?;
        let messages = self.paced_messages();
        let command = shown(&self.lab.pin(), program, (one.args)(&self.job(messages).in_words()));
        Ok(Latency {
            name: one.name.into(),
            version: program.version.clone(),
            command,
            settings: one.settings.into(),
            timed: one.timed.into(),
            messages,
            rounds: Vec::new(),
        })
    }

    /// Measures everybody once. Round 0 does not count.
    fn round(&mut self, round: u32, regime: &mut Regime) -> Result<()> {
        for (at, one) in self.contestants().into_iter().enumerate() {
            let ran = match one.role {
                Role::Producer => self.produce(one, round),
                _ => self.consume(one, round),
            };
            self.stop.check()?;
            match ran {
                Ok(ran) => {
                    say(round, one.role, one.name, &format!("{:.0} msg/s", ran.delivered as f64 / ran.seconds));
                    if round > 0 {
                        regime.throughput[at].rounds.push(ran);
                    }
                }
                Err(error) => regime.failed.push(failed(round, one.role, one.name, &error)),
            }
        }
        for (at, one) in self.paced().into_iter().enumerate() {
            let ran = self.pace(one);
            self.stop.check()?;
            match ran {
                Ok(quantiles) => {
                    let shown = format!("p50 {} µs, p99 {} µs", quantiles.p50_us, quantiles.p99_us);
                    say(round, Role::Latency, one.name, &shown);
                    if round > 0 {
                        regime.latency[at].rounds.push(quantiles);
                    }
                }
                Err(error) => regime.failed.push(failed(round, Role::Latency, one.name, &error)),
            }
        }
        Ok(())
    }

    fn new_topic(&mut self) -> Result<String> {
        self.topic += 1;
        let topic = format!("bench-{}", self.topic);
        self.topics.create(&topic, self.order.partitions, self.replicas, self.stop)?;
        Ok(topic)
    }

    /// Sends on a topic of its own and counts what is there afterwards.
    fn produce(&mut self, one: &Contestant, at: u32) -> Result<Round> {
        let mut job = self.job(one.messages(self.order.messages));
        if one.family == Family::Kcat {
            job.file = self.messages_file()?;
        }
        job.topic = self.new_topic()?;
        let ran = self.measure(one, &job, at);
        let delivered = self.topics.offsets(&job.topic, job.partitions, self.stop).map(|offsets| offsets.messages());
        self.topics.delete(&job.topic)?;
        let (mut round, said) = ran?;
        round.delivered = delivered?;
        if round.delivered != job.messages || said.is_some_and(|said| said != job.messages) {
            let said = said.map_or_else(String::new, |said| format!(", and it says {said}"));
            bail!("the end offsets show {} of {} messages{said}", round.delivered, job.messages);
        }
        Ok(round)
    }

    /// Reads the log that everybody reads.
    fn consume(&mut self, one: &Contestant, at: u32) -> Result<Round> {
        let (topic, offsets) = self.log()?;
        let mut job = self.job(self.order.messages);
        (job.topic, job.start, job.end) = (topic, offsets.flag(|both| both.0), offsets.flag(|both| both.1));
        let (mut round, said) = self.measure(one, &job, at)?;
        round.delivered = said.unwrap_or_default();
        if round.delivered != job.messages {
            bail!("it read {} of {} messages", round.delivered, job.messages);
        }
        Ok(round)
    }

    /// The log that is read, which the lab's producer fills once.
    fn log(&mut self) -> Result<(String, Offsets)> {
        if self.log.is_none() {
            let ours = CONTESTANTS.iter().find(|one| one.role == Role::Producer && one.family == Family::Ours);
            let ours = ours.context("the lab's producer is not among the clients")?;
            let mut job = self.job(self.order.messages);
            job.topic = self.new_topic()?;
            let argv = [vec![self.lab.client.clone()], (ours.args)(&job)].concat();
            process::run(&argv, Variables::Few, self.deadline(), self.stop)?;
            let offsets = self.topics.offsets(&job.topic, job.partitions, self.stop)?;
            if offsets.messages() != job.messages {
                bail!("the log to read has {} of {} messages", offsets.messages(), job.messages);
            }
            self.log = Some((job.topic, offsets));
        }
        self.log.clone().context("there is no log to read")
    }

    /// A file with a line for each message.
    fn messages_file(&mut self) -> Result<String> {
        if self.file.is_none() {
            let path = self.lab.scratch().join("messages");
            let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
            let line = "a".repeat(self.order.size) + "\n";
            for _ in 0..self.order.messages {
                file.write_all(line.as_bytes())?;
            }
            file.flush()?;
            self.file = Some(path.display().to_string());
        }
        self.file.clone().context("there is no file of messages")
    }

    /// Nobody is that slow who works at all.
    fn deadline(&self) -> Duration {
        Duration::from_secs(120 + self.order.messages / 10_000)
    }

    /// Runs a client, and returns what it says of its messages if it says anything.
    fn measure(&self, one: &Contestant, job: &Job, round: u32) -> Result<(Round, Option<u64>)> {
        let argv = [self.lab.pin(), self.program(one.family)?.argv.clone(), (one.args)(job)].concat();
        let before = Busy::now(&self.lab.servers);
        let ran = process::run(&argv, Variables::Few, self.deadline(), self.stop)?;
        let busy = Busy::now(&self.lab.servers).since(before);
        let said = (one.read)(Seen { stdout: &ran.stdout, wall_s: ran.wall_s })?;
        if said.seconds <= 0.0 {
            bail!("it says that it took no time at all; use more --messages");
        }
        let round = Round {
            round,
            seconds: said.seconds,
            wall_s: ran.wall_s,
            cpu_s: ran.cpu_s,
            busy_cores: ran.busy(said.seconds),
            peak_kib: ran.peak_kib,
            delivered: 0,
            servers_cpu_s: busy.processes,
            others_cpu_s: (busy.machine - busy.processes - busy.us - ran.cpu_s).max(0.0),
        };
        Ok((round, said.messages))
    }

    /// Sends at the rate and reads at the same time.
    fn pace(&mut self, one: &Paced) -> Result<Quantiles> {
        let mut job = self.job(self.paced_messages());
        job.topic = self.new_topic()?;
        let within = self.deadline() + Duration::from_secs(self.order.latency_seconds);
        let program = self.program(one.family)?;
        let argv = |args: Vec<String>| [self.lab.pin(), program.argv.clone(), args].concat();
        let quantiles = match one.clock {
            Clock::Ours => {
                latency::ours(&argv((one.args)(&job)), &argv(crate::peers::ours_reading(&job)), &job, self.stop)
            }
            Clock::Lines => process::run(&argv((one.args)(&job)), Variables::Few, within, self.stop)
                .and_then(|ran| latency::of_lines(&ran.stdout, &job)),
            Clock::Quantiles => {
                // It takes a message at a time: as many as fit into about the same time.
                job.messages = (job.messages / 10).max(100);
                process::run(&argv((one.args)(&job)), Variables::Few, within, self.stop)
                    .and_then(|ran| latency::end_to_end(&ran.stdout))
            }
        };
        let delivered = self.topics.offsets(&job.topic, job.partitions, self.stop).map(|offsets| offsets.messages());
        self.topics.delete(&job.topic)?;
        let (quantiles, delivered) = (quantiles?, delivered?);
        if delivered != job.messages {
            bail!("the end offsets show {delivered} of {} messages", job.messages);
        }
        Ok(quantiles)
    }
}

fn shown(pin: &[String], program: &Program, args: Vec<String>) -> String {
    [pin.to_vec(), words(&[&program.shown]), args].concat().join(" ")
}

fn say(round: u32, role: Role, name: &str, what: &str) {
    let counts = if round == 0 { " (does not count)" } else { "" };
    eprintln!("bench: round {round}{counts}: {}: {name}: {what}", role.name());
}

fn failed(round: u32, role: Role, name: &str, error: &anyhow::Error) -> FailedRun {
    let why = format!("{error:#}");
    say(round, role, name, &format!("failed: {why}"));
    FailedRun { name: name.into(), role, round, why }
}
