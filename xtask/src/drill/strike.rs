//! Carries out a fault's moves, looks at what comes of them, and mends what they broke.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::brokers::{ASK, agreed, create_topic, metadata, no_such_topic, topics};
use crate::coordination::NAME;
use crate::drill::client::Fate;
use crate::drill::control::Without;
use crate::drill::evidence::{Blow, Emptied, Evidence, Led};
use crate::drill::faults::{self, Fault};
use crate::drill::load::Load;
use crate::drill::mend::{INTERVAL, in_sync};
use crate::drill::moves::{How, Move, Who};
use crate::drill::pods;
use crate::drill::proof::Proof;
use crate::drill::watch::Watch;
use crate::failure::{Failure, IoContext, Result};
use crate::local::process::{Identity, Life};
use crate::local::servers;
use crate::service::Service;
use crate::system::now_ms;
use crate::task::Task;
use crate::wait::Poll;

/// What was done and seen, while it is done.
pub struct Strike<'a, 'b> {
    task: &'a Task<'b>,
    load: &'a mut Load,
    watch: &'a Watch,
    proofs: &'static [Proof],
    without: Without,
    chosen: BTreeMap<Who, Vec<Service>>,
    /// When the first move hit, in ms since the Unix epoch.
    pub struck_ms: Option<u64>,
    /// Brokers that were hit.
    pub brokers: BTreeSet<u32>,
    /// What was seen.
    pub evidence: Evidence,
}

impl<'a, 'b> Strike<'a, 'b> {
    /// Before the first move: finds out who is meant, and how all is before.
    ///
    /// # Errors
    /// That cannot be found out, or an interruption.
    pub fn new(task: &'a Task<'b>, load: &'a mut Load, watch: &'a Watch, fault: &'static Fault) -> Result<Self> {
        let without = load.without;
        let mut strike = Strike {
            task,
            load,
            watch,
            proofs: fault.proofs,
            without,
            chosen: BTreeMap::new(),
            struck_ms: None,
            brokers: BTreeSet::new(),
            evidence: Evidence::default(),
        };
        if fault.moves.iter().any(|step| matches!(step, Move::PauseNode(_) | Move::RestartNode(_))) {
            strike.evidence.partition = strike.away_from_coordinator()?;
        }
        let everyone = strike.has(|proof| matches!(proof, Proof::EpochSame)).then_some(Who::AllBrokers);
        for who in fault.proofs.iter().filter_map(|proof| proof.who()).chain(everyone) {
            strike.servers(who)?;
        }
        strike.evidence.epochs.before = strike.load.epochs();
        if fault.load != faults::LoadKind::WithoutTopic {
            strike.evidence.partitions.before = Some(strike.partitions()?);
        }
        if strike.has(|proof| matches!(proof, Proof::EpochRaised(_) | Proof::EpochSame)) {
            strike.led(&BTreeSet::new())?;
        }
        if strike.has(|proof| matches!(proof, Proof::DnsReplaced)) {
            strike.evidence.dns.before = pods::dns(task)?;
        }
        for proof in fault.proofs {
            match proof {
                Proof::NewPod(who) | Proof::ContainerRestarted(who) => {
                    for id in strike.ids(*who)? {
                        strike.evidence.pods.entry(id).or_default().before = pods::seen(task, id)?;
                    }
                }
                Proof::NodeRestarted(who) => {
                    for id in strike.ids(*who)? {
                        let seen = pods::node_seen(task, id)?;
                        strike.evidence.nodes.entry(id).or_default().started.before = seen.map(|seen| seen.started);
                    }
                }
                _ => {}
            }
        }
        Ok(strike)
    }

    fn has(&self, is: impl Fn(&Proof) -> bool) -> bool {
        self.proofs.iter().any(is)
    }

