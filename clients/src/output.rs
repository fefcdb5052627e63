//! Output of a client: timestamped text, JSON lines and throttled log messages, to standard output or a rotating file.
//!
//! A separate thread writes the lines from a bounded queue. A caller waits while the queue is full, but after a signal
//! no longer than [`SLOW_FOR`], so that a reader that stopped reading cannot keep a client from exiting. If a line is
//! dropped then, the client is [`Output::broken`] and its exit code reports it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use ledger::cause::in_words;
use ledger::lines::{GAP, Gap, Milestone};
use serde::Serialize;

use crate::cli::Format;
use crate::gaps::GapDetector;
use crate::state::StateFile;
use crate::stop::Stop;
use crate::sync::lock;
use crate::time::{date, now_ms};
use crate::verifiable::{VerifiableEvent, VerifiableLine};

/// A log file is rotated at this size, in bytes.
pub const ROTATE_AT: u64 = 5 * 1024 * 1024;

/// Rotated files to keep; `PATH.1` is the newest.
pub const ROTATED_KEPT: u32 = 3;

/// How far before the room that it needs a last line looks for the start of a line.
const END_SEARCHED: u64 = 4096;

/// Log messages of the same kind are written at most this often.
const THROTTLE: Duration = Duration::from_secs(10);

/// Kinds of log messages remembered for throttling.
const THROTTLED_MAX: usize = 256;

/// Bytes that may be queued. A longer line is queued alone.
const PENDING_MAX: usize = 256 * 1024;

/// After a signal, how long the output may make no progress before it is given up.
pub const STALLED_FOR: Duration = Duration::from_secs(2);

/// After a signal, how long one line may wait for slow output.
pub const SLOW_FOR: Duration = Duration::from_secs(5);

/// How long to wait at exit for messages on standard error.
const STDERR_WITHIN: Duration = Duration::from_millis(500);

/// Bytes per write, so that progress of a slow reader is noticed.
const PIECE: usize = 64 * 1024;

/// A log file with rotation.
///
/// Hand-written because `file-rotate` 0.8 does not keep what a client promises: it splits lines or lets a file exceed
/// its limit, drops lines without an error if its file cannot be opened, panics if the folder cannot be created, and
/// leaves a partial line behind on a full disk. Here each line is whole, or the client's exit code reports that one is
/// missing.
#[derive(Debug)]
struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    /// Whether its last line was written.
    ended: bool,
}

