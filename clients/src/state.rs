//! The state file: a client's last `"checkpoint"` or `"end"` line in JSON, kept for other programs.
//!
//! A container made from scratch has no `cat`, so the binary prints it: `kubectl exec POD -- /clients state`.
//!
//! The file always fits a volume of 16 MiB together with its replacement: a line has at most [`STREAMS_MAX`] streams
//! and [`ledger::lines::LINE_INTERVALS_MAX`] intervals, about 6 MiB with a thousand partitions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Maximum number of streams in a line. Streams beyond it are counted as folded.
pub const STREAMS_MAX: usize = 8192;

/// A file whose content is replaced atomically.
///
/// Not with the crate `tempfile`: its files have random names, so each killed client would leave one in a small volume.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    partial: PathBuf,
}

impl StateFile {
    /// A state file at `path`. Removes a file that an earlier process left there, so that it is not mistaken for this
    /// one's.
    pub fn new(path: &Path) -> Self {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        // Usually there is none. A file that cannot be removed cannot be replaced either, and that is logged.
        let _ = fs::remove_file(path);
        Self { path: path.to_path_buf(), partial: partial.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file. A reader sees the old line or the new one, never a part.
    ///
    /// # Errors
    /// If the folder is missing, full or not writable. The old line stays then.
    pub fn write(&self, line: &[u8]) -> io::Result<()> {
        let written = fs::write(&self.partial, line).and_then(|()| fs::rename(&self.partial, &self.path));
        if written.is_err() {
            // A partial line would only take the space that the next one needs.
            let _ = fs::remove_file(&self.partial);
        }
        written
    }
}

/// Reads the last line that a client wrote.
///
/// # Errors
/// If there is none.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| {
        let path = path.display();
        format!("--state-file {path}: no state found; a client started with this --state-file writes one each second")
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use ledger::intervals::IntervalSet;
    use ledger::lines::{
        CONSUMER, ConsumerState, LINE_INTERVALS_MAX, ReceivePartition, ReceiveStream, ReceiveTotals, StateEvent,
    };
    use ledger::received::{PartitionLedger, Record};
    use ledger::stamp::{ProducerId, RunId};

    use super::*;

    /// 15 digits, the maximum for any number in a line.
    const LARGE: u64 = 999_999_999_999_999;

    /// The longest possible line of a consumer of `partitions` partitions.
    fn longest(partitions: usize) -> ConsumerState {
        let run: RunId = "r".repeat(32).parse().unwrap();
        let mut ledger = PartitionLedger::new(9999, LARGE.cast_signed() - 999, None);
        for epoch in 0..64 {
            let mut record = Record::new(ledger.next, None);
            record.leader_epoch = Some(1_000_000_000 + epoch);
            ledger.record(record);
        }
        let mut row = ReceivePartition::new(&ledger, None, (Some(LARGE.cast_signed()), Some(LARGE.cast_signed())));
        row.stuck = Some("_UNSUPPORTED_COMPRESSION_TYPE".into());
        let totals = ReceiveTotals {
            records: LARGE,
            received: LARGE,
            missing: LARGE,
            duplicate: LARGE,
            out_of_order: LARGE,
            other_runs: LARGE,
            foreign: LARGE,
            ..row.counts
        };
        row.counts = totals;
        // The maximum number of intervals, each as long as possible.
        let each = LINE_INTERVALS_MAX / STREAMS_MAX;
        let mut missing = IntervalSet::default();
        for n in 0..each as u64 {
            assert!(missing.insert(LARGE - 4 * n - 2, LARGE - 4 * n));
        }
        let stream = ReceiveStream {
            run,
            producer: ProducerId(u32::MAX),
            epoch: u32::MAX,
            partition: 9999,
            received: LARGE,
            first: LARGE,
            next: LARGE,
            missing_count: LARGE,
            unread: IntervalSet::default(),
            missing,
            duplicate: LARGE,
            duplicates: IntervalSet::default(),
            out_of_order: LARGE,
            exact: false,
        };
        ConsumerState {
            schema: CONSUMER.into(),
            event: StateEvent::Checkpoint,
            time_ms: LARGE,
            elapsed_ms: LARGE,
            run: Some(run),
            reason: None,
            totals,
            partitions: vec![row; partitions],
            streams: vec![stream; STREAMS_MAX],
            topic_id: Some("AAAAAAAAAAAAAAAAAAAAAA".into()),
        }
    }

    #[test]
    fn the_longest_line_fits_twice_into_the_volume() {
        let line = serde_json::to_vec(&longest(1000).fitted(LINE_INTERVALS_MAX)).unwrap();
        assert!(line.len() <= 8 * 1024 * 1024, "{}", line.len());
        // If it were much shorter, the limit would say little.
        assert!(line.len() >= 4 * 1024 * 1024, "{}", line.len());
    }

    #[test]
    fn the_file_holds_the_last_line_of_this_process_and_nothing_is_left_beside_it() {
        let folder = std::env::temp_dir().join(format!("clients-state-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("state.json");
        fs::write(&path, "of an earlier process").unwrap();
        let state = StateFile::new(&path);
        assert!(!path.exists());
        for line in ["a longer first line\n", "second\n"] {
            state.write(line.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), line);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
        assert!(state.write(b"third\n").is_err());
    }
}
