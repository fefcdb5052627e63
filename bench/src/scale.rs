//! What more work costs: the sweeps, their results, and how fast costs grow. Pure.

use serde::{Deserialize, Serialize};

use crate::plot::{self, Line};
use crate::result::Machine;
use crate::stats::Spread;
use crate::table::{Table, count, rate};

/// The schema of [`Scale`].
pub const SCALE: &str = "kafka-lab.scale/1";

/// Costs that grow faster than this power are worse than linear; the rest is what a measurement may be off.
const LINEAR: f64 = 1.1;

/// An amount of work for the lab's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    pub brokers: usize,
    pub partitions: u32,
    /// Each of them reads everything.
    pub consumers: usize,
    pub messages: u64,
    /// Size of each value in bytes.
    pub size: usize,
}

/// What a sweep leaves as it is.
pub const BASE: Work = Work { brokers: 3, partitions: 4, consumers: 1, messages: 1_000_000, size: 100 };

/// One kind of work that grows while the others stay.
pub struct Sweep {
    pub name: &'static str,
    pub values: &'static [u64],
    /// The largest value that means anything.
    pub most: u64,
    /// Whether costs are those of a message: the number of messages changes too.
    pub per_message: bool,
    pub set: fn(&mut Work, u64),
}

/// All sweeps. The manifests declare ports for ten brokers.
pub const SWEEPS: &[Sweep] = &[
    Sweep {
        name: "messages",
        values: &[1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000],
        most: 10_000_000_000,
        per_message: false,
        set: |work, value| work.messages = value,
    },
    Sweep {
        name: "partitions",
        values: &[4, 16, 64, 250, 1000],
        most: 2000,
        per_message: false,
        set: |work, value| work.partitions = u32::try_from(value).unwrap_or(u32::MAX),
    },
    Sweep {
        name: "size",
        values: &[100, 1_000, 10_000, 100_000, 1_000_000],
        most: 1_000_000,
        per_message: true,
        set: |work, value| {
            work.size = usize::try_from(value).unwrap_or(usize::MAX);
            work.messages = (200_000_000 / value.max(1)).clamp(1000, BASE.messages);
        },
    },
    Sweep {
        name: "consumers",
        values: &[1, 2, 4, 8, 16],
        most: 64,
        per_message: false,
        set: |work, value| work.consumers = usize::try_from(value).unwrap_or(usize::MAX),
    },
    Sweep {
        name: "brokers",
        values: &[1, 2, 3, 5, 10],
        most: 10,
        per_message: false,
        set: |work, value| work.brokers = usize::try_from(value).unwrap_or(usize::MAX),
    },
];

/// A sweep and the values that it goes through: `NAME`, or `NAME=VALUE,...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub name: String,
    pub values: Vec<u64>,
}

impl Chosen {
    /// All sweeps with their own values.
    pub fn all() -> Vec<Self> {
        SWEEPS.iter().map(|sweep| Self { name: sweep.name.into(), values: sweep.values.to_vec() }).collect()
    }

    /// The sweep that it names.
    pub fn sweep(&self) -> Option<&'static Sweep> {
        SWEEPS.iter().find(|sweep| sweep.name == self.name)
    }
}

impl std::str::FromStr for Chosen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, values) = text.split_once('=').map_or((text, None), |(name, values)| (name, Some(values)));
        let sweep = SWEEPS.iter().find(|sweep| sweep.name == name).ok_or_else(|| {
            let names: Vec<&str> = SWEEPS.iter().map(|sweep| sweep.name).collect();
            format!("{name:?} is no sweep; there are {}", names.join(", "))
        })?;
        let least = if name == "size" { BASE.size as u64 } else { 1 };
        let one = |text: &str| {
            let value = text.parse::<u64>().ok().filter(|value| (least..=sweep.most).contains(value));
            value.ok_or_else(|| format!("{text:?} is no number from {least} to {}", sweep.most))
        };
        let values = values.map_or(Ok(sweep.values.to_vec()), |values| values.split(',').map(one).collect())?;
        Ok(Self { name: name.into(), values })
    }
}

/// What all sweeps found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// [`SCALE`].
    pub schema: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    pub commit: String,
    pub machine: Machine,
    pub sweeps: Vec<Swept>,
}

/// What one sweep found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swept {
    pub name: String,
    pub points: Vec<Point>,
    /// What was left out or failed, and why.
    pub problems: Vec<Problem>,
}

/// A value that a sweep has no result for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub value: u64,
    pub why: String,
    /// Whether it was tried.
    pub failed: bool,
}

/// One value of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub value: u64,
    pub work: Work,
    /// How long `up` took for the lab, and xtask's CPU time meanwhile.
    pub up_s: f64,
    pub up_cpu_s: f64,
    pub rounds: Vec<Once>,
}

