//! Records a lab: asks each broker in a task of its own, and writes what changed, in the order in which it was seen.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clients::Client;
use crate::event::{Event, Line, Reason, SCHEMA};
use crate::facts::Facts;
use crate::kafka::{Connection, Offsets, View};

/// How often each broker is asked for its view. A change of leaders takes Kafka some hundred milliseconds at least.
const VIEW_EVERY: Duration = Duration::from_millis(150);

/// How often offsets and clients are looked at; clients write their state as often.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What is recorded.
#[derive(Debug)]
pub struct Subject {
    /// Name of the lab.
    pub lab: String,
    /// Name of the topic.
    pub topic: String,
    /// The brokers' ids and addresses.
    pub brokers: BTreeMap<u32, String>,
    /// Whether the controller is the leader of KRaft's metadata quorum.
    pub quorum: bool,
    /// The clients.
    pub clients: Vec<Client>,
}

/// What one task saw.
enum Seen {
    View(u32, View),
    Silence(u32, String),
    Quorum(Option<(u32, i32)>),
    Offsets(u32, Vec<(i32, Offsets)>),
}

/// Writes lines until `end` is over or `stop` resolves.
///
/// # Errors
/// A line cannot be written.
pub async fn run(
    mut subject: Subject,
    to: &mut impl Write,
    end: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let mut recording = Recording { to, began: Instant::now() };
    recording.write(begin(&subject))?;
    let (tell, mut seen) = mpsc::channel(64);
    for (&id, address) in &subject.brokers {
        let asker = Asker { id, address: address.clone(), topic: subject.topic.clone(), tell: tell.clone() };
        tokio::spawn(asker.ask_forever());
        if subject.quorum {
            tokio::spawn(ask_for_the_quorum(address.clone(), tell.clone()));
        }
    }
    let mut facts = Facts::default();
    let mut count = interval(COUNT_EVERY);
    count.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                    Seen::View(broker, view) => facts.view(broker, view, !subject.quorum),
                    Seen::Silence(broker, why) => facts.silence(broker, why),
                    Seen::Quorum(leader) => facts.quorum(leader),
                    Seen::Offsets(broker, offsets) => {
                        facts.offsets(broker, &offsets);
                        Vec::new()
                    }
                };
                for event in events {
                    recording.write(event)?;
                }
            }
            _ = count.tick() => recording.count(&mut facts, &mut subject.clients)?,
        }
    };
    recording.count(&mut facts, &mut subject.clients)?;
    recording.write(Event::End { reason })
}

fn begin(subject: &Subject) -> Event {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Event::Begin {
        time_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        lab: subject.lab.clone(),
        topic: subject.topic.clone(),
        brokers: subject.brokers.clone().into_iter().collect(),
        clients: subject.clients.iter().map(|client| client.name().to_owned()).collect(),
    }
}

/// Where the lines go.
struct Recording<'a, W> {
    to: &'a mut W,
    began: Instant,
}

impl<W: Write> Recording<'_, W> {
    /// Writes a line, at once and whole, so that whoever reads along sees it.
    fn write(&mut self, event: Event) -> Result<()> {
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut line = serde_json::to_vec(&Line { schema: SCHEMA.into(), at_ms, event })?;
        line.push(b'\n');
        self.to.write_all(&line)?;
        Ok(self.to.flush()?)
    }

    /// Writes what is only looked at from time to time.
    fn count(&mut self, facts: &mut Facts, clients: &mut [Client]) -> Result<()> {
        let states = clients.iter_mut().filter_map(Client::look);
        facts.moved().into_iter().chain(states).try_for_each(|event| self.write(event))
    }
}

/// Asks one broker.
struct Asker {
    id: u32,
    address: String,
    topic: String,
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
        let view = broker.view(&self.topic).await?;
        let led = view.led_by(self.id);
        // A send fails when the recording is over.
        let _ = self.tell.send(Seen::View(self.id, view)).await;
        let due = counted.is_none_or(|last| last.elapsed() >= COUNT_EVERY - VIEW_EVERY);
        if due && !led.is_empty() {
            *counted = Some(Instant::now());
            let offsets = broker.offsets(&self.topic, &led).await?;
            let _ = self.tell.send(Seen::Offsets(self.id, offsets)).await;
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
                Ok(leader) => {
                    let _ = tell.send(Seen::Quorum(leader)).await;
                }
                Err(_) => connection = None,
            }
        }
        sleep(VIEW_EVERY.saturating_sub(asked.elapsed())).await;
    }
}
