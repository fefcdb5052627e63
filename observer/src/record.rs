//! Observes a lab: asks each broker in a task of its own, and tells what changed, in the order in which it was seen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clients::{Client, DrillClients};
use crate::event::{Event, Line, Reason, SCHEMA};
use crate::facts::Facts;
use crate::journal::{Entry, Journal, drill as drill_of, monotonic, ms};
use crate::kafka::{Connection, Offsets, View};

/// How often each broker is asked for its view, and the journal is read. A change of leaders takes Kafka some hundred
/// milliseconds at least.
const VIEW_EVERY: Duration = Duration::from_millis(150);

/// How often offsets and clients are looked at, unless there are many partitions.
const COUNT_EVERY: Duration = Duration::from_millis(500);

/// How much longer that takes for each partition: ten minutes of a recording then have 2 MB at most.
const COUNT_EVERY_FOR_EACH: Duration = Duration::from_millis(20);

/// What is observed.
#[derive(Debug)]
pub struct Subject {
    /// Name of the lab.
    pub lab: String,
    /// The lab's backend.
    pub backend: String,
    /// Kafka's version and mode.
    pub kafka: String,
    /// Name of the lab's topic.
    pub topic: String,
    /// The brokers' ids and addresses.
    pub brokers: BTreeMap<u32, String>,
    /// Whether the controller is the leader of KRaft's metadata quorum.
    pub quorum: bool,
    /// The lab's clients.
    pub clients: Vec<Client>,
    /// What the commands of xtask do.
    pub journal: Option<Journal>,
}

/// What one task saw.
enum Seen {
    View(u32, View),
    Silence(u32, String),
    Quorum((u32, i32)),
    Offsets(u32, String, Vec<(i32, Offsets)>),
}

/// Tells `take` each line, until `end` is over or `stop` resolves.
///
/// # Errors
/// Those of `take`, which end the observation.
pub async fn run(
    mut subject: Subject,
    take: &mut impl FnMut(Line) -> Result<()>,
    end: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let mut recording = Recording { take, began: monotonic() };
    recording.tell(begin(&subject))?;
    let topics = vec![subject.topic.clone()];
    let mut facts = Facts::about(&topics);
    let (choose, chosen) = watch::channel(topics);
    let (tell, mut seen) = mpsc::channel(64);
    for (&id, address) in &subject.brokers {
        let asker = Asker { id, address: address.clone(), topics: chosen.clone(), tell: tell.clone() };
        tokio::spawn(asker.ask_forever());
        if subject.quorum {
            tokio::spawn(ask_for_the_quorum(address.clone(), tell.clone()));
        }
    }
    let mut drill: Option<DrillClients> = None;
    let mut partitions = 0;
    let mut look = interval(VIEW_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counted: Option<Instant> = None;
    let over = async {
        match end {
            Some(end) => sleep(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over, stop);
    let reason = loop {
        tokio::select! {
            () = &mut stop => break Reason::Signal,
            () = &mut over => break Reason::Duration,
            // Never ends: this function holds a sender too.
            Some(seen) = seen.recv() => {
                let events = match seen {
                    Seen::View(broker, view) => {
                        partitions = view.partitions();
                        facts.view(broker, view, !subject.quorum)
                    }
                    Seen::Silence(broker, why) => facts.silence(broker, why),
                    Seen::Quorum(leader) => facts.quorum(leader),
                    Seen::Offsets(broker, topic, offsets) => {
                        facts.offsets(broker, &topic, &offsets);
                        Vec::new()
                    }
                };
                recording.tell_all(events)?;
            }
            _ = look.tick() => {
                for entry in subject.journal.iter_mut().flat_map(Journal::look).collect::<Vec<_>>() {
                    if let Some(begun) = drill_of(&entry) {
                        let topics = vec![subject.topic.clone(), begun.topic.clone()];
                        facts.keep(&topics);
                        choose.send_replace(topics);
                        drill = Some(DrillClients::new(begun));
                    }
                    recording.journal(entry)?;
                }
                if counted.is_none_or(|last| last.elapsed() >= count_every(partitions)) {
                    counted = Some(Instant::now());
                    recording.count(&mut facts, &mut subject.clients, &mut drill)?;
                }
            }
        }
    };
    recording.count(&mut facts, &mut subject.clients, &mut drill)?;
    recording.tell(Event::End { reason })
}

/// How often offsets and clients are looked at if there are so many partitions.
fn count_every(partitions: usize) -> Duration {
    COUNT_EVERY.max(COUNT_EVERY_FOR_EACH.saturating_mul(u32::try_from(partitions).unwrap_or(u32::MAX)))
}

fn begin(subject: &Subject) -> Event {
    Event::Begin {
        time_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms),
        lab: subject.lab.clone(),
        backend: subject.backend.clone(),
        kafka: subject.kafka.clone(),
        topic: subject.topic.clone(),
        brokers: subject.brokers.clone().into_iter().collect(),
        clients: subject.clients.iter().map(|client| client.name().to_owned()).collect(),
    }
}

/// Gives each event its time.
struct Recording<'a, T> {
    take: &'a mut T,
    began: Duration,
}

impl<T: FnMut(Line) -> Result<()>> Recording<'_, T> {
    fn tell(&mut self, event: Event) -> Result<()> {
        let at_ms = ms(monotonic().saturating_sub(self.began));
        (self.take)(Line { schema: SCHEMA.into(), at_ms, event })
    }

    fn tell_all(&mut self, events: impl IntoIterator<Item = Event>) -> Result<()> {
        events.into_iter().try_for_each(|event| self.tell(event))
    }

    fn journal(&mut self, entry: Entry) -> Result<()> {
        let Entry { clock_ms, command, line, .. } = entry;
        let ago_ms = ms(monotonic()).saturating_sub(clock_ms);
        self.tell(Event::Journal { command, ago_ms, line })
    }

    /// Tells what is only looked at from time to time.
    fn count(&mut self, facts: &mut Facts, clients: &mut [Client], drill: &mut Option<DrillClients>) -> Result<()> {
        self.tell_all(facts.moved())?;
        self.tell_all(clients.iter_mut().filter_map(Client::look))?;
        self.tell_all(drill.iter_mut().flat_map(DrillClients::look))
    }
}

