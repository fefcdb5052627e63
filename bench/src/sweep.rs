//! Runs the sweeps of `bench scale`: the lab's producer and consumers with more and more work.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lab::{Lab, Shape};
use crate::peers::{CONTESTANTS, Family, Job, Seen};
use crate::process::{self, Variables};
use crate::result::Role;
use crate::scale::{BASE, Chosen, Cost, Once, Point, Problem, Swept, Work};
use crate::stop::Stop;
use crate::topics::{Offsets, Topics};

/// What a record takes in the log beside its value, at most.
const OVERHEAD: u64 = 40;

/// From this many messages on, work is done once: it is long enough.
const ONCE: u64 = 50_000_000;

/// A lab, kept as long as the number of brokers stays.
struct Place {
    brokers: usize,
    topics: Topics,
    lab: Lab,
}

/// What brings up labs.
pub struct Maker<'a> {
    pub xtask: Vec<String>,
    pub repo: &'a Path,
    pub stop: &'a Stop,
}

/// Goes through sweeps.
///
/// # Errors
/// A lab does not come up, or a signal arrived. Work that fails is in the result.
pub fn run(all: &[Chosen], rounds: u32, maker: &Maker<'_>) -> Result<Vec<Swept>> {
    let mut place = None;
    all.iter().map(|chosen| through(chosen, rounds, maker, &mut place)).collect()
}

fn through(chosen: &Chosen, rounds: u32, maker: &Maker<'_>, place: &mut Option<Place>) -> Result<Swept> {
    let Maker { xtask, repo, stop } = maker;
    let sweep = chosen.sweep().context("the sweep has gone")?;
    let mut swept = Swept { name: chosen.name.clone(), points: Vec::new(), problems: Vec::new() };
    for value in &chosen.values {
        let mut work = BASE;
        (sweep.set)(&mut work, *value);
        if let Some(why) = too_large(&work, free_bytes()?) {
            swept.problems.push(Problem { value: *value, why, failed: false });
            continue;
        }
        if place.as_ref().is_none_or(|place| place.brokers != work.brokers) {
            // One lab at a time.
            drop(place.take());
            let shape = Shape { name: "scale", client_bound: false, brokers: Some(work.brokers) };
            let lab = Lab::up(&shape, xtask, repo, stop)?;
            *place = Some(Place { brokers: work.brokers, topics: Topics::of(&lab.brokers)?, lab });
        }
        let place = place.as_ref().context("there is no lab")?;
        let (up_s, up_cpu_s) = (place.lab.up_s, place.lab.up_cpu_s);
        let mut point = Point { value: *value, work, up_s, up_cpu_s, rounds: Vec::new() };
        let first = u32::from(work.messages >= ONCE);
        for round in first..=if first == 1 { 1 } else { rounds } {
            let topic = format!("scale-{}-{value}-{round}", chosen.name);
            let done = place.once(&work, &topic, stop);
            stop.check()?;
            match done {
                Ok(once) => {
                    let rate = once.producer.messages as f64 / once.producer.seconds;
                    eprintln!("bench: scale: {} {value}, round {round}: {rate:.0} msg/s", chosen.name);
                    if round > 0 {
                        point.rounds.push(once);
                    }
                }
                Err(error) => {
                    let why = format!("round {round}: {error:#}");
                    eprintln!("bench: scale: {} {value}: failed: {why}", chosen.name);
                    swept.problems.push(Problem { value: *value, why, failed: true });
                }
            }
        }
        swept.points.push(point);
    }
    Ok(swept)
}

/// Why work does not fit on a disk, whose deleted topics stay for a minute.
fn too_large(work: &Work, free: u64) -> Option<String> {
    let replicas = work.brokers.min(3) as u64;
    let topics = if work.messages >= ONCE { 1 } else { 2 };
    let needed = work.messages * (work.size as u64 + OVERHEAD) * replicas * topics;
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    (needed > free).then(|| format!("it takes up to {} of disk, and {} are free", gib(needed), gib(free)))
}

/// Free space where the lab's files are.
fn free_bytes() -> Result<u64> {
    let space = rustix::fs::statvfs(std::env::temp_dir())?;
    Ok(space.f_bavail * space.f_frsize)
}

impl Place {
    /// Does the work once, on a topic of its own.
    fn once(&self, work: &Work, topic: &str, stop: &Stop) -> Result<Once> {
        let replicas = work.brokers.min(3);
        self.topics.create(topic, work.partitions, replicas, stop)?;
        let done = self.produce_and_consume(work, topic, stop);
        self.topics.delete(topic)?;
        done
    }

    fn produce_and_consume(&self, work: &Work, topic: &str, stop: &Stop) -> Result<Once> {
        let (partitions, messages, size) = (work.partitions, work.messages, work.size);
        let brokers = self.lab.brokers.clone();
        let mut job = Job { brokers, topic: topic.into(), partitions, messages, size, ..Job::default() };
        // A mebibyte a second is slower than anybody.
        let within = Duration::from_secs(300 + messages * size as u64 / (1 << 20));
        let producer = self.client(Role::Producer, &job, within, stop)?;
        let offsets: Offsets = self.topics.offsets(topic, partitions, stop)?;
        if offsets.messages() != messages {
            bail!("the end offsets show {} of {messages} messages", offsets.messages());
        }
        (job.start, job.end) = (offsets.flag(|both| both.0), offsets.flag(|both| both.1));
        let all: Vec<Result<Cost>> = std::thread::scope(|scope| {
            let consumer = || scope.spawn(|| self.client(Role::Consumer, &job, within, stop));
            let running: Vec<_> = (0..work.consumers).map(|_| consumer()).collect();
            let ended = running.into_iter().map(|one| one.join().unwrap_or_else(|_| bail!("a thread failed")));
            ended.collect()
        });
        let mut consumers = Cost { messages: 0, seconds: 0.0, cpu_s: 0.0, peak_kib: 0 };
        for cost in all {
            let cost = cost?;
            if cost.messages != messages {
                bail!("a consumer read {} of {messages} messages", cost.messages);
            }
            consumers.messages += cost.messages;
            consumers.cpu_s += cost.cpu_s;
            consumers.seconds = consumers.seconds.max(cost.seconds);
            consumers.peak_kib = consumers.peak_kib.max(cost.peak_kib);
        }
        Ok(Once { producer, consumers })
    }

    /// Runs one of the lab's clients.
    fn client(&self, role: Role, job: &Job, within: Duration, stop: &Stop) -> Result<Cost> {
        let ours = CONTESTANTS.iter().find(|one| one.family == Family::Ours && one.role == role);
        let ours = ours.context("the lab's clients are not among those that are measured")?;
        let argv = [vec![self.lab.client.clone()], (ours.args)(job)].concat();
        let ran = process::run(&argv, Variables::Few, within, stop)?;
        let said = (ours.read)(Seen { stdout: &ran.stdout, wall_s: ran.wall_s })?;
        let messages = said.messages.context("it does not say how many messages there were")?;
        // Its clock has milliseconds.
        let seconds = said.seconds.max(0.001);
        Ok(Cost { messages, seconds, cpu_s: ran.cpu_s, peak_kib: ran.peak_kib })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_does_not_fit_on_the_disk_is_not_begun() {
        assert_eq!(too_large(&BASE, 1 << 30), None);
        let why = too_large(&Work { messages: 100_000_000, ..BASE }, 10 << 30);
        assert_eq!(why, Some("it takes up to 39.1 GiB of disk, and 10.0 GiB are free".into()));
    }
}
