//! Runs programs with a deadline, handles Ctrl-C, and writes their output to the step's log.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger::cause::in_words;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::environment::{self, Purpose};
use crate::failure::{Exit, Failure, IoContext, Result, tail};
use crate::files::own::append_own;
use crate::signal::Stop;
use crate::wait;
use crate::words::{advice, quoted};

/// A command as data: it can be printed, pasted, and compared in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmd {
    /// Name or path of the program.
    pub program: OsString,
    /// The arguments. No shell interprets them.
    pub args: Vec<OsString>,
    /// Decides which of the caller's environment variables it inherits.
    pub purpose: Purpose,
    /// Variables set in addition.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, if it matters.
    pub dir: Option<PathBuf>,
    /// A file to read as standard input.
    pub stdin: Option<PathBuf>,
    /// Time limit.
    pub deadline: Duration,
}

impl Cmd {
    /// Returns a command with a time limit.
    pub fn new(program: impl Into<OsString>, deadline: Duration) -> Self {
        let (program, purpose) = (program.into(), Purpose::Lab);
        Cmd { program, args: Vec::new(), purpose, env: Vec::new(), dir: None, stdin: None, deadline }
    }

    /// Converts a command written with xshell's `cmd!`.
    pub fn from_xshell(cmd: xshell::Cmd<'_>, deadline: Duration) -> Self {
        let command = std::process::Command::from(cmd);
        let mut data = Cmd::new(command.get_program(), deadline);
        data.args = command.get_args().map(OsStr::to_os_string).collect();
        data.env = command.get_envs().filter_map(|(key, value)| Some((key.into(), value?.into()))).collect();
        data
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_path_buf());
        self
    }

    /// Uses `file` as standard input.
    pub fn stdin(mut self, file: &Path) -> Self {
        self.stdin = Some(file.to_path_buf());
        self
    }

    /// Sets the purpose.
    pub fn purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    fn expression(&self, interactive: bool) -> duct::Expression {
        // Later entries override earlier ones.
        let env = environment::inherited(self.purpose, interactive).into_iter().chain(self.env.iter().cloned());
        let mut expression = duct::cmd(&self.program, &self.args).full_env(env);
        if let Some(dir) = &self.dir {
            expression = expression.dir(dir);
        }
        expression.unchecked()
    }

    /// Returns the expression with its standard input, for a program that is not interactive.
    fn with_stdin(&self) -> duct::Expression {
        match &self.stdin {
            Some(file) => self.expression(false).stdin_path(file),
            None => self.expression(false).stdin_null(),
        }
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.env {
            write!(f, "{}={} ", key.to_string_lossy(), quoted(value))?;
        }
        write!(f, "{}", quoted(&self.program))?;
        for arg in &self.args {
            write!(f, " {}", quoted(arg))?;
        }
        if let Some(file) = &self.stdin {
            write!(f, " <{}", quoted(file.as_os_str()))?;
        }
        Ok(())
    }
}

/// The result of a command that ran to its end.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// Returns itself if the exit code is 0.
    ///
    /// # Errors
    /// Any other exit code: the failure quotes the command and its last lines.
    pub fn success(self, cmd: &Cmd, log: &Path) -> Result<Self> {
        if self.code == Some(0) {
            return Ok(self);
        }
        let text = format!("{}{}", self.stdout, self.stderr);
        Err(Failure::step(format!("{} {}", cmd.program.to_string_lossy(), ended(self.code)))
            .command(cmd)
            .output(&text)
            .log(log))
    }
}

/// How a program ended, as the end of a sentence.
pub fn ended(code: Option<i32>) -> String {
    match code {
        Some(code) => format!("exited with {code}"),
        None => "was killed by a signal".into(),
    }
}

/// Reads the standard output of a program.
pub type OutputReader<'a> = dyn FnMut(&mut dyn Read) -> Result<()> + Send + 'a;

/// Runs commands. Tests use a fake, which can fail.
pub trait Exec: Sync {
    /// Runs a command to its end and captures its output. A nonzero exit code is not an error here.
    ///
    /// # Errors
    /// The command cannot start, exceeds its deadline, or is interrupted.
    fn capture(&self, cmd: &Cmd, log: &Path, stop: &Stop) -> Result<Output>;

    /// Runs a build to its end. Its output goes to `log`, its latest line to `status`.
    ///
    /// # Errors
    /// As [`Exec::capture`], and a nonzero exit code.
    fn build(&self, cmd: &Cmd, log: &Path, stop: &Stop, status: &dyn Fn(&str)) -> Result<()>;

