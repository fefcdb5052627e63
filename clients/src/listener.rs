//! Finds out what listens at an address that does not answer as a broker: nothing, TLS, HTTP, ZooKeeper, or somebody
//! who says nothing. Asked only after something has failed.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use ledger::cause::{self, in_words};
use rdkafka::error::KafkaError;

use crate::native::ErrorCode;

/// How long a listener may take for each question, on this host and elsewhere.
const WITHIN_HERE: Duration = Duration::from_millis(250);
const WITHIN: Duration = Duration::from_secs(1);

/// Addresses to ask. More would take long, and rarely have other causes.
const ADDRESSES_MAX: usize = 3;

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 256;

/// The request ApiVersions, version 0, by a client `kafka-lab`. Brokers answer it on every PLAINTEXT listener.
const API_VERSIONS: &[u8] = b"\0\0\0\x13\0\x12\0\0kfkl\0\x09kafka-lab";

/// The correlation id in it, which follows the length of a broker's answer.
const CORRELATION: &[u8] = b"kfkl";

/// Why no address of the list `brokers` answers as a broker, in words. `None` if one does.
pub fn why_no_broker(brokers: &str) -> Option<String> {
    let whys: Option<Vec<String>> = brokers
        .split(',')
        .take(ADDRESSES_MAX)
        .map(|address| Some(format!("{address} {}", no_broker(address.trim())?)))
        .collect();
    whys.map(|whys| whys.join("; "))
}

/// What `address` does instead of answering as a broker, as a clause without its subject. `None` if it does answer.
pub fn no_broker(address: &str) -> Option<String> {
    let found = match address.to_socket_addrs() {
        Ok(mut all) => all.next(),
        Err(error) => return Some(format!("cannot be resolved: {}", in_words(error))),
    };
    let Some(socket) = found else { return Some("resolves to no address".into()) };
    match ask(socket, API_VERSIONS) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Some("refuses connections".into()),
        Err(error) => return Some(format!("does not accept connections: {}", in_words(error))),
        Ok(answer) if answer.bytes.get(4..8) == Some(CORRELATION) => return None,
        Ok(_) => {}
    }
    let questions = [API_VERSIONS, &cause::TLS_HELLO, cause::HTTP_REQUEST, b"srvr"];
    let answers: Vec<Answer> = questions.iter().filter_map(|question| ask(socket, question).ok()).collect();
    if let Some(protocol) = answers.iter().find_map(|answer| cause::protocol(&answer.bytes)) {
        return Some(format!(
            "answers with {protocol}, not with Kafka's protocol without encryption: give the address of a broker's \
             PLAINTEXT listener"
        ));
    }
    if answers.iter().any(|answer| answer.bytes.starts_with(b"Zookeeper ")) {
        return Some("is ZooKeeper's: give the address of a broker".into());
    }
    let what = if answers.iter().any(|answer| !answer.bytes.is_empty()) {
        "answers, but not as a Kafka broker: give the address of a broker's PLAINTEXT listener"
    } else if answers.iter().any(|answer| answer.ended) {
        "closes connections without an answer: it is no broker's PLAINTEXT listener, or the broker is stopping"
    } else {
        "accepts connections but says nothing: its program is paused or hangs, or is no Kafka broker"
    };
    Some(what.into())
}

/// The beginning of an answer.
struct Answer {
    bytes: Vec<u8>,
    /// The other side closed the connection.
    ended: bool,
}

