//! The lines of a running observation, kept for whoever looks now or comes later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;
use observer::event::Line;
use tokio::sync::watch;

use crate::now::Now;

/// How much is kept, in bytes: at least a quarter of an hour. What was before is kept as what held then.
const KEPT_MAX: usize = 4 * 1024 * 1024;

/// A line as text, with its number. Lines that say what held before the first one that is kept have none.
pub type Numbered = (Option<u64>, Arc<str>);

/// The film, shared by the observer and everybody who looks.
#[derive(Debug, Clone)]
pub struct Film {
    reel: Arc<Mutex<Reel>>,
    /// The number of the next line.
    next: watch::Sender<u64>,
}

#[derive(Debug)]
struct Reel {
    /// What held before the first line that is kept.
    before: Now,
    now: Now,
    kept: VecDeque<Arc<str>>,
    bytes: usize,
    /// The number of the first line that is kept.
    first: u64,
    /// When the last line came, and its time.
    last: Option<(Instant, u64)>,
}

/// What somebody who looks gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// The lines since the last time.
    More(Vec<Numbered>),
    /// All lines anew, since the next one is not kept any more.
    Anew(Vec<Numbered>),
}

impl Film {
    /// A film without lines.
    pub fn new() -> Self {
        let reel =
            Reel { before: Now::default(), now: Now::default(), kept: VecDeque::new(), bytes: 0, first: 0, last: None };
        Film { reel: Arc::new(Mutex::new(reel)), next: watch::channel(0).0 }
    }

    fn reel(&self) -> MutexGuard<'_, Reel> {
        self.reel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn add(&self, line: Line) -> Result<()> {
        let text: Arc<str> = serde_json::to_string(&line)?.into();
        let next = {
            let mut reel = self.reel();
            reel.now.apply(&line);
            reel.last = Some((Instant::now(), line.at_ms));
            reel.bytes += text.len();
            reel.kept.push_back(text);
            if reel.bytes > KEPT_MAX {
                reel.forget(KEPT_MAX * 3 / 4);
            }
            reel.first + reel.kept.len() as u64
        };
        self.next.send_replace(next);
        Ok(())
    }

    /// Tells when there are more lines.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.next.subscribe()
    }

    /// Returns the lines from number `from` on, or all anew if there is none or that one is not kept any more.
    pub fn since(&self, from: Option<u64>) -> Shown {
        let reel = self.reel();
        let end = reel.first + reel.kept.len() as u64;
        let numbered = |skip: usize| {
            let kept = reel.kept.iter().enumerate().skip(skip);
            kept.map(|(at, text)| (Some(reel.first + at as u64), text.clone())).collect::<Vec<_>>()
        };
        match from {
            Some(from) if (reel.first..=end).contains(&from) => {
                Shown::More(numbered(usize::try_from(from - reel.first).unwrap_or(usize::MAX)))
            }
            _ => {
                let before = reel.before.lines();
                let texts = before.iter().filter_map(|line| serde_json::to_string(line).ok());
                Shown::Anew(texts.map(|text| (None, text.into())).chain(numbered(0)).collect())
            }
        }
    }

    /// Returns what holds now.
    pub fn now(&self) -> Now {
        self.reel().now.clone()
    }

    /// Returns the time of the observer's clock, in ms since the recording began.
    pub fn now_ms(&self) -> u64 {
        self.reel().last.map_or(0, |(when, at_ms)| at_ms + observer::journal::ms(when.elapsed()))
    }
}

impl Reel {
    /// Forgets the oldest lines until only so many bytes are left.
    fn forget(&mut self, left: usize) {
        while self.bytes > left
            && let Some(text) = self.kept.pop_front()
        {
            if let Ok(line) = serde_json::from_str(&text) {
                self.before.apply(&line);
            }
            self.bytes -= text.len();
            self.first += 1;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use observer::event::Event;

    use super::*;
    use crate::now::tests::{line, lines};

    fn read(lines: &[Numbered]) -> Now {
        let mut now = Now::default();
        lines.iter().for_each(|(_, text)| now.apply(&serde_json::from_str(text).unwrap()));
        now
    }

    #[test]
    fn whoever_comes_late_sees_the_same_and_whoever_missed_nothing_gets_the_rest() {
        let film = Film::new();
        assert_eq!(film.since(Some(0)), Shown::More(Vec::new()));
        let all = lines();
        for line in &all {
            film.add(line.clone()).unwrap();
        }
        let Shown::Anew(seen) = film.since(None) else { panic!("anew") };
        assert_eq!((seen.len(), seen[0].0, read(&seen)), (all.len(), Some(0), film.now()));
        let Shown::More(rest) = film.since(Some(3)) else { panic!("more") };
        assert_eq!((rest.len(), rest[0].0), (all.len() - 3, Some(3)));
        assert_eq!(film.since(Some(all.len() as u64)), Shown::More(Vec::new()));
        assert!(matches!(film.since(Some(1_000)), Shown::Anew(_)), "numbers of another film");

        film.reel().forget(300);
        let Shown::Anew(seen) = film.since(Some(1)) else { panic!("not kept any more") };
        let mut late = read(&seen);
        late.apply(&line(999, Event::Broker { broker: 9, answers: true, why: None }));
        film.add(line(999, Event::Broker { broker: 9, answers: true, why: None })).unwrap();
        assert_eq!(late.topics, film.now().topics);
        assert_eq!(late.clients, film.now().clients);
        assert_eq!(late.brokers, film.now().brokers);
        assert!(film.now_ms() >= 999);
    }
}