    /// Runs a command to its end and streams standard output of any size to `read`. Standard error goes to `log`.
    ///
    /// # Errors
    /// As [`Exec::build`], and any error of `read`.
    fn stream(&self, cmd: &Cmd, log: &Path, stop: &Stop, read: &mut OutputReader<'_>) -> Result<()>;

    /// Starts a program that outlives xtask, and returns its process id. Its output goes to `out`. On Linux it has its
    /// own session, so that neither Ctrl-C nor a closed terminal reaches it.
    ///
    /// # Errors
    /// It cannot start.
    fn start(&self, cmd: &Cmd, out: &Path) -> Result<u32>;

    /// Runs a command on our terminal, so that the user can see its output and type. Returns the exit code.
    ///
    /// # Errors
    /// It cannot start.
    fn attached(&self, cmd: &Cmd) -> Result<i32>;
}

/// Runs commands as processes.
#[derive(Debug)]
pub struct RealExec;

impl RealExec {
    /// Runs a child in its own process group: it can be killed together with its children, and Ctrl-C reaches it only
    /// through xtask.
    fn wait(&self, cmd: &Cmd, expression: duct::Expression, stop: &Stop, mut tick: impl FnMut()) -> Result<Output> {
        let start = Instant::now();
        let handle = expression
            .before_spawn(|command| {
                command.process_group(0);
                Ok(())
            })
            .start()
            .map_err(|error| cannot_start(cmd, &error))?;
        let ended = loop {
            match handle.wait_timeout(Duration::from_millis(20)) {
                Ok(Some(output)) => {
                    return Ok(Output {
                        code: output.status.code(),
                        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                    });
                }
                Ok(None) if stop.requested() => break Failure::interrupted(),
                Ok(None) if start.elapsed() > cmd.deadline => {
                    break Failure::step(format!(
                        "{} did not end within {:.0} s",
                        cmd.program.to_string_lossy(),
                        cmd.deadline.as_secs_f64()
                    ))
                    .fix("see the log; if the machine was busy, rerun when it is not");
                }
                Ok(None) => tick(),
                Err(error) => break Failure::step(format!("cannot wait for {cmd}: {}", in_words(error))),
            }
        };
        let groups: Vec<Pid> =
            handle.pids().iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)).collect();
        for (signal, grace) in [(Signal::TERM, 3), (Signal::KILL, 2)] {
            for group in &groups {
                // The group may be gone already.
                let _ = kill_process_group(*group, signal);
            }
            if let Ok(Some(output)) = handle.wait_timeout(Duration::from_secs(grace)) {
                let text = [&output.stdout[..], &output.stderr[..]].concat();
                return Err(ended.command(cmd).output(&String::from_utf8_lossy(&text)));
            }
        }
        Err(ended.command(cmd))
    }
}

impl Exec for RealExec {
    fn capture(&self, cmd: &Cmd, log: &Path, stop: &Stop) -> Result<Output> {
        let expression = cmd.with_stdin().stdout_capture().stderr_capture();
        let result = self.wait(cmd, expression, stop, || {});
        note(log, cmd, &result);
        result.map_err(|failure| failure.log(log))
    }

    fn build(&self, cmd: &Cmd, log: &Path, stop: &Stop, status: &dyn Fn(&str)) -> Result<()> {
        let mut file = append_own(log).cannot("write", log)?;
        let begin = file.metadata().map(|meta| meta.len()).unwrap_or(0);
        writeln!(file, "$ {cmd}").cannot("write", log)?;
        let expression = cmd.with_stdin().stderr_to_stdout().stdout_file(file);
        let output = self.wait(cmd, expression, stop, || {
            if let Some(line) = tail(&read_from(log, begin), 1).first() {
                status(line.trim());
            }
        });
        match output {
            Ok(output) if output.code == Some(0) => Ok(()),
            Ok(output) => Err(Failure::step(format!("{} {}", cmd.program.to_string_lossy(), ended(output.code)))
                .command(cmd)
                .output(&read_from(log, begin))
                .log(log)),
            Err(failure) => Err(failure.output(&read_from(log, begin)).log(log)),
        }
    }

