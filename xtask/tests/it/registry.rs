//! The tests' own registry: it returns the images that were pushed, and has the requested faults only.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::engine::{docker, kafka_image};
use crate::common::registry::Registry;
use crate::common::start;

fn id(image: &str) -> String {
    docker(["image", "inspect", "--format", "{{.Id}}", image]).stdout.trim().into()
}

#[test]
fn images_are_returned_unchanged() {
    let registry = Registry::start(&[]);
    let kafka = registry.push(kafka_image(), "lab/kafka:1");
    assert_eq!(id(&kafka), "", "the engine still has the name");
    docker(["pull", &kafka]).expect(0);
    assert_eq!(id(&kafka), id(kafka_image()));

    // The engine has every layer of that image, but none of this one.
    let new = registry.push_new("scratch", "lab/new:1");
    assert_eq!(id(&new), "", "the engine still has the image");
    assert!(docker(["pull", &new]).expect(0).stdout.contains("Pull complete"));
    assert_ne!(id(&new), "");

    let address = registry.address.clone();
    drop(registry);
    assert!(TcpStream::connect(&address).is_err(), "the registry still listens");
    let left = docker(["images", "--digests", "--format", "{{.Repository}}"]).expect(0).stdout;
    assert!(!left.contains(&address), "{left}");
}

#[test]
fn a_failing_pull_fails() {
    for pattern in ["/manifests/", "/blobs/"] {
        let registry = Registry::start(&["-fail", pattern]);
        let name = registry.push_new("scratch", "lab/failing:1");
        docker(["pull", &name]).expect(1).says(&["500 Internal Server Error"]);
        assert_eq!(id(&name), "");
    }
    let registry = Registry::start(&["-fail", "/lab/other/"]);
    docker(["pull", &registry.push_new("scratch", "lab/failing:1")]).expect(0);
}

#[test]
fn a_slow_pull_takes_the_delay() {
    let registry = Registry::start(&["-delay", "2s"]);
    let name = registry.push_new("scratch", "lab/slow:1");
    let begin = Instant::now();
    docker(["pull", &name]).expect(0);
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn a_stalled_registry_does_not_answer() {
    let registry = Registry::start(&["-stall"]);
    let mut connection = TcpStream::connect(&registry.address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    connection.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(connection.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);

    // The engine would give up after 25 s.
    let mut pull = start(Command::new("docker").args(["pull", &registry.name("lab/stalled:1")]));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(pull.try_wait().unwrap(), None);
    pull.kill().unwrap();
    pull.wait().unwrap();
}

#[test]
fn it_ends_with_the_test_and_on_sigterm() {
    let close = |registry: &mut Registry| drop(registry.process.stdin.take());
    let ask = |registry: &mut Registry| kill_process(Pid::from_child(&registry.process), Signal::TERM).unwrap();
    for end in [close, ask] {
        let mut registry = Registry::start(&[]);
        end(&mut registry);
        let begin = Instant::now();
        while registry.process.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < Duration::from_secs(10), "it is still running");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(registry.process.wait().unwrap().success());
    }
}
