//! What is shown on a terminal: a real pseudo-terminal, whose output a small emulator draws.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::common::{Dir, xtask};

const WIDTHS: [u16; 3] = [60, 80, 200];
const ROWS: u16 = 40;

/// A screen as a terminal draws it: wrapped lines, and the few sequences that we and indicatif write.
#[derive(Default)]
struct Drawn {
    width: usize,
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// The first screen, while the second one is shown.
    first: Option<(Vec<Vec<char>>, usize, usize)>,
    /// Whether a row was filled to its end and a character was written after it.
    wrapped: usize,
    pending: String,
}

impl Drawn {
    fn feed(&mut self, text: &str) {
        let text = std::mem::take(&mut self.pending) + text;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => self.column = 0,
                '\n' => self.row += 1,
                '\u{1b}' => {
                    let rest = chars.as_str();
                    let Some(end) = rest.find(|c: char| c.is_ascii_alphabetic()) else {
                        self.pending = format!("\u{1b}{rest}");
                        return;
                    };
                    self.control(&rest[..end], rest.as_bytes()[end]);
                    chars = rest[end + 1..].chars();
                }
                c => self.put(c),
            }
        }
    }

    fn put(&mut self, c: char) {
        if self.column == self.width {
            (self.row, self.column) = (self.row + 1, 0);
            self.wrapped += 1;
        }
        let row = self.row_at(self.row);
        let column = self.column;
        let row = &mut self.rows[row];
        row.resize(row.len().max(column + 1), ' ');
        row[column] = c;
        self.column += 1;
    }

    fn row_at(&mut self, row: usize) -> usize {
        self.rows.resize(self.rows.len().max(row + 1), Vec::new());
        row
    }

    fn control(&mut self, parameters: &str, end: u8) {
        let parameters = parameters.trim_start_matches('[');
        let number = || parameters.parse::<usize>().unwrap_or(0);
        let row = self.row_at(self.row);
        match end {
            b'A' => self.row = self.row.saturating_sub(number().max(1)),
            b'B' => self.row += number().max(1),
            b'D' => self.column = self.column.saturating_sub(number().max(1)),
            b'G' => self.column = number().max(1) - 1,
            b'H' => (self.row, self.column) = (0, 0),
            b'K' if number() == 2 => self.rows[row].clear(),
            b'K' => self.rows[row].truncate(self.column),
            b'J' => {
                self.rows[row].truncate(self.column);
                self.rows.truncate(row + 1);
            }
            b'h' if parameters == "?1049" => {
                self.first = Some((std::mem::take(&mut self.rows), self.row, self.column));
                (self.row, self.column) = (0, 0);
            }
            b'l' if parameters == "?1049" => {
                if let Some((rows, row, column)) = self.first.take() {
                    (self.rows, self.row, self.column) = (rows, row, column);
                }
            }
            b'm' | b'h' | b'l' => {}
            other => panic!("an unknown sequence: ESC [{parameters}{}", char::from(other)),
        }
    }

    fn lines(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_string()).collect()
    }
}

/// A command on a terminal of its own.
pub struct OnTerminal {
    process: Child,
    /// Our end of the terminal.
    ours: OwnedFd,
    output: Receiver<Vec<u8>>,
    drawn: Drawn,
    /// Everything that was written to it.
    pub written: String,
    bytes: Vec<u8>,
}

