//! Timestamps for output.

use jiff::Timestamp;

/// The current time in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// Formats a time as `2024/11/23 07:35:35` in UTC. Local time would need the host's zone files, and containers use UTC
/// anyway.
pub fn date(time: Timestamp) -> String {
    time.strftime("%Y/%m/%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn dates_are_civil_and_utc() {
        let date = |seconds| date(Timestamp::from_second(seconds).unwrap());
        assert_eq!(date(0), "1970/01/01 00:00:00");
        assert_eq!(date(1_732_347_335), "2024/11/23 07:35:35");
        assert_eq!(date(1_709_164_799), "2024/02/28 23:59:59");
        assert_eq!(date(1_709_164_800), "2024/02/29 00:00:00");
        assert_eq!(date(951_868_800), "2000/03/01 00:00:00");
    }
}
