//! The proofs that a fault struck, judged from observations. Pure.
//!
//! A proof is shown, absent (no observation shows it) or contradicted (an observation shows the opposite). Only a proof
//! that is shown counts.

use std::collections::BTreeMap;

use ledger::lines::{Gap, Milestone, Reason};
use ledger::size;
use ledger::stamp::{Encoder, RunId};
use serde::Serialize;

use crate::drill::moves::{EndSignal, Target};
use crate::drill::observations::{LoadProgress, Observations, PodSeen, Registrations, Termination};
use crate::drill::timing;
use crate::words::listed;

/// The most messages of a partition that the producer hands to librdkafka at a time: a batch of stamps alone.
fn batch() -> u64 {
    size::records(size::BATCH_BYTES, Encoder::minimum_size(RunId::random())).into()
}

/// How far the wall clock may be from the monotonic one, besides drift: both are not read at once.
pub const CLOCK_MS: u64 = 200;

/// Evidence that a fault must leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Each process ran until the signal, and then ended.
    Ended(Target, EndSignal),
    /// Each process was paused for at least so many ms (state T in proc(5)).
    Paused(Target, u64),
    /// The coordinator did not answer for at least so many ms.
    Silent(u64),
    /// The session of each broker ended before the broker was started or resumed.
    Expired(Target),
    /// The session of each broker ended.
    SessionGone(Target),
    /// The session of each broker stayed.
    SessionsKept(Target),
    /// Another broker or, in KRaft mode, another node became controller.
    NewController,
    /// Another broker led the partition meanwhile, and records have a higher leader epoch.
    EpochRaised(Target),
    /// Records have the same leader epoch.
    EpochSame,
    /// Each broker logged a controlled shutdown: the controller took its partitions over before it ended.
    HandedOver(Target),
    /// Nothing was acknowledged in any partition while servers were down.
    StoodStill,
    /// Messages of each partition were acknowledged while the target was down.
    AckedMeanwhile(Target),
    /// Acknowledgements in the leader's partition paused for at least so many ms.
    AcksWaited(u64),
    /// Each partition had no receipt for at least so many ms, while acknowledgements continued.
    Lagged(u64),
    /// The consumer had read everything while the producer was paused.
    CaughtUp,
    /// The producer had no more than a batch of each partition in flight.
    HeldBack,
    /// Each process that got SIGTERM wrote its `end` line, with the signal as the reason.
    EndLines(Target),
    /// Every consumer started where the run began, and the last one received at least what the earlier ones had.
    ReadAgain,
    /// Messages of each partition were acknowledged before the first consumer was started.
    ConsumerLate,
    /// Both clients ran for at least so many ms without the topic, and nothing was acknowledged.
    TopicLate(u64),
    /// The broker's folders of the topic had records, and were removed.
    Emptied(Target),
    /// The topic has another id.
    TopicIdChanged,
    /// The topic has twice as many partitions.
    PartitionsDoubled,
    /// Each broker has another pod of the same name.
    NewPod(Target),
    /// Each broker has the same pod, and its container was restarted.
    ContainerRestarted(Target),
    /// Docker reported the node of each broker as paused for at least so many ms.
    NodePaused(Target, u64),
    /// The node of each broker was restarted.
    NodeRestarted(Target),
    /// Every former pod of CoreDNS is gone or terminating, and there are new ones.
    DnsReplaced,
}

/// Whether a proof was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofStatus {
    /// Observations show it.
    Shown,
    /// No observation shows it.
    Absent,
    /// Observations show the opposite.
    Contradicted,
}

/// A proof as judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProofResult {
    /// The proof, as text.
    pub looked_for: String,
    /// Whether it was seen.
    pub found: ProofStatus,
    /// What was seen, as text.
    pub seen: String,
}

impl Proof {
    /// Returns its target, which must be resolved before the first move.
    pub fn target(self) -> Option<Target> {
        match self {
            Proof::Ended(target, _)
            | Proof::Paused(target, _)
            | Proof::Expired(target)
            | Proof::SessionGone(target)
            | Proof::SessionsKept(target)
            | Proof::EpochRaised(target)
            | Proof::HandedOver(target)
            | Proof::AckedMeanwhile(target)
            | Proof::EndLines(target)
            | Proof::Emptied(target)
            | Proof::NewPod(target)
            | Proof::ContainerRestarted(target)
            | Proof::NodePaused(target, _)
            | Proof::NodeRestarted(target) => Some(target),
            Proof::EpochSame | Proof::AcksWaited(_) => Some(Target::Leader),
            // In KRaft mode, another proof names the target.
            Proof::NewController => None,
            _ => None,
        }
    }

    /// Returns the proof as text.
    pub fn words(self) -> String {
        match self {
            Proof::Ended(target, EndSignal::Kill) => format!("{target} ran until SIGKILL, and then ended"),
            Proof::Ended(target, EndSignal::Term) => format!("{target} ran until SIGTERM, and then ended"),
            Proof::Paused(target, ms) => {
                let verb = if target == Target::Followers { "were" } else { "was" };
                format!("{target} {verb} paused for {} or more (state T)", seconds(ms))
            }
            Proof::Silent(ms) => format!("the coordinator did not answer for {} or more", seconds(ms)),
            Proof::Expired(target) => format!("the session of {target} ended before mending began"),
            Proof::SessionGone(target) => format!("the session of {target} ended"),
            Proof::SessionsKept(target) => format!("the session of {target} stayed"),
            Proof::NewController => "another one became controller".into(),
            Proof::EpochRaised(target) => {
                format!("the partition of {target} got another leader, and its records a higher leader epoch")
            }
            Proof::EpochSame => "records of the leader's partition keep their leader epoch".into(),
            Proof::HandedOver(target) => {
                format!("{target} handed its partitions over before it ended (controlled shutdown)")
            }
            Proof::StoodStill => "nothing was acknowledged while servers were down".into(),
            Proof::AckedMeanwhile(target) => format!("every partition acknowledged messages without {target}"),
            Proof::AcksWaited(ms) => {
                format!("acknowledgements of the leader's partition paused for {} or more", seconds(ms))
            }
            Proof::Lagged(ms) => format!("no receipts for {} or more, while acknowledgements continued", seconds(ms)),
            Proof::CaughtUp => "the consumer had read everything before the producer resumed".into(),
            Proof::HeldBack => "the producer had at most one batch of each partition in flight".into(),
            Proof::EndLines(target) => format!("every process of {target} that got SIGTERM wrote its end line"),
            Proof::ReadAgain => {
                "every consumer started where the run began, and the last one received no less than those before it"
                    .into()
            }
            Proof::ConsumerLate => {
                "messages of every partition were acknowledged before the consumer was started".into()
            }
            Proof::TopicLate(ms) => {
                format!("both clients ran for {} or more without the topic, and nothing was acknowledged", seconds(ms))
            }
            Proof::Emptied(target) => format!("the topic's records on the disk of {target} were removed"),
            Proof::TopicIdChanged => "the topic has another id".into(),
            Proof::PartitionsDoubled => "the topic has twice as many partitions".into(),
            Proof::NewPod(target) => format!("{target} has another pod (uid)"),
            Proof::ContainerRestarted(target) => format!("{target} has the same pod, and its container was restarted"),
            Proof::NodePaused(target, ms) => {
                format!("Docker reported the node of {target} as paused for {} or more", seconds(ms))
            }
            Proof::NodeRestarted(target) => format!("the node of {target} was restarted"),
            Proof::DnsReplaced => "CoreDNS has other pods".into(),
        }
    }