impl RotatingFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_path_buf(), file, size, ended: false })
    }

    /// Writes whole lines, unless the file has ended. A line that cannot be written leaves no partial line behind.
    fn write(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() && !self.ended {
            let line_end = |from: usize| lines[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at + 1);
            let mut end = line_end(0).unwrap_or(lines.len());
            if self.size > 0 && self.size + end as u64 > ROTATE_AT {
                self.rotate()?;
            }
            while let Some(next) = line_end(end).filter(|next| self.size + *next as u64 <= ROTATE_AT) {
                end = next;
            }
            let (now, later) = lines.split_at(end);
            if let Err(error) = self.file.write_all(now) {
                // Keep what is there readable if the disk is full.
                let _ = self.file.set_len(self.size);
                return Err(error);
            }
            self.size += now.len() as u64;
            lines = later;
        }
        Ok(())
    }

    /// Ends the file with a line that says why no more follow. On a full disk that line replaces the last ones, which
    /// take no new block.
    fn tell(&mut self, why: &str) {
        self.ended = true;
        let line = dated(&why);
        if self.file.write_all(&line).is_err() {
            let _ = self.file.set_len(self.size);
            // There is nowhere left to report an error.
            let _ = self.replace_end(&line);
        }
    }

    /// Replaces as many of the last lines as `line` needs room; none if the file is too short.
    fn replace_end(&self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        // Not in append mode, which ignores positions.
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let from = self.size.saturating_sub(length + END_SEARCHED);
        let mut end = vec![0; usize::try_from(self.size - from).unwrap_or(0)];
        file.read_exact_at(&mut end, from)?;
        let before = end.len().saturating_sub(line.len());
        let start = end[..before].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
        if length <= self.size - from - start {
            file.write_all_at(line, from + start)?;
            file.set_len(from + start + length)?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for n in (1..ROTATED_KEPT).rev() {
            // Files that do not exist yet cannot be renamed, which is fine.
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

/// Where lines are written to.
#[derive(Debug)]
enum Sink {
    /// Standard output or standard error, and whether its last line is partial.
    Stream(File, bool),
    File(RotatingFile),
}

impl Sink {
    /// Says in the log file why it ends. Whoever reads a stream learns it from standard error.
    fn tell(&mut self, why: &str) {
        if let Self::File(file) = self {
            file.tell(why);
        }
    }

    /// Writes whole lines; calls `progressed` after each write.
    fn write(&mut self, lines: &[u8], progressed: impl Fn()) -> io::Result<()> {
        match self {
            Self::File(file) => {
                file.write(lines)?;
                progressed();
                Ok(())
            }
            Self::Stream(stream, torn) => {
                if std::mem::take(torn) {
                    write_pieces(stream, b"\n", &progressed)?;
                }
                let written = write_pieces(stream, lines, &progressed);
                *torn = written.is_err();
                written
            }
        }
    }
}

/// Like `write_all`, but also waits for a stream that someone else made non-blocking, as terminals can be.
fn write_pieces(stream: &mut File, mut bytes: &[u8], progressed: &impl Fn()) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(&bytes[..bytes.len().min(PIECE)]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                progressed();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lines queued for the output thread.
#[derive(Debug)]
struct PendingLines {
    lines: Vec<u8>,
    /// Bytes that the thread took and has not written yet.
    writing: usize,
    /// When the last write succeeded.
    progressed: Instant,
    closed: bool,
}

impl PendingLines {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.writing == 0
    }

    fn fits(&self, line: &[u8]) -> bool {
        let used = self.lines.len() + self.writing;
        used == 0 || used + line.len() <= PENDING_MAX
    }
}

/// A bounded queue of lines, and the thread that writes them.
#[derive(Debug)]
struct LineQueue {
    pending: Mutex<PendingLines>,
    /// Signalled when lines were added, or when the queue was closed.
    added: Condvar,
    /// Signalled when lines were written.
    removed: Condvar,
    /// A line was not written.
    broken: AtomicBool,
}

impl LineQueue {
    /// Starts a thread that writes into `sink`, which error messages call `name`.
    fn open(sink: Sink, name: String) -> io::Result<Arc<Self>> {
        let pending = PendingLines { lines: Vec::new(), writing: 0, progressed: Instant::now(), closed: false };
        let queue = Arc::new(Self {
            pending: Mutex::new(pending),
            added: Condvar::new(),
            removed: Condvar::new(),
            broken: AtomicBool::new(false),
        });
        let writer = Arc::clone(&queue);
        std::thread::Builder::new().name("output".into()).spawn(move || writer.write(sink, &name))?;
        Ok(queue)
    }

    /// Writes lines until the queue is closed.
    fn write(&self, mut sink: Sink, name: &str) {
        let mut lines = Vec::new();
        loop {
            {
                let mut pending = lock(&self.pending);
                while pending.lines.is_empty() {
                    if pending.closed {
                        return;
                    }
                    pending = self.added.wait(pending).unwrap_or_else(PoisonError::into_inner);
                }
                // Reuse the buffer that was written last.
                std::mem::swap(&mut pending.lines, &mut lines);
                pending.writing = lines.len();
            }
            let written = sink.write(&lines, || lock(&self.pending).progressed = Instant::now());
            lines.clear();
            // One long line should not keep its memory forever.
            lines.shrink_to(PENDING_MAX);
            if let Err(error) = written
                && !self.broken.swap(true, Ordering::Relaxed)
            {
                let why = format!("{name}: cannot be written: {}", in_words(&error));
                sink.tell(&format!("{why}; stopping"));
                // If standard error is closed, there is nowhere left to report it.
                let _ = writeln!(io::stderr(), "clients: {why}");
            }
            lock(&self.pending).writing = 0;
            self.removed.notify_all();
        }
    }

    /// Adds a line unless the queue is full; returns whether it did.
    fn offer(&self, line: &[u8]) -> bool {
        let mut pending = lock(&self.pending);
        let fits = pending.fits(line);
        if fits {
            self.add(&mut pending, line);
        }
        fits
    }

    fn add(&self, pending: &mut PendingLines, line: &[u8]) {
        if pending.is_empty() {
            // Nothing was queued, so nothing stalled.
            pending.progressed = Instant::now();
        }
        pending.lines.extend_from_slice(line);
        self.added.notify_one();
    }

    /// Adds a line as soon as there is room. After `stop` was requested, drops it if there is none for a while.
    fn push(&self, line: &[u8], stop: Option<&Stop>) {
        match self.wait(|pending| pending.fits(line), stop) {
            Some(mut pending) => self.add(&mut pending, line),
            None => self.broken.store(true, Ordering::Relaxed),
        }
    }

    /// Waits until all lines are written. After `stop` was requested, gives up if nothing moves.
    fn flush(&self, stop: Option<&Stop>) {
        if self.wait(PendingLines::is_empty, stop).is_none() {
            self.broken.store(true, Ordering::Relaxed);
        }
    }

    /// Waits for a condition. Returns `None` if a stop was requested and nothing was written for [`STALLED_FOR`], or
    /// too little in [`SLOW_FOR`].
    fn wait(
        &self,
        condition: impl Fn(&PendingLines) -> bool,
        stop: Option<&Stop>,
    ) -> Option<MutexGuard<'_, PendingLines>> {
        let mut pending = lock(&self.pending);
        let mut stopped_at = None;
        while !condition(&pending) {
            if stop.is_some_and(Stop::requested) {
                let since = *stopped_at.get_or_insert_with(Instant::now);
                // Do not wait again for an output that was given up.
                let given_up = self.broken.load(Ordering::Relaxed);
                let from = if given_up { pending.progressed } else { since.max(pending.progressed) };
                if from.elapsed() >= STALLED_FOR || since.elapsed() >= SLOW_FOR {
                    return None;
                }
            }
            let (again, _) =
                self.removed.wait_timeout(pending, Duration::from_millis(50)).unwrap_or_else(PoisonError::into_inner);
            pending = again;
        }
        Some(pending)
    }

    fn busy(&self) -> bool {
        !lock(&self.pending).is_empty()
    }

    fn close(&self) {
        lock(&self.pending).closed = true;
        self.added.notify_one();
    }
}

/// A kind of log message: when it was last written, and how many were suppressed since.
#[derive(Debug)]
struct ThrottledMessage {
    at: Instant,
    suppressed: u64,
}

/// The only way for lines to leave the process. Each line is written whole and in order: other programs rely on a line
/// that they can read.
#[derive(Debug)]
pub struct Output {
    format: Format,
    lines: Arc<LineQueue>,
    /// Standard error, if log messages go there.
    stderr: Option<Arc<LineQueue>>,
    throttled: Mutex<HashMap<String, ThrottledMessage>>,
    /// A line could not be serialized.
    serialize_failed: AtomicBool,
    state: Option<StateFile>,
    gaps: Option<GapDetector>,
    stop: Option<Stop>,
}

impl Output {
    /// Writes lines in `format` to standard output, or to `log_file`.
    ///
    /// # Errors
    /// If the log file cannot be opened or the output thread cannot be started.
    pub fn new(format: Format, log_file: Option<&Path>) -> Result<Self> {
        let stream = |fd: io::Result<std::os::fd::OwnedFd>| Ok::<_, io::Error>(Sink::Stream(File::from(fd?), false));
        let (sink, name) = match log_file {
            None => (stream(io::stdout().as_fd().try_clone_to_owned())?, "standard output".to_owned()),
            Some(path) => {
                let name = format!("--log-file {}", path.display());
                let file = RotatingFile::open(path).with_context(|| format!("{name}: cannot open for writing"))?;
                (Sink::File(file), name)
            }
        };
        let stderr = if log_file.is_none() && format != Format::Text {
            let stderr = stream(io::stderr().as_fd().try_clone_to_owned())?;
            Some(LineQueue::open(stderr, "standard error".to_owned())?)
        } else {
            None
        };
        Ok(Self {
            format,
            lines: LineQueue::open(sink, name).context("cannot start the output thread")?,
            stderr,
            throttled: Mutex::new(HashMap::new()),
            serialize_failed: AtomicBool::new(false),
            state: None,
            gaps: None,
            stop: None,
        })
    }

    /// Gives up a stalled output once `stop` is requested.
    #[must_use]
    pub fn with_stop(mut self, stop: Stop) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Waits until all lines are written: without a limit, but after a signal no longer than [`SLOW_FOR`]. Call this
    /// before doing anything that must not precede its own announcement.
    pub fn flush(&self) {
        self.lines.flush(self.stop.as_ref());
        if let Some(stderr) = &self.stderr {
            let began = Instant::now();
            while began.elapsed() < STDERR_WITHIN && stderr.busy() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Also keeps states in this file.
    #[must_use]
    pub fn with_state_file(mut self, path: Option<&Path>) -> Self {
        self.state = path.map(StateFile::new);
        self
    }

    /// Reports, in JSON format, each gap of at least `least_ms` in a partition's progress; 0 reports none.
    pub fn with_gaps(mut self, least_ms: u64) -> Self {
        self.gaps = (least_ms > 0 && self.is_json()).then(|| GapDetector::new(least_ms));
        self
    }

    /// Records that a message of `partition` was acked or received.
    pub fn progressed(&self, what: Milestone, partition: i32) {
        let Some(gaps) = &self.gaps else { return };
        if let Some(gap_ms) = gaps.record(partition, Instant::now())
            && let Ok(partition) = u32::try_from(partition)
        {
            let to_ms = now_ms();
            self.json(&Gap { schema: GAP.into(), what, partition, from_ms: to_ms.saturating_sub(gap_ms), to_ms });
        }
    }

    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    pub fn is_text(&self) -> bool {
        self.format == Format::Text
    }

    pub fn is_verifiable(&self) -> bool {
        self.format == Format::Verifiable
    }

    /// Whether anyone reads the client's states: in JSON lines or in the state file.
    pub fn wants_state(&self) -> bool {
        self.is_json() || self.state.is_some()
    }

    /// Whether a line could not be written, because the reader is gone or the disk is full. A client whose output is
    /// lost should stop.
    pub fn broken(&self) -> bool {
        self.lines.broken.load(Ordering::Relaxed) || self.serialize_failed.load(Ordering::Relaxed)
    }

    /// Prints a timestamped line, in text format only.
    pub fn text(&self, text: impl std::fmt::Display) {
        if self.is_text() {
            self.line(&dated(&text));
        }
    }

    /// Prints a JSON line, in JSON format only.
    pub fn json(&self, line: &impl Serialize) {
        if self.is_json()
            && let Some(bytes) = self.serialized(line)
        {
            self.line(&bytes);
        }
    }

    /// Prints a line of Kafka's verifiable clients, in that format only.
    pub fn verifiable(&self, event: VerifiableEvent<'_>) {
        if self.is_verifiable()
            && let Some(bytes) = self.serialized(&VerifiableLine::now(event))
        {
            self.line(&bytes);
        }
    }

    /// Prints a client's state as JSON, in JSON format only, and replaces the state file in any format. If that file
    /// cannot be written, this is logged, but the client continues.
    pub fn state(&self, line: &impl Serialize) {
        let Some(bytes) = self.serialized(line) else { return };
        // The file first: it does not depend on a reader.
        if let Some(state) = &self.state
            && let Err(error) = state.write(&bytes)
        {
            let path = state.path().display();
            self.log_throttled(
                "state file",
                format_args!("--state-file {path}: cannot be written: {}", in_words(&error)),
            );
        }
        if self.is_json() {
            self.line(&bytes);
        }
    }

    /// Prints a complete line as is.
    pub fn line(&self, line: &[u8]) {
        self.lines.push(line, self.stop.as_ref());
    }

    fn serialized(&self, line: &impl Serialize) -> Option<Vec<u8>> {
        match serde_json::to_vec(line) {
            Ok(mut bytes) => {
                bytes.push(b'\n');
                Some(bytes)
            }
            Err(_) => {
                self.serialize_failed.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// Logs a timestamped message about an error or a state change. In formats for programs it goes to standard error,
    /// unless there is a log file; it is dropped if nobody reads that.
    pub fn log(&self, text: impl std::fmt::Display) {
        let line = dated(&text);
        match &self.stderr {
            Some(stderr) => drop(stderr.offer(&line)),
            None => self.line(&line),
        }
    }

    /// Logs a message, but at most one of its `kind` every ten seconds. The next one reports how many were suppressed.
    pub fn log_throttled(&self, kind: &str, text: impl std::fmt::Display) {
        let now = Instant::now();
        let suppressed = {
            let mut throttled = lock(&self.throttled);
            match throttled.get_mut(kind) {
                Some(seen) if now.duration_since(seen.at) < THROTTLE => {
                    seen.suppressed += 1;
                    return;
                }
                Some(seen) => {
                    seen.at = now;
                    std::mem::take(&mut seen.suppressed)
                }
                None => {
                    if throttled.len() >= THROTTLED_MAX {
                        throttled.clear();
                    }
                    throttled.insert(kind.to_owned(), ThrottledMessage { at: now, suppressed: 0 });
                    0
                }
            }
        };
        match suppressed {
            0 => self.log(text),
            n => self.log(format_args!("{text} ({n} similar messages suppressed)")),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.lines.close();
        self.stderr.iter().for_each(|stderr| stderr.close());
    }
}

fn dated(text: &impl std::fmt::Display) -> Vec<u8> {
    format!("{} {text}\n", date(Timestamp::now())).into_bytes()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

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
        output.flush();
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
    fn a_last_line_replaces_whole_lines_if_there_is_no_room() {
        let path = std::env::temp_dir().join(format!("clients-last-{}", std::process::id()));
        let mut log = RotatingFile::open(&path).unwrap();
        log.write(b"one\ntwo two\nthree\n").unwrap();
        let read = || std::fs::read_to_string(&path).unwrap();
        log.replace_end(b"longer than all the lines\n").unwrap();
        assert_eq!(read(), "one\ntwo two\nthree\n");
        log.replace_end(b"cannot\n").unwrap();
        assert_eq!(read(), "one\ncannot\n", "three has no room for it");
        log.size = read().len() as u64;
        log.replace_end(b"all of it\n").unwrap();
        assert_eq!(read(), "all of it\n");
        std::fs::remove_file(&path).unwrap();
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
        output.flush();
        assert!(!output.broken());
        assert_eq!(read(&log).lines().count(), 1, "{}", read(&log));
        assert!(read(&log).contains(&format!("{}: cannot be written", state.display())), "{}", read(&log));
        std::fs::create_dir(folder.join("sub")).unwrap();
        output.state(&3);
        output.flush();
        assert_eq!(read(&state), "3\n");
        assert_eq!(read(&log).lines().count(), 1, "{}", read(&log));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
