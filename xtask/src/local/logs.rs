//! Prints and follows the processes' log files.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use ledger::cause::in_words;

use crate::config::Lab;
use crate::exec::{Cmd, Exec, RealExec};
use crate::failure::{Exit, Failure, Result, tail};
use crate::files::own::{READ_MAX, open_own};
use crate::service::Service;
use crate::show::{print_while_read, tell};
use crate::signal::Stop;
use crate::system::utc_seconds;
use crate::task::{LogSource, Tail};
use crate::wait;

/// Prints the last lines of the logs. With `follow`, continues until interrupted.
///
/// # Errors
/// The process does not exist.
pub fn print(lab: &Lab, source: &LogSource, show: Tail, stop: &Stop) -> Result<Exit> {
    let mut services = Service::clients(lab);
    if !matches!(source, LogSource::Clients) {
        services = Service::servers(lab).into_iter().chain(services).collect();
    }
    if let LogSource::One(wanted) = source {
        let names: Vec<String> = services.iter().map(|service| service.name(lab)).collect();
        services.retain(|service| service.name(lab) == *wanted);
        if services.is_empty() {
            return Err(Failure::usage(format!("no process {wanted}; choose one of {}", names.join(", "))));
        }
    }
    files(lab, &services, show, stop)
}

/// A log that is printed.
struct Log {
    /// What its lines begin with, if there are several sources.
    prefix: String,
    path: PathBuf,
    /// How far it is read.
    at: u64,
    /// The time of its last line that has one, in ms since the Unix epoch.
    last: i64,
}

impl Log {
    /// Returns lines with their times. A line without one, as of a stack trace, has that of the line before.
    fn timed(&mut self, lines: impl Iterator<Item = String>, zone: i64) -> Vec<(i64, String)> {
        lines
            .map(|line| {
                self.last = time_of(&line, zone).unwrap_or(self.last);
                (self.last, format!("{}{line}", self.prefix))
            })
            .collect()
    }
}

fn files(lab: &Lab, services: &[Service], show: Tail, stop: &Stop) -> Result<Exit> {
    let zone = zone(stop);
    let all: Vec<Service> = Service::servers(lab).into_iter().chain(Service::clients(lab)).collect();
    let (mut logs, mut lines, mut exit) = (Vec::new(), Vec::new(), Exit::Ok);
    for service in services {
        let place = all.iter().position(|other| other == service).unwrap_or(0);
        let prefix =
            if services.len() > 1 { prefix(&service.name(lab), place, lab.env.screen_colour) } else { String::new() };
        for path in [service.log(lab), service.out(lab)] {
            // A missing file may appear while we follow.
            let (text, length) = end_of(&path).unwrap_or_else(|error| {
                tell(&format!("{}: cannot be read: {}", path.display(), in_words(error)));
                exit = Exit::Step;
                Default::default()
            });
            let written = std::fs::metadata(&path).and_then(|meta| meta.modified()).ok();
            let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let last = written.and_then(|time| i64::try_from(time.as_millis()).ok()).unwrap_or_default();
            let mut log = Log { prefix: prefix.clone(), path, at: length, last };
            let shown = tail(&text, show.lines);
            // Lines before the first time that is known were written shortly before it.
            log.last = shown.iter().find_map(|line| time_of(line, zone)).unwrap_or(last);
            lines.extend(log.timed(shown.into_iter(), zone));
            logs.push(log);
        }
    }
    if exit == Exit::Ok && logs.iter().all(|log| log.at == 0) {
        tell(&format!("no logs yet in {}", lab.logs().display()));
    }
    // Following ends with an interruption, and when the reader goes away, as head(1) does.
    while print_in_order(lines) && show.follow && wait::pause(stop, Duration::from_millis(200)).is_ok() {
        lines = Vec::new();
        for log in &mut logs {
            let added = added(&log.path.clone(), &mut log.at);
            lines.extend(log.timed(added.lines().map(Into::into), zone));
        }
    }
    Ok(exit)
}

/// Returns the end of a log, and the length of the file; nothing if it is absent.
fn end_of(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = match open_own(path, OpenOptions::new().read(true)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Default::default()),
        file => file?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ_MAX)))?;
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), length))
}

/// Prints lines in the order of their times, those of a log in its own. Returns whether they could be written.
fn print_in_order(mut lines: Vec<(i64, String)>) -> bool {
    lines.sort_by_key(|(time, _)| *time);
    let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    print_while_read(&text)
}

/// Colours that can be read on light and on dark, of which each source has one.
const COLOURS: [&str; 6] = ["36", "33", "35", "34", "32", "31"];

/// What the lines of a source begin with.
fn prefix(name: &str, place: usize, colour: bool) -> String {
    match colour {
        true => format!("\u{1b}[{}m{name:10} |\u{1b}[0m ", COLOURS[place % COLOURS.len()]),
        false => format!("{name:10} | "),
    }
}

/// Returns how far this machine's time is ahead of UTC, in ms: the servers write local time, the clients UTC.
fn zone(stop: &Stop) -> i64 {
    let date = Cmd::new("date", Duration::from_secs(5)).arg("+%z");
    let answer = RealExec.capture(&date, std::path::Path::new("/dev/null"), stop);
    answer.ok().and_then(|output| offset(output.stdout.trim())).unwrap_or(0)
}

