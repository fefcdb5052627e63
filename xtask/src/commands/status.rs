//! `status`: shows what runs, whether it serves, and which command is at work; once, or again and again.

use std::path::Path;
use std::time::Duration;

use crate::cli::{Format, StatusArgs};
use crate::commands::session::Session;
use crate::config::{Lab, state_dir};
use crate::events::Events;
use crate::failure::{Exit, Failure, Result};
use crate::local::jars::Jars;
use crate::lock::{self, Work};
use crate::plan;
use crate::report;
use crate::run::{self, PlanReport, StepEnd};
use crate::show::screen::Screen;
use crate::show::table::{Seen, table};
use crate::show::{print_failure, print_text, tell};
use crate::step::Step;
use crate::system::{now_ms, utc};
use crate::wait;

impl Session<'_> {
    /// `status`.
    ///
    /// # Errors
    /// A flag or a manifest is invalid.
    pub fn status(&self, args: &StatusArgs) -> Result<Exit> {
        if args.watch && !self.global.dry_run {
            return self.watch(Duration::from_secs(args.every));
        }
        let (lab, jars) = match self.asked()? {
            Ok(found) => found,
            Err(failure) => return Ok(self.nothing(&failure, &self.work()?)),
        };
        let plan = plan::status(&lab);
        if self.global.dry_run {
            return Ok(self.dry_run("status", &lab, &jars, &plan));
        }
        let report = self.run("status", &lab, &jars, &plan);
        let (exit, work) = (exit(&lab, &report), self.work()?);
        let ctx = self.ctx(&lab, &jars, self.stop);
        match lab.format {
            Format::Json => report::json_status(&ctx, &report, exit, &work),
            Format::Text => {
                print_text(&format!("\n{}", report::endpoints(&ctx, true)));
                print_text(&format!("\nstatus: {}\n", words(exit)));
                tell_work(&work);
            }
        }
        Ok(exit)
    }

    /// Looks every so often until the command is stopped.
    fn watch(&self, every: Duration) -> Result<Exit> {
        let mut screen = Screen::new(self.env.screen && self.global.format == Format::Text);
        while !self.stop.signalled() {
            let work = self.work()?;
            match self.asked()? {
                Err(failure) if self.global.format == Format::Json => report::json_status_failure(&failure, &work),
                Err(failure) => {
                    let note = failure.message.lines().next().unwrap_or_default();
                    let seen = Seen { words: words(failure.exit), note: Some(note), ..self.seen(&work) };
                    screen.show(|width| table(&seen, width, self.env.screen_colour));
                }
                Ok((lab, jars)) => {
                    let stop = self.stop.next_plan();
                    let ctx = self.ctx(&lab, &jars, &stop);
                    // Many looks would make a log grow.
                    let nobody = Events::to(Vec::new());
                    let report = run::run(&plan::status(&lab), &ctx, &nobody, Path::new("/dev/null"), &mut |_| Ok(()));
                    if self.stop.signalled() {
                        break;
                    }
                    let exit = exit(&lab, &report);
                    if lab.format == Format::Json {
                        report::json_status(&ctx, &report, exit, &work);
                    } else {
                        let seen = Seen {
                            backend: Some(lab.backend.name()),
                            words: words(exit),
                            steps: &report.steps,
                            ..self.seen(&work)
                        };
                        screen.show(|width| table(&seen, width, self.env.screen_colour));
                    }
                }
            }
            if screen.reader_is_gone() || wait::pause(self.stop, every).is_err() {
                break;
            }
        }
        Ok(Exit::Ok)
    }

    /// What is seen of a lab about which nothing could be asked.
    fn seen<'a>(&'a self, work: &'a Work) -> Seen<'a> {
        let (name, now) = (self.global.name.as_str(), utc(now_ms()));
        Seen { name, backend: None, words: "", now, work, note: None, steps: &[] }
    }

    /// Which command is at work on the lab, or was interrupted.
    fn work(&self) -> Result<Work> {
        Ok(lock::look(&state_dir(self.global, self.env)?))
    }

    /// Loads the recorded lab, with limits that do not wait for what is missing. Returns the failure if nothing is up,
    /// or the record cannot be read.
    fn asked(&self) -> Result<std::result::Result<(Lab, Jars), Failure>> {
        match self.recorded() {
            Ok((mut lab, jars)) => {
                let timeouts = &mut lab.settings.timeouts_s;
                (timeouts.broker, timeouts.pods, timeouts.clients) = (3, 3, 6);
                Ok(Ok((lab, jars)))
            }
            Err(failure) => match failure.exit {
                Exit::NotUp => Ok(Err(failure)),
                // The record cannot be read.
                Exit::Step | Exit::Preflight => Ok(Err(Failure { exit: Exit::Inconclusive, ..failure })),
                _ => Err(failure),
            },
        }
    }

    /// Says that nothing is up, or that the record cannot be read.
    fn nothing(&self, failure: &Failure, work: &Work) -> Exit {
        match self.global.format {
            Format::Json => report::json_status_failure(failure, work),
            Format::Text => {
                print_failure(failure, self.env.colour);
                tell_work(work);
            }
        }
        failure.exit
    }
}

