//! `up --timings`: the steps of a plan as bars over time.

use std::time::Duration;

use crate::run::PlanReport;

/// The columns of a bar that lasts as long as the plan.
const WIDTH: usize = 40;

/// Returns a line for each step that ran, with its bar. A `*` marks the critical path.
pub fn chart(report: &PlanReport) -> String {
    let ran = || report.steps.iter().filter(|step| !step.elapsed.is_zero());
    let title = ran().map(|step| step.title.chars().count()).max().unwrap_or(0);
    let column = |time: Duration| {
        let share = time.as_secs_f64() / report.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        ((share * WIDTH as f64).round() as usize).min(WIDTH)
    };
    let mut text = format!("\ntimings: {:.1} s; * marks the steps that decide it\n", report.elapsed.as_secs_f64());
    for step in ran() {
        let from = column(step.began).min(WIDTH - 1);
        let length = column(step.began + step.elapsed).saturating_sub(from).max(1);
        let mark = if step.critical { '*' } else { ' ' };
        let (before, bar, rest) = (" ".repeat(from), "█".repeat(length), " ".repeat(WIDTH - from - length));
        let seconds = step.elapsed.as_secs_f64();
        text += &format!("{mark} {:title$}  {before}{bar}{rest}  {seconds:.1} s\n", step.title);
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::run::{StepEnd, StepResult};
    use crate::task::Outcome;

    #[test]
    fn bars_show_when_each_step_ran() {
        let step = |title: &str, began, elapsed, critical| StepResult {
            title: title.into(),
            end: StepEnd::Done(Outcome::passed("")),
            began: Duration::from_millis(began),
            elapsed: Duration::from_millis(elapsed),
            critical,
        };
        let steps = vec![
            step("preflight", 0, 100, true),
            step("clients build", 100, 1_000, false),
            step("zookeeper", 100, 1_900, true),
            step("producer", 2_000, 0, false),
            step("kafka-0", 1_999, 1, true),
        ];
        let report = PlanReport { steps, elapsed: Duration::from_secs(2), failures: Vec::new() };
        expect![[r#"

            timings: 2.0 s; * marks the steps that decide it
            * preflight      ██                                        0.1 s
              clients build    ████████████████████                    1.0 s
            * zookeeper        ██████████████████████████████████████  1.9 s
            * kafka-0                                               █  0.0 s
        "#]]
        .assert_eq(&chart(&report));
    }
}