/// Returns an offset such as `+0530` in ms.
fn offset(text: &str) -> Option<i64> {
    let (sign, digits) = (text.get(..1)?, text.get(1..).filter(|digits| digits.len() == 4)?);
    let number: i64 = digits.parse().ok()?;
    let minutes = number / 100 * 60 + number % 100;
    Some(if sign == "-" { -minutes } else { minutes } * 60_000)
}

/// Returns the time that a line begins with, in ms since the Unix epoch: `[2026-11-29 14:02:33,123]` as log4j writes
/// it, in a time zone `zone` ms ahead of UTC, or `2026/11/29 14:02:33` as the clients do, in UTC.
fn time_of(line: &str, zone: i64) -> Option<i64> {
    let (text, mark, zone) = match line.strip_prefix('[') {
        Some(text) => (text, b'-', zone),
        None => (line, b'/', 0),
    };
    let bytes = text.as_bytes();
    let shape = [(4, mark), (7, mark), (10, b' '), (13, b':'), (16, b':')];
    if !shape.iter().all(|(at, byte)| bytes.get(*at) == Some(byte)) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let seconds = utc_seconds(number(0, 4)?, number(5, 7)?, number(8, 10)?)?
        + i64::try_from(number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?).ok()?;
    let thousandths = if bytes.get(19) == Some(&b',') { number(20, 23).unwrap_or(0) } else { 0 };
    Some(seconds * 1000 + i64::try_from(thousandths).ok()? - zone)
}

/// The complete lines after byte `at` of the file, and moves `at` behind them. A file that shrank was rotated.
fn added(path: &Path, at: &mut u64) -> String {
    let mut read = || -> std::io::Result<String> {
        let mut file = open_own(path, OpenOptions::new().read(true))?;
        if file.metadata()?.len() < *at {
            *at = 0;
        }
        file.seek(SeekFrom::Start(*at))?;
        let mut bytes = Vec::new();
        file.take(READ_MAX).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        *at += whole as u64;
        Ok(String::from_utf8_lossy(&bytes[..whole]).into_owned())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_sources_have_one_order_of_time() {
        let hour = 3_600_000;
        let clients = time_of("2026/11/22 19:37:46 test: 22000 messages published", hour).unwrap();
        assert_eq!(time_of("[2026-11-22 20:37:46,000] INFO started (kafka.server.KafkaServer)", hour), Some(clients));
        assert_eq!(time_of("[2026-11-22 20:37:46,120] INFO x", hour), Some(clients + 120));
        assert_eq!(clients, 1_795_376_266_000);
        for other in
            ["", "\tat kafka.Kafka.main", "[", "2026-11-22 20:37:46", "[2026-13-22 20:37:46,1]", "2026/11/x2 20:37:46"]
        {
            assert_eq!(time_of(other, 0), None, "{other}");
        }
        assert_eq!([offset("+0530"), offset("-0100"), offset("+0000")], [Some(19_800_000), Some(-hour), Some(0)]);
        assert_eq!([offset(""), offset("UTC"), offset("+05:30")], [None, None, None]);
        let mut log = Log { prefix: "kafka-0    | ".into(), path: PathBuf::new(), at: 0, last: 7 };
        let lines = ["[2026-11-22 19:37:46,000] ERROR x", "\tat kafka.Kafka.main", "[2026-11-22 19:37:47,000] INFO y"];
        let times: Vec<i64> = log.timed(lines.map(String::from).into_iter(), 0).iter().map(|(time, _)| *time).collect();
        assert_eq!(times, [clients, clients, clients + 1000], "a stack trace stays with its line");
    }

    #[test]
    fn a_log_that_is_something_else_or_has_no_end_is_told_and_a_long_one_is_read_from_its_end() {
        let dir = std::env::temp_dir().join(format!("kafka-lab-end-of-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (pipe, long, link) = (dir.join("pipe"), dir.join("long"), dir.join("link"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for path in [&pipe, &link, &dir] {
            assert!(end_of(path).is_err(), "{}", path.display());
        }
        let mut file = std::fs::File::create(&long).unwrap();
        file.seek(SeekFrom::Start(READ_MAX * 3)).unwrap();
        std::io::Write::write_all(&mut file, b"\nlast\n").unwrap();
        let (text, length) = end_of(&long).unwrap();
        assert!(text.ends_with("\nlast\n") && text.len() as u64 == READ_MAX && length == READ_MAX * 3 + 6);
        assert_eq!(end_of(&dir.join("absent")).unwrap(), (String::new(), 0));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn each_source_has_its_colour_and_none_without_a_terminal() {
        assert_eq!(prefix("kafka-0", 1, false), "kafka-0    | ");
        assert_eq!(prefix("kafka-0", 1, true), "\u{1b}[33mkafka-0    |\u{1b}[0m ");
        assert_ne!(prefix("kafka-0", 1, true), prefix("kafka-0", 2, true));
    }

    #[test]
    fn only_complete_new_lines_are_returned_and_rotation_is_noticed() {
        let path = std::env::temp_dir().join(format!("kafka-lab-logs-{}", std::process::id()));
        let mut at = 0;
        std::fs::write(&path, "one\ntw").unwrap();
        assert_eq!(added(&path, &mut at), "one\n");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(added(&path, &mut at), "two\n");
        assert_eq!(added(&path, &mut at), "");
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(added(&path, &mut at), "new\n");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(added(&path, &mut at), "");
    }
}