    /// Judges it.
    pub fn judge(self, observed: &Observations) -> ProofResult {
        let (found, seen) = match self.seen(observed) {
            Ok(seen) => (ProofStatus::Shown, seen),
            Err((found, seen)) => (found, seen),
        };
        ProofResult { looked_for: self.words(), found, seen }
    }

    fn seen(self, observed: &Observations) -> Judgement {
        match self {
            Proof::Ended(target, signal) => ended(observed, target, signal),
            Proof::Paused(target, ms) => paused(observed, target, ms),
            Proof::Silent(ms) => silent(observed, ms),
            Proof::Expired(target) => match observed.mending_ms.get(&target) {
                Some(until) => sessions_gone(observed, target, *until),
                None => absent(format!("{target} was not mended")),
            },
            Proof::SessionGone(target) => sessions_gone(observed, target, u64::MAX),
            Proof::SessionsKept(target) => sessions_kept(observed, target),
            Proof::NewController => new_controller(observed),
            Proof::EpochRaised(target) => epoch_raised(observed, target),
            Proof::EpochSame => epoch_same(observed),
            Proof::HandedOver(target) => handed_over(observed, target),
            Proof::StoodStill => stood_still(observed),
            Proof::AckedMeanwhile(target) => acked_meanwhile(observed, target),
            Proof::AcksWaited(ms) => acks_waited(observed, ms),
            Proof::Lagged(ms) => lagged(observed, ms),
            Proof::CaughtUp => caught_up(observed),
            Proof::HeldBack => held_back(observed),
            Proof::EndLines(target) => end_lines(observed, target),
            Proof::ReadAgain => read_again(observed),
            Proof::ConsumerLate => consumer_late(observed),
            Proof::TopicLate(ms) => topic_late(observed, ms),
            Proof::Emptied(target) => emptied(observed, target),
            Proof::TopicIdChanged => {
                pair(&observed.topic_id.before, &observed.topic_id.after, "its id", String::clone, |before, after| {
                    before != after
                })
            }
            Proof::PartitionsDoubled => {
                let (before, after) = (&observed.partitions.before, &observed.partitions.after);
                pair(before, after, "partitions", u32::to_string, |before, after| *before > 0 && *after == 2 * before)
            }
            Proof::NewPod(target) => pods(observed, target, |before, after| before.uid != after.uid),
            Proof::ContainerRestarted(target) => {
                pods(observed, target, |before, after| before.uid == after.uid && after.restarts > before.restarts)
            }
            Proof::NodePaused(target, ms) => node_paused(observed, target, ms),
            Proof::NodeRestarted(target) => node_restarted(observed, target),
            Proof::DnsReplaced => pair(
                &observed.dns.before,
                &observed.dns.after,
                "its pods",
                |pods| listed(pods),
                |before, after| !before.is_empty() && !after.is_empty() && before.is_disjoint(after),
            ),
        }
    }
}

/// What shows a proof, or else why it is not shown.
type Judgement = Result<String, (ProofStatus, String)>;

fn absent(why: impl Into<String>) -> Judgement {
    Err((ProofStatus::Absent, why.into()))
}