/// Tells which command is at work, or was interrupted.
fn tell_work(work: &Work) {
    if let Some(words) = work.words() {
        tell(&words);
    }
}

/// Returns the exit code of `status`: healthy, unhealthy, nothing up, or it could not ask.
fn exit(lab: &Lab, report: &PlanReport) -> Exit {
    let serving = Step::Serving.title(lab);
    let exits = report.steps.iter().filter_map(|step| match &step.end {
        StepEnd::Failed(failure) => Some(match failure.exit {
            // The brokers were asked, and did not answer in time: they do not serve.
            Exit::Step if step.title == serving && lab.clients_program().exists() => Exit::Fault,
            // The engine, the API server or the program that asks does not work.
            Exit::Step | Exit::Unexpected => Exit::Inconclusive,
            exit => exit,
        }),
        _ => None,
    });
    // An interruption is a failure of the plan, not of a step.
    let stopped = report.failures.iter().map(|failure| failure.exit).filter(|exit| *exit == Exit::Interrupted);
    exits.chain(stopped).fold(Exit::Ok, Exit::worst)
}

/// Returns an exit code of `status` in words.
fn words(exit: Exit) -> &'static str {
    match exit {
        Exit::Ok => "healthy",
        Exit::Fault => "unhealthy",
        Exit::NotUp => "nothing is up",
        Exit::Interrupted => "interrupted",
        _ => "could not ask",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;
    use crate::run::StepResult;
    use crate::task::Outcome;

    #[test]
    fn a_question_that_could_not_be_asked_is_no_fault() {
        let mut lab = sample::lab();
        // A program that is there.
        lab.env.target = std::env::temp_dir().join(format!("kafka-lab-status-{}", std::process::id()));
        let program = lab.clients_program();
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, "").unwrap();
        let ended = |title: &str, exit| StepResult {
            title: title.into(),
            end: match exit {
                Exit::Ok => StepEnd::Done(Outcome::passed("")),
                exit => StepEnd::Failed(Failure::new(exit, "")),
            },
            began: Duration::ZERO,
            elapsed: Duration::ZERO,
            critical: false,
        };
        let serving = Step::Serving.title(&lab);
        let of = |lab: &Lab, health: Exit, serve: Exit| {
            let steps = vec![ended("kafka-0", health), ended(&serving, serve)];
            exit(lab, &PlanReport { steps, elapsed: Duration::ZERO, failures: Vec::new() })
        };
        assert_eq!(of(&lab, Exit::Ok, Exit::Ok), Exit::Ok);
        assert_eq!(of(&lab, Exit::Fault, Exit::Ok), Exit::Fault);
        assert_eq!(of(&lab, Exit::Ok, Exit::Step), Exit::Fault, "brokers that do not answer do not serve");
        assert_eq!(of(&lab, Exit::Step, Exit::Ok), Exit::Inconclusive, "kubectl did not answer");
        assert_eq!(of(&lab, Exit::Step, Exit::Fault), Exit::Fault, "what is known to be broken is worse");
        assert_eq!(of(&lab, Exit::NotUp, Exit::Fault), Exit::NotUp);
        std::fs::remove_dir_all(&lab.env.target).unwrap();
        assert_eq!(of(&lab, Exit::Ok, Exit::Step), Exit::Inconclusive, "nobody is there to ask");
    }
}
