//! Prints and follows the processes' log files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Lab;
use crate::failure::{Exit, Failure, Result, tail};
use crate::service::Service;
use crate::show::tell;
use crate::signal::Stop;
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

fn files(lab: &Lab, services: &[Service], show: Tail, stop: &Stop) -> Result<Exit> {
    let mut files: Vec<(String, PathBuf, u64)> = Vec::new();
    let mut out = std::io::stdout();
    for service in services {
        let name = service.name(lab);
        let prefix = if services.len() > 1 { format!("{name:10} | ") } else { String::new() };
        for path in [service.log(lab), service.out(lab)] {
            // A missing file may appear while we follow.
            let bytes = std::fs::read(&path).unwrap_or_default();
            for line in tail(&String::from_utf8_lossy(&bytes), show.lines) {
                // The reader may go away, as head(1) does.
                if writeln!(out, "{prefix}{line}").is_err() {
                    return Ok(Exit::Ok);
                }
            }
            files.push((prefix.clone(), path, bytes.len() as u64));
        }
    }
    if files.iter().all(|(_, _, length)| *length == 0) {
        tell(&format!("no logs yet in {}", lab.logs().display()));
    }
    // Following ends with an interruption.
    while show.follow && wait::pause(stop, Duration::from_millis(200)).is_ok() {
        for (prefix, path, at) in &mut files {
            for line in added(path, at).lines() {
                if writeln!(out, "{prefix}{line}").is_err() {
                    return Ok(Exit::Ok);
                }
            }
        }
    }
    Ok(Exit::Ok)
}

/// The complete lines after byte `at` of the file, and moves `at` behind them. A file that shrank was rotated.
fn added(path: &PathBuf, at: &mut u64) -> String {
    let mut read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() < *at {
            *at = 0;
        }
        file.seek(SeekFrom::Start(*at))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
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
