//! SHA-256 of files, bytes and streams, in hex. The only user of hmac-sha256.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use hmac_sha256::Hash;

use crate::failure::{Failure, IoContext, Result};
use crate::signal::Stop;

/// A writer that forwards bytes and computes their length and hash.
pub struct Hashing<W> {
    into: W,
    hash: Hash,
    size: u64,
}

impl<W: Write> Hashing<W> {
    /// Wraps `into`.
    pub fn new(into: W) -> Self {
        Hashing { into, hash: Hash::new(), size: 0 }
    }

    /// Returns the SHA-256 of everything written, and its length in bytes.
    pub fn finish(self) -> (String, u64) {
        (hex(self.hash.finalize()), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.into.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or(bytes));
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// Returns the SHA-256 of `bytes`.
pub fn of(bytes: impl AsRef<[u8]>) -> String {
    hex(Hash::hash(bytes.as_ref()))
}

/// Returns the SHA-256 of a file, and its size.
///
/// # Errors
/// The file cannot be read, or an interruption.
pub fn of_file(path: &Path, stop: &Stop) -> Result<(String, u64)> {
    let from = File::open(path).cannot("read", path)?;
    let mut hashing = Hashing::new(io::sink());
    let copied = io::copy(&mut stop.reading(from), &mut hashing);
    if stop.requested() {
        return Err(Failure::interrupted());
    }
    copied.cannot("read", path)?;
    Ok(hashing.finish())
}

fn hex(digest: [u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    /// FIPS 180-4's own examples.
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_hash_is_that_of_the_standard() {
        assert_eq!((of(b""), of("abc")), (EMPTY.into(), ABC.into()));
    }

    #[test]
    fn a_stream_is_hashed_and_passed_on() {
        let mut kept = Vec::new();
        let mut hashing = Hashing::new(&mut kept);
        for part in ["a", "", "bc"] {
            hashing.write_all(part.as_bytes()).unwrap();
        }
        assert_eq!(hashing.finish(), (ABC.into(), 3));
        assert_eq!(kept, b"abc");
    }

    #[test]
    fn hashing_a_file_stops_when_asked() {
        let path = std::env::temp_dir().join(format!("kafka-lab-sha256-{}", std::process::id()));
        std::fs::write(&path, "abc").unwrap();
        let stop = Stop::default();
        assert_eq!(of_file(&path, &stop).unwrap(), (ABC.into(), 3));
        stop.cancel();
        assert_eq!(of_file(&path, &stop).unwrap_err().exit, Exit::Interrupted);
        std::fs::remove_file(&path).unwrap();
        assert!(of_file(&path, &Stop::default()).unwrap_err().message.starts_with("cannot read "));
    }
}
