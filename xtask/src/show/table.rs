//! The state of a lab as a table that fits a width. Pure.

use super::plain::mark;
use crate::lock::Work;
use crate::run::{StepEnd, StepResult};

/// What one look at a lab has seen.
pub struct Seen<'a> {
    /// The lab's name.
    pub name: &'a str,
    /// Its backend, if it is recorded.
    pub backend: Option<&'static str>,
    /// The result in words, such as `healthy`.
    pub words: &'static str,
    /// The time of the look.
    pub now: String,
    /// The command at work.
    pub work: &'a Work,
    /// Why nothing could be asked.
    pub note: Option<&'a str>,
    /// The checks, as they ended.
    pub steps: &'a [StepResult],
}

/// Returns the lines of the table, each of at most `width` characters; no terminal has fewer than three.
pub fn table(seen: &Seen<'_>, width: usize, colour: bool) -> Vec<String> {
    let backend = seen.backend.map(|backend| format!(" on {backend}")).unwrap_or_default();
    let mut lines = vec![cut(&format!("{}  lab {}{backend}: {}", seen.now, seen.name, seen.words), width)];
    lines.extend(seen.note.iter().map(|note| cut(&format!("  {note}"), width)));
    lines.extend(seen.work.words().map(|words| cut(&format!("  {words}"), width)));
    for step in seen.steps {
        let text = match &step.end {
            StepEnd::Done(outcome) => outcome.proof.as_str(),
            StepEnd::Failed(failure) => failure.message.lines().next().unwrap_or_default(),
            StepEnd::NotRun(why) => why,
        };
        // The mark is one character wide, with or without its colour.
        let rest = cut(&format!(" {:18} {text}", step.title), width.saturating_sub(2));
        lines.push(format!(" {}{rest}", mark(step.end.state(), colour)));
    }
    lines
}

/// Cuts a line to `width` characters, the last of them an ellipsis if something is cut.
fn cut(line: &str, width: usize) -> String {
    match line.chars().count() > width {
        true => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;

    use super::*;
    use crate::failure::Failure;
    use crate::lock::Holder;
    use crate::task::Outcome;

    fn step(title: &str, end: StepEnd) -> StepResult {
        StepResult { title: title.into(), end, began: Duration::ZERO, elapsed: Duration::ZERO, critical: false }
    }

    #[test]
    fn every_line_fits_and_says_what_the_checks_found() {
        let holder = Holder { command: "drill".into(), pid: 4711, since_ms: 0 };
        let work = Work::Busy(Some(holder));
        let steps = [
            step("kafka-0", StepEnd::Done(Outcome::passed("pid 7, 127.0.0.1:30090, up 12 s, 300 MiB resident"))),
            step("kafka-1", StepEnd::Failed(Failure::fault("kafka-1 is not running\nmore"))),
            step("brokers serve", StepEnd::NotRun("stopped".into())),
        ];
        let now = "2026-11-29 14:02:33 UTC".to_string();
        let seen = Seen {
            name: "lab",
            backend: Some("local"),
            words: "unhealthy",
            now,
            work: &work,
            note: None,
            steps: &steps,
        };
        expect![[r#"
            2026-11-29 14:02:33 UTC  lab lab on local: unhealthy
              `cargo xtask drill` (pid 4711, since 1970-01-01 00:00:00 UTC) is at work
             ✓ kafka-0            pid 7, 127.0.0.1:30090, up 12 s, 300 MiB resident
             ✗ kafka-1            kafka-1 is not running
             - brokers serve      stopped
        "#]]
        .assert_eq(&(table(&seen, 200, false).join("\n") + "\n"));
        for width in [20, 60, 80] {
            let lines = table(&seen, width, false);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
            // Colour takes no room.
            let coloured = table(&seen, width, true).join("\n");
            assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), lines.join("\n"));
        }
        assert!(table(&seen, 60, false)[1].ends_with('…'));
    }
}