    /// Carries out one move.
    ///
    /// # Errors
    /// It cannot be done, or an interruption.
    pub fn carry_out(&mut self, step: Move) -> Result<()> {
        (self.task.status)(&step.to_string());
        // The step may end a client, and with it what the system knows of its memory.
        self.load.sample_memory();
        let (task, without) = (self.task, self.without);
        match step {
            Move::Wait(_) if without.strike => Ok(()),
            Move::Wait(ms) => task.pause(Duration::from_millis(ms)),
            Move::Kill(who) => self.end(who, How::Kill),
            Move::Term(who) => self.end(who, How::Term),
            Move::Pause(who) => self.pause(who),
            Move::Resume(who) => self.resume(who),
            Move::Start(who) => self.start(who),
            Move::Wipe(who) => self.wipe(who, true),
            Move::WipeTopic(who) => self.wipe(who, false),
            Move::Rolling => self.roll(),
            Move::DeletePod(who) => self.pods(who, pods::delete),
            Move::KillContainer(who) => self.pods(who, pods::kill),
            Move::PauseNode(who) => {
                self.pods(who, pods::pause_node)?;
                self.look_at_nodes(who)
            }
            Move::ResumeNode(who) => {
                self.look_at_nodes(who)?;
                self.mending(who)?;
                self.pods(who, pods::resume_node)
            }
            Move::RestartNode(who) => self.pods(who, pods::restart_node),
            Move::DeleteDns => {
                self.hit(None);
                without.act(|| pods::delete_dns(task))
            }
            Move::CreateTopic => {
                self.evidence.topic_absent = no_such_topic(task, &self.load.topic)?;
                self.hit(None);
                without.act(|| create_topic(task, &self.load.topic))
            }
            Move::RecreateTopic => {
                self.hit(None);
                let topic = self.load.topic.clone();
                without.act(|| {
                    topics(task, &["--delete", "--if-exists", "--topic", &topic])?;
                    // The producer's next question may have created it already.
                    create_topic(task, &topic)
                })
            }
            Move::GrowTopic => {
                self.hit(None);
                let more = (2 * task.lab().facts.brokers.partitions).to_string();
                let topic = self.load.topic.clone();
                without.act(|| topics(task, &["--alter", "--topic", &topic, "--partitions", &more]).map(drop))
            }
        }
    }

    /// How all is when everything is mended and the load goes on.
    ///
    /// # Errors
    /// It cannot be asked, or an interruption.
    pub fn afterwards(&mut self, ends: &[(u32, u64)]) -> Result<()> {
        let now = self.watch.clock.ms();
        self.evidence.mended_ms = now;
        self.evidence.partitions.after = u32::try_from(ends.len()).ok();
        if self.has(|proof| matches!(proof, Proof::EpochRaised(_) | Proof::EpochSame)) {
            let patience = self.without.patience(Duration::from_secs(30));
            // What a consumer that lags has read says nothing of the epochs of now.
            if self.load.reads_beyond(self.task, ends, patience)? {
                self.evidence.epochs.after = self.load.epochs();
            }
            self.led(&BTreeSet::new())?;
        }
        if self.has(|proof| matches!(proof, Proof::DnsReplaced)) {
            self.evidence.dns.after = pods::dns(self.task)?;
        }
        let (task, pods_hit) = (self.task, self.evidence.pods.keys().copied().collect::<Vec<_>>());
        for id in pods_hit {
            self.evidence.pods.entry(id).or_default().after = pods::seen(task, id)?;
        }
        let nodes_hit: Vec<u32> = self.evidence.nodes.keys().copied().collect();
        for id in nodes_hit {
            let seen = pods::node_seen(task, id)?;
            self.evidence.nodes.entry(id).or_default().started.after = seen.map(|seen| seen.started);
        }
        // What is kept must be heard to be kept.
        let patience = Duration::from_secs(5);
        let heard = task.wait(NAME, patience, INTERVAL, || {
            let asked = self.watch.asked_ms() > now;
            Ok(Poll::unless((!asked).then(|| format!("{NAME} has not been asked since"))))
        });
        match heard {
            Err(failure) if task.ctx.stop.requested() => Err(failure),
            _ => Ok(()),
        }
    }

    /// The partitions in which the load does not go on.
    ///
    /// # Errors
    /// An interruption.
    pub fn stuck(&self, partitions: &[u32]) -> Result<Vec<u32>> {
        self.load.stuck(self.task, partitions)
    }

    fn partitions(&self) -> Result<u32> {
        let answers = metadata(self.task, &self.load.topic, &self.task.lab().bootstrap())?.unwrap_or_default();
        let most = answers.iter().flat_map(|answer| &answer.topics).map(|topic| topic.partitions.len()).max();
        Ok(u32::try_from(most.unwrap_or(0)).unwrap_or(u32::MAX))
    }