    fn stream(&self, cmd: &Cmd, log: &Path, stop: &Stop, read: &mut OutputReader<'_>) -> Result<()> {
        let (from, into) = std::io::pipe().map_err(|error| cannot_start(cmd, &error))?;
        let expression = cmd.with_stdin().stdout_file(into).stderr_capture();
        let mut from = Until { from, ended: false };
        let (result, taken) = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let taken = read(&mut from);
                // Drain the rest, or the program fails to write it. After an error, let it fail.
                let ended = from.ended || (taken.is_ok() && std::io::copy(&mut from, &mut std::io::sink()).is_ok());
                drop(from);
                (taken, ended)
            });
            let result = self.wait(cmd, expression, stop, || {});
            (result, reading.join())
        });
        note(log, cmd, &result);
        let (taken, ended) =
            taken.unwrap_or_else(|_| (Err(Failure::new(Exit::Unexpected, "internal error, see above")), true));
        match (result.map_err(|failure| failure.log(log))?.success(cmd, log), taken) {
            // If `read` stopped before the end of the output, its error is the cause.
            (Err(_), Err(failure)) if !ended => Err(failure),
            (result, taken) => result.and(taken),
        }
    }

    fn start(&self, cmd: &Cmd, out: &Path) -> Result<u32> {
        let file = append_own(out).cannot("write", out)?;
        // setsid(1) calls setsid(2) and then execs the program, so the process id stays the same: a child of ours never
        // leads a process group. macOS has no setsid(1). There the program leads its own group, which Ctrl-C does not
        // reach, and nohup(1) protects it from a closed terminal.
        let detacher = if cfg!(target_os = "linux") { "setsid" } else { "nohup" };
        let detached = Cmd { program: detacher.into(), ..cmd.clone() };
        let mut args = vec![cmd.program.clone()];
        args.extend(cmd.args.iter().cloned());
        let handle = Cmd { args, ..detached }
            .expression(false)
            .stdin_null()
            .stderr_to_stdout()
            .stdout_file(file)
            .before_spawn(|command| {
                if !cfg!(target_os = "linux") {
                    command.process_group(0);
                }
                Ok(())
            })
            .start()
            .map_err(|error| cannot_start(cmd, &error))?;
        handle.pids().first().copied().ok_or_else(|| Failure::step(format!("{cmd} has no process id")))
    }

    fn attached(&self, cmd: &Cmd) -> Result<i32> {
        let output = cmd.expression(true).run().map_err(|error| cannot_start(cmd, &error))?;
        Ok(output.status.code().unwrap_or(130))
    }
}

impl RealExec {
    /// Runs a program on our terminal until it ends; returns its exit code. A signal to us alone is passed on to it.
    ///
    /// # Errors
    /// It cannot start.
    pub fn attached_until(&self, cmd: &Cmd, stop: &Stop) -> Result<i32> {
        /// How long a program may take to end by the terminal's own signal, which reaches it too.
        const GRACE: Duration = Duration::from_secs(1);
        let child = cmd.expression(true).start().map_err(|error| cannot_start(cmd, &error))?;
        let (mut signalled, mut told) = (None, false);
        loop {
            if let Some(output) = child.try_wait().map_err(|error| cannot_start(cmd, &error))? {
                return Ok(output.status.code().unwrap_or(130));
            }
            if stop.signalled() {
                let since = *signalled.get_or_insert_with(Instant::now);
                if !told && since.elapsed() >= GRACE {
                    told = true;
                    // It has not been waited for, so that its pid is still its own.
                    for pid in child.pids().into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
                        let _ = kill_process(pid, Signal::TERM);
                    }
                }
            }
            wait::pause(&Stop::default(), Duration::from_millis(20))?;
        }
    }
}

/// Writes a command and its output to the step's log. Errors are ignored.
fn note(log: &Path, cmd: &Cmd, result: &Result<Output>) {
    if let Ok(mut file) = append_own(log) {
        let text = match result {
            Ok(output) => format!("{}{}({})", output.stdout, output.stderr, ended(output.code)),
            Err(failure) => format!("{}\n{}", failure.output.join("\n"), failure.message),
        };
        let _ = writeln!(file, "$ {cmd}\n{text}\n");
    }
}

/// A reader that records whether it reached the end.
struct Until<R> {
    from: R,
    ended: bool,
}

impl<R: Read> Read for Until<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(bytes)?;
        self.ended |= read == 0 && !bytes.is_empty();
        Ok(read)
    }
}

fn cannot_start(cmd: &Cmd, error: &std::io::Error) -> Failure {
    let (why, fix) = no_start(Path::new(&cmd.program), error);
    let failure = Failure::step(format!("cannot start {}: {why}", cmd.program.to_string_lossy())).command(cmd);
    match fix {
        Some(fix) => failure.fix(fix),
        None => failure,
    }
}