fn contradicted(why: impl Into<String>) -> Judgement {
    Err((ProofStatus::Contradicted, why.into()))
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

/// Compares a pair that must differ in the right way.
fn pair<T>(
    before: &Option<T>,
    after: &Option<T>,
    what: &str,
    shown: impl Fn(&T) -> String,
    differs: impl Fn(&T, &T) -> bool,
) -> Judgement {
    match (before, after) {
        (Some(before), Some(after)) => {
            let text = format!("{what}: {}, then {}", shown(before), shown(after));
            if differs(before, after) { Ok(text) } else { contradicted(text) }
        }
        _ => absent(format!("{what} could not be observed")),
    }
}

/// Judges every broker of `target`; the first that does not show the proof decides.
fn each(observed: &Observations, target: Target, one: impl FnMut(u32) -> Judgement) -> Judgement {
    let ids = observed.brokers.get(&target).filter(|ids| !ids.is_empty());
    let Some(ids) = ids else { return absent(format!("{target} was not resolved")) };
    let seen: Vec<String> = ids.iter().copied().map(one).collect::<Result<_, _>>()?;
    Ok(seen.join("; "))
}

fn ended(observed: &Observations, target: Target, signal: EndSignal) -> Judgement {
    let mine: Vec<&Termination> =
        observed.terminations.iter().filter(|one| one.target == target && one.signal == signal).collect();
    let wanted = observed.count(target);
    if mine.is_empty() || mine.len() < wanted {
        return absent(format!("{} of {wanted} processes got the signal", mine.len()));
    }
    for one in &mine {
        let what = match (one.ran, one.reached, one.ended) {
            (false, ..) | (_, false, _) => "had ended before the signal",
            (.., false) => "did not end",
            _ => continue,
        };
        return contradicted(format!("{} {what}", one.name));
    }
    Ok(mine.iter().map(|one| format!("{} ended", one.name)).collect::<Vec<_>>().join(", "))
}

fn paused(observed: &Observations, target: Target, ms: u64) -> Judgement {
    let mine: Vec<_> = observed.paused.iter().filter(|paused| paused.target == target).collect();
    let wanted = observed.count(target);
    if mine.is_empty() || mine.len() < wanted || mine.iter().any(|paused| paused.samples == 0) {
        return absent(format!("{} of {wanted} processes were sampled", mine.len()));
    }
    let text = mine.iter().map(|paused| format!("{} paused for {}", paused.name, seconds(paused.paused_ms)));
    let text = text.collect::<Vec<_>>().join(", ");
    match mine.iter().all(|paused| paused.paused_ms >= ms) {
        true => Ok(text),
        false => contradicted(text),
    }
}

fn silent(observed: &Observations, ms: u64) -> Judgement {
    let most = || observed.hit(Target::MostControllers);
    let Some(hit) = observed.hit(Target::Coordinator).or_else(most) else { return absent("nothing was struck") };
    let longest = observed.registrations.iter().filter(|seen| seen.sessions.is_none() && seen.to_ms >= hit);
    let longest = longest.map(|seen| seen.to_ms.saturating_sub(seen.from_ms.max(hit))).max();
    match longest {
        Some(longest) if longest >= ms => Ok(format!("no answer for {}", seconds(longest))),
        Some(longest) => contradicted(format!("no answer for only {}", seconds(longest))),
        None if observed.registrations.is_empty() => absent("the coordinator was not asked"),
        None => contradicted("it answered every time"),
    }
}

/// Returns when `target` was struck, and the broker's session then.
fn session_before(observed: &Observations, target: Target, id: u32) -> Option<(u64, &str)> {
    let hit = observed.hit(target)?;
    let before =
        observed.registrations.iter().filter(|seen| seen.from_ms <= hit).rfind(|seen| seen.sessions.is_some())?;
    Some((hit, before.sessions.as_ref()?.get(&id)?))
}

/// Returns the coordinator's answers after a time.
fn answers_after(observed: &Observations, ms: u64) -> impl Iterator<Item = (&Registrations, &BTreeMap<u32, String>)> {
    observed
        .registrations
        .iter()
        .filter(move |seen| seen.to_ms > ms)
        .filter_map(|seen| Some((seen, seen.sessions.as_ref()?)))
}

fn sessions_gone(observed: &Observations, target: Target, until: u64) -> Judgement {
    each(observed, target, |id| session_gone(observed, target, id, until))
}

fn session_gone(observed: &Observations, target: Target, id: u32, until: u64) -> Judgement {
    let Some((hit, session)) = session_before(observed, target, id) else {
        return absent(format!("the coordinator did not report a session of kafka-{id} before"));
    };
    let mut last = None;
    for (seen, sessions) in answers_after(observed, hit).filter(|(seen, _)| seen.from_ms <= until) {
        last = Some(seen.to_ms.min(until));
        if seen.from_ms > hit && sessions.get(&id).is_none_or(|now| now != session) {
            return Ok(format!("session of kafka-{id} gone after {}", seconds(seen.from_ms - hit)));
        }
    }
    match last {
        Some(at) => contradicted(format!("kafka-{id} still had its session after {}", seconds(at.saturating_sub(hit)))),
        None => absent("the coordinator did not answer in time"),
    }
}

fn sessions_kept(observed: &Observations, target: Target) -> Judgement {
    each(observed, target, |id| {
        let Some((hit, session)) = session_before(observed, target, id) else {
            return absent(format!("the coordinator did not report a session of kafka-{id} before"));
        };
        if let Some((seen, _)) =
            answers_after(observed, hit).find(|(_, sessions)| sessions.get(&id).is_none_or(|now| now != session))
        {
            return contradicted(format!(
                "kafka-{id} lost its session after {}",
                seconds(seen.from_ms.saturating_sub(hit))
            ));
        }
        match answers_after(observed, observed.mended_ms.saturating_sub(1)).next() {
            Some(_) => Ok(format!("kafka-{id} kept session {session}")),
            None => absent("the coordinator did not answer after everything was mended"),
        }
    })
}

fn new_controller(observed: &Observations) -> Judgement {
    let Some(hit) = observed.struck_ms else { return absent("nothing was struck") };
    let before =
        observed.registrations.iter().filter(|seen| seen.from_ms <= hit).rfind(|seen| seen.controller.is_some());
    let Some(before) = before.and_then(|seen| seen.controller) else {
        return absent("the coordinator did not name the controller before");
    };
    let after = || observed.registrations.iter().filter(|seen| seen.from_ms > hit);
    match after().filter_map(|seen| seen.controller).find(|now| *now != before) {
        Some(now) => Ok(format!("{before}, then {now}")),
        None => contradicted(format!("the coordinator named no other controller than {before}")),
    }
}

/// Returns the leader epoch of the partition before and after.
fn epochs(observed: &Observations) -> Result<(i32, i32), (ProofStatus, String)> {
    let of = |epochs: &Option<BTreeMap<u32, i32>>| epochs.as_ref()?.get(&observed.partition).copied();
    match (of(&observed.epochs.before), of(&observed.epochs.after)) {
        (Some(before), Some(after)) => Ok((before, after)),
        _ => Err((
            ProofStatus::Absent,
            format!("no consumer reported the leader epochs of partition {}", observed.partition),
        )),
    }
}

fn epoch_raised(observed: &Observations, target: Target) -> Judgement {
    let (before, after) = epochs(observed)?;
    let partition = observed.partition;
    if after <= before {
        return contradicted(format!("partition {partition} had leader epoch {before}, then {after}"));
    }
    let Some(leader) = observed.leaders.first().and_then(|led| led.leader) else {
        return absent(format!("brokers did not agree on the leader of partition {partition}"));
    };
    if !observed.brokers.get(&target).is_some_and(|ids| ids.contains(&leader)) {
        return contradicted(format!("partition {partition} was led by kafka-{leader}"));
    }
    let others = observed.leaders.iter().skip(1).filter_map(|led| led.leader).find(|other| *other != leader);
    let epochs = format!("leader epoch {before}, then {after}");
    match others {
        Some(other) => Ok(format!("partition {partition}: kafka-{leader}, then kafka-{other}; {epochs}")),
        // LeaderSeen by another, and by the first again.
        None if after >= before + 2 => Ok(format!("partition {partition}: {epochs}, and kafka-{leader} leads again")),
        // Removing a follower from the ISR also raises the epoch by one.
        None => absent(format!("partition {partition}: only kafka-{leader} was seen to lead; {epochs}")),
    }
}

fn epoch_same(observed: &Observations) -> Judgement {
    let (before, after) = epochs(observed)?;
    let partition = observed.partition;
    if before == after {
        return Ok(format!("partition {partition}: leader epoch {before}"));
    }
    // The controller periodically returns leadership to preferred replicas, whatever the fault.
    let (first, last) = (observed.leaders.first(), observed.leaders.last());
    let back = first.zip(last).is_some_and(|(first, last)| {
        last.leader.is_some()
            && last.leader == last.preferred
            && first.leader.is_some()
            && first.leader != first.preferred
    });
    match back && sessions_kept(observed, Target::AllBrokers).is_ok() {
        true => {
            Ok(format!("partition {partition}: leader epoch {before}, then {after}: returned to the preferred replica"))
        }
        false => contradicted(format!("partition {partition}: leader epoch {before}, then {after}")),
    }
}

fn handed_over(observed: &Observations, target: Target) -> Judgement {
    let mine: Vec<&Termination> = observed.terminations.iter().filter(|one| one.target == target).collect();
    if mine.is_empty() || mine.len() < observed.count(target) {
        return absent(format!("{} of {} brokers got SIGTERM", mine.len(), observed.count(target)));
    }
    for one in &mine {
        match one.handed_over {
            Some(true) => {}
            Some(false) => return contradicted(format!("{} did not log it", one.name)),
            None => return absent(format!("the log of {} could not be read", one.name)),
        }
    }
    Ok(mine.iter().map(|one| format!("{} logged it", one.name)).collect::<Vec<_>>().join(", "))
}

/// Gaps are measured by the clients' wall clock, so they count only if it was not moved.
fn clock_held(observed: &Observations) -> Result<(), (ProofStatus, String)> {
    match observed.clock_moved_ms > CLOCK_MS {
        true => Err((ProofStatus::Absent, format!("the wall clock was moved by {}", seconds(observed.clock_moved_ms)))),
        false => Ok(()),
    }
}

/// The shortest gap between acknowledgements that counts as a pause.
const PAUSE_MS: u64 = 2 * timing::LEAST_GAP_MS;

/// Returns the gaps of a partition that overlap the fault.
fn gaps(observed: &Observations, what: Milestone, partition: u32) -> impl Iterator<Item = &Gap> {
    let (from, to) = observed.wall;
    let mine = observed.gaps.iter().filter(move |gap| gap.what == what && gap.partition == partition);
    mine.filter(move |gap| gap.to_ms > from && gap.from_ms < to)
}

/// Returns the length of the longest such gap, in ms.
fn longest_gap(observed: &Observations, what: Milestone, partition: u32) -> u64 {
    gaps(observed, what, partition).map(Gap::length).max().unwrap_or(0)
}

/// Returns the topic's number of partitions before the fault.
fn partitions(observed: &Observations) -> Result<u32, (ProofStatus, String)> {
    match observed.partitions.before {
        Some(count) if count > 0 => Ok(count),
        _ => Err((ProofStatus::Absent, "the topic's number of partitions is unknown".into())),
    }
}

fn stood_still(observed: &Observations) -> Judgement {
    clock_held(observed)?;
    let count = partitions(observed)?;
    let Some(down) = observed.down_wall else { return absent("no server was down") };
    match timing::stood_still(&observed.gaps, count, down) {
        true => Ok(format!("no acknowledgement for {}", seconds(down.1.saturating_sub(down.0)))),
        false => contradicted("messages were acknowledged"),
    }
}

/// Returns the load's progress before the strike and before the mending.
fn progress(observed: &Observations) -> Result<(&LoadProgress, &LoadProgress), (ProofStatus, String)> {
    match (&observed.progress.before, &observed.progress.after) {
        (Some(before), Some(after)) => Ok((before, after)),
        _ => Err((ProofStatus::Absent, "the load's progress was not observed".into())),
    }
}

/// Returns how long `target` was down before the first move that mends.
fn away(observed: &Observations, target: Target) -> Option<u64> {
    Some(observed.mending_ms.get(&target)?.saturating_sub(*observed.hit_ms.get(&target)?))
}

fn acked_meanwhile(observed: &Observations, target: Target) -> Judgement {
    clock_held(observed)?;
    let count = partitions(observed)?;
    let (before, after) = progress(observed)?;
    let Some(away) = away(observed, target) else {
        return absent(format!("{target} was not struck, or not mended"));
    };
    let acked = |progress: &LoadProgress, partition| progress.acked.get(&partition).copied().unwrap_or_default();
    for partition in 0..count {
        let (was, is) = (acked(before, partition), acked(after, partition));
        if is <= was {
            return contradicted(format!("partition {partition}: {was} acknowledged before, {is} when mending began"));
        }
        let gap = longest_gap(observed, Milestone::Acked, partition);
        if gap > away / 2 {
            return contradicted(format!("partition {partition} paused for {} of {}", seconds(gap), seconds(away)));
        }
    }
    let more: u64 = (0..count).map(|partition| acked(after, partition) - acked(before, partition)).sum();
    Ok(format!("{more} acknowledged in {}", seconds(away)))
}

fn acks_waited(observed: &Observations, ms: u64) -> Judgement {
    clock_held(observed)?;
    if observed.struck_ms.is_none() {
        return absent("nothing was struck");
    }
    let gap = longest_gap(observed, Milestone::Acked, observed.partition);
    let text = format!("partition {}: {}", observed.partition, seconds(gap));
    if gap >= ms { Ok(text) } else { contradicted(text) }
}

fn lagged(observed: &Observations, ms: u64) -> Judgement {
    clock_held(observed)?;
    let count = partitions(observed)?;
    if observed.struck_ms.is_none() {
        return absent("nothing was struck");
    }
    let mut least = u64::MAX;
    for partition in 0..count {
        // A gap between receipts counts if acknowledgements continued for at least half of it. Shorter gaps between
        // acknowledgements are normal.
        let paused =
            |gap: &&Gap| gap.what == Milestone::Acked && gap.partition == partition && gap.length() >= PAUSE_MS;
        let acked = |receipts: &Gap| -> u64 {
            observed.gaps.iter().filter(paused).map(|gap| gap.overlap(receipts.from_ms, receipts.to_ms)).sum()
        };
        let lags = gaps(observed, Milestone::Received, partition).filter(|gap| acked(gap) <= gap.length() / 2);
        let received = lags.map(Gap::length).max().unwrap_or(0);
        if received < ms {
            let text = format!(
                "partition {partition}: no receipt for {} with acknowledgements, for {} altogether, no acknowledgement for {}",
                seconds(received),
                seconds(longest_gap(observed, Milestone::Received, partition)),
                seconds(longest_gap(observed, Milestone::Acked, partition))
            );
            return contradicted(text);
        }
        least = least.min(received);
    }
    Ok(format!("no receipt for {} or more in every partition", seconds(least)))
}

fn caught_up(observed: &Observations) -> Judgement {
    let count = partitions(observed)?;
    let (before, after) = progress(observed)?;
    // The consumer writes a state each second; this one must be from the producer's pause.
    if after.consumer_ms < before.consumer_ms + 1_000 {
        return absent("the consumer has not versions meanwhile");
    }
    for partition in 0..count {
        match after.behind.get(&partition).copied().flatten() {
            Some(0) => {}
            Some(behind) => return contradicted(format!("partition {partition}: {behind} behind")),
            None => return absent(format!("partition {partition}: the lag is unknown")),
        }
    }
    Ok("0 behind in every partition".into())
}

fn held_back(observed: &Observations) -> Judgement {
    let count = partitions(observed)?;
    let (before, after) = progress(observed)?;
    if after.producer_ms < before.producer_ms + 500 {
        return absent("the producer has not versions meanwhile");
    }
    let text = format!("{} in flight", after.in_flight);
    match after.in_flight {
        0 => contradicted(text),
        more if more > batch() * u64::from(count) => contradicted(text),
        _ => Ok(text),
    }
}

fn end_lines(observed: &Observations, target: Target) -> Judgement {
    let asked: Vec<_> = observed.ends.iter().filter(|end| end.target == target && end.asked).collect();
    let signalled =
        observed.terminations.iter().filter(|one| one.target == target && one.signal == EndSignal::Term).count();
    // The one that the move struck, and the last one, which the drill stops at its end.
    if signalled == 0 || asked.len() < signalled + 1 {
        return absent(format!("{} processes ended after SIGTERM", asked.len()));
    }
    let silent = asked.iter().filter(|end| end.reason != Some(Reason::Signal)).count();
    match silent {
        0 => Ok(format!("{} end lines", asked.len())),
        silent => contradicted(format!("{silent} of {} have no end line, or another reason", asked.len())),
    }
}

/// Whether every consumer started where the run began, in every partition of that time.
fn from_start(observed: &Observations) -> Judgement {
    if observed.readers.is_empty() {
        return absent("there was no consumer");
    }
    if observed.run_start.is_empty() {
        return absent("the start of the run is unknown");
    }
    for (reader, (partition, start)) in
        observed.readers.iter().flat_map(|reader| observed.run_start.iter().map(move |at| (reader, at)))
    {
        match reader.from.get(partition) {
            Some(from) if from == start => {}
            Some(from) => return contradicted(format!("partition {partition}: from {from}, the run began at {start}")),
            None => return absent(format!("partition {partition}: a consumer did not report its start")),
        }
    }
    Ok("from the run's start".into())
}

fn read_again(observed: &Observations) -> Judgement {
    let [before @ .., last] = &observed.readers[..] else { return absent("there was no consumer") };
    if before.is_empty() {
        return absent("there was only one consumer");
    }
    let start = from_start(observed)?;
    for (partition, count) in before.iter().flat_map(|reader| &reader.received) {
        let now = last.received.get(partition).copied().unwrap_or_default();
        if now < *count {
            return contradicted(format!("partition {partition}: {count} received before, {now} by the last one"));
        }
    }
    Ok(start)
}

fn consumer_late(observed: &Observations) -> Judgement {
    let count = partitions(observed)?;
    if observed.readers.len() != 1 {
        return absent(format!("there were {} consumers", observed.readers.len()));
    }
    let Some(progress) = &observed.progress.after else { return absent("the load's progress was not observed before") };
    if progress.consumer_ms > 0 {
        return contradicted("there was a consumer before");
    }
    let acked = |partition| progress.acked.get(&partition).copied().unwrap_or_default();
    if let Some(partition) = (0..count).find(|partition| acked(*partition) == 0) {
        return absent(format!("nothing in partition {partition} was acknowledged yet"));
    }
    let start = from_start(observed)?;
    Ok(format!("{} acknowledged before it; {start}", (0..count).map(acked).sum::<u64>()))
}

fn topic_late(observed: &Observations, ms: u64) -> Judgement {
    match observed.topic_absent {
        Some(true) => {}
        Some(false) => return contradicted("the topic already existed"),
        None => return absent("whether the topic existed could not be observed"),
    }
    let Some(progress) = &observed.progress.before else { return absent("the load's progress was not observed") };
    let acked: u64 = progress.acked.values().sum();
    if acked > 0 {
        return contradicted(format!("{acked} acknowledged before"));
    }
    let text = format!("both clients ran for {}", seconds(progress.running_ms));
    if progress.running_ms < ms { absent(text) } else { Ok(text) }
}

fn emptied(observed: &Observations, target: Target) -> Judgement {
    each(observed, target, |id| match observed.removed.iter().find(|emptied| emptied.broker == id) {
        None => absent(format!("nothing was removed from kafka-{id}")),
        Some(emptied) => {
            let text = format!("kafka-{id}: {} folders, {} bytes", emptied.folders, emptied.bytes);
            match (emptied.left, emptied.folders > 0 && emptied.bytes > 0) {
                (0, true) => Ok(text),
                (0, false) => absent(text),
                (left, _) => contradicted(format!("{text}; {left} folders are still there")),
            }
        }
    })
}

fn pods(observed: &Observations, target: Target, differs: impl Fn(&PodSeen, &PodSeen) -> bool) -> Judgement {
    each(observed, target, |id| match observed.pods.get(&id) {
        Some(seen) => pair(&seen.before, &seen.after, &format!("kafka-{id}"), PodSeen::to_string, &differs),
        None => absent(format!("pod kafka-{id} was not observed")),
    })
}

fn node_paused(observed: &Observations, target: Target, ms: u64) -> Judgement {
    each(observed, target, |id| match observed.nodes.get(&id).map(|node| node.paused) {
        None => absent(format!("the node of kafka-{id} was not observed")),
        Some(None) => contradicted(format!("Docker did not report the node of kafka-{id} as paused")),
        Some(Some((from, to))) => {
            let text = format!("kafka-{id}: paused for {}", seconds(to.saturating_sub(from)));
            if to.saturating_sub(from) >= ms { Ok(text) } else { contradicted(text) }
        }
    })
}

fn node_restarted(observed: &Observations, target: Target) -> Judgement {
    each(observed, target, |id| match observed.nodes.get(&id) {
        Some(node) => pair(
            &node.started.before,
            &node.started.after,
            &format!("node of kafka-{id} started"),
            String::clone,
            |a, b| a != b,
        ),
        None => absent(format!("the node of kafka-{id} was not observed")),
    })
}

#[cfg(test)]
mod tests {
    use ledger::lines::GAP;

    use super::*;
    use crate::drill::faults::FAULTS;
    use crate::drill::observations::{
        ClientEnd, ConsumerRead, LeaderSeen, NodeSeen, Pair, PausedProcess, PodSeen, RemovedFolders,
    };

    /// A fault that struck every target after 1 s and was mended from 8 s to 12 s, without other observations. The
    /// clients' clocks are 100 s ahead.
    fn struck() -> Observations {
        let all = [
            Target::Leader,
            Target::Controller,
            Target::LeaderAndController,
            Target::TwoBrokers,
            Target::AllBrokers,
            Target::Followers,
        ];
        let ids: [&[u32]; 6] = [&[0], &[1], &[0, 1], &[0, 1], &[0, 1, 2], &[1, 2]];
        let clients = [Target::Coordinator, Target::Producer, Target::Consumer];
        let whos = || all.into_iter().chain(clients);
        Observations {
            struck_ms: Some(1_000),
            hit_ms: whos().map(|target| (target, 1_000)).collect(),
            mending_ms: whos().map(|target| (target, 8_000)).collect(),
            mended_ms: 12_000,
            wall: (101_000, 112_000),
            brokers: all.into_iter().zip(ids).map(|(target, ids)| (target, ids.iter().copied().collect())).collect(),
            partitions: Pair { before: Some(2), after: Some(2) },
            ..Observations::default()
        }
    }

    fn registered(
        from_ms: u64,
        to_ms: u64,
        sessions: Option<&[(u32, &str)]>,
        controller: Option<u32>,
    ) -> Registrations {
        let sessions = sessions.map(|all| all.iter().map(|(id, session)| (*id, (*session).to_string())).collect());
        Registrations { from_ms, to_ms, sessions, controller }
    }

    const BEFORE: &[(u32, &str)] = &[(0, "a"), (1, "b"), (2, "c")];

    /// All three brokers lose their sessions at `ms` and register again later.
    fn gone_at(observed: &mut Observations, ms: u64) {
        let later: &[(u32, &str)] = &[(0, "d"), (1, "e"), (2, "f")];
        observed.registrations = vec![
            registered(0, ms - 1, Some(BEFORE), Some(1)),
            registered(ms, 9_000, Some(&[]), Some(2)),
            registered(9_050, 13_000, Some(later), Some(2)),
        ];
    }

    fn stays(observed: &mut Observations) {
        observed.registrations = vec![registered(0, 13_000, Some(BEFORE), Some(1))];
    }

    fn terminations(
        observed: &mut Observations,
        target: Target,
        signal: EndSignal,
        ran: bool,
        ended: bool,
        handed_over: Option<bool>,
    ) {
        let one =
            |n: usize| Termination { target, name: format!("p{n}"), signal, ran, reached: true, ended, handed_over };
        observed.terminations = (0..observed.count(target)).map(one).collect();
    }

    fn pause(observed: &mut Observations, target: Target, paused_ms: u64) {
        let one = |n: usize| PausedProcess { target, name: format!("p{n}"), paused_ms, samples: 9 };
        observed.paused = (0..observed.count(target)).map(one).collect();
    }

    /// Partition 0 has these leader epochs and leaders.
    fn epochs(observed: &mut Observations, before: i32, after: i32, leaders: &[u32]) {
        let of = |epoch| Some(BTreeMap::from([(0, epoch), (1, 0)]));
        observed.epochs = Pair { before: of(before), after: of(after) };
        let seen =
            |(n, id): (usize, &u32)| LeaderSeen { at_ms: n as u64 * 5_000, leader: Some(*id), preferred: Some(0) };
        observed.leaders = leaders.iter().enumerate().map(seen).collect();
    }

    fn gap(what: Milestone, partition: u32, from_ms: u64, to_ms: u64) -> Gap {
        Gap { schema: GAP.into(), what, partition, from_ms, to_ms }
    }

    fn gaps(observed: &mut Observations, what: Milestone, ms: u64) {
        let one = |partition| gap(what, partition, 101_100, 101_100 + ms);
        observed.gaps.extend([one(0), one(1)]);
    }

    fn progress(observed: &mut Observations, acked: [u64; 2], in_flight: u64, behind: u64) {
        let one = |acked: u64, versions: u64| LoadProgress {
            acked: BTreeMap::from([(0, acked), (1, acked)]),
            in_flight,
            producer_ms: versions,
            behind: BTreeMap::from([(0, Some(behind)), (1, Some(behind))]),
            consumer_ms: versions,
            running_ms: 3_000,
        };
        observed.progress = Pair { before: Some(one(acked[0], 1_000)), after: Some(one(acked[1], 7_000)) };
    }

    fn ends(observed: &mut Observations, target: Target, reasons: &[Option<Reason>]) {
        terminations(observed, target, EndSignal::Term, true, true, None);
        observed.ends = reasons.iter().map(|reason| ClientEnd { target, asked: true, reason: *reason }).collect();
    }

    fn readers(observed: &mut Observations, from: u64, received: &[u64]) {
        let one =
            |count: &u64| ConsumerRead { from: BTreeMap::from([(0, from)]), received: BTreeMap::from([(0, *count)]) };
        observed.readers = received.iter().map(one).collect();
        observed.run_start = BTreeMap::from([(0, 5)]);
    }

    fn pods(observed: &mut Observations, uids: [&str; 2], restarts: [u64; 2]) {
        let one = |at: usize| Some(PodSeen { uid: uids[at].into(), restarts: restarts[at] });
        observed.pods.insert(0, Pair { before: one(0), after: one(1) });
    }

    fn node(observed: &mut Observations, started: [&str; 2], paused: Option<(u64, u64)>) {
        let started = Pair { before: Some(started[0].into()), after: Some(started[1].into()) };
        observed.nodes.insert(0, NodeSeen { started, paused });
    }

    type Fill = fn(&mut Observations);

    /// What shows each proof, and what contradicts it.
    const CASES: &[(Proof, Fill, Fill)] = &[
        (
            Proof::Ended(Target::Leader, EndSignal::Kill),
            |e| terminations(e, Target::Leader, EndSignal::Kill, true, true, None),
            |e| terminations(e, Target::Leader, EndSignal::Kill, true, false, None),
        ),
        (
            Proof::Ended(Target::AllBrokers, EndSignal::Term),
            |e| terminations(e, Target::AllBrokers, EndSignal::Term, true, true, None),
            |e| {
                terminations(e, Target::AllBrokers, EndSignal::Term, true, true, None);
                e.terminations[2].ran = false;
            },
        ),
        (
            Proof::Paused(Target::Followers, 1_800),
            |e| pause(e, Target::Followers, 1_900),
            |e| {
                pause(e, Target::Followers, 1_900);
                e.paused[1].paused_ms = 100;
            },
        ),
        (
            Proof::Silent(7_000),
            |e| e.registrations = vec![registered(0, 1_000, Some(BEFORE), None), registered(1_050, 8_100, None, None)],
            |e| e.registrations = vec![registered(0, 1_000, Some(BEFORE), None), registered(1_050, 4_000, None, None)],
        ),
        // A session that outlives the broker's time down: the timeout was raised.
        (Proof::Expired(Target::Leader), |e| gone_at(e, 5_000), |e| gone_at(e, 8_500)),
        (Proof::SessionGone(Target::AllBrokers), |e| gone_at(e, 8_500), stays),
        (Proof::SessionsKept(Target::Followers), stays, |e| gone_at(e, 5_000)),
        (Proof::NewController, |e| gone_at(e, 5_000), stays),
        (Proof::EpochRaised(Target::Leader), |e| epochs(e, 3, 4, &[0, 2]), |e| epochs(e, 3, 3, &[0, 0])),
        (Proof::EpochRaised(Target::Leader), |e| epochs(e, 3, 5, &[0, 0]), |e| epochs(e, 3, 5, &[1, 2])),
        (Proof::EpochSame, |e| epochs(e, 3, 3, &[0, 0]), |e| epochs(e, 3, 4, &[0, 1])),
        (
            Proof::HandedOver(Target::AllBrokers),
            |e| terminations(e, Target::AllBrokers, EndSignal::Term, true, true, Some(true)),
            |e| terminations(e, Target::AllBrokers, EndSignal::Term, true, true, Some(false)),
        ),
        (
            Proof::StoodStill,
            |e| {
                e.down_wall = Some((101_050, 108_000));
                gaps(e, Milestone::Acked, 7_000);
            },
            |e| {
                e.down_wall = Some((101_050, 108_000));
                gaps(e, Milestone::Acked, 3_000);
            },
        ),
        (
            Proof::AckedMeanwhile(Target::Coordinator),
            |e| progress(e, [10, 900], 0, 0),
            |e| {
                progress(e, [10, 900], 0, 0);
                gaps(e, Milestone::Acked, 5_000);
            },
        ),
        (Proof::AcksWaited(1_500), |e| gaps(e, Milestone::Acked, 1_900), |e| gaps(e, Milestone::Acked, 400)),
        (
            Proof::Lagged(4_000),
            |e| gaps(e, Milestone::Received, 4_900),
            |e| {
                gaps(e, Milestone::Received, 4_900);
                gaps(e, Milestone::Acked, 4_800);
            },
        ),
        (Proof::CaughtUp, |e| progress(e, [9, 9], 0, 0), |e| progress(e, [9, 9], 0, 7)),
        (Proof::HeldBack, |e| progress(e, [9, 9], 900, 0), |e| progress(e, [9, 9], 30_000, 0)),
        (
            Proof::EndLines(Target::Producer),
            |e| ends(e, Target::Producer, &[Some(Reason::Signal), Some(Reason::Signal)]),
            |e| ends(e, Target::Producer, &[None, Some(Reason::Signal)]),
        ),
        (Proof::ReadAgain, |e| readers(e, 5, &[70, 90]), |e| readers(e, 60, &[70, 90])),
        (Proof::ReadAgain, |e| readers(e, 5, &[70, 90]), |e| readers(e, 5, &[70, 20])),
        (
            Proof::ConsumerLate,
            |e| {
                readers(e, 5, &[90]);
                progress(e, [5, 60], 0, 0);
                e.progress.after.as_mut().unwrap().consumer_ms = 0;
            },
            |e| {
                readers(e, 60, &[90]);
                progress(e, [5, 60], 0, 0);
                e.progress.after.as_mut().unwrap().consumer_ms = 0;
            },
        ),
        (
            Proof::TopicLate(2_500),
            |e| {
                e.topic_absent = Some(true);
                progress(e, [0, 0], 0, 0);
            },
            |e| {
                e.topic_absent = Some(true);
                progress(e, [3, 3], 0, 0);
            },
        ),
        (
            Proof::Emptied(Target::Leader),
            |e| e.removed = vec![RemovedFolders { broker: 0, folders: 4, bytes: 9_000, left: 0 }],
            |e| e.removed = vec![RemovedFolders { broker: 0, folders: 4, bytes: 9_000, left: 4 }],
        ),
        (
            Proof::TopicIdChanged,
            |e| e.topic_id = Pair { before: Some("x".into()), after: Some("y".into()) },
            |e| e.topic_id = Pair { before: Some("x".into()), after: Some("x".into()) },
        ),
        (Proof::PartitionsDoubled, |e| e.partitions.after = Some(4), |e| e.partitions.after = Some(2)),
        (Proof::NewPod(Target::Leader), |e| pods(e, ["x", "y"], [0, 0]), |e| pods(e, ["x", "x"], [0, 1])),
        (Proof::ContainerRestarted(Target::Leader), |e| pods(e, ["x", "x"], [1, 2]), |e| pods(e, ["x", "y"], [1, 2])),
        (
            Proof::NodePaused(Target::Leader, 9_000),
            |e| node(e, ["t", "t"], Some((1_200, 11_000))),
            |e| node(e, ["t", "t"], None),
        ),
        (Proof::NodeRestarted(Target::Leader), |e| node(e, ["t", "u"], None), |e| node(e, ["t", "t"], None)),
        (
            Proof::DnsReplaced,
            |e| e.dns = Pair { before: Some(["x".into()].into()), after: Some(["y".into()].into()) },
            |e| e.dns = Pair { before: Some(["x".into()].into()), after: Some(["x".into(), "y".into()].into()) },
        ),
    ];

    #[test]
    fn a_proof_is_shown_by_what_shows_it_and_by_nothing_else() {
        for (proof, shows, contradicts) in CASES {
            let judged = |fill: Fill| {
                let mut observed = struck();
                fill(&mut observed);
                proof.judge(&observed)
            };
            assert_eq!(judged(*shows).found, ProofStatus::Shown, "{proof:?}: {:?}", judged(*shows));
            assert_eq!(judged(*contradicts).found, ProofStatus::Contradicted, "{proof:?}: {:?}", judged(*contradicts));
            let nothing = proof.judge(&Observations::default());
            assert_eq!(nothing.found, ProofStatus::Absent, "{proof:?}: {nothing:?}");
            assert_ne!(proof.judge(&struck()).found, ProofStatus::Shown, "{proof:?} of a fault without observations");
        }
    }

    #[test]
    fn acknowledgements_that_paused_at_another_time_do_not_hide_a_lag() {
        let mut observed = struck();
        gaps(&mut observed, Milestone::Received, 700);
        let apart =
            |gap: &Gap| Gap { from_ms: gap.to_ms, to_ms: gap.to_ms + 600, what: Milestone::Acked, ..gap.clone() };
        let pauses: Vec<Gap> = observed.gaps.iter().map(apart).collect();
        observed.gaps.extend(pauses);
        assert_eq!(Proof::Lagged(500).judge(&observed).found, ProofStatus::Shown);
        // Several short ones within it count as much as one.
        let within = |from_ms| gap(Milestone::Acked, 1, from_ms, from_ms + PAUSE_MS);
        observed.gaps.extend([within(101_150), within(101_400)]);
        let found = Proof::Lagged(500).judge(&observed);
        assert_eq!(found.found, ProofStatus::Contradicted, "{found:?}");
    }

    #[test]
    fn every_proof_of_a_fault_is_tested() {
        let kind = std::mem::discriminant::<Proof>;
        for fault in FAULTS {
            for proof in fault.proofs {
                assert!(CASES.iter().any(|(tried, ..)| kind(tried) == kind(proof)), "{}: {proof:?}", fault.name);
            }
        }
    }

    #[test]
    fn a_moved_clock_leaves_proofs_by_gaps_open() {
        let by_gaps = [
            Proof::StoodStill,
            Proof::AckedMeanwhile(Target::Coordinator),
            Proof::AcksWaited(1_500),
            Proof::Lagged(4_000),
        ];
        for proof in by_gaps {
            let (_, shows, _) = CASES.iter().find(|(tried, ..)| *tried == proof).unwrap();
            let mut observed = struck();
            shows(&mut observed);
            observed.clock_moved_ms = 3_600_000;
            assert_eq!(proof.judge(&observed).found, ProofStatus::Absent, "{proof:?}");
        }
    }

    #[test]
    fn leadership_that_returns_to_the_preferred_replica_is_no_failover() {
        let mut observed = struck();
        stays(&mut observed);
        epochs(&mut observed, 3, 4, &[1, 0]);
        assert_eq!(Proof::EpochSame.judge(&observed).found, ProofStatus::Shown);
        // With a lost session, it is.
        gone_at(&mut observed, 5_000);
        assert_eq!(Proof::EpochSame.judge(&observed).found, ProofStatus::Contradicted);
    }

    #[test]
    fn a_higher_epoch_alone_does_not_show_that_the_leader_was_struck() {
        // Removing a follower from the ISR does the same.
        let mut observed = struck();
        epochs(&mut observed, 3, 4, &[0, 0]);
        assert_eq!(Proof::EpochRaised(Target::Leader).judge(&observed).found, ProofStatus::Absent);
        observed.leaders[0].leader = None;
        assert_eq!(Proof::EpochRaised(Target::Leader).judge(&observed).found, ProofStatus::Absent);
    }

    #[test]
    fn a_broker_without_a_known_session_proves_nothing() {
        let mut observed = struck();
        gone_at(&mut observed, 5_000);
        observed.registrations[0].sessions.as_mut().unwrap().remove(&2);
        let found = Proof::Expired(Target::Followers).judge(&observed);
        assert_eq!(found.found, ProofStatus::Absent, "{found:?}");
        // No answer proves nothing either.
        observed.registrations = vec![registered(0, 1_000, Some(BEFORE), None), registered(1_050, 13_000, None, None)];
        assert_eq!(Proof::Expired(Target::Leader).judge(&observed).found, ProofStatus::Absent);
        assert_eq!(Proof::SessionsKept(Target::Leader).judge(&observed).found, ProofStatus::Absent);
    }
}
