//! A recording in a file.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use ledger::cause::in_words;
use observer::event::{Event, Line, SCHEMA};
use serde::Deserialize;

/// The largest recording that is shown, in bytes: more than a day of the usual lab.
const SIZE_MAX: u64 = 256 * 1024 * 1024;

/// A recording.
#[derive(Debug)]
pub struct Recording {
    /// Its lines, each with its end. A last line that was cut short is left out.
    pub text: String,
    /// Name of the lab.
    pub lab: String,
    /// The number of lines.
    pub lines: usize,
    /// How long it is, in ms.
    pub length_ms: u64,
    /// Whether it has its last line.
    pub whole: bool,
}

/// Reads a recording.
///
/// # Errors
/// It cannot be read, or is none: with the number of the line, and what to do.
pub fn read(path: &Path) -> Result<Recording> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|error| anyhow!("cannot read {shown}: {}", in_words(error)))?;
    // A FIFO would block the open.
    if !meta.is_file() {
        bail!("{shown} is not a regular file");
    }
    if meta.len() > SIZE_MAX {
        bail!("{shown} is larger than {} MiB: record a shorter time", SIZE_MAX >> 20);
    }
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot read {shown}"))?;
    file.read_to_end(&mut bytes).with_context(|| format!("cannot read {shown}"))?;
    let text = String::from_utf8(bytes).map_err(|_| anyhow!("{shown} is not text, so it is no recording"))?;
    parse(text).with_context(|| format!("{shown} is not a recording that can be shown"))
}

fn parse(mut text: String) -> Result<Recording> {
    // A recorder that was killed leaves half a line.
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    text.truncate(end);
    let mut recording = Recording { text: String::new(), lab: String::new(), lines: 0, length_ms: 0, whole: false };
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        let head: Head = serde_json::from_str(line)
            .map_err(|error| anyhow!("line {number}: {error}; `cargo xtask record --out FILE` writes a recording"))?;
        if head.schema != SCHEMA {
            bail!(
                "line {number} has the schema {} and not {SCHEMA}: use the xtask that recorded it, or record again",
                head.schema
            );
        }
        if head.at_ms < recording.length_ms {
            bail!("line {number}: its time is before that of the line before");
        }
        if at == 0 {
            let first = serde_json::from_str(line).map(|line: Line| line.event);
            let Ok(Event::Begin { lab, .. }) = first else { bail!("line 1 is not the beginning of a recording") };
            recording.lab = lab;
        }
        (recording.lines, recording.length_ms, recording.whole) = (number, head.at_ms, head.event == "end");
    }
    if recording.lines == 0 {
        bail!("it has no line; `cargo xtask record --out FILE` writes a recording");
    }
    recording.text = text;
    Ok(recording)
}

/// What every line has. Events that this version does not know are left to the page, which ignores them.
#[derive(Deserialize)]
struct Head {
    schema: String,
    at_ms: u64,
    event: String,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
pub mod tests {
    use super::*;
    use crate::now::tests::lines;

    /// A small recording.
    pub fn text() -> String {
        lines().iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
    }

    #[test]
    fn a_recording_is_read_whole_and_one_that_was_cut_short_as_far_as_it_goes() {
        let all = text();
        let read = parse(all.clone()).unwrap();
        assert_eq!((read.lines, read.length_ms, read.whole), (lines().len(), 180, true));
        assert_eq!((&read.text, read.lab.as_str()), (&all, "a \"lab\""));
        let cut = parse(all[..all.len() - 5].to_owned()).unwrap();
        assert_eq!((cut.lines, cut.whole, cut.text.ends_with('\n')), (lines().len() - 1, false, true));
    }

    #[test]
    fn what_is_no_recording_is_refused_with_the_line_and_what_to_do() {
        let why = |text: &str| format!("{:#}", parse(text.to_owned()).unwrap_err());
        let all = text();
        assert!(why("").contains("has no line; `cargo xtask record"));
        assert!(why("{}\n").contains("line 1: missing field"));
        assert!(
            why(&all.replace("recording/2", "recording/1")).contains("line 1 has the schema kafka-lab.recording/1")
        );
        assert!(why(all.split_once('\n').unwrap().1).contains("line 1 is not the beginning"));
        let twice = format!("{all}{all}");
        assert!(why(&twice).contains("its time is before"), "{}", why(&twice));
        let newer = all.replacen("\"event\":\"offsets\"", "\"event\":\"a new one\"", 1);
        assert_eq!(parse(newer).unwrap().lines, lines().len());
        let path = std::env::temp_dir();
        assert!(format!("{:#}", read(&path).unwrap_err()).ends_with("is not a regular file"));
        assert!(format!("{:#}", read(&path.join("no such film")).unwrap_err()).contains("No such file"));
    }
}
