//! The lab's clients; everything is in the library beside this file.

use std::io::Write as _;
use std::process::exit;

use clients::cli::Cli;

fn main() {
    let code = match clients::run(Cli::from_process()) {
        Ok(code) => code,
        Err(error) => {
            // Nowhere is left to say that standard error is closed.
            let _ = writeln!(std::io::stderr(), "clients: {error:#}");
            1
        }
    };
    // Every handle that matters was flushed and closed by now; leaving this way does not wait for librdkafka's own threads.
    exit(code.into());
}