/// Sends `question` over a new connection, and reads the beginning of the answer.
fn ask(socket: SocketAddr, question: &[u8]) -> std::io::Result<Answer> {
    let within = if socket.ip().is_loopback() { WITHIN_HERE } else { WITHIN };
    let mut stream = TcpStream::connect_timeout(&socket, within)?;
    let mut answer = Answer { bytes: Vec::new(), ended: false };
    let deadline = Instant::now() + within;
    // A listener that closes at once may let the write fail. What it said before can still be read.
    let _ = stream.set_write_timeout(Some(within)).and_then(|()| stream.write_all(question));
    let mut part = [0; ANSWER_MAX];
    while answer.bytes.len() < 16 {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            break;
        }
        match stream.read(&mut part) {
            Ok(0) => answer.ended = true,
            Ok(count) => answer.bytes.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => answer.ended = !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
        if answer.ended {
            break;
        }
    }
    Ok(answer)
}

/// An error of librdkafka's in words: "timed out", without its name and its place.
pub fn librdkafka_in_words(error: &KafkaError) -> String {
    let Some(code) = error.rdkafka_error_code() else { return in_words(error) };
    let description = ErrorCode::from(code).description();
    let words = description.trim_start_matches("Local: ").trim_start_matches("Broker: ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::net::TcpListener;

    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    use super::*;

    /// A listener that does `serve` with each connection, and its address.
    fn listener(serve: impl Fn(TcpStream) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
        address
    }

    /// Answers once it has got `least` bytes.
    fn answering(least: usize, answer: &'static [u8]) -> String {
        listener(move |mut stream| {
            let mut got = vec![0; least];
            if stream.read_exact(&mut got).is_ok() {
                say(&mut stream, answer);
            }
        })
    }

    /// Answers, and takes what else comes: closed with something unread, a connection is reset, and the answer lost.
    fn say(stream: &mut TcpStream, answer: &[u8]) {
        let _ = stream.write_all(answer).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let _ = stream.read_to_end(&mut Vec::new());
    }

    #[test]
    fn what_is_no_broker_is_told_by_name() {
        let kept = std::sync::Mutex::new(Vec::new());
        let silent = listener(move |stream| kept.lock().unwrap().push(stream));
        for (address, words) in [
            (answering(5, &[0x15, 3, 3, 0, 2, 2, 40]), "answers with TLS"),
            (answering(4, b"HTTP/1.1 400 Bad Request\r\n\r\n"), "answers with HTTP"),
            (answering(0, b"SSH-2.0-OpenSSH_9.2\r\n"), "answers with SSH"),
            (answering(4, b"Zookeeper version: 3.6.3\n"), "is ZooKeeper's"),
            (answering(0, b"220 mail ready\r\n"), "answers, but not as a Kafka broker"),
            (listener(drop), "closes connections"),
            (silent, "accepts connections but says nothing"),
            ("127.0.0.1:1".into(), "refuses connections"),
        ] {
            let found = no_broker(&address).unwrap();
            assert!(found.starts_with(words) && !found.contains("os error"), "{words}: {found}");
        }
    }

    #[test]
    fn a_server_that_waits_for_its_own_protocol_is_asked_in_it() {
        let only = |asked: &'static [u8], answer: &'static [u8]| {
            listener(move |mut stream| {
                let mut got = vec![0; asked.len()];
                if stream.read_exact(&mut got).is_ok() && got == asked {
                    say(&mut stream, answer);
                }
            })
        };
        let tls = no_broker(&only(&cause::TLS_HELLO[..5], &[0x16, 3, 3, 0, 90, 2])).unwrap();
        assert!(tls.starts_with("answers with TLS"), "{tls}");
        let http = no_broker(&only(b"GET / ", b"HTTP/1.0 200 OK\r\n")).unwrap();
        assert!(http.starts_with("answers with HTTP"), "{http}");
    }

    #[test]
    fn a_broker_is_one() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        let broker = cluster.bootstrap_servers();
        assert_eq!(no_broker(&broker), None);
        assert_eq!(why_no_broker(&format!("127.0.0.1:1,{broker}")), None);
        let none = why_no_broker("127.0.0.1:1,127.0.0.1:2").unwrap();
        assert_eq!(none, "127.0.0.1:1 refuses connections; 127.0.0.1:2 refuses connections");
    }
}
