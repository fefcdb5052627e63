//! What shows that a fault struck, judged from what was seen. Pure.
//!
//! A proof is shown, absent (nothing was seen that shows it) or contradicted (the opposite was seen). Only what is shown counts.

use std::collections::BTreeMap;

use ledger::lines::{Gap, Milestone, Reason};
use serde::Serialize;

use crate::coordination::NAME;
use crate::drill::evidence::{Blow, Evidence, Registered, Standing};
use crate::drill::moves::{How, Who};
use crate::drill::timing;

/// The most messages that the producer gives librdkafka of a partition at a time: a batch of 64 KiB of the shortest stamps.
const BATCH: u64 = 520;

/// How far the wall clock may go wrong while a fault goes on: it is slewed, and looked at between two other things.
const CLOCK_MS: u64 = 200;

/// Something that a fault must leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Each process ran until the signal reached it, and was over then.
    Ended(Who, How),
    /// Each process was stopped for at least so many ms, as the system tells (state T of proc(5)).
    Stopped(Who, u64),
    /// The coordinator answered nobody for at least so many ms.
    Silent(u64),
    /// The session of each broker went before it was started or resumed.
    Expired(Who),
    /// The session of each broker went.
    SessionGone(Who),
    /// The session of each broker stayed.
    SessionsKept(Who),
    /// Another broker became controller.
    NewController,
    /// The leader was another one meanwhile, and records have a higher leader epoch.
    EpochRaised(Who),
    /// Records have the same leader epoch.
    EpochSame,
    /// Each broker said that the controller had taken its partitions over before it ended.
    HandedOver(Who),
    /// Nothing was acknowledged in any partition while servers were down.
    StoodStill,
    /// Messages of each partition were acknowledged while it was away.
    AckedMeanwhile(Who),
    /// Acknowledgements in the leader's partition waited for at least so many ms.
    AcksWaited(u64),
    /// Each partition had no receipt for at least so many ms, and acknowledgements went on.
    Lagged(u64),
    /// The consumer had read all there was while the producer stood still.
    CaughtUp,
    /// The producer had no more than a batch of each partition under way.
    HeldBack,
    /// Each process that was told to end said its last word: totals, and that a signal ended it.
    EndLines(Who),
    /// Every consumer began where the run began, and the last one received what those before it had.
    ReadAgain,
    /// When the consumer was started messages of each partition had been acknowledged, and none had been there before.
    ConsumerLate,
    /// Both clients ran for at least so many ms without the topic, and nothing was acknowledged.
    TopicLate(u64),
    /// The broker's folders of the topic were there with records in them, and were removed.
    Emptied(Who),
    /// The topic's id is another one.
    TopicIdChanged,
    /// The topic has twice as many partitions.
    PartitionsDoubled,
    /// The pod of each broker is another one of the same name.
    NewPod(Who),
    /// The pod of each broker is the same, and its container was started again.
    ContainerRestarted(Who),
    /// The engine called the node of each broker paused for at least so many ms.
    NodePaused(Who, u64),
    /// The node of each broker was started again.
    NodeRestarted(Who),
    /// Every pod of CoreDNS that was there is gone, or on its way out, and there are others.
    DnsReplaced,
}

/// What was found of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sight {
    /// It was seen.
    Shown,
    /// Nothing was seen that shows it.
    Absent,
    /// The opposite was seen.
    Contradicted,
}

/// A proof, and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// What was looked for, in words.
    pub looked_for: String,
    /// What came of it.
    pub found: Sight,
    /// What was seen, in words.
    pub seen: String,
}

impl Proof {
    /// Whom it is about, where that is to be found out before the first move.
    pub fn who(self) -> Option<Who> {
        match self {
            Proof::Ended(who, _)
            | Proof::Stopped(who, _)
            | Proof::Expired(who)
            | Proof::SessionGone(who)
            | Proof::SessionsKept(who)
            | Proof::EpochRaised(who)
            | Proof::HandedOver(who)
            | Proof::AckedMeanwhile(who)
            | Proof::EndLines(who)
            | Proof::Emptied(who)
            | Proof::NewPod(who)
            | Proof::ContainerRestarted(who)
            | Proof::NodePaused(who, _)
            | Proof::NodeRestarted(who) => Some(who),
            Proof::EpochSame | Proof::AcksWaited(_) => Some(Who::Leader),
            Proof::NewController => Some(Who::Controller),
            _ => None,
        }
    }

