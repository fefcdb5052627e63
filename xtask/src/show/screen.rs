//! Redraws lines in place on a terminal, and prints blocks elsewhere.

use std::io::{Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

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
            SECOND.store(true, Ordering::SeqCst);
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

    /// Whether nobody reads standard output any more.
    pub fn reader_is_gone(&self) -> bool {
        self.gone
    }

    fn write(&mut self, text: &str) {
        self.gone |= !super::print_while_read(text);
    }
}

impl Drop for Screen {
    /// Goes back to the first screen, and leaves the last lines there.
    fn drop(&mut self) {
        if self.terminal {
            let last: String = self.shown.iter().map(|line| format!("{line}\n")).collect();
            leave();
            self.write(&last);
        }
    }
}

/// Whether the second screen is shown.
static SECOND: AtomicBool = AtomicBool::new(false);

/// Goes back to the first screen, if the second one is shown.
pub fn leave() {
    if SECOND.swap(false, Ordering::SeqCst) {
        let mut out = stdout();
        let _ = out.write_all(b"\x1b[?25h\x1b[?1049l").and_then(|()| out.flush());
    }
}

/// Returns the width and the height of the terminal.
fn size() -> (usize, usize) {
    let found = rustix::termios::tcgetwinsize(stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    found.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}
