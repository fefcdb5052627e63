//! Mends what a drill broke.

use std::time::Duration;

use crate::brokers;
use crate::drill::control::Without;
use crate::failure::Result;
use crate::task::Task;

/// How often the brokers are asked.
pub const INTERVAL: Duration = Duration::from_millis(200);

/// Starts and resumes every server that should run, then waits until every replica of `topic` is in sync.
///
/// # Errors
/// A server does not start, or a replica does not catch up in time.
pub fn mend(task: &Task<'_>, topic: Option<&str>, without: Without) -> Result<()> {
    task.ctx.driver.restore(task)?;
    topic.map_or(Ok(()), |topic| in_sync(task, topic, without))
}

/// Waits until each broker reports every replica of every partition as in sync.
///
/// # Errors
/// A replica does not catch up in time.
pub fn in_sync(task: &Task<'_>, topic: &str, without: Without) -> Result<()> {
    let lab = task.lab();
    // A broker that lost its disk in a long soak fetches gigabytes.
    let usual = 4 * lab.timeout(|t| t.broker);
    let timeout = if without.strike { without.timeout(usual) } else { usual };
    let synced = task.wait("every ISR", timeout, INTERVAL, || {
        let answers = brokers::metadata(task, topic, &lab.bootstrap())?.unwrap_or_default();
        Ok(brokers::in_sync(topic, &answers, lab.broker_ids().count()))
    });
    synced.map(drop)
}
