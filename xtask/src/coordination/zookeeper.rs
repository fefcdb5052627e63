//! ZooKeeper: its four-letter words, and parsers for the output of its shell.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger::cause;

/// Limit of an answer, in bytes. A lab's dump has a few kilobytes.
const ANSWER_MAX: usize = 1024 * 1024;

/// Limit for ZooKeeper's answer, and for that of another server in its place.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const OTHER_WITHIN: Duration = Duration::from_millis(250);

/// Sends a four-letter word to ZooKeeper on 127.0.0.1:`port` and returns the answer.
///
/// # Errors
/// Nothing listens, there is no answer within two seconds, the answer does not end, or another server listens there.
pub fn four_letter_word(port: u16, word: &str) -> std::io::Result<String> {
    let other = |protocol| Error::other(format!("what listens there answers with {protocol}: it is not ZooKeeper"));
    match exchange(port, word.as_bytes(), ANSWER_WITHIN) {
        Ok(answer) => match cause::protocol(&answer) {
            Some(protocol) => Err(other(protocol)),
            None => Ok(String::from_utf8_lossy(&answer).into_owned()),
        },
        // A server of TLS or HTTP waits for the rest of such a short word.
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            let questions = [&cause::TLS_HELLO, cause::HTTP_REQUEST];
            let answers = questions.into_iter().filter_map(|question| exchange(port, question, OTHER_WITHIN).ok());
            Err(answers.into_iter().find_map(|answer| cause::protocol(&answer)).map_or(error, other))
        }
        Err(error) => Err(error),
    }
}

/// Sends `question` to 127.0.0.1:`port` and returns everything until the other side closes the connection, unless that
/// takes too long.
fn exchange(port: u16, question: &[u8], limit: Duration) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(question)?;
    // With a limit for single reads only, another program on that port could block us forever, byte by byte.
    let begin = Instant::now();
    let mut answer = Vec::new();
    let mut part = [0; 8192];
    loop {
        let count = match stream.read(&mut part) {
            // Another server may keep the connection open, or reset it.
            Err(_) if cause::protocol(&answer).is_some() => 0,
            // The system says "resource temporarily unavailable".
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let what = format!("it accepts connections, but gives no answer within {} s", limit.as_secs());
                return Err(Error::new(ErrorKind::TimedOut, what));
            }
            count => count?,
        };
        answer.extend_from_slice(&part[..count]);
        if count == 0 {
            return Ok(answer);
        }
        if answer.len() > ANSWER_MAX || begin.elapsed() > 2 * limit {
            return Err(Error::other("the listener on that port never stops sending"));
        }
    }
}

/// Bytes in the header of a transaction log: magic number, version and database id.
const LOG_HEADER: u64 = 16;

/// The transaction logs in `dir` that end within their header, as a full disk leaves them. They hold no transaction,
/// and ZooKeeper 3.6 does not start with one (ZOOKEEPER-1621).
pub fn headless_logs(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_headless = |file: &std::fs::DirEntry| {
        let name = file.file_name();
        let zxid = name.to_str().and_then(|name| name.strip_prefix("log."));
        zxid.is_some_and(|zxid| u64::from_str_radix(zxid, 16).is_ok())
            && file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() < LOG_HEADER)
    };
    files.filter(is_headless).map(|file| file.path()).collect()
}

/// Whether the snapshots and logs in `dir` contain `text`. True also for compressed files, which are not searched.
pub fn has_stored(dir: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let name = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().into_owned();
    files.filter(|file| name(file).starts_with("snapshot.") || name(file).starts_with("log.")).any(|file| {
        let compressed = [".gz", ".snappy"].iter().any(|end| name(&file).ends_with(end));
        compressed || std::fs::File::open(file.path()).is_ok_and(|file| holds(file, text.as_bytes()))
    })
}

/// Whether the input contains `text`. Logs are preallocated with 64 MiB of zeros, so a block of zeros ends the search.
fn holds(mut from: impl Read, text: &[u8]) -> bool {
    let mut kept: Vec<u8> = Vec::new();
    let mut part = vec![0; 64 * 1024];
    loop {
        match from.read(&mut part) {
            Ok(count) if count > 0 && part[..count].iter().any(|byte| *byte != 0) => {
                kept.extend_from_slice(&part[..count]);
            }
            _ => return false,
        }
        if kept.windows(text.len().max(1)).any(|window| window == text) {
            return true;
        }
        kept.drain(..kept.len().saturating_sub(text.len()));
    }
}

