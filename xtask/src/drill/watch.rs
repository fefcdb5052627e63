//! Observes the lab during a fault: the brokers' registrations with the coordinator, and paused processes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::drill::moves::Target;
use crate::drill::observations::{PausedProcess, Registrations};
use crate::local::process::{Identity, Life};
use crate::signal::Stop;
use crate::task::Task;
use crate::wait;

/// How often the state of processes is sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

/// The clocks of a drill: a monotonic one that starts with it, and the wall clock, by which the clients report gaps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    wall_began_ms: u64,
    wall: fn() -> u64,
}

/// How far the two clocks may drift apart: one part in so many, which is more than a working clock does.
const DRIFT: u64 = 10_000;

impl Clock {
    /// Starts the clocks. `wall` is the time since the Unix epoch in ms.
    pub fn start(wall: fn() -> u64) -> Self {
        Clock { began: Instant::now(), wall_began_ms: wall(), wall }
    }

    /// The time since the drill began, in ms.
    pub fn ms(self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The wall clock's time, in ms since the Unix epoch.
    pub fn wall_ms(self) -> u64 {
        (self.wall)()
    }

    /// How far the wall clock is from where it would be if nobody had moved it since the drill began, in ms.
    pub fn moved_ms(self) -> u64 {
        let elapsed = self.ms();
        self.wall_began_ms.saturating_add(elapsed).abs_diff(self.wall_ms()).saturating_sub(elapsed / DRIFT)
    }
}

/// A process whose state is sampled.
#[derive(Debug)]
struct Watched {
    identity: Identity,
    seen: PausedProcess,
    /// The last sample, if the process was paused then.
    since: Option<u64>,
    /// Whether sampling continues.
    on: bool,
}

impl Watched {
    fn sample(&mut self, now: u64) {
        if !self.on {
            return;
        }
        let paused = self.identity.life() == Life::Paused;
        self.seen.samples += 1;
        if let (true, Some(since)) = (paused, self.since) {
            self.seen.paused_ms += now.saturating_sub(since);
        }
        self.since = paused.then_some(now);
    }
}

/// What two threads observe during one fault.
pub struct Watch {
    /// The drill's clock.
    pub clock: Clock,
    over: AtomicBool,
    clock_moved_ms: AtomicU64,
    registrations: Mutex<Vec<Registrations>>,
    watched: Mutex<Vec<Watched>>,
}

/// Locks a mutex; what a thread saw before it panicked is kept.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// A watch that has observed nothing yet.
    pub fn new(clock: Clock) -> Self {
        Watch {
            clock,
            over: AtomicBool::new(false),
            clock_moved_ms: AtomicU64::new(clock.moved_ms()),
            registrations: Mutex::default(),
            watched: Mutex::default(),
        }
    }

    /// Polls the coordinator until [`Watch::end`].
    pub fn poll_coordinator(&self, task: &Task<'_>) {
        while !self.over.load(Ordering::SeqCst) {
            let asked = self.clock.ms();
            let membership = task.membership().ok().and_then(|answer| answer.ok()).unwrap_or_default();
            let sessions = membership.sessions;
            let controller = membership.controller.filter(|_| sessions.is_some());
            let mut seen = lock(&self.registrations);
            let to_ms = self.clock.ms();
            match seen.last_mut() {
                Some(last) if last.sessions == sessions && last.controller == controller => last.to_ms = to_ms,
                _ => {
                    // The silence of an unanswered question begins when it was asked.
                    let from_ms = if sessions.is_some() { to_ms } else { asked };
                    seen.push(Registrations { from_ms, to_ms, sessions, controller });
                }
            }
            drop(seen);
            // Only `end` ends this, so that an interrupted drill is observed too.
            let _ = wait::pause(&Stop::default(), task.ctx.driver.pace(task.lab()).watch);
        }
    }

    /// Samples the watched processes until [`Watch::end`].
    pub fn sample_processes(&self) {
        while !self.over.load(Ordering::SeqCst) {
            self.sample();
            let _ = wait::pause(&Stop::default(), SAMPLE_INTERVAL);
        }
    }

    fn sample(&self) {
        // A clock that is moved and put back shows only in between.
        self.clock_moved_ms.fetch_max(self.clock.moved_ms(), Ordering::SeqCst);
        let mut watched = lock(&self.watched);
        let now = self.clock.ms();
        watched.iter_mut().for_each(|one| one.sample(now));
    }

