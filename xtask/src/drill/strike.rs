//! Carries out a fault's moves, and mends what they broke.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::drill::faults::{Move, Who};
use crate::drill::load::{Load, create_topic};
use crate::drill::pods;
use crate::failure::{Failure, IoContext, Result};
use crate::local::process::Identity;
use crate::local::service::Service;
use crate::state::{Backend, now_ms};
use crate::step::{Part, Task};
use crate::steps::workload::{self, Patience};
use crate::steps::{cluster, serve, service};
use crate::tools::clients::{self, Metadata};
use crate::tools::kafka::{Place, Tool};
use crate::tools::zookeeper;
use crate::wait::{self, Poll};

const INTERVAL: Duration = Duration::from_millis(200);
const ASK: Duration = Duration::from_secs(3);

/// What was done, while it is done.
pub struct Strike<'a, 'b> {
    task: &'a Task<'b>,
    load: &'a mut Load,
    chosen: BTreeMap<Who, Vec<Service>>,
    /// When the first move hit, in ms since the Unix epoch.
    pub struck_ms: Option<u64>,
    /// Brokers that were hit.
    pub brokers: BTreeSet<u32>,
    /// From when on all servers that were killed were gone until the first was started again, in ms since the Unix epoch.
    pub down: Option<(u64, u64)>,
}

impl<'a, 'b> Strike<'a, 'b> {
    /// Before the first move.
    pub fn new(task: &'a Task<'b>, load: &'a mut Load) -> Self {
        Strike { task, load, chosen: BTreeMap::new(), struck_ms: None, brokers: BTreeSet::new(), down: None }
    }

    /// Carries out one move.
    ///
    /// # Errors
    /// It cannot be done, or an interruption.
    pub fn carry_out(&mut self, step: Move) -> Result<()> {
        (self.task.status)(&format!("{step:?}"));
        // The step may end a client, and with it what the system knows of its memory.
        self.load.look_at_memory();
        match step {
            Move::Wait(ms) => wait::pause(self.task.ctx.stop, Duration::from_millis(ms)),
            Move::Kill(who) => self.signal(who, Signal::KILL, true),
            Move::Term(who) => self.signal(who, Signal::TERM, true),
            Move::Pause(who) => self.signal(who, Signal::STOP, false),
            Move::Resume(who) => self.signal(who, Signal::CONT, false),
            Move::Start(Who::Producer) => self.load.start_producer(self.task),
            Move::Start(Who::Consumer) => {
                self.load.start_consumer(self.task)?;
                // The load may have been without one until now.
                self.hit();
                Ok(())
            }
            Move::Start(who) => {
                if let Some((_, until)) = &mut self.down {
                    *until = (*until).min(now_ms());
                }
                for server in self.servers(who)? {
                    service::start(self.task, server)?;
                }
                Ok(())
            }
            Move::Wipe(who) => {
                for server in self.servers(who)? {
                    let data = server.dir(self.task.lab()).join("data");
                    fs::remove_dir_all(&data).cannot("remove", &data)?;
                }
                Ok(())
            }
            Move::WipeTopic(who) => {
                for server in self.servers(who)? {
                    self.wipe_topic(&server.dir(self.task.lab()).join("data"))?;
                }
                Ok(())
            }
            Move::Rolling => self.roll(),
            Move::DeletePod(who) => self.pods(who, pods::delete),
            Move::KillContainer(who) => self.pods(who, pods::kill),
            Move::PauseNode(who) => self.pods(who, pods::pause_node),
            Move::ResumeNode(who) => self.pods(who, pods::resume_node),
            Move::RestartNode(who) => {
                // The node is gone seconds before docker returns.
                self.servers(who)?;
                self.hit();
                self.pods(who, pods::restart_node)
            }
            Move::DeleteDns => {
                self.hit();
                pods::delete_dns(self.task)
            }
            Move::CreateTopic => {
                self.hit();
                create_topic(self.task, &self.load.topic)
            }
            Move::RecreateTopic => {
                self.hit();
                let topic = self.load.topic.clone();
                topics(self.task, &["--delete", "--if-exists", "--topic", &topic])?;
                // The producer's next question may have created it already.
                create_topic(self.task, &topic)
            }
            Move::GrowTopic => {
                self.hit();
                let more = (2 * self.task.lab().facts.brokers.partitions).to_string();
                topics(self.task, &["--alter", "--topic", &self.load.topic.clone(), "--partitions", &more]).map(drop)
            }
        }
    }

