//! Writes results as JUnit XML, which CI systems show: a suite for each command, a case for each step.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::account;
use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::own::open_regular_with;
use crate::run::{PlanReport, StepEnd};

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseEnd {
    /// As it should.
    Passed,
    /// A check found a fault, or a promise was broken: `failure`.
    Failed(Problem),
    /// It could not be finished, or could not tell: `error`.
    Error(Problem),
    /// It was not run, with the reason.
    Skipped(String),
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The exit code that it is worth.
    pub exit: Exit,
    /// One line.
    pub message: String,
    /// Everything that is told of it.
    pub text: String,
}

/// A case of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The step's title.
    pub name: String,
    /// How long it took.
    pub time: Duration,
    /// How it ended.
    pub end: CaseEnd,
    /// What it printed.
    pub output: String,
}

/// The results of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// The command: `verify`, `drill` or `test`.
    pub name: &'static str,
    /// Its cases, in order.
    pub cases: Vec<Case>,
}

impl From<&Failure> for CaseEnd {
    fn from(failure: &Failure) -> Self {
        let message = failure.message.lines().next().unwrap_or_default().into();
        let problem = Problem { exit: failure.exit, message, text: failure.to_string() };
        if failure.exit == Exit::Fault { CaseEnd::Failed(problem) } else { CaseEnd::Error(problem) }
    }
}

impl Suite {
    /// Creates a suite without cases.
    pub fn new(name: &'static str) -> Self {
        Suite { name, cases: Vec::new() }
    }

    /// Adds a case for each step of a plan.
    pub fn add_steps(&mut self, report: &PlanReport) {
        for step in &report.steps {
            let mut output = String::new();
            let end = match &step.end {
                StepEnd::Failed(failure) => failure.into(),
                StepEnd::NotRun(why) => CaseEnd::Skipped(why.clone()),
                StepEnd::Done(outcome) => {
                    let _ = writeln!(output, "{}", outcome.proof);
                    outcome.warnings.iter().for_each(|warning| output += &format!("warning: {warning}\n"));
                    outcome.flow.iter().for_each(|flow| output += &account::table(flow));
                    let drill = outcome.drill.as_ref().map(|drill| drill.told()).unwrap_or_default();
                    output += &drill;
                    let problem =
                        || Problem { exit: outcome.exit, message: outcome.proof.clone(), text: drill.clone() };
                    match outcome.exit {
                        Exit::Ok if outcome.state == crate::events::StepState::Skipped => {
                            CaseEnd::Skipped(outcome.proof.clone())
                        }
                        Exit::Ok => CaseEnd::Passed,
                        Exit::Fault => CaseEnd::Failed(problem()),
                        _ => CaseEnd::Error(problem()),
                    }
                }
            };
            self.cases.push(Case { name: step.title.clone(), time: step.elapsed, end, output });
        }
    }

    /// Adds a failure that is not in any case, such as one before the first step.
    pub fn add_failure(&mut self, failure: &Failure) {
        let told = self.cases.iter().any(|case| matches!(case.end, CaseEnd::Failed(_) | CaseEnd::Error(_)));
        if !told {
            let (name, time) = (self.name.to_string(), Duration::ZERO);
            self.cases.push(Case { name, time, end: failure.into(), output: String::new() });
        }
    }

    /// Returns the suite as XML.
    pub fn xml(&self) -> String {
        let count = |of: fn(&CaseEnd) -> bool| self.cases.iter().filter(|case| of(&case.end)).count();
        let numbers = format!(
            "tests=\"{}\" failures=\"{}\" errors=\"{}\"",
            self.cases.len(),
            count(|end| matches!(end, CaseEnd::Failed(_))),
            count(|end| matches!(end, CaseEnd::Error(_))),
        );
        let skipped = count(|end| matches!(end, CaseEnd::Skipped(_)));
        let time: Duration = self.cases.iter().map(|case| case.time).sum();
        let time = time.as_secs_f64();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"kafka-lab\" {numbers} time=\"{time:.3}\">\n  \
             <testsuite name=\"{}\" {numbers} skipped=\"{skipped}\" time=\"{time:.3}\">\n",
            attribute(self.name)
        );
        for case in &self.cases {
            let _ = write!(
                xml,
                "    <testcase classname=\"kafka-lab.{}\" name=\"{}\" time=\"{:.3}\">",
                attribute(self.name),
                attribute(&case.name),
                case.time.as_secs_f64()
            );
            let mut element = |tag: &str, problem: &Problem| {
                let (exit, message) = (problem.exit as i32, attribute(&problem.message));
                let text = escaped(&problem.text);
                let _ = write!(xml, "\n      <{tag} message=\"{message}\" type=\"exit {exit}\">{text}</{tag}>");
            };
            match &case.end {
                CaseEnd::Passed => {}
                CaseEnd::Failed(problem) => element("failure", problem),
                CaseEnd::Error(problem) => element("error", problem),
                CaseEnd::Skipped(why) => {
                    let _ = write!(xml, "\n      <skipped message=\"{}\"/>", attribute(why));
                }
            }
            if !case.output.is_empty() {
                let _ = write!(xml, "\n      <system-out>{}</system-out>", escaped(&case.output));
            }
            xml += "\n    </testcase>\n";
        }
        xml + "  </testsuite>\n</testsuites>\n"
    }
}