    /// Starts to sample a process.
    pub fn on(&self, target: Target, name: &str, identity: &Identity) {
        let mut watched = lock(&self.watched);
        match watched.iter_mut().find(|one| one.seen.target == target && one.identity == *identity) {
            Some(one) => (one.on, one.since) = (true, None),
            None => {
                let seen = PausedProcess { target, name: name.into(), paused_ms: 0, samples: 0 };
                watched.push(Watched { identity: identity.clone(), seen, since: None, on: true });
            }
        }
        drop(watched);
        self.sample();
    }

    /// Samples the processes of `target` a last time.
    pub fn off(&self, target: Target) {
        self.sample();
        lock(&self.watched).iter_mut().filter(|one| one.seen.target == target).for_each(|one| one.on = false);
    }

    /// The farthest that the wall clock was seen to be moved, in ms.
    pub fn clock_moved_ms(&self) -> u64 {
        self.clock_moved_ms.load(Ordering::SeqCst)
    }

    /// Whether the coordinator has been asked.
    pub fn has_asked(&self) -> bool {
        !lock(&self.registrations).is_empty()
    }

    /// The last time that the coordinator was asked, in ms.
    pub fn asked_ms(&self) -> u64 {
        lock(&self.registrations).last().map_or(0, |seen| seen.to_ms)
    }

    /// Ends the threads.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Returns what was observed.
    pub fn seen(self) -> (Vec<Registrations>, Vec<PausedProcess>) {
        let watched = self.watched.into_inner().unwrap_or_else(PoisonError::into_inner);
        let registrations = self.registrations.into_inner().unwrap_or_else(PoisonError::into_inner);
        (registrations, watched.into_iter().map(|one| one.seen).collect())
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::Signal;

    use super::*;
    use crate::exec::{Cmd, Exec, RealExec};
    use crate::local::process::Started;

    /// A wall clock that a test moves.
    static WALL: AtomicU64 = AtomicU64::new(1_800_000_000_000);

    #[test]
    fn a_wall_clock_that_is_moved_an_hour_is_noticed_even_if_it_is_put_back() {
        const HOUR: u64 = 3_600_000;
        let clock = Clock::start(|| WALL.load(Ordering::SeqCst));
        for there in [WALL.load(Ordering::SeqCst) + HOUR, WALL.load(Ordering::SeqCst) - HOUR] {
            let (before, watch) = (WALL.load(Ordering::SeqCst), Watch::new(clock));
            watch.sample();
            assert!(watch.clock_moved_ms() < HOUR / 2, "{}", watch.clock_moved_ms());
            WALL.store(there, Ordering::SeqCst);
            watch.sample();
            WALL.store(before, Ordering::SeqCst);
            watch.sample();
            assert!(watch.clock_moved_ms() > HOUR / 2, "{}", watch.clock_moved_ms());
            assert!(clock.ms() < HOUR / 2, "the drill's own clock does not care");
        }
    }

    #[test]
    fn only_the_time_that_a_process_is_paused_counts() {
        let cmd = Cmd::new("sleep", Duration::ZERO).arg("60");
        let pid = RealExec.start(&cmd, std::path::Path::new("/dev/null")).unwrap();
        let identity = Started::of(pid, String::new(), cmd.to_string(), None).unwrap().identity;
        let watch = Watch::new(Clock::start(crate::system::now_ms));
        let pause = |ms| wait::pause(&Stop::default(), Duration::from_millis(ms)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| watch.sample_processes());
            watch.on(Target::Producer, "p", &identity);
            // It runs, is paused, runs again, and is paused once more when sampling is over.
            pause(300);
            assert!(identity.signal(Signal::STOP).unwrap());
            pause(300);
            assert!(identity.signal(Signal::CONT).unwrap());
            pause(300);
            watch.off(Target::Producer);
            assert!(identity.signal(Signal::STOP).unwrap());
            pause(300);
            watch.end();
        });
        let (_, seen) = watch.seen();
        identity.end(Duration::from_secs(10), &Stop::default(), &|_| {}).unwrap();
        let [seen] = &seen[..] else { panic!("{seen:?}") };
        assert!(seen.samples > 5 && (100..=400).contains(&seen.paused_ms), "{seen:?}");
    }
}
