//! KRaft: the two questions to controllers and brokers that tell who leads the quorum and which brokers are unfenced,
//! in Kafka's own protocol and without a JVM; and parsers for the output of kafka-metadata-quorum.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ledger::cause;

/// Limit of an answer, in bytes. A lab's have a few hundred.
const ANSWER_MAX: usize = 1024 * 1024;

/// Limit for an answer. A paused server accepts connections and never answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Keys and versions of the requests, as Kafka 3.9 and 4.3 have them (DescribeQuorumRequest.json,
/// DescribeClusterRequest.json).
const DESCRIBE_QUORUM: (i16, i16) = (55, 1);
const DESCRIBE_CLUSTER: (i16, i16) = (60, 0);

/// The topic of the metadata, which has one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The error of a controller that does not lead (Errors.NOT_LEADER_OR_FOLLOWER).
const NOT_LEADER: i16 = 6;

/// How far a replica of the metadata is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its node id.
    pub id: u32,
    /// The end of its log.
    pub end: i64,
    /// When it last fetched, in ms since the Unix epoch, by the leader's clock; negative if it never has.
    pub fetched_ms: i64,
}

/// The quorum, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// Node id of the leader, which is the active controller.
    pub leader: u32,
    /// The controllers that vote.
    pub voters: Vec<Replica>,
    /// The brokers, and others that only read.
    pub observers: Vec<Replica>,
}

impl Quorum {
    /// Returns when a node last fetched.
    pub fn fetched_ms(&self, id: u32) -> Option<i64> {
        self.voters.iter().chain(&self.observers).find(|one| one.id == id).map(|one| one.fetched_ms)
    }

    /// Returns the nodes that have fetched within `ms` before the leader answered, and the leader.
    pub fn in_touch(&self, ms: i64) -> BTreeSet<u32> {
        // The leader's own time is when it answered.
        let now = self.voters.iter().find(|voter| voter.id == self.leader).map_or(0, |leader| leader.fetched_ms);
        let all = self.voters.iter().chain(&self.observers);
        let recent = |one: &&Replica| one.id == self.leader || (one.fetched_ms >= 0 && now - one.fetched_ms <= ms);
        all.filter(recent).map(|one| one.id).collect()
    }
}

/// Asks the controller on 127.0.0.1:`port` for the quorum. `None` if it serves and does not lead.
///
/// # Errors
/// Nothing listens there, there is no answer in time, or something else listens.
pub fn quorum(port: u16) -> Result<Option<Quorum>> {
    let mut body = Vec::new();
    // One topic with one partition, each followed by no tagged fields.
    body.push(2);
    compact_string(&mut body, METADATA_TOPIC);
    body.push(2);
    body.extend([0, 0, 0, 0, 0, 0, 0]);
    parse_quorum(&exchange(port, DESCRIBE_QUORUM, &body)?)
}

/// Asks the broker on 127.0.0.1:`port` for the ids of the brokers that are registered and unfenced.
///
/// # Errors
/// As [`quorum`].
pub fn unfenced(port: u16) -> Result<BTreeSet<u32>> {
    // Without authorized operations, without tagged fields.
    parse_cluster(&exchange(port, DESCRIBE_CLUSTER, &[0, 0])?)
}

fn compact_string(to: &mut Vec<u8>, text: &str) {
    // Every string of ours is short, so its length is one byte.
    to.push(u8::try_from(text.len() + 1).unwrap_or(u8::MAX));
    to.extend(text.as_bytes());
}

/// Sends a request with header version 2 and returns the answer after its header.
fn exchange(port: u16, (key, version): (i16, i16), body: &[u8]) -> Result<Vec<u8>> {
    const CORRELATION: i32 = 0x6b6c;
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(CORRELATION.to_be_bytes());
    let client = b"kafka-lab";
    request.extend((client.len() as i16).to_be_bytes());
    request.extend(client);
    request.push(0);
    request.extend(body);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ANSWER_WITHIN)?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(&[&(request.len() as i32).to_be_bytes()[..], &request].concat())?;
    let end = Instant::now() + ANSWER_WITHIN;
    // The length, and so much more that another protocol can be told; an answer has at least that.
    let head = read(&mut stream, 5, end)?;
    if let Some(protocol) = cause::protocol(&head) {
        return Err(Error::other(format!("what listens there answers with {protocol}: it is not Kafka")));
    }
    let length = head[..4].iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    if !(5..=ANSWER_MAX).contains(&length) {
        return Err(odd());
    }
    let answer = [&head[4..], &read(&mut stream, length - 1, end)?].concat();
    match answer.split_at_checked(5) {
        Some((header, answer)) if header[..4] == CORRELATION.to_be_bytes() && header[4] == 0 => Ok(answer.to_vec()),
        _ => Err(odd()),
    }
}