impl OnTerminal {
    /// Starts it on a terminal of so many columns.
    pub fn start(mut command: Command, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let end = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        tcsetwinsize(&end, of_width(columns)).unwrap();
        let stdio = || Stdio::from(OwnedFd::from(end.try_clone().unwrap()));
        command
            .stdin(Stdio::null())
            .stdout(stdio())
            .stderr(stdio())
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR");
        let process = command.spawn().unwrap();
        // Otherwise we would keep the other end open ourselves.
        drop((command, end));
        let (sender, output) = channel();
        let ours = master.try_clone().unwrap();
        let mut master = File::from(master);
        std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            // The system reports an error once nobody has the other end open.
            while let Ok(count @ 1..) = master.read(&mut bytes) {
                let _ = sender.send(bytes[..count].to_vec());
            }
        });
        let drawn = Drawn { width: columns.into(), ..Drawn::default() };
        OnTerminal { process, ours, output, drawn, written: String::new(), bytes: Vec::new() }
    }

    /// Gives it another width, as a terminal that cuts lines off does.
    fn resize(&mut self, columns: u16) {
        tcsetwinsize(&self.ours, of_width(columns)).unwrap();
        self.drawn.width = columns.into();
        for row in &mut self.drawn.rows {
            row.truncate(columns.into());
        }
        self.drawn.column = self.drawn.column.min(columns.into());
    }

    /// Draws what comes until nothing came for a moment; returns whether more can come.
    fn draw(&mut self) -> bool {
        // Something that writes without a pause is looked at all the same.
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(2) {
            match self.output.recv_timeout(Duration::from_millis(30)) {
                Ok(bytes) => {
                    self.bytes.extend(bytes);
                    let whole = match std::str::from_utf8(&self.bytes) {
                        Ok(text) => text.len(),
                        Err(error) => error.valid_up_to(),
                    };
                    let text = String::from_utf8(self.bytes.drain(..whole).collect()).unwrap();
                    self.drawn.feed(&text);
                    self.written += &text;
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    /// Draws until the screen has `text`.
    #[track_caller]
    pub fn until(&mut self, text: &str) {
        let begin = Instant::now();
        while !self.drawn.lines().iter().any(|line| line.contains(text)) {
            assert!(begin.elapsed() < Duration::from_secs(60), "no {text:?} on {:#?}", self.drawn.lines());
            self.draw();
        }
    }

    /// Interrupts it, and draws its end; returns the exit code.
    pub fn interrupt(&mut self) -> i32 {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        while self.draw() {}
        self.process.wait().unwrap().code().unwrap()
    }
}

fn of_width(columns: u16) -> Winsize {
    Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// The characters of a running step's bar.
fn is_bar(line: &str) -> bool {
    line.starts_with(|c: char| ('\u{2800}'..='\u{28ff}').contains(&c))
}

/// Runs an `up` that shows two long steps at once and fails. Its terminal has the first of these widths, and after a
/// few looks each of the others.
fn progress_at(widths: &[u16]) {
    let (state, tools) = (Dir::new("state"), Dir::new("tools"));
    for name in ["cc", "c++", "make", "bash", "setsid"] {
        tools.tool(name, "exit 0");
    }
    tools.tool("java", "echo 'openjdk version \"17.0.1\" 2021-10-19' >&2; echo \"[$$] Using Serial\"");
    let long = "[INFO] Downloading from central: https://repo.maven.apache.org/maven2/org/apache/kafka/".repeat(4);
    tools
        .tool("mvn", &format!("for n in 1 2 3 4 5 6; do echo '{long}'$n; /bin/sleep 0.25; done; echo the end; exit 1"));
    tools.tool("cargo", &format!("while :; do echo '{long}'; /bin/sleep 0.2; done"));
    let mut command = xtask(&state.0, ["up", "--backend", "local", "--port-base", "21700"]);
    command
        .env("PATH", &tools.0)
        .env_remove("JAVA_HOME")
        .env("CARGO", tools.0.join("cargo"))
        .env("XDG_CACHE_HOME", state.0.join("cache"))
        .env("CARGO_TARGET_DIR", state.0.join("target"));
    let mut terminal = OnTerminal::start(command, widths[0]);
    let mut next = widths[1..].iter();
    let (mut most, mut looks) = (0, 0);
    while terminal.draw() {
        let lines = terminal.drawn.lines();
        let bars: Vec<&String> = lines.iter().filter(|line| is_bar(line)).collect();
        for bar in &bars {
            let name = |line: &str| line.chars().skip(2).take(18).collect::<String>();
            let same = bars.iter().filter(|other| name(other) == name(bar)).count();
            assert_eq!(same, 1, "{widths:?} columns: {lines:#?}");
        }
        most = most.max(bars.len());
        looks += 1;
        if bars.len() >= 2
            && looks % 4 == 0
            && let Some(columns) = next.next()
        {
            terminal.resize(*columns);
        }
    }
    assert_eq!(next.next(), None, "it ended before it had each width");
    assert_eq!(terminal.process.wait().unwrap().code(), Some(4), "{:#?}", terminal.drawn.lines());
    assert!(most >= 2 && looks > 5, "{widths:?} columns: {most} bars at most, {looks} looks");
    let lines = terminal.drawn.lines();
    assert!(!lines.iter().any(|line| is_bar(line)), "{widths:?} columns: a bar is left: {lines:#?}");
    assert!(lines.iter().any(|line| line.contains("✗ kafka jars")), "{lines:#?}");
}

#[test]
fn progress_is_one_line_for_each_running_step_whatever_the_width() {
    for columns in WIDTHS {
        progress_at(&[columns]);
    }
}

#[test]
fn progress_stays_one_line_for_each_running_step_when_the_terminal_is_resized() {
    progress_at(&[200, 60, 120]);
}

#[test]
fn a_watched_status_is_redrawn_in_place_and_ends_cleanly() {
    for columns in WIDTHS {
        let state = Dir::new("state");
        let mut command = xtask(&state.0, ["status", "--watch", "--every", "1"]);
        command.env("PATH", "/nowhere");
        let mut terminal = OnTerminal::start(command, columns);
        terminal.until("lab kafka-lab: nothing is up");
        assert!(terminal.drawn.first.is_some(), "the second screen is shown");
        let time = |terminal: &OnTerminal| terminal.drawn.lines()[0].split("  ").next().unwrap().to_string();
        let before = time(&terminal);
        let begin = Instant::now();
        while time(&terminal) == before {
            assert!(begin.elapsed() < Duration::from_secs(30), "it is not redrawn");
            terminal.draw();
        }
        assert_eq!((terminal.drawn.lines().len(), terminal.drawn.wrapped), (2, 0), "{:#?}", terminal.drawn.lines());
        assert_eq!(terminal.interrupt(), 0);
        assert!(terminal.drawn.first.is_none(), "the first screen is back");
        let lines = terminal.drawn.lines();
        assert!(lines[0].contains("nothing is up") && lines[1] == "  no lab kafka-lab is up", "{lines:#?}");
    }
}