/// Why a program does not start, and what helps. The system's own words are about permissions and missing files, and
/// leave open which.
fn no_start(program: &Path, error: &std::io::Error) -> (String, Option<String>) {
    let why = in_words(error);
    let there = program.is_file();
    match error.kind() {
        ErrorKind::PermissionDenied if there && noexec(program) => {
            let fix = "use a folder on another disk: JAVA_HOME, CARGO_TARGET_DIR or XDG_CACHE_HOME names it";
            ("its disk is mounted with noexec, so that no program runs from it".into(), Some(fix.into()))
        }
        ErrorKind::PermissionDenied if there => {
            let path = quoted(program.as_os_str());
            let fix = format!("`ls -l {path}` shows who may; its owner allows it with `chmod +x {path}`");
            ("this user may not execute it".into(), Some(fix))
        }
        ErrorKind::NotFound if there => ("it needs an interpreter or a loader that is missing".into(), None),
        _ => {
            let fix = advice(&why).map(Into::into);
            (why, fix)
        }
    }
}

/// Whether the disk of `path`, or of its nearest parent that exists, runs no programs.
pub fn noexec(path: &Path) -> bool {
    let there = path.ancestors().find(|path| path.exists());
    let flags = there.and_then(|path| rustix::fs::statvfs(path).ok()).map(|stat| stat.f_flag);
    flags.is_some_and(|flags| flags.contains(rustix::fs::StatVfsMountFlags::NOEXEC))
}