/// Returns the mode in the answer to `srvr`: "standalone". `None` while ZooKeeper does not serve.
pub fn mode(srvr: &str) -> Option<&str> {
    srvr.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::trim)
}

/// Returns the broker ids in the answer to `dump`, which lists the ephemeral nodes of each session.
pub fn registered(dump: &str) -> BTreeSet<u32> {
    dump.lines().filter_map(|line| line.trim().strip_prefix("/brokers/ids/")?.parse().ok()).collect()
}

/// Returns the session of each registered broker. `None` if the dump is incomplete: a starting ZooKeeper answers
/// something else, and a truncated answer would lack sessions.
pub fn sessions(dump: &str) -> Option<BTreeMap<u32, String>> {
    let (_, held) = dump.split_once("ephemeral nodes dump:")?;
    let (held, _) = held.split_once("Connections dump:")?;
    let mut found = BTreeMap::new();
    for session in held.split("\n0x").skip(1) {
        let id = session.lines().next().unwrap_or_default().trim_end_matches([':', '\r']);
        found.extend(registered(session).into_iter().map(|broker| (broker, format!("0x{id}"))));
    }
    Some(found)
}

/// Returns the registered brokers whose session has a connection.
pub fn connected(dump: &str) -> BTreeSet<u32> {
    let (sessions, connections) = dump.split_once("Connections dump:").unwrap_or((dump, ""));
    let alive: BTreeSet<&str> =
        connections.lines().filter_map(|line| line.split_once("sessionId: ")).map(|(_, id)| id.trim()).collect();
    let held = sessions.split("\n0x").filter(|session| {
        session
            .lines()
            .next()
            .is_some_and(|id| alive.contains(format!("0x{}", id.trim_end_matches([':', '\r'])).as_str()))
    });
    held.flat_map(registered).collect()
}

/// Returns the controller's broker id in the answer to `dump`: its session holds both nodes.
pub fn controller(dump: &str) -> Option<u32> {
    let sessions = dump.split("\n0x").map(registered_and_controller);
    sessions.filter(|(_, controller)| *controller).find_map(|(ids, _)| ids.first().copied())
}

fn registered_and_controller(session: &str) -> (BTreeSet<u32>, bool) {
    (registered(session), session.lines().any(|line| line.trim() == "/controller"))
}

/// Returns the answer to `ls PATH`: the last line that is a list. The rest is noise about the connection.
pub fn parse_ls(output: &str) -> Option<Vec<String>> {
    let line = output.lines().map(str::trim).rfind(|line| line.starts_with('[') && line.ends_with(']'))?;
    let inner = line[1..line.len() - 1].trim();
    Some(inner.split(',').map(str::trim).filter(|child| !child.is_empty()).map(Into::into).collect())
}