    /// What is looked for, in words.
    pub fn words(self) -> String {
        let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1000.0);
        match self {
            Proof::Ended(who, How::Kill) => format!("{who} ran until SIGKILL, and was over then"),
            Proof::Ended(who, How::Term) => format!("{who} ran until SIGTERM, and ended by itself"),
            Proof::Stopped(who, ms) => format!("{who} stood still for {} or more (state T)", seconds(ms)),
            Proof::Silent(ms) => format!("{NAME} answered nobody for {} or more", seconds(ms)),
            Proof::Expired(who) => {
                format!("{NAME} had no session of {who} any more when that was started or resumed")
            }
            Proof::SessionGone(who) => format!("the {NAME} session of {who} went"),
            Proof::SessionsKept(who) => format!("the {NAME} session of {who} stayed"),
            Proof::NewController => "another broker became controller".into(),
            Proof::EpochRaised(who) => {
                format!("the partition of {who} got another leader, and records a higher leader epoch")
            }
            Proof::EpochSame => "records of the leader's partition keep their leader epoch".into(),
            Proof::HandedOver(who) => {
                format!("{who} had handed its partitions over before it ended (controlled shutdown)")
            }
            Proof::StoodStill => "nothing was acknowledged while servers were down".into(),
            Proof::AckedMeanwhile(who) => format!("every partition went on acknowledging without {who}"),
            Proof::AcksWaited(ms) => {
                format!("acknowledgements of the leader's partition waited for {} or more", seconds(ms))
            }
            Proof::Lagged(ms) => format!("no receipts for {} or more, while acknowledgements went on", seconds(ms)),
            Proof::CaughtUp => "the consumer had read all there was before the producer went on".into(),
            Proof::HeldBack => "the producer had no more under way than a batch of each partition".into(),
            Proof::EndLines(who) => format!("every process of {who} that was told to end said its last word"),
            Proof::ReadAgain => {
                "every consumer began where the run began, and the last one received no less than those before it"
                    .into()
            }
            Proof::ConsumerLate => "messages of every partition were acknowledged before there was a consumer".into(),
            Proof::TopicLate(ms) => {
                format!("both clients ran for {} or more without the topic, and nothing was acknowledged", seconds(ms))
            }
            Proof::Emptied(who) => format!("the topic's records on the disk of {who} were removed"),
            Proof::TopicIdChanged => "the topic has another id".into(),
            Proof::PartitionsDoubled => "the topic has twice as many partitions".into(),
            Proof::NewPod(who) => format!("the pod of {who} is another one (uid)"),
            Proof::ContainerRestarted(who) => {
                format!("the pod of {who} is the same, and its container was started again")
            }
            Proof::NodePaused(who, ms) => {
                format!("the engine called the node of {who} paused for {} or more", seconds(ms))
            }
            Proof::NodeRestarted(who) => format!("the node of {who} was started again"),
            Proof::DnsReplaced => "the pods of CoreDNS are others".into(),
        }
    }

    /// What was seen of it.
    pub fn judge(self, evidence: &Evidence) -> Found {
        let (found, seen) = match self.seen(evidence) {
            Ok(seen) => (Sight::Shown, seen),
            Err((found, seen)) => (found, seen),
        };
        Found { looked_for: self.words(), found, seen }
    }

    fn seen(self, evidence: &Evidence) -> Seen {
        match self {
            Proof::Ended(who, how) => ended(evidence, who, how),
            Proof::Stopped(who, ms) => stopped(evidence, who, ms),
            Proof::Silent(ms) => silent(evidence, ms),
            Proof::Expired(who) => match evidence.mending_ms.get(&who) {
                Some(until) => sessions_gone(evidence, who, *until),
                None => absent(format!("{who} was not started or resumed")),
            },
            Proof::SessionGone(who) => sessions_gone(evidence, who, u64::MAX),
            Proof::SessionsKept(who) => sessions_kept(evidence, who),
            Proof::NewController => new_controller(evidence),
            Proof::EpochRaised(who) => epoch_raised(evidence, who),
            Proof::EpochSame => epoch_same(evidence),
            Proof::HandedOver(who) => handed_over(evidence, who),
            Proof::StoodStill => stood_still(evidence),
            Proof::AckedMeanwhile(who) => acked_meanwhile(evidence, who),
            Proof::AcksWaited(ms) => acks_waited(evidence, ms),
            Proof::Lagged(ms) => lagged(evidence, ms),
            Proof::CaughtUp => caught_up(evidence),
            Proof::HeldBack => held_back(evidence),
            Proof::EndLines(who) => end_lines(evidence, who),
            Proof::ReadAgain => read_again(evidence),
            Proof::ConsumerLate => consumer_late(evidence),
            Proof::TopicLate(ms) => topic_late(evidence, ms),
            Proof::Emptied(who) => emptied(evidence, who),
            Proof::TopicIdChanged => {
                pair(&evidence.topic_id.before, &evidence.topic_id.after, "its id", |before, after| before != after)
            }
            Proof::PartitionsDoubled => {
                let (before, after) = (&evidence.partitions.before, &evidence.partitions.after);
                pair(before, after, "partitions", |before, after| *before > 0 && *after == 2 * before)
            }
            Proof::NewPod(who) => pods(evidence, who, |before, after| before.uid != after.uid),
            Proof::ContainerRestarted(who) => {
                pods(evidence, who, |before, after| before.uid == after.uid && after.restarts > before.restarts)
            }
            Proof::NodePaused(who, ms) => node_paused(evidence, who, ms),
            Proof::NodeRestarted(who) => node_restarted(evidence, who),
            Proof::DnsReplaced => pair(&evidence.dns.before, &evidence.dns.after, "its pods", |before, after| {
                !before.is_empty() && !after.is_empty() && before.is_disjoint(after)
            }),
        }
    }
}

/// What shows it, or else what was found in its place.
type Seen = Result<String, (Sight, String)>;

fn absent(why: impl Into<String>) -> Seen {
    Err((Sight::Absent, why.into()))
}