/// The costs of doing the work once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Once {
    pub producer: Cost,
    /// Together: the longest time, the largest memory, and the sum of the rest.
    pub consumers: Cost,
}

/// The costs of a client.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub messages: u64,
    /// As the client says.
    pub seconds: f64,
    pub cpu_s: f64,
    pub peak_kib: u64,
}

impl Point {
    fn median(&self, figure: impl Fn(&Once) -> f64) -> Option<f64> {
        Spread::of(self.rounds.iter().map(figure)).map(|spread| spread.median)
    }
}

/// A client whose costs are shown.
type Client = (&'static str, fn(&Once) -> Cost);
const CLIENTS: [Client; 2] = [("producer", |once| once.producer), ("consumers", |once| once.consumers)];

/// A cost that is shown: its name, its unit, and its value; the last argument is the number of messages to share it.
type Figure = (&'static str, &'static str, fn(Cost, f64) -> f64);
const FIGURES: [Figure; 3] = [
    ("time", "s", |cost, share| cost.seconds / share),
    ("CPU time", "s", |cost, share| cost.cpu_s / share),
    ("memory", "MiB", |cost, _| cost.peak_kib as f64 / 1024.0),
];

/// The power of x with which y grows over the upper half of the points, by least squares of their logarithms. `None`
/// unless there are two.
pub fn growth(points: &[(f64, f64)]) -> Option<f64> {
    let upper = &points[points.len().saturating_sub((points.len() / 2 + 1).max(2))..];
    let logs: Vec<(f64, f64)> =
        upper.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    if logs.len() < 2 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (over, below) =
        logs.iter().fold((0.0, 0.0), |(over, below), (a, b)| (over + (a - x) * (b - y), below + (a - x) * (a - x)));
    (below > 0.0).then(|| over / below)
}

impl Swept {
    fn share(&self, point: &Point) -> f64 {
        let per_message = SWEEPS.iter().any(|sweep| sweep.name == self.name && sweep.per_message);
        if per_message { point.work.messages as f64 } else { 1.0 }
    }

    /// A client's cost over the values.
    fn line(&self, client: Client, figure: Figure) -> Vec<(f64, f64)> {
        let one = |point: &Point| {
            let share = self.share(point);
            Some((point.value as f64, point.median(|once| figure.2(client.1(once), share))?))
        };
        self.points.iter().filter_map(one).collect()
    }

    /// Each value with its costs.
    pub fn table(&self) -> Table {
        let mut table = Table::new(&[
            &self.name,
            "producer msg/s",
            "CPU s per million",
            "peak MiB",
            "consumers msg/s",
            "CPU s per million",
            "peak MiB",
            "up s",
            "up CPU s",
        ]);
        for point in self.points.iter().filter(|point| !point.rounds.is_empty()) {
            let mut row = vec![count(point.value as f64)];
            for (_, client) in CLIENTS {
                let of = |figure: fn(Cost) -> f64| point.median(|once| figure(client(once))).unwrap_or(0.0);
                row.push(rate(of(|cost| cost.messages as f64 / cost.seconds)));
                row.push(format!("{:.2}", of(|cost| cost.cpu_s * 1e6 / cost.messages as f64)));
                row.push(format!("{:.1}", of(|cost| cost.peak_kib as f64 / 1024.0)));
            }
            row.extend([format!("{:.1}", point.up_s), format!("{:.2}", point.up_cpu_s)]);
            table.rows.push(row);
        }
        table
    }

    /// With which power each cost grows, what is worse than linear, and what was left out.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for client in CLIENTS {
            for figure in FIGURES {
                if let Some(power) = growth(&self.line(client, figure)) {
                    let worse = if power > LINEAR { ": worse than linear" } else { "" };
                    let (who, what) = (client.0, figure.0);
                    remarks.push(format!("{who}: {what} grows as {}^{power:.2} over the upper half{worse}", self.name));
                }
            }
        }
        for problem in &self.problems {
            let how = if problem.failed { "failed" } else { "not run" };
            remarks.push(format!("{how}: {} {}: {}", self.name, count(problem.value as f64), problem.why));
        }
        remarks
    }

    fn plots(&self) -> Vec<(String, String)> {
        let values: Vec<String> = self.points.iter().map(|point| count(point.value as f64)).collect();
        let places: Vec<&str> = values.iter().map(String::as_str).collect();
        let place = |value: f64| self.points.iter().position(|point| point.value as f64 == value).unwrap_or(0);
        let one = |figure: Figure| {
            let line = |client: Client| {
                let points = self.line(client, figure).into_iter().map(|(x, y)| (place(x), y)).collect();
                Line { name: client.0.into(), points }
            };
            let per = if SWEEPS.iter().any(|s| s.name == self.name && s.per_message) && figure.1 == "s" {
                " per message"
            } else {
                ""
            };
            let title = format!("{}{per} by {}", figure.0, self.name);
            let file = format!("scale-{}-{}.svg", self.name, figure.0.to_lowercase().replace(' ', "-"));
            (file, plot::lines(&title, &places, figure.1, &CLIENTS.map(line)))
        };
        if self.points.iter().any(|point| !point.rounds.is_empty()) { FIGURES.map(one).to_vec() } else { Vec::new() }
    }
}