/// Escapes text for an attribute, whose reader would make spaces of line ends.
fn attribute(text: &str) -> String {
    escaped(text).replace('\n', "&#10;").replace('\t', "&#9;")
}

/// Escapes text for an element. What XML 1.0 cannot hold at all, such as the escape that begins a colour, becomes a
/// replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(c),
            // A reader would make it a line feed.
            '\r' => out += "&#13;",
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The file of `--junit`, opened before the work begins: who asked for it learns at once if it cannot be written.
#[derive(Debug)]
pub struct JunitFile {
    file: File,
    path: PathBuf,
}

impl JunitFile {
    /// Opens the file, which is created if it is absent.
    ///
    /// # Errors
    /// It cannot be written: exit code 2.
    pub fn create(path: &Path) -> Result<Self> {
        let opened = open_regular_with(path, OpenOptions::new().create(true).write(true));
        let file = opened.cannot("write", path).map_err(|failure| {
            let what = format!("--junit: {}", failure.message);
            Failure {
                exit: Exit::Usage,
                message: what,
                ..failure.fix_unless_known("name a file in a folder that is there")
            }
        })?;
        Ok(JunitFile { file, path: path.into() })
    }

    /// Writes the results.
    ///
    /// # Errors
    /// The disk is full.
    pub fn write(mut self, suite: &Suite) -> Result<()> {
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(suite.xml().as_bytes()));
        written.cannot("write", &self.path)
    }
}