    /// Removes the folders of the topic's partitions, `TOPIC-N`.
    fn wipe_topic(&self, data: &Path) -> Result<()> {
        for entry in fs::read_dir(data).cannot("read", data)? {
            let path = entry.cannot("read", data)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let number = name.strip_prefix(&self.load.topic).and_then(|rest| rest.strip_prefix('-'));
            if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
                fs::remove_dir_all(&path).cannot("remove", &path)?;
            }
        }
        Ok(())
    }

    fn hit(&mut self) {
        self.struck_ms.get_or_insert_with(now_ms);
    }

    /// Who that is, found out once.
    fn servers(&mut self, who: Who) -> Result<Vec<Service>> {
        if let Some(known) = self.chosen.get(&who) {
            return Ok(known.clone());
        }
        let count = self.task.lab().facts.brokers.count;
        let after = |id: u32| (id + 1) % count.max(1);
        let ids: Vec<u32> = match who {
            Who::ZooKeeper | Who::Producer | Who::Consumer => Vec::new(),
            Who::Leader => vec![self.leader()?],
            Who::Followers => {
                let leader = self.servers(Who::Leader)?;
                self.task.lab().broker_ids().filter(|id| !leader.contains(&Service::Broker(*id))).collect()
            }
            Who::Controller => vec![self.controller()?],
            Who::LeaderAndController => {
                let (leader, controller) = (self.leader()?, self.controller()?);
                vec![leader, if controller == leader { after(leader) } else { controller }]
            }
            Who::TwoBrokers => {
                let leader = self.leader()?;
                vec![leader, after(leader)]
            }
            Who::AllBrokers => self.task.lab().broker_ids().collect(),
        };
        let mut servers: Vec<Service> = ids.into_iter().map(Service::Broker).collect();
        if who == Who::ZooKeeper {
            servers.push(Service::ZooKeeper);
        }
        self.chosen.insert(who, servers.clone());
        Ok(servers)
    }

    fn leader(&self) -> Result<u32> {
        let found =
            wait::until("a leader", ASK * 5, INTERVAL, self.task.ctx.stop, self.task.status, || {
                match metadata(self.task, &self.load.topic) {
                    Err(failure) => Poll::Failed(failure),
                    Ok(answers) => answers
                        .iter()
                        .filter(|answer| answer.ok)
                        .flat_map(|answer| &answer.topics)
                        .flat_map(|topic| &topic.partitions)
                        .find_map(|p| if p.partition == 0 { u32::try_from(p.leader).ok() } else { None })
                        .map_or(Poll::NotYet("partition 0 has no leader".into()), Poll::Ready),
                }
            })?;
        Ok(found)
    }

    fn controller(&self) -> Result<u32> {
        wait::until("a controller", ASK * 5, INTERVAL, self.task.ctx.stop, self.task.status, || {
            match serve::dump(self.task) {
                Ok(Some(dump)) => zookeeper::controller(&dump)
                    .map_or(Poll::NotYet("ZooKeeper knows no controller".into()), Poll::Ready),
                Ok(None) => Poll::NotYet("ZooKeeper does not answer".into()),
                Err(failure) => Poll::Failed(failure),
            }
        })
    }

    fn signal(&mut self, who: Who, signal: Signal, ends: bool) -> Result<()> {
        let processes: Vec<Identity> = match who {
            Who::Producer => self.load.producers.last().map(|client| client.identity.clone()).into_iter().collect(),
            Who::Consumer => self.load.consumers.last().map(|client| client.identity.clone()).into_iter().collect(),
            _ => {
                let servers = self.servers(who)?;
                self.brokers.extend(servers.iter().filter_map(|server| match server {
                    Service::Broker(id) => Some(*id),
                    _ => None,
                }));
                servers.iter().filter_map(|server| server.living(self.task.lab())).collect()
            }
        };
        if processes.is_empty() {
            return Err(Failure::step(format!("nothing to signal: {who:?} is not running")));
        }
        self.hit();
        for process in &processes {
            process.signal(signal)?;
        }
        for process in processes.iter().filter(|_| ends) {
            self.gone(process)?;
        }
        if ends && !matches!(who, Who::Producer | Who::Consumer) {
            self.down = Some((now_ms(), u64::MAX));
        }
        Ok(())
    }

    /// Does something to the pods of brokers.
    fn pods(&mut self, who: Who, act: fn(&Task<'_>, u32) -> Result<()>) -> Result<()> {
        for server in self.servers(who)? {
            if let Service::Broker(id) = server {
                self.brokers.insert(id);
                // It is done when kubectl or docker has ended, more or less.
                act(self.task, id)?;
                self.hit();
            }
        }
        Ok(())
    }

    fn gone(&self, process: &Identity) -> Result<()> {
        let patience = self.task.lab().timeout(|t| t.stop);
        wait::until("its end", patience, Duration::from_millis(20), self.task.ctx.stop, self.task.status, || {
            match process.is_over() {
                true => Poll::Ready(()),
                false => Poll::NotYet(format!("pid {} is still there", process.pid)),
            }
        })
    }

    /// Each broker in turn; the next one only when the one before is in every ISR again.
    fn roll(&mut self) -> Result<()> {
        for id in self.task.lab().broker_ids() {
            (self.task.status)(&format!("restarting broker {id}"));
            let server = Service::Broker(id);
            if let Some(process) = server.living(self.task.lab()) {
                self.hit();
                self.brokers.insert(id);
                process.signal(Signal::TERM)?;
                self.gone(&process)?;
            }
            service::start(self.task, server)?;
            in_sync(self.task, &self.load.topic)?;
        }
        Ok(())
    }
}

