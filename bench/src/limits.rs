//! What this machine can do at all: the limits beside which the clients' figures are read.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use crate::result::Limit;
use crate::stop::Stop;

/// How long each limit is measured.
const FOR: Duration = Duration::from_secs(1);

const MIB: usize = 1 << 20;

/// Messages of the loops with librdkafka.
const MESSAGES: u64 = 500_000;

type Measure = fn(usize) -> Result<f64>;

/// Measures all limits, with values of `size` bytes.
///
/// # Errors
/// One of them cannot be measured, or a signal arrived.
pub fn measure(size: usize, stop: &Stop) -> Result<Vec<Limit>> {
    let all: [(&str, &str, &str, Measure); 6] = [
        ("loopback", "GB/s", "one TCP connection, writes of 1 MiB, one thread at each end", |_| loopback()),
        ("memory", "GB/s", "copies of 64 MiB on one core", |_| Ok(memory())),
        ("page cache", "GB/s", "writes of 1 MiB to a file of 256 MiB again and again, never synchronized", |_| {
            page_cache()
        }),
        ("one core", "million steps/s", "a chain of multiplications and shifts, each waiting for the last", |_| {
            Ok(core())
        }),
        ("librdkafka without brokers", "msg/s", "messages accepted by a producer that has nobody to send to", enqueue),
        (
            "librdkafka with mock brokers",
            "msg/s",
            "messages acknowledged by librdkafka's own mock cluster of three, on the \
         same cores, acks=all, idempotent, linger.ms=50, partition by partition",
            mock,
        ),
    ];
    let one = |(name, unit, how, of): (&str, &str, &str, Measure)| {
        stop.check()?;
        let value = of(size).with_context(|| format!("cannot measure the limit {name}"))?;
        eprintln!("bench: limit: {name}: {value:.2} {unit}");
        Ok(Limit { name: name.into(), value, unit: unit.into(), how: how.into() })
    };
    all.into_iter().map(one).collect()
}

/// Calls `step` for a while, and returns how much it did each second.
fn per_second(mut step: impl FnMut() -> Result<f64>) -> Result<f64> {
    let (begin, mut done) = (Instant::now(), 0.0);
    while begin.elapsed() < FOR {
        done += step()?;
    }
    Ok(done / begin.elapsed().as_secs_f64())
}

fn loopback() -> Result<f64> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut to = TcpStream::connect(listener.local_addr()?)?;
    let (mut from, _) = listener.accept()?;
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; MIB];
        while from.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    let buffer = vec![1; MIB];
    let rate = per_second(|| {
        to.write_all(&buffer)?;
        Ok(MIB as f64 / 1e9)
    });
    drop(to);
    if reading.join().is_err() {
        bail!("the reader failed");
    }
    rate
}

fn memory() -> f64 {
    let (from, mut to) = (vec![1_u8; 64 * MIB], vec![0_u8; 64 * MIB]);
    let copy = || {
        to.copy_from_slice(black_box(&from));
        black_box(&to);
        Ok(to.len() as f64 / 1e9)
    };
    per_second(copy).unwrap_or(0.0)
}

fn page_cache() -> Result<f64> {
    let path = std::env::temp_dir().join(format!("kafka-lab-bench-{}.bytes", std::process::id()));
    let mut file = std::fs::File::create_new(&path)?;
    // The file stays until it is closed.
    std::fs::remove_file(&path)?;
    let (buffer, mut at) = (vec![1; MIB], 0);
    per_second(|| {
        if at == 256 {
            std::io::Seek::rewind(&mut file)?;
            at = 0;
        }
        at += 1;
        file.write_all(&buffer)?;
        Ok(MIB as f64 / 1e9)
    })
}

fn core() -> f64 {
    const STEPS: u32 = 10_000_000;
    let mut state = 1_u64;
    let steps = || {
        for _ in 0..STEPS {
            state = (state ^ (state >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        }
        black_box(state);
        Ok(f64::from(STEPS) / 1e6)
    };
    per_second(steps).unwrap_or(0.0)
}

fn enqueue(size: usize) -> Result<f64> {
    let mut config = ClientConfig::new();
    config.set("queue.buffering.max.messages", "0").set("queue.buffering.max.kbytes", "2097151");
    config.set("linger.ms", "60000").set("log_level", "0");
    let producer: BaseProducer = config.create()?;
    let payload = vec![1; size];
    // As much as fits into a gigabyte.
    let messages = MESSAGES.min(1_000_000_000 / (size as u64 + 300));
    let begin = Instant::now();
    for _ in 0..messages {
        producer.send(BaseRecord::<(), _>::to("nowhere").partition(0).payload(&payload)).map_err(|(error, _)| error)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
    producer.poll(Duration::ZERO);
    Ok(messages as f64 / seconds)
}

fn mock(size: usize) -> Result<f64> {
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(3)?;
    cluster.create_topic("bench", 4, 3)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("enable.idempotence", "true");
    config.set("acks", "all").set("linger.ms", "50");
    let producer: BaseProducer = config.create()?;
    let payload = vec![1; size];
    let begin = Instant::now();
    for at in 0..MESSAGES {
        let partition = i32::try_from(at % 4)?;
        loop {
            let record = BaseRecord::<(), _>::to("bench").partition(partition).payload(&payload);
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        if at % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(MESSAGES as f64 / begin.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn every_limit_is_found() {
        let limits = measure(100, &Stop::default()).unwrap();
        assert_eq!(limits.len(), 6);
        assert!(limits.iter().all(|limit| limit.value > 0.01), "{limits:?}");
    }
}
