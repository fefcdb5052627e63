//! The report of a command's steps.

use serde_json::Value;

use super::Ran;

/// The report line of a command.
pub struct Report(pub Value);

impl Report {
    /// The report of a command that ended with `code`.
    #[track_caller]
    pub fn of(ran: &Ran, code: i32) -> Self {
        assert_eq!(ran.code, code, "stdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
        let line = ran.json("kafka-lab.report/1").pop().unwrap();
        assert_eq!(line["exit"], code);
        Report(line)
    }

    /// The entry of a step.
    #[track_caller]
    pub fn step(&self, title: &str) -> &Value {
        let steps = self.0["steps"].as_array().unwrap();
        steps.iter().find(|step| step["step"] == title).unwrap_or_else(|| panic!("no step {title} in {}", self.0))
    }

    /// The state of a step.
    #[track_caller]
    pub fn state(&self, title: &str) -> &str {
        self.step(title)["state"].as_str().unwrap()
    }

    /// The proof of a step.
    pub fn proof(&self, title: &str) -> &str {
        self.step(title)["proof"].as_str().unwrap()
    }
}
