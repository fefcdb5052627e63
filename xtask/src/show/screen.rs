//! Redraws lines in place on a terminal, and prints blocks elsewhere.

use std::io::{ErrorKind, Write, stdout};

/// The width where standard output is no terminal.
const PLAIN_WIDTH: usize = 400;

/// Shows lines again and again. On a terminal it uses the second screen, as top(1) does: a resized window wraps nothing
/// that was drawn before, and the first screen is there again afterwards.
pub struct Screen {
    terminal: bool,
    shown: Vec<String>,
    gone: bool,
}

impl Screen {
    /// Prepares standard output.
    pub fn new(terminal: bool) -> Self {
        let mut screen = Screen { terminal, shown: Vec::new(), gone: false };
        if terminal {
            screen.write("\u{1b}[?1049h\u{1b}[?25l");
        }
        screen
    }

    /// Shows the lines that `lines` returns for a width, in place of those before.
    pub fn show(&mut self, lines: impl FnOnce(usize) -> Vec<String>) {
        if !self.terminal {
            let block = lines(PLAIN_WIDTH).join("\n");
            let gap = if self.shown.is_empty() { "" } else { "\n" };
            self.write(&format!("{gap}{block}\n"));
            self.shown = vec![block];
            return;
        }
        let (width, height) = size();
        self.shown = lines(width);
        let fit = self.shown.len().min(height);
        // One write, and each line is cleared only behind its end: nothing flickers.
        let rows: Vec<String> = self.shown[..fit].iter().map(|line| format!("{line}\u{1b}[K")).collect();
        self.write(&format!("\u{1b}[H{}\u{1b}[J", rows.join("\r\n")));
    }

    /// Whether the reader of standard output went away, as head(1) does.
    pub fn reader_is_gone(&self) -> bool {
        self.gone
    }

    fn write(&mut self, text: &str) {
        let mut out = stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        self.gone |= written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
    }
}

impl Drop for Screen {
    /// Goes back to the first screen, and leaves the last lines there.
    fn drop(&mut self) {
        if self.terminal {
            let last: String = self.shown.iter().map(|line| format!("{line}\n")).collect();
            self.write(&format!("\u{1b}[?25h\u{1b}[?1049l{last}"));
        }
    }
}

/// Returns the width and the height of the terminal.
fn size() -> (usize, usize) {
    let found = rustix::termios::tcgetwinsize(stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    found.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}
