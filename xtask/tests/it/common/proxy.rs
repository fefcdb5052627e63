//! A TCP proxy in front of the brokers that loses one response.
//!
//! Requests and responses of Kafka's protocol are frames: a 32-bit length, then the bytes. A request begins with its
//! API key (16 bits; 0 is Produce), version (16 bits) and correlation id (32 bits). Its response begins with the
//! correlation id (Kafka protocol guide, "Protocol primitive types", "Common request and response structure").

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const PRODUCE: [u8; 2] = [0, 0];

/// The host that every broker advertises to this machine.
const HOST: &[u8] = b"127.0.0.1";

/// Forwards everything except the first response to a request with stamped records. It closes the connection instead.
pub struct Proxy {
    /// The ports it listens on, in the order of the brokers.
    pub ports: Vec<u16>,
    lost: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts a proxy for the brokers at these ports. It runs until the test process ends.
    pub fn before(brokers: [u16; 3]) -> Self {
        let listeners = brokers.map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let lost = Arc::new(AtomicU64::new(0));
        let ways: Vec<(u16, u16)> = brokers.into_iter().zip(ports.iter().copied()).collect();
        for (listener, broker) in listeners.into_iter().zip(brokers) {
            let (ways, lost) = (ways.clone(), Arc::clone(&lost));
            thread::spawn(move || {
                for client in listener.incoming() {
                    // If a broker is unreachable, the client's connection ends.
                    let _ = client.and_then(|client| connect(client, broker, &ways, &lost));
                }
            });
        }
        Proxy { ports, lost }
    }

    /// The number of records in the request whose response was lost; 0 before that.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}

fn connect(client: TcpStream, broker: u16, ways: &[(u16, u16)], lost: &Arc<AtomicU64>) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", broker))?;
    // The number of records of each produce request in flight, by correlation id.
    let in_flight: Arc<Mutex<HashMap<[u8; 4], u64>>> = Arc::default();
    let (mut from, mut to, sent) = (client.try_clone()?, server.try_clone()?, Arc::clone(&in_flight));
    thread::spawn(move || {
        while let Ok(frame) = read(&mut from) {
            if frame.starts_with(&PRODUCE) {
                let records = frame.windows(5).filter(|bytes| bytes == b" kl2 ").count();
                sent.lock().unwrap().insert(frame[4..8].try_into().unwrap(), records as u64);
            }
            if write(&mut to, &frame).is_err() {
                break;
            }
        }
        // The other direction may already have closed it.
        let _ = to.shutdown(Shutdown::Both);
    });
    let (ways, lost) = (ways.to_vec(), Arc::clone(lost));
    thread::spawn(move || {
        let (mut from, mut to) = (server, client);
        while let Ok(mut frame) = read(&mut from) {
            let records = in_flight.lock().unwrap().remove(&frame[..4]).unwrap_or(0);
            if records > 0 && lost.compare_exchange(0, records, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                break;
            }
            advertise(&mut frame, &ways);
            if write(&mut to, &frame).is_err() {
                break;
            }
        }
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    });
    Ok(())
}

/// Replaces the brokers' ports in a response by the proxy's.
fn advertise(frame: &mut [u8], ways: &[(u16, u16)]) {
    for at in 0..frame.len().saturating_sub(HOST.len() + 3) {
        let port = at + HOST.len()..at + HOST.len() + 4;
        if !frame[at..].starts_with(HOST) {
            continue;
        }
        let found = ways.iter().find(|(broker, _)| frame[port.clone()] == u32::from(*broker).to_be_bytes());
        if let Some((_, ours)) = found {
            frame[port].copy_from_slice(&u32::from(*ours).to_be_bytes());
        }
    }
}

fn read(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut frame)?;
    Ok(frame)
}

fn write(to: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
    to.write_all(&[&length, frame].concat())
}
