//! Finds free ports, and the process that holds a port.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::local::process;
use crate::signal::Stop;
use crate::wait;

/// How long a killed process may take to close its files: a big process on a busy machine.
const DYING: Duration = Duration::from_secs(5);

/// Whether 127.0.0.1:`port` can be bound.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Whether nothing listens at `port`. Also for ports below 1024, which only root can bind.
pub fn refuses(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connected = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// The ports that cannot be bound, each with a description of its holder.
///
/// A killed process keeps its ports until the kernel has closed its files, and cannot be identified meanwhile. One wait
/// covers all ports.
pub fn taken(ports: impl IntoIterator<Item = u16>, stop: &Stop) -> Vec<(u16, String)> {
    let end = Instant::now() + DYING;
    ports.into_iter().filter_map(|port| Some((port, taken_by(port, end, stop)?))).collect()
}

fn taken_by(port: u16, end: Instant, stop: &Stop) -> Option<String> {
    // Only Linux names the holder.
    if !is_free(port) && !Path::new("/proc/net/tcp").exists() {
        return Some("a process".into());
    }
    while !is_free(port) {
        if let Some(holder) = holder(port) {
            return Some(holder);
        }
        if Instant::now() > end || wait::pause(stop, Duration::from_millis(20)).is_err() {
            return Some("a process of another user".into());
        }
    }
    None
}

/// The living process that listens on `port`, as "pid 4242 (java)"; `None` if it is hidden, like another user's.
fn holder(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        if !name.parse().is_ok_and(process::is_alive) {
            continue;
        }
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for file in files.flatten() {
            let Ok(target) = std::fs::read_link(file.path()) else { continue };
            let target = target.to_string_lossy();
            if inodes.iter().any(|inode| target == format!("socket:[{inode}]")) {
                let command = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Some(format!("pid {name} ({})", command.trim()));
            }
        }
    }
    None
}

/// The inodes of the sockets that listen on `port`, from the text of /proc/net/tcp. See proc(5): the second column is
/// the local address, the fourth the state (0A is LISTEN), the tenth the inode.
pub fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| columns.len() > 9 && columns[1].ends_with(&suffix) && columns[3] == "0A")
        .map(|columns| columns[9].to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // A program that another test starts shares our sockets between fork and exec.
        let eventually = |what: &dyn Fn() -> bool| {
            let mut tries = 0..2000;
            tries.any(|_| what() || wait::pause(&Stop::default(), Duration::from_millis(5)).is_err())
        };
        assert!(!is_free(port));
        let ours = format!("pid {} (", std::process::id());
        assert!(eventually(&|| holder(port).is_some_and(|holder| holder.starts_with(&ours))), "{:?}", holder(port));
        drop(listener);
        assert!(eventually(&|| is_free(port)));
    }

    #[test]
    fn only_listening_sockets_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:7DB5 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 24001 1 0 100 0 0 10 0
   1: 0100007F:7DB5 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 24002 1 0 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 24003 1 0 100 0 0 10 0
";
        assert_eq!(listening_inodes(table, 32181), ["24001"]);
        assert_eq!(listening_inodes(table, 22), ["24003"]);
        assert!(listening_inodes("garbage\n\n", 22).is_empty());
    }
}