fn contradicted(why: impl Into<String>) -> Seen {
    Err((Sight::Contradicted, why.into()))
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

/// Both sides of something that must differ in the right way.
fn pair<T: std::fmt::Debug>(
    before: &Option<T>,
    after: &Option<T>,
    what: &str,
    differs: impl Fn(&T, &T) -> bool,
) -> Seen {
    match (before, after) {
        (Some(before), Some(after)) if differs(before, after) => Ok(format!("{what}: {before:?}, then {after:?}")),
        (Some(before), Some(after)) => contradicted(format!("{what}: {before:?}, then {after:?}")),
        _ => absent(format!("{what} could not be seen")),
    }
}

/// Every broker that `who` means, with what is asked of each; the first that is not shown decides.
fn each(evidence: &Evidence, who: Who, one: impl FnMut(u32) -> Seen) -> Seen {
    let ids = evidence.targets.get(&who).filter(|ids| !ids.is_empty());
    let Some(ids) = ids else { return absent(format!("who {who} is was not found out")) };
    let seen: Vec<String> = ids.iter().copied().map(one).collect::<Result<_, _>>()?;
    Ok(seen.join("; "))
}

fn ended(evidence: &Evidence, who: Who, how: How) -> Seen {
    let mine: Vec<&Blow> = evidence.blows.iter().filter(|blow| blow.who == who && blow.how == how).collect();
    let wanted = evidence.count(who);
    if mine.is_empty() || mine.len() < wanted {
        return absent(format!("{} of {wanted} processes were signalled", mine.len()));
    }
    for blow in &mine {
        let what = match (blow.ran, blow.reached, blow.over) {
            (false, ..) | (_, false, _) => "was gone, or stood still, before it was signalled",
            (.., false) => "was still there afterwards",
            _ => continue,
        };
        return contradicted(format!("{} {what}", blow.name));
    }
    Ok(mine.iter().map(|blow| format!("{} over", blow.name)).collect::<Vec<_>>().join(", "))
}

fn stopped(evidence: &Evidence, who: Who, ms: u64) -> Seen {
    let mine: Vec<_> = evidence.stopped.iter().filter(|stopped| stopped.who == who).collect();
    let wanted = evidence.count(who);
    if mine.is_empty() || mine.len() < wanted || mine.iter().any(|stopped| stopped.looks == 0) {
        return absent(format!("{} of {wanted} processes were looked at", mine.len()));
    }
    let told = mine.iter().map(|stopped| format!("{} stopped for {}", stopped.name, seconds(stopped.stopped_ms)));
    let told = told.collect::<Vec<_>>().join(", ");
    match mine.iter().all(|stopped| stopped.stopped_ms >= ms) {
        true => Ok(told),
        false => contradicted(told),
    }
}

fn silent(evidence: &Evidence, ms: u64) -> Seen {
    let Some(hit) = evidence.hit(Who::Coordinator) else { return absent("nothing was hit") };
    let longest = evidence.registered.iter().filter(|seen| seen.sessions.is_none() && seen.to_ms >= hit);
    let longest = longest.map(|seen| seen.to_ms.saturating_sub(seen.from_ms.max(hit))).max();
    match longest {
        Some(longest) if longest >= ms => Ok(format!("no answer for {}", seconds(longest))),
        Some(longest) => contradicted(format!("no answer for {} only", seconds(longest))),
        None if evidence.registered.is_empty() => absent(format!("{NAME} was not asked")),
        None => contradicted("it answered all the time"),
    }
}

/// The session that a broker had when `who` was hit.
fn session_before(evidence: &Evidence, who: Who, id: u32) -> Option<(u64, &str)> {
    let hit = evidence.hit(who)?;
    let before = evidence.registered.iter().filter(|seen| seen.from_ms <= hit).rfind(|seen| seen.sessions.is_some())?;
    Some((hit, before.sessions.as_ref()?.get(&id)?))
}

/// What the coordinator said after a time.
fn answers_after(evidence: &Evidence, ms: u64) -> impl Iterator<Item = (&Registered, &BTreeMap<u32, String>)> {
    evidence
        .registered
        .iter()
        .filter(move |seen| seen.to_ms > ms)
        .filter_map(|seen| Some((seen, seen.sessions.as_ref()?)))
}

fn sessions_gone(evidence: &Evidence, who: Who, until: u64) -> Seen {
    each(evidence, who, |id| session_gone(evidence, who, id, until))
}

fn session_gone(evidence: &Evidence, who: Who, id: u32, until: u64) -> Seen {
    let Some((hit, session)) = session_before(evidence, who, id) else {
        return absent(format!("{NAME} did not say that kafka-{id} had a session before"));
    };
    let mut last = None;
    for (seen, sessions) in answers_after(evidence, hit).filter(|(seen, _)| seen.from_ms <= until) {
        last = Some(seen.to_ms.min(until));
        if seen.from_ms > hit && sessions.get(&id).is_none_or(|now| now != session) {
            return Ok(format!("session of kafka-{id} gone after {}", seconds(seen.from_ms - hit)));
        }
    }
    match last {
        Some(at) => contradicted(format!("kafka-{id} still had its session after {}", seconds(at.saturating_sub(hit)))),
        None => absent(format!("{NAME} did not answer meanwhile")),
    }
}

fn sessions_kept(evidence: &Evidence, who: Who) -> Seen {
    each(evidence, who, |id| {
        let Some((hit, session)) = session_before(evidence, who, id) else {
            return absent(format!("{NAME} did not say that kafka-{id} had a session before"));
        };
        if let Some((seen, _)) =
            answers_after(evidence, hit).find(|(_, sessions)| sessions.get(&id).is_none_or(|now| now != session))
        {
            return contradicted(format!(
                "kafka-{id} lost its session after {}",
                seconds(seen.from_ms.saturating_sub(hit))
            ));
        }
        match answers_after(evidence, evidence.mended_ms.saturating_sub(1)).next() {
            Some(_) => Ok(format!("kafka-{id} kept session {session}")),
            None => absent(format!("{NAME} was not heard after all was mended")),
        }
    })
}

fn new_controller(evidence: &Evidence) -> Seen {
    let Some(hit) = evidence.struck_ms else { return absent("nothing was hit") };
    let before = evidence.registered.iter().filter(|seen| seen.from_ms <= hit).rfind(|seen| seen.controller.is_some());
    let Some(before) = before.and_then(|seen| seen.controller) else {
        return absent(format!("{NAME} did not name the controller before"));
    };
    let after = || evidence.registered.iter().filter(|seen| seen.from_ms > hit);
    match after().filter_map(|seen| seen.controller).find(|now| *now != before) {
        Some(now) => Ok(format!("kafka-{before}, then kafka-{now}")),
        None => contradicted(format!("{NAME} named nobody but kafka-{before}")),
    }
}

/// The epoch of the leader's partition before and after.
fn epochs(evidence: &Evidence) -> Result<(i32, i32), (Sight, String)> {
    let of = |epochs: &Option<BTreeMap<u32, i32>>| epochs.as_ref()?.get(&evidence.partition).copied();
    match (of(&evidence.epochs.before), of(&evidence.epochs.after)) {
        (Some(before), Some(after)) => Ok((before, after)),
        _ => Err((Sight::Absent, format!("no consumer told the leader epochs of partition {}", evidence.partition))),
    }
}

fn epoch_raised(evidence: &Evidence, who: Who) -> Seen {
    let (before, after) = epochs(evidence)?;
    let partition = evidence.partition;
    if after <= before {
        return contradicted(format!("partition {partition} had leader epoch {before}, then {after}"));
    }
    let Some(leader) = evidence.led.first().and_then(|led| led.leader) else {
        return absent(format!("brokers did not agree on who leads partition {partition}"));
    };
    if !evidence.targets.get(&who).is_some_and(|ids| ids.contains(&leader)) {
        return contradicted(format!("partition {partition} was led by kafka-{leader}"));
    }
    let others = evidence.led.iter().skip(1).filter_map(|led| led.leader).find(|other| *other != leader);
    let epochs = format!("leader epoch {before}, then {after}");
    match others {
        Some(other) => Ok(format!("partition {partition}: kafka-{leader}, then kafka-{other}; {epochs}")),
        // Led by another, and by the first again.
        None if after >= before + 2 => Ok(format!("partition {partition}: {epochs}, and kafka-{leader} leads again")),
        // One epoch more is also what a follower that is taken out of the ISR leaves.
        None => absent(format!("partition {partition}: nobody but kafka-{leader} was seen to lead; {epochs}")),
    }
}

fn epoch_same(evidence: &Evidence) -> Seen {
    let (before, after) = epochs(evidence)?;
    let partition = evidence.partition;
    if before == after {
        return Ok(format!("partition {partition}: leader epoch {before}"));
    }
    // The controller gives leadership back to preferred replicas every now and then, whoever stands still.
    let (first, last) = (evidence.led.first(), evidence.led.last());
    let back = first.zip(last).is_some_and(|(first, last)| {
        last.leader.is_some()
            && last.leader == last.preferred
            && first.leader.is_some()
            && first.leader != first.preferred
    });
    match back && sessions_kept(evidence, Who::AllBrokers).is_ok() {
        true => Ok(format!(
            "partition {partition}: leader epoch {before}, then {after}: given back to the preferred replica"
        )),
        false => contradicted(format!("partition {partition}: leader epoch {before}, then {after}")),
    }
}

fn handed_over(evidence: &Evidence, who: Who) -> Seen {
    let mine: Vec<&Blow> = evidence.blows.iter().filter(|blow| blow.who == who).collect();
    if mine.is_empty() || mine.len() < evidence.count(who) {
        return absent(format!("{} of {} brokers were told to end", mine.len(), evidence.count(who)));
    }
    for blow in &mine {
        match blow.handed_over {
            Some(true) => {}
            Some(false) => return contradicted(format!("{} did not say so in its log", blow.name)),
            None => return absent(format!("the log of {} could not be read", blow.name)),
        }
    }
    Ok(mine.iter().map(|blow| format!("{} said so", blow.name)).collect::<Vec<_>>().join(", "))
}

/// Gaps are told by the clients' wall clock.
fn clock_held(evidence: &Evidence) -> Result<(), (Sight, String)> {
    match evidence.clock_moved_ms > CLOCK_MS {
        true => Err((Sight::Absent, format!("the clock was moved by {} meanwhile", seconds(evidence.clock_moved_ms)))),
        false => Ok(()),
    }
}

/// From which length on a gap between acknowledgements says that they paused.
const PAUSE_MS: u64 = 2 * timing::LEAST_GAP_MS;

/// The gaps of a partition that overlap the fault.
fn gaps(evidence: &Evidence, what: Milestone, partition: u32) -> impl Iterator<Item = &Gap> {
    let (from, to) = evidence.wall;
    let mine = evidence.gaps.iter().filter(move |gap| gap.what == what && gap.partition == partition);
    mine.filter(move |gap| gap.to_ms > from && gap.from_ms < to)
}

/// The longest of them.
fn longest_gap(evidence: &Evidence, what: Milestone, partition: u32) -> u64 {
    gaps(evidence, what, partition).map(Gap::length).max().unwrap_or(0)
}

/// The partitions that the topic had before.
fn partitions(evidence: &Evidence) -> Result<u32, (Sight, String)> {
    match evidence.partitions.before {
        Some(count) if count > 0 => Ok(count),
        _ => Err((Sight::Absent, "the topic's partitions are not known".into())),
    }
}

fn stood_still(evidence: &Evidence) -> Seen {
    clock_held(evidence)?;
    let count = partitions(evidence)?;
    let Some(down) = evidence.down_wall else { return absent("no server was down") };
    match timing::stood_still(&evidence.gaps, count, down) {
        true => Ok(format!("no acknowledgement for {}", seconds(down.1.saturating_sub(down.0)))),
        false => contradicted("messages were acknowledged meanwhile"),
    }
}

/// Both standings, when each client of `who` said its own after the blow.
fn standings(evidence: &Evidence) -> Result<(&Standing, &Standing), (Sight, String)> {
    match (&evidence.standing.before, &evidence.standing.after) {
        (Some(before), Some(after)) => Ok((before, after)),
        _ => Err((Sight::Absent, "the load was not looked at before and meanwhile".into())),
    }
}

/// How long `who` was away before the first move that mends.
fn away(evidence: &Evidence, who: Who) -> Option<u64> {
    Some(evidence.mending_ms.get(&who)?.saturating_sub(*evidence.hit_ms.get(&who)?))
}

fn acked_meanwhile(evidence: &Evidence, who: Who) -> Seen {
    clock_held(evidence)?;
    let count = partitions(evidence)?;
    let (before, after) = standings(evidence)?;
    let Some(away) = away(evidence, who) else { return absent(format!("{who} was not hit, or not brought back")) };
    let acked = |standing: &Standing, partition| standing.acked.get(&partition).copied().unwrap_or_default();
    for partition in 0..count {
        let (was, is) = (acked(before, partition), acked(after, partition));
        if is <= was {
            return contradicted(format!("partition {partition}: {was} acknowledged before, {is} when it came back"));
        }
        let gap = longest_gap(evidence, Milestone::Acked, partition);
        if gap > away / 2 {
            return contradicted(format!(
                "partition {partition} stood still for {} of {}",
                seconds(gap),
                seconds(away)
            ));
        }
    }
    let more: u64 = (0..count).map(|partition| acked(after, partition) - acked(before, partition)).sum();
    Ok(format!("{more} acknowledged in {}", seconds(away)))
}

fn acks_waited(evidence: &Evidence, ms: u64) -> Seen {
    clock_held(evidence)?;
    if evidence.struck_ms.is_none() {
        return absent("nothing was hit");
    }
    let gap = longest_gap(evidence, Milestone::Acked, evidence.partition);
    let told = format!("partition {}: {}", evidence.partition, seconds(gap));
    if gap >= ms { Ok(told) } else { contradicted(told) }
}

fn lagged(evidence: &Evidence, ms: u64) -> Seen {
    clock_held(evidence)?;
    let count = partitions(evidence)?;
    if evidence.struck_ms.is_none() {
        return absent("nothing was hit");
    }
    let mut least = u64::MAX;
    for partition in 0..count {
        // Of the gaps between receipts those in which acknowledgements went on count, for half of the time at least. Short ones between these are their rhythm.
        let paused =
            |gap: &&Gap| gap.what == Milestone::Acked && gap.partition == partition && gap.length() >= PAUSE_MS;
        let acked = |receipts: &Gap| -> u64 {
            evidence.gaps.iter().filter(paused).map(|gap| gap.overlap(receipts.from_ms, receipts.to_ms)).sum()
        };
        let lags = gaps(evidence, Milestone::Received, partition).filter(|gap| acked(gap) <= gap.length() / 2);
        let received = lags.map(Gap::length).max().unwrap_or(0);
        if received < ms {
            let told = format!(
                "partition {partition}: no receipt for {} with acknowledgements, for {} in all, no acknowledgement for {}",
                seconds(received),
                seconds(longest_gap(evidence, Milestone::Received, partition)),
                seconds(longest_gap(evidence, Milestone::Acked, partition))
            );
            return contradicted(told);
        }
        least = least.min(received);
    }
    Ok(format!("no receipt for {} or more in every partition", seconds(least)))
}

fn caught_up(evidence: &Evidence) -> Seen {
    let count = partitions(evidence)?;
    let (before, after) = standings(evidence)?;
    // What it says each second, it must have said since the producer stands still.
    if after.consumer_ms < before.consumer_ms + 1_000 {
        return absent("the consumer has not spoken meanwhile");
    }
    for partition in 0..count {
        match after.behind.get(&partition).copied().flatten() {
            Some(0) => {}
            Some(behind) => return contradicted(format!("partition {partition}: {behind} behind")),
            None => return absent(format!("partition {partition}: how far it is behind is not known")),
        }
    }
    Ok("0 behind in every partition".into())
}

fn held_back(evidence: &Evidence) -> Seen {
    let count = partitions(evidence)?;
    let (before, after) = standings(evidence)?;
    if after.producer_ms < before.producer_ms + 500 {
        return absent("the producer has not spoken meanwhile");
    }
    let told = format!("{} under way", after.in_flight);
    match after.in_flight {
        0 => contradicted(told),
        more if more > BATCH * u64::from(count) => contradicted(told),
        _ => Ok(told),
    }
}

fn end_lines(evidence: &Evidence, who: Who) -> Seen {
    let asked: Vec<_> = evidence.ends.iter().filter(|end| end.who == who && end.asked).collect();
    let told = evidence.blows.iter().filter(|blow| blow.who == who && blow.how == How::Term).count();
    // The one that was hit, and the last one, which the drill itself tells to end.
    if told == 0 || asked.len() < told + 1 {
        return absent(format!("{} processes were told to end, and did", asked.len()));
    }
    let silent = asked.iter().filter(|end| end.reason != Some(Reason::Signal)).count();
    match silent {
        0 => Ok(format!("{} last words", asked.len())),
        silent => contradicted(format!("{silent} of {} said nothing, or another reason", asked.len())),
    }
}

/// Whether every consumer began where the run began, in every partition that there was then.
fn from_start(evidence: &Evidence) -> Seen {
    if evidence.readers.is_empty() {
        return absent("there was no consumer");
    }
    if evidence.run_start.is_empty() {
        return absent("where the run began is not known");
    }
    for (reader, (partition, start)) in
        evidence.readers.iter().flat_map(|reader| evidence.run_start.iter().map(move |at| (reader, at)))
    {
        match reader.from.get(partition) {
            Some(from) if from == start => {}
            Some(from) => return contradicted(format!("partition {partition}: from {from}, the run began at {start}")),
            None => return absent(format!("partition {partition}: a consumer did not say where it began")),
        }
    }
    Ok("from the run's start".into())
}

fn read_again(evidence: &Evidence) -> Seen {
    let [before @ .., last] = &evidence.readers[..] else { return absent("there was no consumer") };
    if before.is_empty() {
        return absent("there was no consumer but one");
    }
    let start = from_start(evidence)?;
    for (partition, count) in before.iter().flat_map(|reader| &reader.received) {
        let now = last.received.get(partition).copied().unwrap_or_default();
        if now < *count {
            return contradicted(format!("partition {partition}: {count} received before, {now} by the last one"));
        }
    }
    Ok(start)
}

fn consumer_late(evidence: &Evidence) -> Seen {
    let count = partitions(evidence)?;
    if evidence.readers.len() != 1 {
        return absent(format!("there were {} consumers", evidence.readers.len()));
    }
    let Some(standing) = &evidence.standing.after else { return absent("the load was not looked at before it came") };
    if standing.consumer_ms > 0 {
        return contradicted("a consumer was there before");
    }
    let acked = |partition| standing.acked.get(&partition).copied().unwrap_or_default();
    if let Some(partition) = (0..count).find(|partition| acked(*partition) == 0) {
        return absent(format!("nothing of partition {partition} was acknowledged yet"));
    }
    let start = from_start(evidence)?;
    Ok(format!("{} acknowledged before it; {start}", (0..count).map(acked).sum::<u64>()))
}

fn topic_late(evidence: &Evidence, ms: u64) -> Seen {
    match evidence.topic_absent {
        Some(true) => {}
        Some(false) => return contradicted("the topic was there already"),
        None => return absent("whether the topic was there could not be seen"),
    }
    let Some(standing) = &evidence.standing.before else { return absent("the load was not looked at before") };
    let acked: u64 = standing.acked.values().sum();
    if acked > 0 {
        return contradicted(format!("{acked} acknowledged before"));
    }
    let told = format!("both clients ran for {}", seconds(standing.running_ms));
    if standing.running_ms < ms { absent(told) } else { Ok(told) }
}

fn emptied(evidence: &Evidence, who: Who) -> Seen {
    each(evidence, who, |id| match evidence.emptied.iter().find(|emptied| emptied.broker == id) {
        None => absent(format!("nothing of kafka-{id} was removed")),
        Some(emptied) => {
            let told = format!("kafka-{id}: {} folders, {} bytes", emptied.folders, emptied.bytes);
            match (emptied.left, emptied.folders > 0 && emptied.bytes > 0) {
                (0, true) => Ok(told),
                (0, false) => absent(told),
                (left, _) => contradicted(format!("{told}, and {left} folders are still there")),
            }
        }
    })
}

fn pods(
    evidence: &Evidence,
    who: Who,
    differs: impl Fn(&crate::drill::evidence::PodSeen, &crate::drill::evidence::PodSeen) -> bool,
) -> Seen {
    each(evidence, who, |id| match evidence.pods.get(&id) {
        Some(seen) => pair(&seen.before, &seen.after, &format!("kafka-{id}"), &differs),
        None => absent(format!("pod kafka-{id} was not looked at")),
    })
}

fn node_paused(evidence: &Evidence, who: Who, ms: u64) -> Seen {
    each(evidence, who, |id| match evidence.nodes.get(&id).map(|node| node.paused) {
        None => absent(format!("the node of kafka-{id} was not looked at")),
        Some(None) => contradicted(format!("the engine did not call the node of kafka-{id} paused")),
        Some(Some((from, to))) => {
            let told = format!("kafka-{id}: paused for {}", seconds(to.saturating_sub(from)));
            if to.saturating_sub(from) >= ms { Ok(told) } else { contradicted(told) }
        }
    })
}

fn node_restarted(evidence: &Evidence, who: Who) -> Seen {
    each(evidence, who, |id| match evidence.nodes.get(&id) {
        Some(node) => {
            pair(&node.started.before, &node.started.after, &format!("node of kafka-{id} started"), |a, b| a != b)
        }
        None => absent(format!("the node of kafka-{id} was not looked at")),
    })
}

#[cfg(test)]
mod tests {
    use ledger::lines::GAP;

    use super::*;
    use crate::drill::evidence::{ClientEnd, Emptied, Led, NodeSeen, Pair, PodSeen, Reader, Stopped};
    use crate::drill::faults::FAULTS;

    /// A fault that hit everybody after 1 s, and was mended from 8 s to 12 s; nothing else was seen. Clients' clocks are 100 s ahead.
    fn struck() -> Evidence {
        let all =
            [Who::Leader, Who::Controller, Who::LeaderAndController, Who::TwoBrokers, Who::AllBrokers, Who::Followers];
        let ids: [&[u32]; 6] = [&[0], &[1], &[0, 1], &[0, 1], &[0, 1, 2], &[1, 2]];
        let clients = [Who::Coordinator, Who::Producer, Who::Consumer];
        let whos = || all.into_iter().chain(clients);
        Evidence {
            struck_ms: Some(1_000),
            hit_ms: whos().map(|who| (who, 1_000)).collect(),
            mending_ms: whos().map(|who| (who, 8_000)).collect(),
            mended_ms: 12_000,
            wall: (101_000, 112_000),
            targets: all.into_iter().zip(ids).map(|(who, ids)| (who, ids.iter().copied().collect())).collect(),
            partitions: Pair { before: Some(2), after: Some(2) },
            ..Evidence::default()
        }
    }

    fn registered(from_ms: u64, to_ms: u64, sessions: Option<&[(u32, &str)]>, controller: Option<u32>) -> Registered {
        let sessions = sessions.map(|all| all.iter().map(|(id, session)| (*id, (*session).to_string())).collect());
        Registered { from_ms, to_ms, sessions, controller }
    }

    const BEFORE: &[(u32, &str)] = &[(0, "a"), (1, "b"), (2, "c")];

    /// All three brokers lose their sessions at so many ms, and are there again later.
    fn gone_at(evidence: &mut Evidence, ms: u64) {
        let later: &[(u32, &str)] = &[(0, "d"), (1, "e"), (2, "f")];
        evidence.registered = vec![
            registered(0, ms - 1, Some(BEFORE), Some(1)),
            registered(ms, 9_000, Some(&[]), Some(2)),
            registered(9_050, 13_000, Some(later), Some(2)),
        ];
    }

    fn stays(evidence: &mut Evidence) {
        evidence.registered = vec![registered(0, 13_000, Some(BEFORE), Some(1))];
    }

    fn blows(evidence: &mut Evidence, who: Who, how: How, ran: bool, over: bool, handed_over: Option<bool>) {
        let one = |n: usize| Blow { who, name: format!("p{n}"), how, ran, reached: true, over, handed_over };
        evidence.blows = (0..evidence.count(who)).map(one).collect();
    }

    fn stop(evidence: &mut Evidence, who: Who, stopped_ms: u64) {
        let one = |n: usize| Stopped { who, name: format!("p{n}"), stopped_ms, looks: 9 };
        evidence.stopped = (0..evidence.count(who)).map(one).collect();
    }

    /// Partition 0 had one leader epoch and then another; who led it is told too.
    fn epochs(evidence: &mut Evidence, before: i32, after: i32, leaders: &[u32]) {
        let of = |epoch| Some(BTreeMap::from([(0, epoch), (1, 0)]));
        evidence.epochs = Pair { before: of(before), after: of(after) };
        let led = |(n, id): (usize, &u32)| Led { at_ms: n as u64 * 5_000, leader: Some(*id), preferred: Some(0) };
        evidence.led = leaders.iter().enumerate().map(led).collect();
    }

    fn gap(what: Milestone, partition: u32, from_ms: u64, to_ms: u64) -> Gap {
        Gap { schema: GAP.into(), what, partition, from_ms, to_ms }
    }

    fn gaps(evidence: &mut Evidence, what: Milestone, ms: u64) {
        let one = |partition| gap(what, partition, 101_100, 101_100 + ms);
        evidence.gaps.extend([one(0), one(1)]);
    }

    fn standings(evidence: &mut Evidence, acked: [u64; 2], in_flight: u64, behind: u64) {
        let one = |acked: u64, spoken: u64| Standing {
            acked: BTreeMap::from([(0, acked), (1, acked)]),
            in_flight,
            producer_ms: spoken,
            behind: BTreeMap::from([(0, Some(behind)), (1, Some(behind))]),
            consumer_ms: spoken,
            running_ms: 3_000,
        };
        evidence.standing = Pair { before: Some(one(acked[0], 1_000)), after: Some(one(acked[1], 7_000)) };
    }

    fn ends(evidence: &mut Evidence, who: Who, reasons: &[Option<Reason>]) {
        blows(evidence, who, How::Term, true, true, None);
        evidence.ends = reasons.iter().map(|reason| ClientEnd { who, asked: true, reason: *reason }).collect();
    }

    fn readers(evidence: &mut Evidence, from: u64, received: &[u64]) {
        let one = |count: &u64| Reader { from: BTreeMap::from([(0, from)]), received: BTreeMap::from([(0, *count)]) };
        evidence.readers = received.iter().map(one).collect();
        evidence.run_start = BTreeMap::from([(0, 5)]);
    }

    fn pods(evidence: &mut Evidence, uids: [&str; 2], restarts: [u64; 2]) {
        let one = |at: usize| Some(PodSeen { uid: uids[at].into(), restarts: restarts[at] });
        evidence.pods.insert(0, Pair { before: one(0), after: one(1) });
    }

    fn node(evidence: &mut Evidence, started: [&str; 2], paused: Option<(u64, u64)>) {
        let started = Pair { before: Some(started[0].into()), after: Some(started[1].into()) };
        evidence.nodes.insert(0, NodeSeen { started, paused });
    }

    type Fill = fn(&mut Evidence);

    /// Of every proof: what shows it, and what contradicts it.
    const CASES: &[(Proof, Fill, Fill)] = &[
        (
            Proof::Ended(Who::Leader, How::Kill),
            |e| blows(e, Who::Leader, How::Kill, true, true, None),
            |e| blows(e, Who::Leader, How::Kill, true, false, None),
        ),
        (
            Proof::Ended(Who::AllBrokers, How::Term),
            |e| blows(e, Who::AllBrokers, How::Term, true, true, None),
            |e| {
                blows(e, Who::AllBrokers, How::Term, true, true, None);
                e.blows[2].ran = false;
            },
        ),
        (
            Proof::Stopped(Who::Followers, 1_800),
            |e| stop(e, Who::Followers, 1_900),
            |e| {
                stop(e, Who::Followers, 1_900);
                e.stopped[1].stopped_ms = 100;
            },
        ),
        (
            Proof::Silent(7_000),
            |e| e.registered = vec![registered(0, 1_000, Some(BEFORE), None), registered(1_050, 8_100, None, None)],
            |e| e.registered = vec![registered(0, 1_000, Some(BEFORE), None), registered(1_050, 4_000, None, None)],
        ),
        // A session that outlives the time until the broker is started again: the timeout was raised.
        (Proof::Expired(Who::Leader), |e| gone_at(e, 5_000), |e| gone_at(e, 8_500)),
        (Proof::SessionGone(Who::AllBrokers), |e| gone_at(e, 8_500), stays),
        (Proof::SessionsKept(Who::Followers), stays, |e| gone_at(e, 5_000)),
        (Proof::NewController, |e| gone_at(e, 5_000), stays),
        (Proof::EpochRaised(Who::Leader), |e| epochs(e, 3, 4, &[0, 2]), |e| epochs(e, 3, 3, &[0, 0])),
        (Proof::EpochRaised(Who::Leader), |e| epochs(e, 3, 5, &[0, 0]), |e| epochs(e, 3, 5, &[1, 2])),
        (Proof::EpochSame, |e| epochs(e, 3, 3, &[0, 0]), |e| epochs(e, 3, 4, &[0, 1])),
        (
            Proof::HandedOver(Who::AllBrokers),
            |e| blows(e, Who::AllBrokers, How::Term, true, true, Some(true)),
            |e| blows(e, Who::AllBrokers, How::Term, true, true, Some(false)),
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
            Proof::AckedMeanwhile(Who::Coordinator),
            |e| standings(e, [10, 900], 0, 0),
            |e| {
                standings(e, [10, 900], 0, 0);
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
        (Proof::CaughtUp, |e| standings(e, [9, 9], 0, 0), |e| standings(e, [9, 9], 0, 7)),
        (Proof::HeldBack, |e| standings(e, [9, 9], 900, 0), |e| standings(e, [9, 9], 30_000, 0)),
        (
            Proof::EndLines(Who::Producer),
            |e| ends(e, Who::Producer, &[Some(Reason::Signal), Some(Reason::Signal)]),
            |e| ends(e, Who::Producer, &[None, Some(Reason::Signal)]),
        ),
        (Proof::ReadAgain, |e| readers(e, 5, &[70, 90]), |e| readers(e, 60, &[70, 90])),
        (Proof::ReadAgain, |e| readers(e, 5, &[70, 90]), |e| readers(e, 5, &[70, 20])),
        (
            Proof::ConsumerLate,
            |e| {
                readers(e, 5, &[90]);
                standings(e, [5, 60], 0, 0);
                e.standing.after.as_mut().unwrap().consumer_ms = 0;
            },
            |e| {
                readers(e, 60, &[90]);
                standings(e, [5, 60], 0, 0);
                e.standing.after.as_mut().unwrap().consumer_ms = 0;
            },
        ),
        (
            Proof::TopicLate(2_500),
            |e| {
                e.topic_absent = Some(true);
                standings(e, [0, 0], 0, 0);
            },
            |e| {
                e.topic_absent = Some(true);
                standings(e, [3, 3], 0, 0);
            },
        ),
        (
            Proof::Emptied(Who::Leader),
            |e| e.emptied = vec![Emptied { broker: 0, folders: 4, bytes: 9_000, left: 0 }],
            |e| e.emptied = vec![Emptied { broker: 0, folders: 4, bytes: 9_000, left: 4 }],
        ),
        (
            Proof::TopicIdChanged,
            |e| e.topic_id = Pair { before: Some("x".into()), after: Some("y".into()) },
            |e| e.topic_id = Pair { before: Some("x".into()), after: Some("x".into()) },
        ),
        (Proof::PartitionsDoubled, |e| e.partitions.after = Some(4), |e| e.partitions.after = Some(2)),
        (Proof::NewPod(Who::Leader), |e| pods(e, ["x", "y"], [0, 0]), |e| pods(e, ["x", "x"], [0, 1])),
        (Proof::ContainerRestarted(Who::Leader), |e| pods(e, ["x", "x"], [1, 2]), |e| pods(e, ["x", "y"], [1, 2])),
        (
            Proof::NodePaused(Who::Leader, 9_000),
            |e| node(e, ["t", "t"], Some((1_200, 11_000))),
            |e| node(e, ["t", "t"], None),
        ),
        (Proof::NodeRestarted(Who::Leader), |e| node(e, ["t", "u"], None), |e| node(e, ["t", "t"], None)),
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
                let mut evidence = struck();
                fill(&mut evidence);
                proof.judge(&evidence)
            };
            assert_eq!(judged(*shows).found, Sight::Shown, "{proof:?}: {:?}", judged(*shows));
            assert_eq!(judged(*contradicts).found, Sight::Contradicted, "{proof:?}: {:?}", judged(*contradicts));
            let nothing = proof.judge(&Evidence::default());
            assert_eq!(nothing.found, Sight::Absent, "{proof:?}: {nothing:?}");
            assert_ne!(proof.judge(&struck()).found, Sight::Shown, "{proof:?} of a fault of which nothing was seen");
        }
    }

    #[test]
    fn acknowledgements_that_paused_at_another_time_do_not_hide_a_lag() {
        let mut evidence = struck();
        gaps(&mut evidence, Milestone::Received, 700);
        let apart =
            |gap: &Gap| Gap { from_ms: gap.to_ms, to_ms: gap.to_ms + 600, what: Milestone::Acked, ..gap.clone() };
        let pauses: Vec<Gap> = evidence.gaps.iter().map(apart).collect();
        evidence.gaps.extend(pauses);
        assert_eq!(Proof::Lagged(500).judge(&evidence).found, Sight::Shown);
        // Several short ones within it are as good as one.
        let within = |from_ms| gap(Milestone::Acked, 1, from_ms, from_ms + PAUSE_MS);
        evidence.gaps.extend([within(101_150), within(101_400)]);
        let found = Proof::Lagged(500).judge(&evidence);
        assert_eq!(found.found, Sight::Contradicted, "{found:?}");
    }

    #[test]
    fn every_proof_that_a_fault_needs_is_tried() {
        let kind = std::mem::discriminant::<Proof>;
        for fault in FAULTS {
            for proof in fault.proofs {
                assert!(CASES.iter().any(|(tried, ..)| kind(tried) == kind(proof)), "{}: {proof:?}", fault.name);
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_leaves_what_is_told_by_gaps_open() {
        let by_gaps = [
            Proof::StoodStill,
            Proof::AckedMeanwhile(Who::Coordinator),
            Proof::AcksWaited(1_500),
            Proof::Lagged(4_000),
        ];
        for proof in by_gaps {
            let (_, shows, _) = CASES.iter().find(|(tried, ..)| *tried == proof).unwrap();
            let mut evidence = struck();
            shows(&mut evidence);
            evidence.clock_moved_ms = 3_600_000;
            assert_eq!(proof.judge(&evidence).found, Sight::Absent, "{proof:?}");
        }
    }

    #[test]
    fn leadership_that_goes_back_to_the_preferred_replica_is_no_failover() {
        let mut evidence = struck();
        stays(&mut evidence);
        epochs(&mut evidence, 3, 4, &[1, 0]);
        assert_eq!(Proof::EpochSame.judge(&evidence).found, Sight::Shown);
        // It is one when a session went.
        gone_at(&mut evidence, 5_000);
        assert_eq!(Proof::EpochSame.judge(&evidence).found, Sight::Contradicted);
    }

    #[test]
    fn a_higher_epoch_alone_does_not_show_that_the_leader_was_hit() {
        // As when a follower is taken out of the ISR.
        let mut evidence = struck();
        epochs(&mut evidence, 3, 4, &[0, 0]);
        assert_eq!(Proof::EpochRaised(Who::Leader).judge(&evidence).found, Sight::Absent);
        evidence.led[0].leader = None;
        assert_eq!(Proof::EpochRaised(Who::Leader).judge(&evidence).found, Sight::Absent);
    }

    #[test]
    fn a_broker_of_which_zookeeper_said_nothing_before_proves_nothing() {
        let mut evidence = struck();
        gone_at(&mut evidence, 5_000);
        evidence.registered[0].sessions.as_mut().unwrap().remove(&2);
        let found = Proof::Expired(Who::Followers).judge(&evidence);
        assert_eq!(found.found, Sight::Absent, "{found:?}");
        // And what is said while nobody answers is nothing.
        evidence.registered = vec![registered(0, 1_000, Some(BEFORE), None), registered(1_050, 13_000, None, None)];
        assert_eq!(Proof::Expired(Who::Leader).judge(&evidence).found, Sight::Absent);
        assert_eq!(Proof::SessionsKept(Who::Leader).judge(&evidence).found, Sight::Absent);
    }
}
