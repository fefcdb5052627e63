//! What a run says while it goes: bars on a terminal, plain lines elsewhere, JSON lines when asked. The only user of
//! indicatif.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::cli::Format;
use crate::config::Env;
use crate::failure::{Exit, Failure};
use crate::task::{Outcome, State};

/// How often a plain log hears of a step that still runs.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How a step ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// It did what it should.
    Done(Outcome),
    /// It failed.
    Failed(Failure),
    /// It was not run, or stopped on the way, and why.
    NotRun(String),
}

/// An event as a JSON line.
#[derive(Serialize)]
struct Event<'a> {
    schema: &'static str,
    command: &'a str,
    lab: &'a str,
    event: &'a str,
    step: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    text: &'a str,
    elapsed_ms: u128,
}

/// The schema of [`Event`] lines.
pub const EVENT_SCHEMA: &str = "kafka-lab.event/1";

struct Running {
    title: String,
    begin: Instant,
    status: String,
    told: Instant,
    bar: Option<ProgressBar>,
}

/// Tells people and programs what happens. Steps report from threads of their own.
pub struct Progress<'a> {
    command: &'a str,
    lab: &'a str,
    format: Format,
    colour: bool,
    bars: Option<MultiProgress>,
    running: Mutex<BTreeMap<usize, Running>>,
}

impl<'a> Progress<'a> {
    /// For one command on one lab.
    pub fn new(command: &'a str, lab: &'a str, format: Format, env: &Env) -> Self {
        let bars = (format == Format::Text && env.terminal)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Progress { command, lab, format, colour: env.colour, bars, running: Mutex::default() }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Running>> {
        // A step that panicked must not take the report of the others with it.
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn event(&self, event: &str, step: &str, state: Option<&str>, text: &str, elapsed: Duration) {
        if self.format == Format::Json {
            let line = Event {
                schema: EVENT_SCHEMA,
                command: self.command,
                lab: self.lab,
                event,
                step,
                state,
                text,
                elapsed_ms: elapsed.as_millis(),
            };
            print_json(&line);
        }
    }

    /// A line for people, above the bars.
    pub fn say(&self, line: &str) {
        match (&self.bars, self.format) {
            (Some(bars), _) => bars.suspend(|| eprintln!("{line}")),
            (None, Format::Text) => eprintln!("{line}"),
            (None, Format::Json) => self.event("note", "", None, line, Duration::ZERO),
        }
    }

    /// A step begins.
    pub fn started(&self, place: usize, title: &str) {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:18} {wide_msg} {elapsed:>4}") {
                bar.set_style(style);
            }
            bar.set_prefix(title.to_string());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let now = Instant::now();
        let running = Running { title: title.into(), begin: now, status: String::new(), told: now, bar };
        self.running().insert(place, running);
        self.event("started", title, None, "", Duration::ZERO);
    }

    /// What a step waits for right now.
    pub fn status(&self, place: usize, status: &str) {
        let mut all = self.running();
        let Some(running) = all.get_mut(&place) else { return };
        if running.status == status {
            return;
        }
        running.status = status.into();
        if let Some(bar) = &running.bar {
            bar.set_message(status.to_string());
        }
        let (title, elapsed) = (running.title.clone(), running.begin.elapsed());
        drop(all);
        self.event("status", &title, None, status, elapsed);
    }

    /// Time passes: a plain log hears of steps that take long.
    pub fn tick(&self) {
        if self.bars.is_some() || self.format == Format::Json {
            return;
        }
        for running in self.running().values_mut().filter(|running| running.told.elapsed() >= HEARTBEAT) {
            running.told = Instant::now();
            eprintln!("   {:18} {:.0} s: {}", running.title, running.begin.elapsed().as_secs_f64(), running.status);
        }
    }

    /// A step ended; returns how long it took.
    pub fn finished(&self, place: usize, title: &str, ended: &Ended) -> Duration {
        let running = self.running().remove(&place);
        let elapsed = running.as_ref().map_or(Duration::ZERO, |running| running.begin.elapsed());
        if let Some(bar) = running.and_then(|running| running.bar) {
            bar.finish_and_clear();
        }
        let (mark, state, colour, text) = match ended {
            Ended::Done(outcome) => match outcome.state {
                State::Changed => ("✓", "changed", "32", outcome.proof.clone()),
                State::Unchanged => ("=", "unchanged", "2", format!("unchanged: {}", outcome.proof)),
                State::Passed => ("✓", "passed", "32", outcome.proof.clone()),
                State::Skipped => ("-", "skipped", "2", format!("skipped: {}", outcome.proof)),
            },
            Ended::Failed(failure) => {
                ("✗", "failed", "31", failure.what.lines().next().unwrap_or_default().to_string())
            }
            Ended::NotRun(why) => ("-", "skipped", "2", format!("not run: {why}")),
        };
        if self.format == Format::Json {
            self.event("finished", title, Some(state), &text, elapsed);
        } else {
            let mark = if self.colour { format!("\u{1b}[{colour}m{mark}\u{1b}[0m") } else { mark.to_string() };
            self.say(&format!(" {mark} {title:18} {text}  {:.1} s", elapsed.as_secs_f64()));
            if let Ended::Done(outcome) = ended {
                for warning in &outcome.warnings {
                    self.say(&format!(" ! {title:18} {warning}"));
                }
            }
        }
        elapsed
    }
}

/// Prints text on standard output. A reader that went away, as head(1) does, is its own affair.
pub fn print_text(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints one JSON line on standard output. A reader that went away is its own affair.
pub fn print_json(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// What went wrong, for people.
pub fn print_failure(failure: &Failure, colour: bool) {
    let head = if failure.exit == Exit::Interrupted { "stopped" } else { "error" };
    let head = if colour { format!("\u{1b}[31m{head}\u{1b}[0m") } else { head.to_string() };
    eprintln!("{head}: {failure}");
}
