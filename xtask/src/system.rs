//! This machine's time, memory and free disk space.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes in a mebibyte.
pub const MIB: u64 = 1024 * 1024;

/// Returns the time, in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Returns a time in ms since the Unix epoch as `2026-11-29 14:02:33 UTC`.
pub fn utc(ms: u64) -> String {
    let (day, second) = (ms / 86_400_000, ms / 1000 % 86_400);
    // Days from 0000-03-01, so that a leap day is the last of its year (Howard Hinnant, "days_from_civil").
    let days = day + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let (month, date) = (if march < 10 { march + 3 } else { march - 9 }, of_year - (153 * march + 2) / 5 + 1);
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Returns MemAvailable or what the control group still allows, whichever is less, in bytes.
pub fn available_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024;
    let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ]
    .iter()
    .find_map(|(limit, used)| Some(read(limit)?.saturating_sub(read(used)?)));
    Some(group.map_or(machine, |group| machine.min(group)))
}

/// Returns the seconds from the Unix epoch to the beginning of a day in UTC; `None` for a month or day that is none.
pub fn utc_seconds(year: u64, month: u64, day: u64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let month = if month > 2 { month - 3 } else { month + 9 };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((i64::try_from(days).ok()? - 719_468) * 86_400)
}

/// Returns a problem if fewer than the `need` bytes for `what` are free in `dir`.
pub fn lack_of_space(dir: &Path, need: u64, what: &str) -> Option<String> {
    let free = free_space(dir).filter(|free| *free < need)?;
    Some(format!("{} MiB are free in {}, {what} needs {} MiB", free / MIB, dir.display(), need / MIB))
}

/// Returns the free bytes in `dir`, or in its nearest existing parent.
pub fn free_space(dir: &Path) -> Option<u64> {
    let mut dir: PathBuf = dir.into();
    while !dir.exists() {
        dir = dir.parent()?.into();
    }
    let stat = rustix::fs::statvfs(&dir).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// Whether another file system, or another folder, is mounted at `dir`. Unknown means no.
#[cfg(target_os = "linux")]
pub fn is_mount_point(dir: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    statx(CWD, dir, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()).is_ok_and(|found| {
        let known = found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        known && found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    })
}

/// Whether another file system is mounted at `dir`. Unknown means no.
#[cfg(not(target_os = "linux"))]
pub fn is_mount_point(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |dir: &Path| dir.symlink_metadata().map(|meta| meta.dev()).ok();
    dir.parent().is_some_and(|parent| device(parent) != device(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399_999, "2000-02-28 23:59:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_795_376_244_775, "2026-11-22 19:37:24 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(ms), text);
            let number = |from: usize, to: usize| text[from..to].parse().unwrap();
            let day = utc_seconds(number(0, 4), number(5, 7), number(8, 10)).unwrap();
            assert_eq!(day, i64::try_from(ms / 86_400_000 * 86_400).unwrap());
        }
    }

    #[test]
    fn free_space_is_that_of_the_nearest_parent() {
        assert!(free_space(Path::new("/nonexistent/a/b")).is_some());
        assert!(available_memory().is_some_and(|bytes| bytes > 0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_mount_point_is_known() {
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(Path::new("/proc/self")) && !is_mount_point(Path::new("/nonexistent")));
    }
}
