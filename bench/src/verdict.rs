//! Decides whether a result belongs to its regime. Pure.

use crate::result::{RegimeName, Round};
use crate::stats::Spread;

/// A client is the limit if it keeps its core busy for at least this share of the time,
const CLIENT_BUSY: f64 = 0.9;

/// and the servers do not keep theirs busy for more than this.
const SERVERS_BUSY: f64 = 0.95;

/// Why rounds of a client are no result of a regime; `None` if they are one. The servers have `server_cores` cores.
pub fn void(regime: RegimeName, server_cores: usize, rounds: &[Round]) -> Option<String> {
    if regime == RegimeName::Real {
        return None;
    }
    let share = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure)).map(|spread| spread.median);
    let client = share(|round| round.busy_cores)?;
    // They work for this client alone, so that their time belongs to its seconds.
    let servers = share(|round| round.servers_cpu_s / round.seconds)? / server_cores.max(1) as f64;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    if client < CLIENT_BUSY {
        let (seen, needed) = (percent(client), percent(CLIENT_BUSY));
        return Some(format!(
            "the client was not the limit: its core was busy {seen} of the time, not {needed}; the servers' {}",
            percent(servers)
        ));
    }
    (servers > SERVERS_BUSY)
        .then(|| format!("the servers were a limit too: their cores were busy {} of the time", percent(servers)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(client: f64, servers: f64) -> Round {
        Round {
            round: 1,
            seconds: 10.0,
            wall_s: 10.0,
            cpu_s: client,
            busy_cores: client / 10.0,
            peak_kib: 1,
            delivered: 1,
            servers_cpu_s: servers,
            others_cpu_s: 0.0,
        }
    }

    #[test]
    fn a_client_that_waits_is_no_result_of_the_regime_that_it_should_limit() {
        let of = |regime, client, servers| void(regime, 1, &[round(client, servers)]);
        assert_eq!(of(RegimeName::ClientBound, 9.8, 7.0), None);
        assert!(
            of(RegimeName::ClientBound, 5.0, 9.9).is_some_and(|why| why.contains("busy 50 % of the time, not 90 %"))
        );
        assert!(of(RegimeName::ClientBound, 9.8, 9.9).is_some_and(|why| why.contains("servers were a limit too")));
        assert_eq!(of(RegimeName::Real, 5.0, 9.9), None);
        assert_eq!(void(RegimeName::ClientBound, 3, &[round(9.5, 20.0)]), None);
    }
}