/// Everything as text.
pub fn text(scale: &Scale) -> String {
    let machine = &scale.machine;
    let mut text = format!(
        "{}, {} cores, {} MiB, Linux {}, load {:.1} before; commit {}\nThe rest is as it is: {} brokers, {} partitions, \
         {} consumer, {} messages of {} bytes.\n",
        machine.processor,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        machine.load,
        scale.commit,
        BASE.brokers,
        BASE.partitions,
        BASE.consumers,
        count(BASE.messages as f64),
        BASE.size
    );
    for swept in &scale.sweeps {
        text += &format!("\n{}", swept.table().text());
        text += &swept.remarks().iter().map(|remark| format!("{remark}\n")).collect::<String>();
    }
    text
}

/// All plots by their file names.
pub fn plots(scale: &Scale) -> Vec<(String, String)> {
    scale.sweeps.iter().flat_map(Swept::plots).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn swept(name: &str, cost: fn(f64) -> f64) -> Swept {
        let sweep = SWEEPS.iter().find(|sweep| sweep.name == name).unwrap();
        let point = |value: &u64| {
            let mut work = BASE;
            (sweep.set)(&mut work, *value);
            let seconds = cost(*value as f64);
            let cost = Cost { messages: work.messages, seconds, cpu_s: seconds, peak_kib: 8192 };
            Point {
                value: *value,
                work,
                up_s: 4.0,
                up_cpu_s: 0.3,
                rounds: vec![Once { producer: cost, consumers: cost }],
            }
        };
        Swept { name: name.into(), points: sweep.values.iter().map(point).collect(), problems: Vec::new() }
    }

    #[test]
    fn a_cost_that_grows_faster_than_the_work_is_called_so() {
        let remarks = |cost| swept("partitions", cost).remarks().join("\n");
        assert!(
            remarks(|x| x * x)
                .contains("producer: CPU time grows as partitions^2.00 over the upper half: worse than linear")
        );
        assert!(!remarks(|x| 1.0 + x).contains("worse"));
        assert!(remarks(|x| x).contains("consumers: memory grows as partitions^0.00 over the upper half"));
        // What starting costs hides growth at small values, and does not hide it here.
        assert!(remarks(|x| 1000.0 + x * x * x).contains("worse"));
    }

    #[test]
    fn growth_is_a_slope_of_logarithms() {
        let near = |points: &[(f64, f64)], power: f64| growth(points).is_some_and(|found| (found - power).abs() < 1e-9);
        assert!(near(&[(1.0, 5.0), (10.0, 50.0), (100.0, 500.0)], 1.0));
        assert!(near(&[(1.0, 3.0), (2.0, 3.0)], 0.0));
        assert_eq!((growth(&[(1.0, 1.0)]), growth(&[]), growth(&[(1.0, 1.0), (1.0, 2.0)])), (None, None, None));
    }

    #[test]
    fn a_sweep_is_chosen_with_or_without_values() {
        let read = |text: &str| text.parse::<Chosen>();
        assert_eq!(read("brokers").unwrap().values, [1, 2, 3, 5, 10]);
        assert_eq!(read("messages=1000,2000").unwrap().values, [1000, 2000]);
        assert!(read("topics").unwrap_err().contains("there are messages, partitions"));
        assert!(read("brokers=11").unwrap_err().contains("from 1 to 10"));
        assert!(read("size=1").unwrap_err().contains("from 100 to 1000000"));
        assert!(read("messages=x").is_err() && read("messages=").is_err());
        assert_eq!(Chosen::all().len(), SWEEPS.len());
    }

    #[test]
    fn sizes_are_compared_by_message_and_each_sweep_is_drawn() {
        let sizes = swept("size", |x| x * (200_000_000.0 / x).clamp(1000.0, 1e6) / 1e6);
        assert!(!sizes.remarks().join("\n").contains("worse"), "{:?}", sizes.remarks());
        assert_eq!((sizes.table().rows.len(), sizes.plots().len()), (5, 3));
        assert!(sizes.plots()[1].1.contains("CPU time per message by size"));
    }
}
