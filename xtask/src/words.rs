//! Words for people: lists, quoting for a shell, and what helps against causes that the system names. Pure.

use std::ffi::OsStr;
use std::fmt;

use strsim::damerau_levenshtein;

/// Writes items with commas between them.
pub fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns the name that `typed` is most likely a misspelling of: one that differs in a letter of three at most, or has
/// the same words in another order.
pub fn closest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let sorted = |name: &str| {
        let mut words: Vec<String> = name.split('-').map(str::to_lowercase).collect();
        words.sort_unstable();
        words.join("-")
    };
    let distance = |name: &str| {
        let direct = damerau_levenshtein(&typed.to_lowercase(), name);
        direct.min(damerau_levenshtein(&sorted(typed), &sorted(name)))
    };
    let near = |(distance, name): &(usize, &str)| distance * 3 <= name.chars().count();
    names.into_iter().map(|name| (distance(name), name)).filter(near).min().map(|(_, name)| name)
}

/// Returns items as words: `11, 17 and 21`.
pub fn enumerated<T: fmt::Display>(items: &[T], word: &str) -> String {
    match items {
        [] => String::new(),
        [one] => one.to_string(),
        [most @ .., last] => format!("{} {word} {last}", listed(most)),
    }
}

/// Quotes `word` for a POSIX shell. The crates shlex and shell-words would also quote every `--flag=value`.
pub fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

const DISK: &str = "free disk space (`df -h` shows how much each disk has), or set XDG_STATE_HOME, XDG_CACHE_HOME or \
                    CARGO_TARGET_DIR to a folder on another disk";

/// Causes that the system or a program names, in lower case, and what helps.
const ADVICE: [(&str, &str); 7] = [
    ("no space left on device", DISK),
    ("disk quota exceeded", DISK),
    (
        "read-only file system",
        "make it writable, or set XDG_STATE_HOME, XDG_CACHE_HOME or CARGO_TARGET_DIR to a folder on another disk",
    ),
    ("file too large", "raise the limit of a file's size, with `ulimit -f unlimited` in this shell, then rerun"),
    ("too many open files", "raise the limit of open files, with `ulimit -n 4096` in this shell, then rerun"),
    ("too many processes and threads", PROCESSES),
    ("unable to create native thread", PROCESSES),
];

const PROCESSES: &str =
    "end other programs, or raise the limit of processes with `ulimit -u 4096` in this shell, then rerun";

/// Returns what helps against a cause that `text` names.
pub fn advice(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    ADVICE.iter().find(|(cause, _)| text.contains(cause)).map(|(_, fix)| *fix)
}