/// Returns the text of `path` from byte `begin`, at most the last 64 KiB.
fn read_from(path: &Path, begin: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let from = begin.max(file.metadata()?.len().saturating_sub(64 * 1024));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
pub mod fake {
    //! A fake for tests: a function from command to result.

    use super::*;
    use std::sync::Mutex;

    /// Answers each command with `answer` and records it.
    pub struct FakeExec<F: Fn(&Cmd) -> Result<Output> + Sync> {
        /// The answers.
        pub answer: F,
        /// The commands, in order.
        pub asked: Mutex<Vec<Cmd>>,
    }

    impl<F: Fn(&Cmd) -> Result<Output> + Sync> FakeExec<F> {
        /// Returns a fake that answers with `answer`.
        pub fn new(answer: F) -> Self {
            FakeExec { answer, asked: Mutex::default() }
        }

        fn ask(&self, cmd: &Cmd) -> Result<Output> {
            self.asked.lock().map_err(|_| Failure::step("poisoned"))?.push(cmd.clone());
            (self.answer)(cmd)
        }
    }

    impl<F: Fn(&Cmd) -> Result<Output> + Sync> Exec for FakeExec<F> {
        fn capture(&self, cmd: &Cmd, _log: &Path, _stop: &Stop) -> Result<Output> {
            self.ask(cmd)
        }

        fn build(&self, cmd: &Cmd, log: &Path, _stop: &Stop, _status: &dyn Fn(&str)) -> Result<()> {
            self.ask(cmd)?.success(cmd, log).map(|_| ())
        }

        fn stream(&self, cmd: &Cmd, log: &Path, _stop: &Stop, read: &mut OutputReader<'_>) -> Result<()> {
            let output = self.ask(cmd)?.success(cmd, log)?;
            read(&mut output.stdout.as_bytes())
        }

        fn start(&self, cmd: &Cmd, _out: &Path) -> Result<u32> {
            self.ask(cmd).map(|_| 4_000_000)
        }

        fn attached(&self, cmd: &Cmd) -> Result<i32> {
            Ok(self.ask(cmd)?.code.unwrap_or(130))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, deadline_ms: u64) -> Cmd {
        Cmd::new("sh", Duration::from_millis(deadline_ms)).args(["-c", script])
    }

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("kafka-lab-exec-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_signal_to_us_alone_is_passed_on_to_a_program_on_our_terminal() {
        let stop = Stop::default();
        stop.signal();
        let began = Instant::now();
        assert_eq!(RealExec.attached_until(&sh("exec sleep 60", 0), &stop).unwrap(), 130);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        assert_eq!(RealExec.attached_until(&sh("exit 7", 0), &Stop::default()).unwrap(), 7);
    }

    #[test]
    fn a_command_prints_as_a_shell_reads_it() {
        let cmd = sh("echo 'it''s'", 1).env("LC_ALL", "C.UTF-8").arg("").arg("a b");
        assert_eq!(cmd.to_string(), r"LC_ALL=C.UTF-8 sh -c 'echo '\''it'\'''\''s'\''' '' 'a b'");
    }

    #[test]
    fn capture_keeps_streams_apart_and_the_code() {
        let path = log("capture");
        let output = RealExec.capture(&sh("echo out; echo err >&2; exit 3", 10_000), &path, &Stop::default()).unwrap();
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(3), "out\n", "err\n"));
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(written.contains("out\nerr\n(exited with 3)"), "{written}");
    }

    #[test]
    fn a_deadline_shows_what_was_said_until_then() {
        let path = log("said");
        let failure =
            RealExec.capture(&sh("echo waiting for a broker; sleep 300", 300), &path, &Stop::default()).unwrap_err();
        assert_eq!(failure.output, ["waiting for a broker"]);
        assert!(std::fs::read_to_string(&path).unwrap().contains("waiting for a broker"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_deadline_ends_the_command_and_its_children() {
        let path = log("deadline");
        let begin = Instant::now();
        let failure = RealExec.capture(&sh("sleep 300 & sleep 300", 200), &path, &Stop::default()).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(failure.message.contains("did not end within"), "{}", failure.message);
        // The pipe closes when the last child is gone, so an early return shows that all were killed.
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn being_asked_to_stop_ends_the_command() {
        let path = log("stop");
        let stop = Stop::default();
        stop.cancel();
        let failure = RealExec.capture(&sh("sleep 300", 600_000), &path, &stop).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(failure.exit, Exit::Interrupted);
    }

    #[test]
    fn a_failed_build_shows_its_last_lines_and_its_log() {
        let path = log("build");
        let failure = RealExec
            .build(&sh("echo step one; echo 'no space left' >&2; exit 1", 10_000), &path, &Stop::default(), &|_| {})
            .unwrap_err();
        assert!(failure.output.iter().any(|line| line == "no space left"), "{:?}", failure.output);
        assert_eq!(failure.log.as_deref(), Some(path.as_path()));
        std::fs::remove_file(&path).unwrap();
    }

    fn stream(script: &str, name: &str, read: &mut OutputReader<'_>) -> Result<()> {
        let path = log(name);
        let result = RealExec.stream(&sh(script, 60_000), &path, &Stop::default(), read);
        let _ = std::fs::remove_file(path);
        result
    }

    #[test]
    fn a_stream_is_read_to_its_end() {
        let mut size = 0;
        stream("head -c 3000000 /dev/zero; echo >&2", "stream", &mut |from| {
            size = std::io::copy(from, &mut std::io::sink()).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(size, 3_000_000);
        // Output that nobody reads is no failure.
        stream("head -c 3000000 /dev/zero", "unwanted", &mut |_| Ok(())).unwrap();
    }

    #[test]
    fn a_failed_stream_names_the_side_that_failed_first() {
        let failed = |from: &mut dyn Read, bytes: u64| {
            let read = std::io::copy(&mut from.take(bytes), &mut std::io::sink()).unwrap();
            Err(Failure::step(format!("cannot write the {read} bytes")))
        };
        let program = stream("echo half; echo no such image >&2; exit 1", "program", &mut |from| failed(from, 100));
        assert_eq!(program.unwrap_err().output, ["no such image"]);
        let reader = stream("head -c 3000000 /dev/zero; exit 1", "reader", &mut |from| failed(from, 10));
        assert_eq!(reader.unwrap_err().message, "cannot write the 10 bytes");
        let both = stream("echo whole", "both", &mut |from| failed(from, 100));
        assert_eq!(both.unwrap_err().message, "cannot write the 6 bytes");
    }

    #[test]
    fn being_asked_to_stop_ends_a_stream() {
        let (path, stop) = (log("stop-stream"), Stop::default());
        stop.cancel();
        let read = &mut |from: &mut dyn Read| {
            std::io::copy(from, &mut std::io::sink()).cannot("read", Path::new("it")).map(drop)
        };
        let failure = RealExec.stream(&sh("sleep 300", 600_000), &path, &stop, read).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(failure.exit, Exit::Interrupted);
    }

    #[test]
    fn a_missing_program_is_named() {
        let cmd = Cmd::new("no-such-program-here", Duration::from_secs(1));
        let failure = RealExec.capture(&cmd, &log("missing"), &Stop::default()).unwrap_err();
        assert!(failure.message.contains("cannot start no-such-program-here"), "{}", failure.message);
        let _ = std::fs::remove_file(log("missing"));
    }
}