fn odd() -> Error {
    Error::new(ErrorKind::InvalidData, "what listens there does not answer as Kafka does")
}

/// Reads `length` bytes until `end`.
fn read(stream: &mut TcpStream, length: usize, end: Instant) -> Result<Vec<u8>> {
    let late = || {
        let what = format!("it accepts connections, but gives no answer within {} s", ANSWER_WITHIN.as_secs());
        Error::new(ErrorKind::TimedOut, what)
    };
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    while bytes.len() < length {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        stream.set_read_timeout(Some(left))?;
        let most = part.len().min(length - bytes.len());
        match stream.read(&mut part[..most]) {
            Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "it closes the connection without an answer")),
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => return Err(late()),
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// The rest of an answer that is being parsed. `None` where it is shorter than it should be.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn id(&mut self) -> Option<u32> {
        u32::try_from(self.i32()?).ok()
    }

    fn uvarint(&mut self) -> Option<usize> {
        let mut value = 0_usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.take(1)?[0];
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Skips a compact string, which may be null.
    fn string(&mut self) -> Option<()> {
        let length = self.uvarint()?.saturating_sub(1);
        self.take(length).map(drop)
    }

    /// Skips the tagged fields.
    fn tags(&mut self) -> Option<()> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let length = self.uvarint()?;
            self.take(length)?;
        }
        Some(())
    }

    /// Reads a compact array.
    fn array<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.uvarint()?.saturating_sub(1);
        // A false count must not reserve memory.
        (0..count).map(|_| one(self)).collect()
    }
}

/// Parses the answer to DescribeQuorum, without its header. `None` if the controller does not lead.
///
/// # Errors
/// It is an error, or cut short.
pub fn parse_quorum(answer: &[u8]) -> Result<Option<Quorum>> {
    fn replica(answer: &mut Answer<'_>) -> Option<Replica> {
        let (id, end, fetched_ms) = (answer.id()?, answer.i64()?, answer.i64()?);
        let _caught_up_ms = answer.i64()?;
        answer.tags()?;
        Some(Replica { id, end, fetched_ms })
    }
    fn partition(answer: &mut Answer<'_>) -> Option<(i16, Option<Quorum>)> {
        let _index = answer.i32()?;
        let (error, leader) = (answer.i16()?, answer.i32()?);
        let (_epoch, _high_watermark) = (answer.i32()?, answer.i64()?);
        let (voters, observers) = (answer.array(replica)?, answer.array(replica)?);
        answer.tags()?;
        let leader = u32::try_from(leader).ok();
        Some((error, leader.map(|leader| Quorum { leader, voters, observers })))
    }
    fn whole(answer: &mut Answer<'_>) -> Option<(i16, Option<Quorum>)> {
        let error = answer.i16()?;
        let topics = answer.array(|answer| {
            answer.string()?;
            let partitions = answer.array(partition)?;
            answer.tags()?;
            Some(partitions)
        })?;
        match (error, topics.into_iter().flatten().next()) {
            (0, found) => found,
            (error, _) => Some((error, None)),
        }
    }
    match whole(&mut Answer(answer)) {
        Some((0, Some(quorum))) => Ok(Some(quorum)),
        Some((0 | NOT_LEADER, _)) => Ok(None),
        Some((error, _)) => Err(Error::other(format!("it answers with error {error}"))),
        None => Err(odd()),
    }
}

