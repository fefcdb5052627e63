//! What people and programs see: the listener for `--format` and the terminal, and what is printed beside events.

mod bars;
mod json;
mod plain;

use std::io::{stderr, stdout};

use serde::Serialize;

use crate::cli::Format;
use crate::config::Env;
use crate::events::Listener;
use crate::failure::{Exit, Failure};

/// What shows the events of one command on one lab: JSON lines on standard output if they were asked for; otherwise bars
/// on a terminal, and plain lines elsewhere.
pub fn listener(command: &str, lab: &str, format: Format, env: &Env) -> Box<dyn Listener + Send> {
    match format {
        Format::Json => Box::new(json::Json::new(command, lab, Box::new(stdout()))),
        Format::Text if env.terminal => Box::new(bars::Bars::new(env.colour)),
        Format::Text => Box::new(plain::Plain::new(env.colour, Box::new(stderr()))),
    }
}

/// Prints text on standard output. A reader that went away, as head(1) does, is its own affair.
pub fn print_text(text: &str) {
    use std::io::Write;
    let _ = stdout().write_all(text.as_bytes());
}

/// Prints one JSON line on standard output. A reader that went away is its own affair.
pub fn print_json(value: &impl Serialize) {
    json::write(&mut stdout(), value);
}

/// What went wrong, for people.
pub fn print_failure(failure: &Failure, colour: bool) {
    let head = if failure.exit == Exit::Interrupted { "stopped" } else { "error" };
    let head = if colour { format!("\u{1b}[31m{head}\u{1b}[0m") } else { head.to_string() };
    eprintln!("{head}: {failure}");
}
