//! Where lines go: standard output or a rotating file; dated text, JSON, and remarks that must not become a flood.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cli::Format;
use crate::gaps::{GAP, GapLine, Gaps};
use crate::state::StateFile;
use crate::verifiable::{Event, Line};

/// A log file is rotated when it has grown to this many bytes.
pub const ROTATE_AT: u64 = 5 * 1024 * 1024;

/// How many rotated files are kept beside the current one: `PATH.1` is the newest of them.
pub const ROTATED_KEPT: u32 = 3;

/// Remarks of the same kind are written at most this often.
const THROTTLE: Duration = Duration::from_secs(10);

/// Most kinds of remarks remembered for throttling.
const KINDS_MAX: usize = 256;

/// Milliseconds since the Unix epoch, now.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// `2024/11/23 07:35:35` for seconds since the Unix epoch, in UTC.
pub fn date(seconds: u64) -> String {
    // Days to civil date, after Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms": years begin in March, so that the leap day is last.
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}/{month:02}/{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// A file that renames itself away when it has grown large.
#[derive(Debug)]
struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
}

impl RotatingFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_path_buf(), file, size })
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > ROTATE_AT {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for n in (1..ROTATED_KEPT).rev() {
            // What is not there yet cannot be moved on, which is fine.
            let _ = std::fs::rename(self.numbered(n), self.numbered(n + 1));
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        *self = Self::open(&self.path)?;
        Ok(())
    }

    fn numbered(&self, n: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        name.into()
    }
}

#[derive(Debug)]
enum Channel {
    Stdout,
    File(RotatingFile),
}

#[derive(Debug)]
struct Kind {
    at: Instant,
    held_back: u64,
}

/// The one place lines leave the process. Each line is written whole and at once, so a line that can be read is a promise made.
#[derive(Debug)]
pub struct Output {
    format: Format,
    channel: Mutex<Channel>,
    kinds: Mutex<HashMap<String, Kind>>,
    broken: AtomicBool,
    state: Option<StateFile>,
    gaps: Option<Gaps>,
}

impl Output {
    /// Lines in `format` to standard output, or to `log_file`.
    ///
    /// # Errors
    /// When the log file cannot be opened.
    pub fn new(format: Format, log_file: Option<&Path>) -> Result<Self> {
        let channel = match log_file {
            None => Channel::Stdout,
            Some(path) => Channel::File(
                RotatingFile::open(path)
                    .with_context(|| format!("--log-file {}: cannot open it for writing", path.display()))?,
            ),
        };
        Ok(Self {
            format,
            channel: Mutex::new(channel),
            kinds: Mutex::new(HashMap::new()),
            broken: AtomicBool::new(false),
            state: None,
            gaps: None,
        })
    }

    /// The same, and states are kept in this file too.
    #[must_use]
    pub fn with_state_file(self, path: Option<&Path>) -> Self {
        Self { state: path.map(StateFile::new), ..self }
    }

    /// Tells from now on, in JSON, of each time that a partition stood still for at least so many ms; 0 tells of none.
    pub fn with_gaps(mut self, least_ms: u64) -> Self {
        self.gaps = (least_ms > 0 && self.is_json()).then(|| Gaps::of_at_least(least_ms));
        self
    }

    /// A message of `partition` was acked, or received: `what` says which.
    pub fn moved(&self, what: &'static str, partition: i32) {
        let Some(gaps) = &self.gaps else { return };
        let to_ms = now_ms();
        if let Some(from_ms) = gaps.note(partition, to_ms) {
            self.json(&GapLine { schema: GAP, what, partition, from_ms, to_ms });
        }
    }

    /// Whether programs are to read this.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether people are to read this.
    pub fn is_text(&self) -> bool {
        self.format == Format::Text
    }

    /// Whether Kafka's own lines are asked for.
    pub fn is_verifiable(&self) -> bool {
        self.format == Format::Verifiable
    }

    /// Whether anybody is interested in a client's state: whoever reads JSON lines, or the state file.
    pub fn wants_state(&self) -> bool {
        self.is_json() || self.state.is_some()
    }

    /// Whether a line could not be written: nobody reads any more, or the disk is full. A client whose promises go nowhere should stop.
    pub fn broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// A dated line for people; nothing in other formats.
    pub fn text(&self, text: impl std::fmt::Display) {
        if self.is_text() {
            self.line(&dated(&text));
        }
    }

    /// A JSON line for programs; nothing in other formats.
    pub fn json(&self, line: &impl Serialize) {
        if self.is_json()
            && let Some(bytes) = self.serialized(line)
        {
            self.line(&bytes);
        }
    }

    /// One of Kafka's own lines about something that happens now; nothing in other formats.
    pub fn verifiable(&self, event: Event<'_>) {
        if self.is_verifiable()
            && let Some(bytes) = self.serialized(&Line::now(event))
        {
            self.line(&bytes);
        }
    }