/// Parses the answer to DescribeCluster, without its header.
///
/// # Errors
/// As [`parse_quorum`].
pub fn parse_cluster(answer: &[u8]) -> Result<BTreeSet<u32>> {
    fn broker(answer: &mut Answer<'_>) -> Option<u32> {
        let id = answer.id()?;
        answer.string()?;
        answer.i32()?;
        answer.string()?;
        answer.tags()?;
        Some(id)
    }
    fn whole(answer: &mut Answer<'_>) -> Option<(i16, Vec<u32>)> {
        let _throttle = answer.i32()?;
        let error = answer.i16()?;
        answer.string()?;
        answer.string()?;
        let _controller = answer.i32()?;
        Some((error, answer.array(broker)?))
    }
    match whole(&mut Answer(answer)) {
        Some((0, brokers)) => Ok(brokers.into_iter().collect()),
        Some((error, _)) => Err(Error::other(format!("it answers with error {error}"))),
        None => Err(odd()),
    }
}

/// What `kafka-metadata-quorum describe --status` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Node id of the leader.
    pub leader: u32,
    /// The epoch in which it leads.
    pub epoch: u32,
    /// How many records the slowest follower lacks.
    pub max_lag: u64,
    /// How long that follower has lacked them, in ms.
    pub max_lag_ms: u64,
    /// Node ids of the voters.
    pub voters: BTreeSet<u32>,
    /// Node ids of those that only read: the brokers.
    pub observers: BTreeSet<u32>,
}

/// Parses the output of `describe --status`. Kafka 3.3 to 3.8 print lists of ids, later versions a list of objects with
/// an id and a directory.
pub fn parse_status(output: &str) -> Option<Status> {
    let field = |name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim())
    };
    // A follower that has never been there has a lag of -1.
    let number = |name: &str| field(name)?.parse::<i64>().ok().map(|number| u64::try_from(number).unwrap_or(0));
    let ids = |name: &str| -> Option<BTreeSet<u32>> {
        let list = field(name)?.strip_prefix('[')?.strip_suffix(']')?;
        if list.contains('{') {
            let parts = list.split("\"id\":").skip(1);
            let digits = |part: &str| part.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
            return parts.map(digits).collect();
        }
        list.split(',').map(str::trim).filter(|id| !id.is_empty()).map(|id| id.parse().ok()).collect()
    };
    Some(Status {
        leader: field("LeaderId")?.parse().ok()?,
        epoch: field("LeaderEpoch")?.parse().ok()?,
        max_lag: number("MaxFollowerLag")?,
        max_lag_ms: number("MaxFollowerLagTimeMs")?,
        voters: ids("CurrentVoters")?,
        observers: ids("CurrentObservers")?,
    })
}

/// A row of `kafka-metadata-quorum describe --replication`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its node id.
    pub id: u32,
    /// How many records it lacks.
    pub lag: u64,
    /// `Leader`, `Follower` or `Observer`.
    pub status: String,
}

