//! The section of docs/performance.md that a run writes. Pure.

use anyhow::{Result, bail};

use crate::plot;
use crate::report::{conditions, limits, remarks, tables};
use crate::result::{Bench, Regime, Role};

const BEGIN: &str = "<!-- bench: begin -->\n";
const END: &str = "<!-- bench: end -->\n";

/// A page with its section replaced.
///
/// # Errors
/// The page does not mark where the section is.
pub fn replaced(page: &str, section: &str) -> Result<String> {
    let Some(((before, rest), end)) = page.split_once(BEGIN).and_then(|both| Some((both, both.1.find(END)?))) else {
        bail!("docs/performance.md has no lines `{}` and `{}`", BEGIN.trim(), END.trim());
    };
    Ok(format!("{before}{BEGIN}{section}{}", &rest[end..]))
}

/// Text in lines of at most 120 characters, those after the first indented by `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 120 {
            lines += &format!("{line}\n");
            line = indent.into();
        } else if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines + &line + "\n"
}

/// The section: limits, tables, plots and everybody's exact settings. `plots` is their folder, seen from the page.
pub fn section(bench: &Bench, plots: &str) -> String {
    let machine = &bench.machine;
    let kernel: Vec<&str> = machine.kernel.split('.').take(2).collect();
    let intro = format!(
        "Measured at {} on {}: {} cores, {} MiB, Linux {}. The load was {:.1} before it began.",
        bench.commit,
        machine.processor,
        machine.cores,
        machine.memory_mib,
        kernel.join("."),
        machine.load
    );
    let mut text = format!("\n{}", wrapped(&intro, ""));
    if !bench.limits.is_empty() {
        text += &format!("\nWhat this machine can do at all:\n\n{}", limits(&bench.limits).markdown());
    }
    let drawn = plot::all(bench);
    for regime in &bench.regimes {
        text +=
            &format!("\n### Regime `{}`\n\n{}", regime.name.name(), wrapped(&format!("{}.", conditions(regime)), ""));
        for table in tables(regime) {
            text += &format!("\n{}", table.markdown());
        }
        let prefix = format!("{}-", regime.name.name());
        for (file, _) in drawn.iter().filter(|(file, _)| file.starts_with(&prefix)) {
            text += &format!("\n![{}]({plots}/{file})\n", file.trim_end_matches(".svg").replace('-', " "));
        }
        text += &list(&remarks(regime));
        text += &settings(regime);
    }
    text + "\n"
}

fn list(remarks: &[String]) -> String {
    if remarks.is_empty() {
        return String::new();
    }
    let lines = remarks.iter().map(|remark| wrapped(&format!("- {}", remark.replace('\n', " ")), "  "));
    format!("\n{}", lines.collect::<String>())
}

/// Versions, settings, and how time was measured.
fn settings(regime: &Regime) -> String {
    let mut text = String::from("\nEverybody's version and settings, and how the time was measured:\n\n```text\n");
    let mut one = |name: String, version: &str, command: &str, settings: &str, timed: &str| {
        text += &format!("{name}: {version}\n  {command}\n");
        if !settings.is_empty() {
            text += &format!("  settings: {settings}\n");
        }
        text += &format!("  time: {timed}\n");
    };
    for result in regime.throughput.iter().filter(|result| !result.rounds.is_empty()) {
        let name = format!("{}, {}, {} messages", result.role.name(), result.name, result.messages);
        one(name, &result.version, &result.command, &result.settings, &result.timed);
    }
    for result in regime.latency.iter().filter(|result| !result.rounds.is_empty()) {
        let name = format!("{}, {}, {} messages", Role::Latency.name(), result.name, result.messages);
        one(name, &result.version, &result.command, &result.settings, &result.timed);
    }
    text + "```\n"
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_section_replaces_the_one_before_and_nothing_else() {
        let page = format!("# Page\n\n{BEGIN}old\n{END}\n## After\n");
        let new = replaced(&page, "new\n").unwrap();
        assert_eq!(new, format!("# Page\n\n{BEGIN}new\n{END}\n## After\n"));
        assert_eq!(replaced(&new, "new\n").unwrap(), new);
        assert!(replaced("# Page\n", "new").is_err());
    }

    #[test]
    fn a_section_has_tables_plots_settings_and_no_long_line() {
        let mut bench = sample::bench();
        bench.regimes[0].not_run[0].why = "word ".repeat(60);
        let section = section(&bench, "plots");
        for part in [
            "### Regime `real`",
            "| ours | 300 000 (",
            "(plots/real-producer-rate.svg)",
            "ours -b BROKERS",
            "time: open loop",
        ] {
            assert!(section.contains(part), "{part} is missing in {section}");
        }
        let long = |line: &&str| !line.starts_with('|') && line.chars().count() > 120;
        assert_eq!(section.lines().find(long), None);
    }
}