/// Returns the answer to `get PATH`: the last line that is not noise about the connection, which another thread prints
/// at any point. A node without data answers `null`.
pub fn parse_get(output: &str) -> Option<&str> {
    let noise = |line: &str| {
        line.is_empty() || ["Connecting to ", "WATCHER::", "WatchedEvent "].iter().any(|start| line.starts_with(start))
    };
    output.lines().map(str::trim).rfind(|line| !noise(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LS: &str = include_str!("../../tests/fixtures/zookeeper-shell-ls.txt");
    const GET: &str = include_str!("../../tests/fixtures/zookeeper-shell-get.txt");
    const DUMP: &str = include_str!("../../tests/fixtures/zookeeper-dump.txt");
    const SRVR: &str = include_str!("../../tests/fixtures/zookeeper-srvr.txt");

    #[test]
    fn a_dump_that_breaks_off_tells_of_no_session_or_of_all() {
        let whole = sessions(DUMP).unwrap();
        assert_eq!(whole.len(), 3);
        for cut in 0..DUMP.len() {
            assert!(sessions(&DUMP[..cut]).is_none_or(|found| found == whole), "cut at {cut}");
        }
    }

    #[test]
    fn the_shells_answers_are_found_in_its_noise() {
        assert_eq!(parse_ls(LS).unwrap(), ["0", "1", "2"]);
        assert_eq!(parse_get(GET), Some("null"));
    }

    #[test]
    fn an_answer_that_overtakes_the_watchers_noise_is_found() {
        let get = "Connecting to 127.0.0.1:27091\nnull\n\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null\n";
        assert_eq!(parse_get(get), Some("null"));
        assert_eq!(parse_ls(&get.replace("null\n\n", "[0, 1, 2]\n\n")).unwrap(), ["0", "1", "2"]);
    }

    #[test]
    fn odd_answers_are_not_taken_for_ids() {
        assert_eq!(parse_ls("Connecting to x\n[]\n").unwrap(), Vec::<String>::new());
        assert_eq!(parse_ls("[10, 2,1]").unwrap(), ["10", "2", "1"]);
        assert_eq!(parse_ls("Node does not exist: /brokers/ids"), None);
        assert_eq!(parse_ls("["), None);
        assert_eq!(parse_get("\n \n"), None);
        assert_eq!(parse_get("Connecting to x\nWATCHER::\n"), None);
    }

    #[test]
    fn an_endless_answer_is_cut_off() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let talker = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        });
        assert!(four_letter_word(port, "srvr").is_err());
        talker.join().unwrap();
    }

    #[test]
    fn a_listener_that_is_silent_is_told_as_that() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = four_letter_word(listener.local_addr().unwrap().port(), "srvr").unwrap_err();
        assert_eq!(error.to_string(), "it accepts connections, but gives no answer within 2 s");
    }

    #[test]
    fn another_server_in_its_place_is_told_by_its_protocol() {
        for (least, answer, words) in [
            (5, &[0x15, 3, 3, 0, 2, 2, 40][..], "answers with TLS"),
            (16, b"HTTP/1.1 200 OK\r\n\r\n", "answers with HTTP"),
            (4, b"HTTP/1.1 400 Bad Request\r\n\r\n", "answers with HTTP"),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let mut got = vec![0; least];
                    if stream.read_exact(&mut got).is_ok() && (least != 16 || got.starts_with(b"GET ")) {
                        let _ = stream.write_all(answer).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
                        // Closed with something unread, the connection would be reset, and the answer lost.
                        let _ = stream.read_to_end(&mut got);
                    }
                }
            });
            let error = four_letter_word(port, "srvr").unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn dump_names_the_registered_brokers() {
        assert_eq!(registered(DUMP), BTreeSet::from([0, 1, 2]));
        assert!(registered("dump is not executed because it is not in the whitelist.").is_empty());
        assert!(registered("\t/brokers/ids/x\n/brokers/ids/").is_empty());
    }

    #[test]
    fn a_registration_without_a_connection_is_about_to_go() {
        assert_eq!(connected(DUMP), BTreeSet::from([0, 1, 2]));
        let lost = DUMP.replace("sessionId: 0x1000026c6540006", "sessionId: 0x0");
        assert_eq!(connected(&lost), BTreeSet::from([0, 1]));
        assert_eq!(registered(&lost), BTreeSet::from([0, 1, 2]));
        assert!(connected(DUMP.split("Connections dump").next().unwrap()).is_empty());
    }

    #[test]
    fn dump_names_each_brokers_session() {
        let sessions = sessions(DUMP).unwrap();
        assert_eq!(sessions.get(&1).map(String::as_str), Some("0x1000026c6540001"));
        assert_eq!((sessions.len(), sessions[&0].as_str()), (3, "0x1000026c6540002"));
        assert_eq!(super::sessions("This ZooKeeper instance is not currently serving requests"), None);
        let nobody = "ephemeral nodes dump:\nSessions with Ephemerals (0):\nConnections dump:\n";
        assert_eq!(super::sessions(nobody), Some(BTreeMap::new()));
    }

    #[test]
    fn dump_names_the_controller() {
        assert_eq!(controller(DUMP), Some(1));
        assert_eq!(controller(&DUMP.replace("\t/controller\n", "")), None);
    }

    #[test]
    fn a_text_is_found_wherever_it_stands() {
        for at in [0, 1, 65_530, 65_536, 131_060, 200_000] {
            let mut bytes = vec![b'.'; 200_010];
            bytes[at..at + 10].copy_from_slice(b"cluster-id");
            assert!(holds(&bytes[..], b"cluster-id"), "{at}");
            assert!(!holds(&bytes[..], b"cluster-ip"), "{at}");
        }
        assert!(!holds(&b""[..], b"x") && !has_stored(Path::new("/nonexistent"), "x"));
    }

    #[test]
    fn srvr_tells_the_mode_only_when_serving() {
        assert_eq!(mode(SRVR), Some("standalone"));
        assert_eq!(mode("This ZooKeeper instance is not currently serving requests\n"), None);
    }
}