    /// Notes a blow.
    fn hit(&mut self, who: Option<Who>) {
        if self.struck_ms.is_none() {
            self.evidence.standing.before = Some(self.load.standing());
        }
        let now = self.watch.clock.ms();
        self.struck_ms.get_or_insert_with(now_ms);
        self.evidence.struck_ms.get_or_insert(now);
        if let Some(who) = who {
            self.evidence.hit_ms.entry(who).or_insert(now);
            if !matches!(who, Who::Producer | Who::Consumer | Who::Coordinator) {
                self.brokers.extend(self.chosen.get(&who).into_iter().flatten().filter_map(broker));
            }
        }
    }

    /// Notes that something is about to be started or resumed.
    fn mending(&mut self, who: Who) -> Result<()> {
        if self.evidence.standing.after.is_none() {
            self.evidence.standing.after = Some(self.load.standing());
        }
        if self.has(|proof| matches!(proof, Proof::EpochRaised(_))) {
            // Those that are away would be waited for.
            let back = |hit: &Who| self.evidence.mending_ms.contains_key(hit);
            let away = self.evidence.hit_ms.keys().filter(|hit| !back(hit));
            let away = away.filter_map(|hit| self.evidence.targets.get(hit)).flatten().copied().collect();
            self.led(&away)?;
        }
        let now = self.watch.clock.ms();
        self.evidence.mending_ms.entry(who).or_insert(now);
        Ok(())
    }

    /// Notes who leads the partition, as all brokers but some say.
    fn led(&mut self, but: &BTreeSet<u32>) -> Result<()> {
        let lab = self.task.lab();
        let asked: Vec<String> =
            lab.broker_ids().filter(|id| !but.contains(id)).map(|id| lab.broker_address(id)).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let answers = metadata(self.task, &self.load.topic, &asked.join(","))?.unwrap_or_default();
        let (leader, preferred) = agreed(&answers, self.evidence.partition);
        self.evidence.led.push(Led { at_ms: self.watch.clock.ms(), leader, preferred });
        Ok(())
    }

    /// The first partition whose leader is on another node than the coordinator; the first of all when there is none.
    fn away_from_coordinator(&self) -> Result<u32> {
        let theirs = pods::coordinator_node(self.task)?;
        let answers = metadata(self.task, &self.load.topic, &self.task.lab().bootstrap())?.unwrap_or_default();
        for partition in 0..self.task.lab().facts.brokers.partitions {
            if let (Some(leader), _) = agreed(&answers, partition)
                && pods::node(self.task, leader)? != theirs
            {
                return Ok(partition);
            }
        }
        Ok(0)
    }