/// Runs a command that fills a suite, and writes it to the file of `--junit`, however the command ends.
///
/// # Errors
/// Those of the command, or the file cannot be written.
pub fn reported(path: Option<&Path>, name: &'static str, run: impl FnOnce(&mut Suite) -> Result<Exit>) -> Result<Exit> {
    let file = path.map(JunitFile::create).transpose()?;
    let mut suite = Suite::new(name);
    let result = run(&mut suite);
    if let Err(failure) = &result {
        suite.add_failure(failure);
    }
    let written = file.map_or(Ok(()), |file| file.write(&suite));
    // Why the command failed is worth more than why nobody can read it.
    result.and_then(|exit| written.map(|()| exit))
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::*;
    use crate::account::tests::report as flow;
    use crate::run::StepResult;
    use crate::task::Outcome;

    fn report() -> PlanReport {
        let ends = [
            StepEnd::Done(Outcome { flow: Some(flow()), ..Outcome::passed("sent 100") }),
            StepEnd::Done(Outcome::skipped("not started")),
            StepEnd::Failed(
                Failure::fault("2 missing in <\"test\" & 'more'>\n\u{1b}[31msecond\u{1b}[0m\tline").fix("a && b"),
            ),
            StepEnd::Failed(Failure::step("mvn exited with 1")),
            StepEnd::NotRun("kafka jars did not succeed".into()),
            StepEnd::Done(Outcome { exit: Exit::Inconclusive, ..Outcome::passed("could not tell") }),
        ];
        let elapsed = Duration::from_millis(1_250);
        let step = |end| StepResult { title: "a < b".into(), end, began: elapsed, elapsed, critical: false };
        PlanReport { steps: ends.into_iter().map(step).collect(), elapsed, failures: Vec::new() }
    }

    fn children<'a>(node: Node<'a, 'a>) -> Vec<Node<'a, 'a>> {
        node.children().filter(Node::is_element).collect()
    }

    /// Checks a node by the structure of JUnit's files: which attributes it must and may have, and which elements.
    fn fits(node: Node<'_, '_>, must: &[&str], elements: &[&str]) {
        for name in must {
            assert!(node.has_attribute(*name), "{} lacks {name}", node.tag_name().name());
        }
        assert_eq!(node.attributes().count(), must.len(), "{node:?}");
        for child in node.children().filter(Node::is_element) {
            assert!(elements.contains(&child.tag_name().name()), "{child:?} in {node:?}");
        }
        for number in ["tests", "failures", "errors", "skipped"] {
            assert!(node.attribute(number).is_none_or(|text| text.parse::<usize>().is_ok()));
        }
        assert!(node.attribute("time").is_none_or(|text| text.parse::<f64>().is_ok()));
    }

    #[test]
    fn a_suite_has_the_structure_of_junit() {
        let mut suite = Suite::new("verify");
        suite.add_steps(&report());
        let xml = suite.xml();
        let document = Document::parse(&xml).unwrap();
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "testsuites");
        fits(root, &["name", "tests", "failures", "errors", "time"], &["testsuite"]);
        let suites = children(root);
        assert_eq!(suites.len(), 1);
        fits(suites[0], &["name", "tests", "failures", "errors", "skipped", "time"], &["testcase"]);
        let number = |name: &str| suites[0].attribute(name).unwrap().parse::<usize>().unwrap();
        assert_eq!([number("tests"), number("failures"), number("errors"), number("skipped")], [6, 1, 2, 2]);
        assert_eq!(suites[0].attribute("time"), Some("7.500"));
        let mut found = Vec::new();
        for case in children(suites[0]) {
            fits(case, &["classname", "name", "time"], &["skipped", "error", "failure", "system-out"]);
            assert_eq!((case.attribute("name"), case.attribute("time")), (Some("a < b"), Some("1.250")));
            let ends: Vec<_> = children(case).iter().map(|node| node.tag_name().name().to_string()).collect();
            assert!(ends.iter().filter(|name| *name != "system-out").count() <= 1, "{ends:?}");
            found.push(ends.join(","));
        }
        let out = "system-out";
        assert_eq!(found, [out, "skipped,system-out", "failure", "error", "skipped", "error,system-out"]);
    }

    #[test]
    fn what_is_told_can_be_read_back() {
        let mut suite = Suite::new("verify");
        suite.add_steps(&report());
        let xml = suite.xml();
        let document = Document::parse(&xml).unwrap();
        let failure = document.descendants().find(|node| node.has_tag_name("failure")).unwrap();
        assert_eq!(failure.attribute("message"), Some("2 missing in <\"test\" & 'more'>"));
        assert_eq!(failure.attribute("type"), Some("exit 5"));
        let skipped = CaseEnd::Skipped("one\ntwo\tthree".into());
        let case = Case { name: "x".into(), time: Duration::ZERO, end: skipped, output: "one\r\ntwo".into() };
        let lines = Suite { name: "test", cases: vec![case] }.xml();
        let lines = Document::parse(&lines).unwrap();
        let of = |name: &str| lines.descendants().find(|node| node.has_tag_name(name)).unwrap();
        assert_eq!(of("skipped").attribute("message"), Some("one\ntwo\tthree"));
        assert_eq!(of("system-out").text(), Some("one\r\ntwo"));
        let text = failure.text().unwrap();
        assert!(text.contains("\u{fffd}[31msecond") && text.contains("\tline\n  fix: a && b"), "{text:?}");
        let table = document.descendants().find(|node| node.has_tag_name("system-out")).unwrap();
        assert!(table.text().unwrap().contains("out of order"), "the account is in it");
        // Whatever is thrown at it stays XML.
        for code in (0..0x300).chain([0xfffe, 0xffff, 0x1_f600]).filter_map(char::from_u32) {
            let name = format!("x{code}y");
            let end = CaseEnd::Skipped(name.clone());
            let case = Case { name: name.clone(), time: Duration::ZERO, end, output: name };
            let xml = Suite { name: "test", cases: vec![case] }.xml();
            assert!(Document::parse(&xml).is_ok(), "{code:?}: {xml}");
        }
    }

    #[test]
    fn a_failure_before_the_first_step_is_a_case_and_one_of_a_step_is_told_once() {
        let dir = std::env::temp_dir().join(format!("kafka-lab-junit-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("report.xml");
        let failure = || Failure::new(Exit::NotUp, "no lab is up");
        let result = reported(Some(&path), "drill", |_| Err(failure()));
        assert_eq!(result.unwrap_err().exit, Exit::NotUp);
        let xml = std::fs::read_to_string(&path).unwrap();
        assert!(xml.contains("tests=\"1\" failures=\"0\" errors=\"1\"") && xml.contains("no lab is up"), "{xml}");
        let result = reported(Some(&path), "drill", |suite| {
            suite.add_steps(&report());
            Err(failure())
        });
        result.unwrap_err();
        assert!(std::fs::read_to_string(&path).unwrap().contains("tests=\"6\""));
        let missing = reported(Some(&dir.join("no/such.xml")), "drill", |_| panic!("nothing may run")).unwrap_err();
        assert_eq!(missing.exit, Exit::Usage);
        assert!(missing.to_string().contains("--junit: cannot write") && missing.fix.is_some(), "{missing}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