    /// A client's state: a JSON line as above, and the new content of the state file in any format. A file that cannot be written is
    /// worth a remark, but not the client.
    pub fn state(&self, line: &impl Serialize) {
        let Some(bytes) = self.serialized(line) else { return };
        if self.is_json() {
            self.line(&bytes);
        }
        if let Some(state) = &self.state
            && let Err(error) = state.write(&bytes)
        {
            let path = state.path().display();
            self.remark_of_kind("state file", format_args!("--state-file {path}: cannot be written: {error}"));
        }
    }

    /// A line that is complete already, as it is.
    pub fn line(&self, line: &[u8]) {
        self.write_to(&mut lock(&self.channel), line);
    }

    fn serialized(&self, line: &impl Serialize) -> Option<Vec<u8>> {
        match serde_json::to_vec(line) {
            Ok(mut bytes) => {
                bytes.push(b'\n');
                Some(bytes)
            }
            Err(_) => {
                self.broken.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// A dated remark about an error or a change of state. Where programs read, it goes to standard error, unless there is a log file.
    pub fn remark(&self, text: impl std::fmt::Display) {
        let line = dated(&text);
        let mut channel = lock(&self.channel);
        match (&mut *channel, self.format) {
            (Channel::Stdout, Format::Json | Format::Verifiable) => {
                // Nowhere is left to say that standard error is closed.
                let _ = io::stderr().write_all(&line);
            }
            (channel, _) => self.write_to(channel, &line),
        }
    }

    /// A remark, but at most one of its kind every ten seconds; the next one says how many were held back.
    pub fn remark_of_kind(&self, kind: &str, text: impl std::fmt::Display) {
        let now = Instant::now();
        let held_back = {
            let mut kinds = lock(&self.kinds);
            match kinds.get_mut(kind) {
                Some(seen) if now.duration_since(seen.at) < THROTTLE => {
                    seen.held_back += 1;
                    return;
                }
                Some(seen) => {
                    seen.at = now;
                    std::mem::take(&mut seen.held_back)
                }
                None => {
                    if kinds.len() >= KINDS_MAX {
                        kinds.clear();
                    }
                    kinds.insert(kind.to_owned(), Kind { at: now, held_back: 0 });
                    0
                }
            }
        };
        match held_back {
            0 => self.remark(text),
            n => self.remark(format_args!("{text} (and {n} more like it since)")),
        }
    }

    fn write_to(&self, channel: &mut Channel, line: &[u8]) {
        let written = match channel {
            Channel::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line).and_then(|()| stdout.flush())
            }
            Channel::File(file) => file.write_line(line),
        };
        if written.is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
    }
}

fn dated(text: &impl std::fmt::Display) -> Vec<u8> {
    format!("{} {text}\n", date(now_ms() / 1000)).into_bytes()
}

/// The value behind a mutex, also when another thread panicked while holding it: everything guarded here stays valid between statements.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn dates_are_civil_and_utc() {
        assert_eq!(date(0), "1970/01/01 00:00:00");
        assert_eq!(date(1_732_347_335), "2024/11/23 07:35:35");
        assert_eq!(date(1_709_164_799), "2024/02/28 23:59:59");
        assert_eq!(date(1_709_164_800), "2024/02/29 00:00:00");
        assert_eq!(date(951_868_800), "2000/03/01 00:00:00");
    }

    #[test]
    fn a_log_file_is_rotated_and_three_are_kept() {
        let folder = std::env::temp_dir().join(format!("clients-rotate-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("log");
        let output = Output::new(Format::Text, Some(&path)).unwrap();
        let line = "x".repeat(1_000_000);
        for _ in 0..30 {
            output.text(&line);
        }
        let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2", "log.3"]);
        for name in names {
            assert!(std::fs::metadata(folder.join(name)).unwrap().len() <= ROTATE_AT);
        }
        assert!(!output.broken());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_state_goes_to_its_file_in_any_format_and_a_missing_folder_is_remarked_on_once() {
        let folder = std::env::temp_dir().join(format!("clients-kept-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (log, state) = (folder.join("log"), folder.join("sub").join("state.json"));
        let read = |path| std::fs::read_to_string(path).unwrap();
        let output = Output::new(Format::Text, Some(&log)).unwrap().with_state_file(Some(&state));
        assert!(output.wants_state() && !output.is_json());
        output.state(&1);
        output.state(&2);
        assert!(!output.broken());
        assert_eq!(read(&log).lines().count(), 1, "{}", read(&log));
        assert!(read(&log).contains(&format!("{}: cannot be written", state.display())), "{}", read(&log));
        std::fs::create_dir(folder.join("sub")).unwrap();
        output.state(&3);
        assert_eq!(read(&state), "3\n");
        assert_eq!(read(&log).lines().count(), 1, "{}", read(&log));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
