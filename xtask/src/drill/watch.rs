//! Looks on while a fault goes on: who is registered with the coordinator, and which processes stand still.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::drill::evidence::{Registered, Stopped};
use crate::drill::moves::Who;
use crate::local::process::{Identity, Life};
use crate::signal::Stop;
use crate::task::Task;
use crate::wait;

/// How often processes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A clock that nobody sets, and what it says in ms since the drill began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub Instant);

impl Clock {
    /// Now.
    pub fn ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A process that is looked at.
#[derive(Debug)]
struct Watched {
    identity: Identity,
    seen: Stopped,
    /// When it was stopped at the last look, as long as it is.
    since: Option<u64>,
    /// Whether it is still looked at.
    on: bool,
}

impl Watched {
    fn look(&mut self, now: u64) {
        if !self.on {
            return;
        }
        let stopped = self.identity.life() == Life::Paused;
        self.seen.looks += 1;
        if let (true, Some(since)) = (stopped, self.since) {
            self.seen.stopped_ms += now.saturating_sub(since);
        }
        self.since = stopped.then_some(now);
    }
}

/// Looks on, on threads of its own.
pub struct Watch {
    /// The drill's clock.
    pub clock: Clock,
    over: AtomicBool,
    registered: Mutex<Vec<Registered>>,
    watched: Mutex<Vec<Watched>>,
}

/// A thread that panicked leaves what it had seen.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// One that has seen nothing.
    pub fn new(clock: Clock) -> Self {
        Watch { clock, over: AtomicBool::new(false), registered: Mutex::default(), watched: Mutex::default() }
    }

    /// Asks the coordinator again and again, until [`Watch::end`].
    pub fn registrations(&self, task: &Task<'_>) {
        while !self.over.load(Ordering::SeqCst) {
            let asked = self.clock.ms();
            let membership = task.membership().ok().and_then(|answer| answer.ok()).unwrap_or_default();
            let sessions = membership.sessions;
            let controller = membership.controller.filter(|_| sessions.is_some());
            let mut seen = lock(&self.registered);
            let to_ms = self.clock.ms();
            match seen.last_mut() {
                Some(last) if last.sessions == sessions && last.controller == controller => last.to_ms = to_ms,
                _ => {
                    // A question without answer begins when it was asked.
                    let from_ms = if sessions.is_some() { to_ms } else { asked };
                    seen.push(Registered { from_ms, to_ms, sessions, controller });
                }
            }
            drop(seen);
            // Interrupted or not, `end` ends this.
            let _ = wait::pause(&Stop::default(), task.ctx.driver.pace(task.lab()).watch);
        }
    }

    /// Looks at processes again and again, until [`Watch::end`].
    pub fn processes(&self) {
        while !self.over.load(Ordering::SeqCst) {
            self.look();
            let _ = wait::pause(&Stop::default(), LOOK_EVERY);
        }
    }

    fn look(&self) {
        let mut watched = lock(&self.watched);
        let now = self.clock.ms();
        watched.iter_mut().for_each(|one| one.look(now));
    }

    /// From now on looks whether a process stands still.
    pub fn on(&self, who: Who, name: &str, identity: &Identity) {
        let mut watched = lock(&self.watched);
        match watched.iter_mut().find(|one| one.seen.who == who && one.identity == *identity) {
            Some(one) => (one.on, one.since) = (true, None),
            None => {
                let seen = Stopped { who, name: name.into(), stopped_ms: 0, looks: 0 };
                watched.push(Watched { identity: identity.clone(), seen, since: None, on: true });
            }
        }
        drop(watched);
        self.look();
    }

    /// Looks a last time whether `who` stands still.
    pub fn off(&self, who: Who) {
        self.look();
        lock(&self.watched).iter_mut().filter(|one| one.seen.who == who).for_each(|one| one.on = false);
    }

    /// Whether the coordinator has been asked.
    pub fn has_asked(&self) -> bool {
        !lock(&self.registered).is_empty()
    }

    /// When the coordinator last answered, or was last asked in vain.
    pub fn asked_ms(&self) -> u64 {
        lock(&self.registered).last().map_or(0, |seen| seen.to_ms)
    }

    /// Ends the threads.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// All that was seen.
    pub fn seen(self) -> (Vec<Registered>, Vec<Stopped>) {
        let watched = self.watched.into_inner().unwrap_or_else(PoisonError::into_inner);
        let registered = self.registered.into_inner().unwrap_or_else(PoisonError::into_inner);
        (registered, watched.into_iter().map(|one| one.seen).collect())
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::Signal;

    use super::*;
    use crate::exec::{Cmd, Exec, RealExec};
    use crate::local::process::Started;

    #[test]
    fn only_the_time_that_a_process_is_stopped_counts() {
        let cmd = Cmd::new("sleep", Duration::ZERO).arg("60");
        let pid = RealExec.start(&cmd, std::path::Path::new("/dev/null")).unwrap();
        let identity = Started::of(pid, String::new(), cmd.to_string(), None).unwrap().identity;
        let watch = Watch::new(Clock(Instant::now()));
        let pause = |ms| wait::pause(&Stop::default(), Duration::from_millis(ms)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| watch.processes());
            watch.on(Who::Producer, "p", &identity);
            // It runs, stands still, runs again, and stands still when nobody looks any more.
            pause(300);
            assert!(identity.signal(Signal::STOP).unwrap());
            pause(300);
            assert!(identity.signal(Signal::CONT).unwrap());
            pause(300);
            watch.off(Who::Producer);
            assert!(identity.signal(Signal::STOP).unwrap());
            pause(300);
            watch.end();
        });
        let (_, seen) = watch.seen();
        identity.end(Duration::from_secs(10), &Stop::default(), &|_| {}).unwrap();
        let [seen] = &seen[..] else { panic!("{seen:?}") };
        assert!(seen.looks > 5 && (100..=400).contains(&seen.stopped_ms), "{seen:?}");
    }
}