/// Starts and resumes all that should run and does not, and waits until every replica is in sync.
///
/// # Errors
/// A server does not start, or a replica does not catch up in time.
pub fn mend(task: &Task<'_>, topic: Option<&str>) -> Result<()> {
    match task.lab().backend {
        Backend::Local => {
            for server in Service::servers(task.lab()) {
                service::start(task, server)?;
            }
        }
        Backend::Kind => {
            cluster::cluster(task)?;
            workload::ready_with(task, Part::Servers, Patience::with_killed())?;
        }
    }
    topic.map_or(Ok(()), |topic| in_sync(task, topic))
}

/// Waits until each broker names every replica of every partition as in sync.
fn in_sync(task: &Task<'_>, topic: &str) -> Result<()> {
    let lab = task.lab();
    // A broker that lost its disk in a long soak fetches gigabytes.
    let patience = 4 * lab.timeout(|t| t.broker);
    wait::until("every ISR", patience, INTERVAL, task.ctx.stop, task.status, || {
        let answers = match metadata(task, topic) {
            Err(failure) => return Poll::Failed(failure),
            Ok(answers) => answers,
        };
        let full = |answer: &Metadata| {
            let partitions: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
            !partitions.is_empty() && partitions.iter().all(|p| p.leader >= 0 && p.isr.len() == p.replicas.len())
        };
        match answers.iter().filter(|answer| answer.ok && full(answer)).count() {
            count if count == lab.broker_ids().count() => Poll::Ready(()),
            count => Poll::NotYet(format!("{count} brokers name every replica as in sync")),
        }
    })
}

fn metadata(task: &Task<'_>, topic: &str) -> Result<Vec<Metadata>> {
    let lab = task.lab();
    let cmd = clients::metadata(&lab.clients_program(), &lab.bootstrap(), topic, ASK);
    let output = task.ctx.exec.capture(&cmd, &task.log, task.ctx.stop)?;
    Ok(clients::lines(&output.stdout, "kafka-lab.metadata/1"))
}

/// How long brokers may answer kafka-topics with an error of their own, as they did once when ZooKeeper had been killed: the
/// controller was changing.
const UNSETTLED: Duration = Duration::from_secs(30);

/// Runs kafka-topics, and again while brokers answer with an error of their own. What that did all the same, creating or
/// deleting, is done.
///
/// # Errors
/// It fails.
pub fn topics(task: &Task<'_>, args: &[&str]) -> Result<String> {
    let place = match task.lab().backend {
        Backend::Local => Place::of(task.lab(), task.ctx.jars, Some(&task.java()?), None),
        Backend::Kind => Place::of(task.lab(), task.ctx.jars, None, Some(&task.setup()?)),
    };
    let cmd = place.tool(Tool::KafkaTopics, args.iter().copied());
    let end = Instant::now() + UNSETTLED;
    let mut again = false;
    loop {
        let output = task.ctx.exec.capture(&cmd, &task.log, task.ctx.stop)?;
        let says = |what: &str| output.stdout.contains(what) || output.stderr.contains(what);
        if output.code != Some(0) && again && says("TopicExistsException") {
            return Ok(output.stdout);
        }
        again = says("UnknownServerException");
        if output.code == Some(0) || !again || Instant::now() >= end {
            return Ok(output.success(&cmd, &task.log)?.stdout);
        }
        wait::pause(task.ctx.stop, Duration::from_secs(1))?;
    }
}

/// The topic's id, as `kafka-topics --describe` tells it.
///
/// # Errors
/// The tool fails.
pub fn topic_id(task: &Task<'_>, topic: &str) -> Result<Option<String>> {
    Ok(parse_topic_id(&topics(task, &["--describe", "--topic", topic])?))
}

/// The id in the answer of `kafka-topics --describe`.
pub fn parse_topic_id(said: &str) -> Option<String> {
    said.split('\t').find_map(|field| field.trim().strip_prefix("TopicId:")).map(|id| id.trim().to_string())
}
