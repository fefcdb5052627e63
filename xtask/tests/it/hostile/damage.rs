//! Damage to files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::pipe;

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Only its first half is left.
    Cut,
    /// Nothing is left in it.
    Empty,
    /// Blocks of it are other bytes, from the middle on.
    Garbled,
    /// It is gone.
    Gone,
    /// A folder with a file is in its place.
    Folder,
    /// A pipe is in its place.
    Pipe,
    /// A link to a file of the user's is in its place.
    Link,
    /// A file of the user's has its name too.
    HardLink,
    /// It is larger than memory should hold.
    Huge,
    /// A text in it is another.
    Says(&'static str, &'static str),
    /// The process in it is another, with this pid.
    #[cfg(feature = "lab")]
    Names(u32),
}

impl Damage {
    /// Damages `path`. `precious` is a file of the user's on the same disk.
    pub fn inflict(self, path: &Path, precious: &Path) {
        // What an earlier damage left may be a pipe, and reading that would wait forever.
        let readable = fs::metadata(path).is_ok_and(|found| found.is_file());
        let before = if readable { fs::read(path).unwrap() } else { Vec::new() };
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match self {
            Damage::Cut => fs::write(path, &before[..before.len() / 2]).unwrap(),
            Damage::Empty => fs::write(path, "").unwrap(),
            Damage::Garbled => {
                let mut bytes = before;
                let (middle, step) = (bytes.len() / 2, (bytes.len() / 400).max(1));
                bytes[middle..].iter_mut().enumerate().for_each(|(n, byte)| {
                    *byte = if n % (8 * step) < step { 0xff } else { *byte };
                });
                bytes.extend(if bytes.is_empty() { &b"\xff\xfe\0"[..] } else { b"" });
                fs::write(path, bytes).unwrap();
            }
            Damage::Gone => {}
            Damage::Folder => {
                fs::create_dir(path).unwrap();
                fs::write(path.join("file"), "x").unwrap();
            }
            Damage::Pipe => pipe(path),
            Damage::Link => symlink(precious, path).unwrap(),
            Damage::HardLink => fs::hard_link(precious, path).unwrap(),
            Damage::Huge => {
                let mut file = fs::File::create(path).unwrap();
                file.write_all(&before).unwrap();
                // Sparse: it takes no space.
                file.set_len(5 << 30).unwrap();
            }
            Damage::Says(from, to) => {
                let text = String::from_utf8(before).unwrap();
                assert!(text.contains(from), "{} has no {from}", path.display());
                fs::write(path, text.replace(from, to)).unwrap();
            }
            #[cfg(feature = "lab")]
            Damage::Names(pid) => {
                let text = String::from_utf8(before).unwrap();
                let line = text.lines().find(|line| line.contains("\"pid\": ")).unwrap();
                fs::write(path, text.replace(line, &format!("    \"pid\": {pid},"))).unwrap();
            }
        }
    }
}

use Damage::{Cut, Empty, Folder, Garbled, Gone, HardLink, Huge, Link, Pipe, Says};

/// Damage to the files of a lab's state folder.
pub const STATE: &[(&str, &[Damage])] = &[
    ("lab.json", &[Cut, Empty, Garbled, Gone, Folder, Pipe, Link, Huge]),
    (
        "lab.json",
        &[
            Says("record/1", "record/9"),
            Says("manifests\": \"", "manifests\": \"/nowhere"),
            Says("\"local\"", "\"elsewhere\""),
        ],
    ),
    ("../NAME.lock", &[Garbled, Folder, Pipe, Link, HardLink]),
    ("kafka-1/process.json", &[Cut, Empty, Garbled, Gone, Folder, Pipe, Link, Huge]),
    ("producer/process.json", &[Cut, Gone, Folder]),
    ("producer/state.json", &[Cut, Garbled, Folder, Pipe, Link, Huge]),
    ("consumer/state.json", &[Empty, Gone, Folder]),
    ("kafka-1/server.properties", &[Cut, Garbled, Gone, Folder, Pipe, Link, HardLink]),
    ("zookeeper/zookeeper.properties", &[Cut, Folder]),
    ("drill", &[Garbled, Folder, Pipe, Link]),
];