/// Asks one broker.
struct Asker {
    id: u32,
    address: String,
    topics: watch::Receiver<Vec<String>>,
    tell: mpsc::Sender<Seen>,
}

impl Asker {
    /// Asks until nobody listens any more.
    async fn ask_forever(self) {
        let mut counted: Option<Instant> = None;
        let mut connection: Option<Connection> = None;
        while !self.tell.is_closed() {
            let asked = Instant::now();
            if let Err(error) = self.ask(&mut connection, &mut counted).await {
                connection = None;
                if self.tell.send(Seen::Silence(self.id, format!("{error:#}"))).await.is_err() {
                    break;
                }
            }
            sleep(VIEW_EVERY.saturating_sub(asked.elapsed())).await;
        }
    }

    async fn ask(&self, connection: &mut Option<Connection>, counted: &mut Option<Instant>) -> Result<()> {
        let broker = match connection {
            Some(open) => open,
            None => connection.insert(Connection::open(&self.address).await?),
        };
        let topics = self.topics.borrow().clone();
        let view = broker.view(&topics).await?;
        let every = count_every(view.partitions());
        let led: Vec<_> = view.led_by(self.id).into_iter().map(|(topic, led)| (topic.to_owned(), led)).collect();
        // A send fails when the recording is over.
        let _ = self.tell.send(Seen::View(self.id, view)).await;
        if counted.is_none_or(|last| last.elapsed() + VIEW_EVERY > every) && !led.is_empty() {
            *counted = Some(Instant::now());
            for (topic, led) in led {
                let offsets = broker.offsets(&topic, &led).await?;
                let _ = self.tell.send(Seen::Offsets(self.id, topic, offsets)).await;
            }
        }
        Ok(())
    }
}

/// Asks through one broker who leads the quorum. On a connection of its own, since a broker answers its questions one
/// after the other, and passes this one on to a leader that may be paused.
async fn ask_for_the_quorum(address: String, tell: mpsc::Sender<Seen>) {
    let mut connection: Option<Connection> = None;
    while !tell.is_closed() {
        let asked = Instant::now();
        if connection.is_none() {
            connection = Connection::open(&address).await.ok();
        }
        if let Some(broker) = &mut connection {
            match broker.quorum().await {
                // That a broker knows no leader right now is no news about the quorum.
                Ok(None) => {}
                Ok(Some(leader)) => {
                    let _ = tell.send(Seen::Quorum(leader)).await;
                }
                Err(_) => connection = None,
            }
        }
        sleep(VIEW_EVERY.saturating_sub(asked.elapsed())).await;
    }
}
