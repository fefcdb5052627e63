//! Causes in words: what the system's errors mean, and what a listener speaks that speaks something else than expected.
//! Pure.

use std::fmt::Display;

/// What the system says, and what that means here.
const MEANINGS: [(&str, &str); 3] = [
    ("Too many open files", "too many open files (the limit is `ulimit -n`)"),
    ("Resource temporarily unavailable", "too many processes and threads (the limit is `ulimit -u`), or no memory"),
    ("Exec format error", "it is not a program for this machine"),
];

/// An error's text for people: without Rust's `(os error 28)`, and with words that say what is meant.
pub fn in_words(error: impl Display) -> String {
    let text = error.to_string();
    let mut words = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(" (os error ") {
        let Some((_, end)) = after.split_once(')') else { break };
        words += before;
        if let Some((system, meaning)) = MEANINGS.iter().find(|(system, _)| before.ends_with(system)) {
            words.truncate(words.len() - system.len());
            words += meaning;
        }
        rest = end;
    }
    words + rest
}

/// The beginning of a TLS connection: a ClientHello of TLS 1.2 without extensions. A TLS server answers it with a
/// ServerHello or an alert.
pub const TLS_HELLO: [u8; 56] = {
    let mut hello = [0; 56];
    // Record: handshake, TLS 1.0, 51 bytes. Message: ClientHello, 47 bytes. Version: TLS 1.2. The random is zero.
    let start = [0x16, 3, 1, 0, 51, 1, 0, 0, 47, 3, 3];
    // No session; four suites: ECDHE-RSA and ECDHE-ECDSA with AES-128-GCM, RSA with AES-128-GCM, TLS 1.3's AES-128-GCM.
    let end = [0, 0, 8, 0xc0, 0x2f, 0xc0, 0x2b, 0, 0x9c, 0x13, 1, 1, 0];
    let mut at = 0;
    while at < start.len() {
        hello[at] = start[at];
        at += 1;
    }
    at = 0;
    while at < end.len() {
        hello[start.len() + 32 + at] = end[at];
        at += 1;
    }
    hello
};

/// A request that every HTTP server answers.
pub const HTTP_REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// What a listener speaks, by the first bytes of its answer; `None` if that is neither TLS nor HTTP nor SSH.
pub fn protocol(answer: &[u8]) -> Option<&'static str> {
    match answer {
        // A handshake or an alert of SSL 3 or newer.
        [0x15 | 0x16, 3, 0..=4, ..] => Some("TLS"),
        _ if answer.starts_with(b"HTTP/") => Some("HTTP"),
        // Without a status line, as to a request of HTTP 0.9.
        _ if answer.starts_with(b"<")
            && answer.to_ascii_lowercase().windows(5).any(|part| part == b"html>" || part == b"<html") =>
        {
            Some("HTTP")
        }
        _ if answer.starts_with(b"SSH-") => Some("SSH"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn errors_are_words_without_numbers() {
        let full = Error::from_raw_os_error(28);
        assert_eq!(in_words(&full), "No space left on device");
        assert_eq!(in_words(format!("cannot write x: {full}!")), "cannot write x: No space left on device!");
        assert_eq!(in_words(Error::from_raw_os_error(24)), "too many open files (the limit is `ulimit -n`)");
        assert_eq!(
            in_words(format!("a: {}; {full}", Error::from_raw_os_error(24))),
            "a: too many open files (the limit is `ulimit -n`); No space left on device"
        );
        for plain in ["", "a (b) c", "odd (os error ", "it is a symbolic link"] {
            assert_eq!(in_words(plain), plain);
        }
    }

    #[test]
    fn a_protocol_shows_in_its_first_bytes() {
        assert_eq!(protocol(&[0x15, 3, 3, 0, 2, 2, 80]), Some("TLS"));
        assert_eq!(protocol(&TLS_HELLO), Some("TLS"));
        assert_eq!(protocol(b"HTTP/1.1 400 Bad Request\r\n"), Some("HTTP"));
        assert_eq!(protocol(b"<!DOCTYPE HTML>\n<html>"), Some("HTTP"));
        assert_eq!(protocol(b"SSH-2.0-OpenSSH_9.2p1\r\n"), Some("SSH"));
        for other in [&b""[..], b"HTT", b"Zookeeper version: 3.6.3", &[0, 0, 0, 10, 0, 0, 0, 1, 0, 0]] {
            assert_eq!(protocol(other), None);
        }
    }
}
