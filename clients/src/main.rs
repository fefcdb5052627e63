//! The lab's clients. All code is in the library beside this file.

use std::io::Write as _;
use std::process::exit;

use clients::cli::Cli;
use ledger::cause::in_words;

fn main() {
    // Only relative paths need it, and their errors would not say so.
    if std::env::current_dir().is_err() {
        let _ = writeln!(std::io::stderr(), "clients: the current folder is gone: cd to a folder that exists");
    }
    let code = match clients::run(Cli::from_process()) {
        Ok(code) => code,
        Err(error) => {
            // If standard error is closed, there is nowhere left to report it.
            let _ = writeln!(std::io::stderr(), "clients: {}", in_words(format!("{error:#}")));
            1
        }
    };
    // All handles that matter are flushed and closed by now. Exiting this way does not wait for librdkafka's own
    // threads.
    exit(code.into());
}