/// Parses the output of `describe --replication`: columns under a heading, which differ between versions.
pub fn parse_replication(output: &str) -> Option<Vec<Row>> {
    let mut lines = output.lines().skip_while(|line| !line.starts_with("NodeId"));
    let heading: Vec<&str> = lines.next()?.split_whitespace().collect();
    let column = |name: &str| heading.iter().position(|found| *found == name);
    let (id, lag, status) = (column("NodeId")?, column("Lag")?, column("Status")?);
    let rows = lines.take_while(|line| !line.trim().is_empty()).map(|line| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        Some(Row {
            id: cells.get(id)?.parse().ok()?,
            lag: cells.get(lag)?.parse().ok()?,
            status: (*cells.get(status)?).to_string(),
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = include_str!("../../tests/fixtures/quorum-status-4.3.txt");
    const STATUS_OF_3_9: &str = include_str!("../../tests/fixtures/quorum-status-3.9.txt");
    const REPLICATION: &str = include_str!("../../tests/fixtures/quorum-replication-4.3.txt");
    const REPLICATION_OF_3_9: &str = include_str!("../../tests/fixtures/quorum-replication-3.9.txt");

    /// Answers of Kafka 4.3.1, without their headers: of a controller that follows, of one that leads, of a broker.
    const FOLLOWS: &str = include_str!("../../tests/fixtures/describe-quorum-follower.hex");
    const LEADS: &str = include_str!("../../tests/fixtures/describe-quorum-leader.hex");
    const CLUSTER: &str = include_str!("../../tests/fixtures/describe-cluster.hex");

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.trim().bytes().map(|c| (c as char).to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn the_leader_tells_who_votes_and_who_reads_and_a_follower_only_that_it_does_not_lead() {
        assert_eq!(parse_quorum(&bytes(FOLLOWS)).unwrap(), None);
        let quorum = parse_quorum(&bytes(LEADS)).unwrap().unwrap();
        let ids = |replicas: &[Replica]| replicas.iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(ids(&quorum.voters), [100, 101, 102]);
        let mut observers = ids(&quorum.observers);
        observers.sort_unstable();
        assert_eq!(observers, [0, 1, 2]);
        assert!(quorum.voters.iter().any(|voter| voter.id == quorum.leader));
        assert_eq!(quorum.in_touch(5_000), BTreeSet::from([0, 1, 2, 100, 101, 102]));
        assert_eq!(quorum.in_touch(-1), BTreeSet::from([quorum.leader]));
        assert_eq!(parse_cluster(&bytes(CLUSTER)).unwrap(), BTreeSet::from([0, 1, 2]));
    }

    #[test]
    fn an_answer_that_breaks_off_is_no_answer() {
        for (answer, least) in [(bytes(LEADS), 1), (bytes(CLUSTER), 5)] {
            for cut in 0..answer.len() - least {
                assert!(parse_quorum(&answer[..cut]).is_err() || parse_cluster(&answer[..cut]).is_err(), "{cut}");
            }
        }
        assert!(parse_quorum(&[0, 0, 0xff, 0xff, 0xff, 0x7f]).is_err(), "a false count");
        assert!(parse_quorum(&[0, 29, 1, 0]).is_err(), "an error");
    }

    #[test]
    fn both_versions_of_the_status_are_read() {
        for text in [STATUS, STATUS_OF_3_9] {
            let status = parse_status(text).unwrap();
            assert_eq!(status.voters, BTreeSet::from([100, 101, 102]), "{text}");
            assert_eq!(status.observers, BTreeSet::from([0, 1, 2]), "{text}");
            assert!(status.voters.contains(&status.leader) && status.max_lag < 100, "{status:?}");
            assert_eq!(parse_status(&text.replace("LeaderId:", "Leader:")), None);
        }
        // As Kafka 3.3 to 3.8 print them.
        let old = "LeaderId: 1\nLeaderEpoch: 4\nMaxFollowerLag: 0\nMaxFollowerLagTimeMs: -1\nCurrentVoters: [1,2, 3]\n\
                   CurrentObservers: []\n";
        let status = parse_status(old).unwrap();
        assert_eq!((status.voters, status.max_lag_ms), (BTreeSet::from([1, 2, 3]), 0));
    }

    #[test]
    fn both_versions_of_the_replication_are_read() {
        for text in [REPLICATION, REPLICATION_OF_3_9] {
            let rows = parse_replication(text).unwrap();
            let ids: BTreeSet<u32> = rows.iter().map(|row| row.id).collect();
            assert_eq!(ids, BTreeSet::from([0, 1, 2, 100, 101, 102]), "{text}");
            let count = |status: &str| rows.iter().filter(|row| row.status == status).count();
            assert_eq!((count("Leader"), count("Follower"), count("Observer")), (1, 2, 3));
        }
        assert_eq!(parse_replication("Error: timed out\n"), None);
        assert_eq!(parse_replication("NodeId Lag Status\nx 0 Leader\n"), None);
    }

    #[test]
    fn something_else_in_a_servers_place_is_told_as_that() {
        for (answer, words) in
            [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "answers with HTTP"), (&[0, 0, 0, 1, 7], "as Kafka does")]
        {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 64];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answer);
            });
            let error = quorum(port).unwrap_err().to_string();
            server.join().unwrap();
            assert!(error.contains(words), "{error}");
        }
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = unfenced(silent.local_addr().unwrap().port()).unwrap_err();
        assert_eq!(error.to_string(), "it accepts connections, but gives no answer within 1 s");
    }
}