    /// Who that is, found out once.
    fn servers(&mut self, who: Who) -> Result<Vec<Service>> {
        if let Some(known) = self.chosen.get(&who) {
            return Ok(known.clone());
        }
        let count = self.task.lab().facts.brokers.count;
        let after = |id: u32| (id + 1) % count.max(1);
        let ids: Vec<u32> = match who {
            Who::Coordinator | Who::Producer | Who::Consumer => Vec::new(),
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
        self.evidence.targets.insert(who, ids.iter().copied().collect());
        let mut servers: Vec<Service> = ids.into_iter().map(Service::Broker).collect();
        if who == Who::Coordinator {
            servers.push(Service::Coordinator);
        }
        self.chosen.insert(who, servers.clone());
        Ok(servers)
    }

    fn ids(&mut self, who: Who) -> Result<Vec<u32>> {
        Ok(self.servers(who)?.iter().filter_map(broker).collect())
    }

    /// Who leads the partition, as soon as all brokers that answer say the same.
    fn leader(&self) -> Result<u32> {
        let (task, partition) = (self.task, self.evidence.partition);
        task.wait("a leader", ASK * 5, INTERVAL, || {
            let answers = metadata(task, &self.load.topic, &task.lab().bootstrap())?.unwrap_or_default();
            Ok(match agreed(&answers, partition) {
                (Some(leader), _) => Poll::Ready(leader),
                _ => Poll::NotYet(format!("brokers name no leader of partition {partition}, or several")),
            })
        })
    }

    fn controller(&self) -> Result<u32> {
        self.task.wait("a controller", ASK * 5, INTERVAL, || {
            Ok(match self.task.membership()?.map(|membership| membership.controller) {
                Ok(Some(controller)) => Poll::Ready(controller),
                Ok(None) => Poll::NotYet(format!("{NAME} knows no controller")),
                Err(why) => Poll::NotYet(format!("{NAME} does not answer: {why}")),
            })
        })
    }

    /// The processes that `who` is, with their names. All of them must be there: a client that is not has ended by itself, and a server that is
    /// not was not hit by this drill.
    fn processes(&mut self, who: Who) -> Result<Vec<(String, Identity)>> {
        let client = match who {
            Who::Producer => Some(self.load.producers.last_mut()),
            Who::Consumer => Some(self.load.consumers.last_mut()),
            _ => None,
        };
        match client {
            Some(Some(client)) if client.identity.life() == Life::Gone => {
                client.fate = Fate::ByItself;
                Err(Failure::fault(format!("{} ended by itself before it was hit", client.name)).log(&client.log))
            }
            Some(Some(client)) => Ok(vec![(client.name.clone(), client.identity.clone())]),
            // A control has no producer.
            Some(None) if self.without.load => Ok(Vec::new()),
            Some(None) => Err(Failure::step(format!("nothing to signal: there is no process of {who}"))),
            None => {
                let lab = self.task.lab();
                let one = |server: Service| match server.living(lab) {
                    Some(identity) => Ok((server.name(lab), identity)),
                    None => Err(Failure::step(format!("nothing to signal: {} is not running", server.name(lab)))),
                };
                self.servers(who)?.into_iter().map(one).collect()
            }
        }
    }

    /// Ends processes and waits until they are over.
    fn end(&mut self, who: Who, how: How) -> Result<()> {
        let processes = self.processes(who)?;
        self.hit(Some(who));
        let mut blows = Vec::new();
        for (name, identity) in &processes {
            let ran = identity.life() != Life::Gone;
            let signal = if how == How::Kill { Signal::KILL } else { Signal::TERM };
            let reached = self.without.signal(identity, signal)?;
            if !reached {
                return Err(Failure::fault(format!("{name} (pid {}) was gone before it was hit", identity.pid)));
            }
            blows.push(Blow { who, name: name.clone(), how, ran, reached, over: false, handed_over: None });
        }
        for (blow, (_, identity)) in blows.iter_mut().zip(&processes) {
            blow.over = self.over(identity)?;
            let fate = match (how, blow.over, self.without.strike) {
                (_, _, true) => continue,
                (How::Kill, ..) => Fate::Killed,
                (How::Term, in_time, _) => Fate::Asked { in_time },
            };
            if let Some(client) = self.load.client(identity) {
                client.fate = fate;
            }
            if !blow.over {
                // It hangs; what comes next needs it gone.
                identity.signal(Signal::KILL)?;
                self.over(identity)?;
            }
        }
        self.evidence.blows.extend(blows);
        if !matches!(who, Who::Producer | Who::Consumer) && !self.without.strike {
            self.evidence.down_wall = Some((now_ms(), u64::MAX));
        }
        Ok(())
    }

    /// Waits until a process is over. Returns whether it is within its time.
    fn over(&self, process: &Identity) -> Result<bool> {
        if self.without.strike {
            return Ok(process.is_over());
        }
        let (task, patience) = (self.task, self.task.lab().timeout(|t| t.stop));
        let over = task.wait("its end", patience, Duration::from_millis(20), || {
            Ok(Poll::unless((!process.is_over()).then(|| format!("pid {} is still there", process.pid))))
        });
        match over {
            Err(failure) if task.ctx.stop.requested() => Err(failure),
            over => Ok(over.is_ok()),
        }
    }

    fn pause(&mut self, who: Who) -> Result<()> {
        let processes = self.processes(who)?;
        self.hit(Some(who));
        for (name, identity) in &processes {
            if !self.without.signal(identity, Signal::STOP)? {
                return Err(Failure::fault(format!("{name} (pid {}) was gone before it was hit", identity.pid)));
            }
            self.watch.on(who, name, identity);
        }
        Ok(())
    }

    fn resume(&mut self, who: Who) -> Result<()> {
        let processes = self.processes(who)?;
        self.mending(who)?;
        self.watch.off(who);
        for (name, identity) in &processes {
            if !self.without.signal(identity, Signal::CONT)? {
                return Err(Failure::fault(format!("{name} (pid {}) was gone while it stood still", identity.pid)));
            }
        }
        Ok(())
    }

    fn start(&mut self, who: Who) -> Result<()> {
        let (task, without) = (self.task, self.without);
        if who == Who::Consumer {
            // The load may have been without one until now.
            self.hit(None);
        }
        self.mending(who)?;
        match who {
            Who::Producer if without.load => Ok(()),
            Who::Producer => without.act(|| self.load.start_producer(task)),
            Who::Consumer => without.act(|| self.load.start_consumer(task)),
            _ => {
                if let Some((_, until)) = &mut self.evidence.down_wall {
                    *until = (*until).min(now_ms());
                }
                let servers = self.servers(who)?;
                without.act(|| servers.into_iter().try_for_each(|server| servers::start(task, server).map(drop)))
            }
        }
    }

    /// Removes a broker's whole log folder, or of it the folders of the topic's partitions, `TOPIC-N`.
    fn wipe(&mut self, who: Who, whole: bool) -> Result<()> {
        for server in self.servers(who)? {
            let Some(broker) = broker(&server) else { continue };
            let data = server.dir(self.task.lab()).join("data");
            let folders = self.folders(&data)?;
            let bytes = folders.iter().map(|folder| bytes_of(folder)).sum();
            self.without.act(|| match whole {
                true => fs::remove_dir_all(&data).cannot("remove", &data),
                false => folders.iter().try_for_each(|folder| fs::remove_dir_all(folder).cannot("remove", folder)),
            })?;
            let left = if data.exists() { self.folders(&data)?.len() } else { 0 };
            self.evidence.emptied.push(Emptied { broker, folders: folders.len(), bytes, left });
        }
        Ok(())
    }

    /// The folders of the topic's partitions.
    fn folders(&self, data: &Path) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(data).cannot("read", data)? {
            let path = entry.cannot("read", data)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let number = name.strip_prefix(&self.load.topic).and_then(|rest| rest.strip_prefix('-'));
            if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// Does something to the pods of brokers.
    fn pods(&mut self, who: Who, act: fn(&Task<'_>, u32) -> Result<()>) -> Result<()> {
        for id in self.ids(who)? {
            // A node is gone seconds before docker returns.
            self.hit(Some(who));
            self.without.act(|| act(self.task, id))?;
        }
        Ok(())
    }

    /// Notes since when, and until when, the engine calls nodes paused.
    fn look_at_nodes(&mut self, who: Who) -> Result<()> {
        for id in self.ids(who)? {
            let seen = pods::node_seen(self.task, id)?;
            let now = self.watch.clock.ms();
            let node = self.evidence.nodes.entry(id).or_default();
            if seen.is_some_and(|seen| seen.paused) {
                node.paused = Some((node.paused.map_or(now, |(from, _)| from), now));
            }
        }
        Ok(())
    }

    /// Each broker in turn; the next one only when the one before is in every ISR again.
    fn roll(&mut self) -> Result<()> {
        let (task, who) = (self.task, Who::AllBrokers);
        for server in self.servers(who)? {
            let name = server.name(task.lab());
            (task.status)(&format!("restarting {name}"));
            let Some(process) = server.living(task.lab()) else {
                return Err(Failure::step(format!("nothing to restart: {name} is not running")));
            };
            self.hit(Some(who));
            let log = server.log(task.lab());
            let written = fs::metadata(&log).map(|meta| meta.len()).ok();
            if !self.without.signal(&process, Signal::TERM)? {
                return Err(Failure::fault(format!("{name} (pid {}) was gone before it was hit", process.pid)));
            }
            let over = self.over(&process)?;
            let handed_over =
                written.and_then(|written| said_since(&log, written)).map(|said| said.contains(HANDED_OVER));
            let how = How::Term;
            self.evidence.blows.push(Blow { who, name, how, ran: true, reached: true, over, handed_over });
            if self.has(|proof| matches!(proof, Proof::EpochRaised(_))) {
                self.led(&broker(&server).into_iter().collect())?;
            }
            self.without.act(|| servers::start(task, server).map(drop))?;
            in_sync(task, &self.load.topic, self.without)?;
        }
        Ok(())
    }
}

/// What a broker says when the controller has taken over all that it led, before it ends (KafkaServer.controlledShutdown).
const HANDED_OVER: &str = "Controlled shutdown request returned successfully";

/// What was written to a log since it had so many bytes; all of it when it was rotated. `None` when it cannot be read.
fn said_since(log: &Path, written: u64) -> Option<String> {
    let bytes = fs::read(log).ok()?;
    let from = usize::try_from(written).ok().filter(|from| *from <= bytes.len()).unwrap_or(0);
    Some(String::from_utf8_lossy(&bytes[from..]).into_owned())
}

fn bytes_of(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let logs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
    logs.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
}

fn broker(server: &Service) -> Option<u32> {
    match server {
        Service::Broker(id) => Some(*id),
        _ => None,
    }
}
