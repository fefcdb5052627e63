//! New lines of a file that another program writes.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Result, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// How much is read of a file at a time, in bytes. The rest follows at the next look.
const READ_MAX: u64 = 4 * 1024 * 1024;

/// A longer line is left out, in bytes: it is none of ours.
const LINE_MAX: usize = 1024 * 1024;

/// A file of lines that grows. Another file may take its place, as when a log is rotated.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    /// Device and inode of the file that was read, and how far.
    read: Option<((u64, u64), u64)>,
    /// The beginning of a line that is not whole yet; `None` if it is too long.
    begun: Option<Vec<u8>>,
}

impl Tail {
    /// A file of which nothing has been read yet. It need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Tail { path, read: None, begun: Some(Vec::new()) }
    }

    /// Returns the lines that are whole by now and were not before. None if there is no file.
    ///
    /// # Errors
    /// It is no regular file, or cannot be read.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let meta = match std::fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            meta => meta?,
        };
        // A FIFO in its place would block the open, and has no length.
        if !meta.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        let mut file = File::open(&self.path)?;
        let meta = file.metadata()?;
        let this = (meta.dev(), meta.ino());
        let from = match self.read {
            Some((same, from)) if same == this && from <= meta.len() => from,
            _ => {
                self.begun = Some(Vec::new());
                0
            }
        };
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(READ_MAX).read_to_end(&mut bytes)?;
        self.read = Some((this, from + bytes.len() as u64));
        Ok(self.split(&bytes))
    }

    fn split(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some(begun) = &mut self.begun {
                begun.extend_from_slice(piece);
                if begun.len() > LINE_MAX {
                    self.begun = None;
                }
            }
            if piece.ends_with(b"\n") {
                let line = self.begun.replace(Vec::new());
                lines.extend(line.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
        }
        lines
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_are_told_once_and_whole_whatever_happens_to_the_file() {
        let dir = std::env::temp_dir().join(format!("kafka-lab-tail-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a log");
        let add = |text: &str| {
            let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let mut tail = Tail::new(path.clone());
        let none: [&str; 0] = [];
        assert_eq!(tail.lines().unwrap(), none);
        add("one\ntw");
        assert_eq!(tail.lines().unwrap(), ["one"]);
        assert_eq!(tail.lines().unwrap(), none);
        add("o\nthree\n");
        assert_eq!(tail.lines().unwrap(), ["two", "three"]);
        // A line that is too long is left out, and the next one is not.
        add(&"x".repeat(LINE_MAX + 1));
        assert_eq!(tail.lines().unwrap(), none);
        add("x\nfour\nfi");
        assert_eq!(tail.lines().unwrap(), ["four"]);
        // Rotated: the beginning of a line in the former file does not belong to the new one's.
        std::fs::rename(&path, dir.join("a log.1")).unwrap();
        add("six\n");
        assert_eq!(tail.lines().unwrap(), ["six"]);
        // Cut.
        std::fs::write(&path, "7\n").unwrap();
        assert_eq!(tail.lines().unwrap(), ["7"]);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(tail.lines().unwrap_err().to_string(), "it is not a regular file");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
