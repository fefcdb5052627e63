//! What holds now, as Prometheus reads it: text format 0.0.4, names after its conventions. Pure.

use std::fmt::Write as _;

use observer::event::{Counts, Event};

use crate::now::{Now, counts};

/// A metric.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    /// Labels and value of each sample.
    samples: Vec<(String, i64)>,
}

/// Returns all metrics.
pub fn text(now: &Now) -> String {
    let mut text = String::new();
    for Metric { name, kind, help, samples } in lab(now).into_iter().chain(partitions(now)).chain(clients(now)) {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{{{labels}}} {value}");
        }
    }
    text
}

fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: "gauge", help, samples: Vec::new() }
}

fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { kind: "counter", ..gauge(name, help) }
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    pairs.join(",")
}

fn lab(now: &Now) -> Vec<Metric> {
    let mut info = gauge("kafka_lab_info", "The lab that is observed.");
    if let Some(Event::Begin { lab, backend, kafka, .. }) = now.begin.as_ref().map(|line| &line.event) {
        info.samples.push((labels(&[("lab", lab), ("backend", backend), ("kafka", kafka)]), 1));
    }
    let mut answers = gauge("kafka_lab_broker_answers", "Whether the broker answers.");
    for line in now.brokers.values() {
        if let Event::Broker { broker, answers: does, .. } = line.event {
            answers.samples.push((labels(&[("broker", &broker.to_string())]), i64::from(does)));
        }
    }
    let mut controller = gauge("kafka_lab_controller_id", "Node id of the active controller; -1 if nobody knows one.");
    if let Some(Event::Controller { controller: id, .. }) = now.controller.as_ref().map(|line| &line.event) {
        controller.samples.push((String::new(), id.map_or(-1, i64::from)));
    }
    vec![info, answers, controller]
}

fn partitions(now: &Now) -> Vec<Metric> {
    let mut leader = gauge("kafka_lab_partition_leader_id", "Broker id of the leader; -1 if there is none.");
    let mut epoch = gauge("kafka_lab_partition_leader_epoch", "Epoch of the leader.");
    let mut replicas = gauge("kafka_lab_partition_replicas", "Number of replicas.");
    let mut in_sync = gauge("kafka_lab_partition_in_sync_replicas", "Number of in-sync replicas.");
    let mut first = gauge("kafka_lab_partition_log_start_offset", "First offset in the log.");
    let mut high =
        gauge("kafka_lab_partition_high_watermark", "Offset after the last message of every in-sync replica.");
    for (name, topic) in &now.topics {
        let labels = |partition: &i32| labels(&[("topic", name), ("partition", &partition.to_string())]);
        for (partition, line) in &topic.partitions {
            let Event::Partition { leader: id, epoch: of, isr, replicas: all, .. } = &line.event else { continue };
            leader.samples.push((labels(partition), id.map_or(-1, i64::from)));
            epoch.samples.push((labels(partition), i64::from(*of)));
            replicas.samples.push((labels(partition), whole(all.len())));
            in_sync.samples.push((labels(partition), whole(isr.len())));
        }
        for (partition, (from, to)) in &topic.offsets {
            first.samples.push((labels(partition), *from));
            high.samples.push((labels(partition), *to));
        }
    }
    vec![leader, epoch, replicas, in_sync, first, high]
}

fn clients(now: &Now) -> Vec<Metric> {
    let mut sent = counter("kafka_lab_producer_sent_messages_total", "Messages sent.");
    let mut acked = counter("kafka_lab_producer_acked_messages_total", "Messages acknowledged.");
    let mut received = counter("kafka_lab_consumer_received_messages_total", "Records received.");
    let mut lag = gauge("kafka_lab_consumer_lag_messages", "Records from the next offset to the high watermark.");
    let mut missing = gauge("kafka_lab_consumer_missing_messages", "Messages that are missing.");
    let mut duplicate = gauge("kafka_lab_consumer_duplicate_messages", "Messages that came more than once.");
    let mut disordered = gauge("kafka_lab_consumer_out_of_order_messages", "Messages that came out of order.");
    for ((topic, client), line) in &now.clients {
        let of_all = || labels(&[("client", client), ("topic", topic)]);
        let of =
            |partition: i32| labels(&[("client", client), ("topic", topic), ("partition", &partition.to_string())]);
        match counts(line) {
            Some(Counts::Producer { partitions, .. }) => {
                for (partition, of_sent, of_acked) in partitions {
                    sent.samples.push((of(*partition), whole(*of_sent)));
                    acked.samples.push((of(*partition), whole(*of_acked)));
                }
            }
            Some(Counts::Consumer { partitions, missing: lost, duplicate: twice, out_of_order, .. }) => {
                for (partition, count, next) in partitions {
                    received.samples.push((of(*partition), whole(*count)));
                    lag.samples.extend(now.lag(topic, *partition, *next).map(|lag| (of(*partition), lag)));
                }
                missing.samples.push((of_all(), whole(*lost)));
                duplicate.samples.push((of_all(), whole(*twice)));
                disordered.samples.push((of_all(), whole(*out_of_order)));
            }
            None => {}
        }
    }
    vec![sent, acked, received, lag, missing, duplicate, disordered]
}

fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::now::tests::lines;

    #[test]
    fn every_metric_has_its_help_and_type_and_says_what_the_lines_say() {
        let mut now = Now::default();
        let lines = lines();
        lines[..16].iter().for_each(|line| now.apply(line));
        let text = text(&now);
        for line in [
            r#"kafka_lab_info{lab="a \"lab\"",backend="local",kafka="3.3.2/zookeeper"} 1"#,
            r#"kafka_lab_broker_answers{broker="1"} 0"#,
            r#"kafka_lab_controller_id{} 0"#,
            r#"kafka_lab_partition_leader_id{topic="test",partition="1"} -1"#,
            r#"kafka_lab_partition_in_sync_replicas{topic="drill-1",partition="0"} 2"#,
            r#"kafka_lab_partition_high_watermark{topic="test",partition="0"} 8"#,
            r#"kafka_lab_producer_acked_messages_total{client="producer-1",topic="drill-1",partition="0"} 8"#,
            r#"kafka_lab_consumer_lag_messages{client="consumer",topic="test",partition="0"} 3"#,
            r#"kafka_lab_consumer_duplicate_messages{client="consumer",topic="test"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
        let mut named = Vec::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                named.push(help.split(' ').next().unwrap_or_default());
            } else {
                let name = line.trim_start_matches("# TYPE ").split([' ', '{']).next();
                assert_eq!(name, named.last().copied(), "{line}");
                assert!(!line.starts_with("# TYPE") || line.ends_with("counter") == line.contains("_total"), "{line}");
            }
        }
        assert_eq!(named.len(), 16);
    }
}
