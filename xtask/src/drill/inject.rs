//! Injects a fault: performs its moves and observes the state before, during and after them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::brokers::{ASK, agreed, create_topic, metadata, no_such_topic, topics};
use crate::drill::client::Fate;
use crate::drill::control::Without;
use crate::drill::faults::{self, Fault};
use crate::drill::load::Load;
use crate::drill::mend::{INTERVAL, in_sync};
use crate::drill::moves::{EndSignal, Move, Target};
use crate::drill::observations::{LeaderSeen, Observations, RemovedFolders, Termination};
use crate::drill::pods;
use crate::drill::proof::Proof;
use crate::drill::watch::Watch;
use crate::events::Event;
use crate::failure::{Failure, IoContext, Result};
use crate::local::process::{Identity, Life};
use crate::local::servers;
use crate::service::Service;
use crate::task::Task;
use crate::wait::Poll;

/// The log lines of a broker whose partitions the controller has taken over: KafkaServer.controlledShutdown, and
/// BrokerLifecycleManager in KRaft mode.
const HANDED_OVER: [&str; 2] =
    ["Controlled shutdown request returned successfully", "The controller has asked us to exit controlled shutdown"];

/// A fault while it is injected.
pub struct Injector<'a, 'b> {
    task: &'a Task<'b>,
    load: &'a mut Load,
    watch: &'a Watch,
    fault: &'static Fault,
    without: Without,
    resolved: BTreeMap<Target, Vec<Service>>,
    /// What was observed.
    pub observed: Observations,
}

impl<'a, 'b> Injector<'a, 'b> {
    /// Resolves the targets and observes the state before the first move.
    ///
    /// # Errors
    /// That fails, or an interruption.
    pub fn new(task: &'a Task<'b>, load: &'a mut Load, watch: &'a Watch, fault: &'static Fault) -> Result<Self> {
        let mut injector = Injector {
            task,
            without: load.without,
            load,
            watch,
            fault,
            resolved: BTreeMap::new(),
            observed: Observations::default(),
        };
        injector.before(fault)?;
        Ok(injector)
    }

    fn before(&mut self, fault: &'static Fault) -> Result<()> {
        if fault.moves.iter().any(|action| matches!(action, Move::PauseNode(_) | Move::RestartNode(_))) {
            self.observed.partition = self.away_from_coordinator()?;
        }
        let all = self.has(|proof| matches!(proof, Proof::EpochSame)).then_some(Target::AllBrokers);
        for target in fault.proofs.iter().filter_map(|proof| proof.target()).chain(all) {
            self.servers(target)?;
        }
        self.observed.epochs.before = self.load.epochs();
        if fault.load != faults::LoadKind::WithoutTopic {
            self.observed.partitions.before = Some(self.partitions()?);
        }
        if self.has(|proof| matches!(proof, Proof::EpochRaised(_) | Proof::EpochSame)) {
            self.observe_leader(&BTreeSet::new())?;
        }
        if self.has(|proof| matches!(proof, Proof::DnsReplaced)) {
            self.observed.dns.before = pods::dns(self.task)?;
        }
        for proof in fault.proofs {
            match proof {
                Proof::NewPod(target) | Proof::ContainerRestarted(target) => {
                    for id in self.ids(*target)? {
                        self.observed.pods.entry(id).or_default().before = pods::seen(self.task, id)?;
                    }
                }
                Proof::NodeRestarted(target) => {
                    for id in self.ids(*target)? {
                        let seen = pods::node_seen(self.task, id)?;
                        self.observed.nodes.entry(id).or_default().started.before = seen.map(|seen| seen.started);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn has(&self, is: impl Fn(&Proof) -> bool) -> bool {
        self.fault.proofs.iter().any(is)
    }

    /// Performs a move.
    ///
    /// # Errors
    /// The move fails, or an interruption.
    pub fn perform(&mut self, action: Move) -> Result<()> {
        let text = action.to_string();
        (self.task.status)(&text);
        (self.task.tell)(&Event::DrillMove { drill: self.fault.name, text });
        // The move may end a client, and the system forgets the memory of a process that ended.
        self.load.sample_memory();
        let (task, without) = (self.task, self.without);
        match action {
            Move::Wait(_) if without.strike => Ok(()),
            Move::Wait(ms) => task.pause(Duration::from_millis(ms)),
            Move::Kill(target) => self.end(target, EndSignal::Kill),
            Move::Term(target) => self.end(target, EndSignal::Term),
            Move::Pause(target) => self.pause(target),
            Move::Resume(target) => self.resume(target),
            Move::Start(target) => self.start(target),
            Move::Wipe(target) => self.wipe(target, true),
            Move::WipeTopic(target) => self.wipe(target, false),
            Move::Rolling => self.roll(),
            Move::DeletePod(target) => self.pods(target, pods::delete),
            Move::KillContainer(target) => self.pods(target, pods::kill),
            Move::PauseNode(target) => {
                self.pods(target, pods::pause_node)?;
                self.observe_nodes(target)
            }
            Move::ResumeNode(target) => {
                self.observe_nodes(target)?;
                self.note_mending(target)?;
                self.pods(target, pods::resume_node)
            }
            Move::RestartNode(target) => self.pods(target, pods::restart_node),
            Move::DeleteDns => {
                self.note_strike(None);
                without.act(|| pods::delete_dns(task))
            }
            Move::CreateTopic => {
                self.observed.topic_absent = no_such_topic(task, &self.load.topic)?;
                self.note_strike(None);
                without.act(|| create_topic(task, &self.load.topic))
            }
            Move::RecreateTopic => {
                self.note_strike(None);
                let topic = self.load.topic.clone();
                without.act(|| {
                    topics(task, &["--delete", "--if-exists", "--topic", &topic])?;
                    // The producer's next metadata request may have created it already.
                    create_topic(task, &topic)
                })
            }
            Move::GrowTopic => {
                self.note_strike(None);
                let more = (2 * task.lab().facts.brokers.partitions).to_string();
                let topic = self.load.topic.clone();
                without.act(|| topics(task, &["--alter", "--topic", &topic, "--partitions", &more]).map(drop))
            }
        }
    }

    /// Observes the state when everything is mended and the load continues. Returns the partitions in which it does
    /// not.
    ///
    /// # Errors
    /// The brokers or pods cannot be asked, or an interruption.
    pub fn after(&mut self, ends: &[(u32, u64)]) -> Result<Vec<u32>> {
        let partitions: Vec<u32> = ends.iter().map(|(partition, _)| *partition).collect();
        let stuck = if self.without.load { Vec::new() } else { self.load.stuck(self.task, &partitions)? };
        let now = self.watch.clock.ms();
        self.observed.mended_ms = now;
        self.observed.partitions.after = u32::try_from(ends.len()).ok();
        if self.has(|proof| matches!(proof, Proof::EpochRaised(_) | Proof::EpochSame)) {
            let timeout = self.without.timeout(Duration::from_secs(30));
            // What a consumer that lags has read does not show the current epochs.
            if self.load.reads_beyond(self.task, ends, timeout)? {
                self.observed.epochs.after = self.load.epochs();
            }
            self.observe_leader(&BTreeSet::new())?;
        }
        if self.has(|proof| matches!(proof, Proof::DnsReplaced)) {
            self.observed.dns.after = pods::dns(self.task)?;
        }
        for (id, pod) in &mut self.observed.pods {
            pod.after = pods::seen(self.task, *id)?;
        }
        for (id, node) in &mut self.observed.nodes {
            node.started.after = pods::node_seen(self.task, *id)?.map(|seen| seen.started);
        }
        // A session that was kept is proven by a later answer only.
        let name = self.task.lab().release.mode.noun();
        let answered = self.task.wait(name, Duration::from_secs(5), INTERVAL, || {
            let asked = self.watch.asked_ms() > now;
            Ok(Poll::unless((!asked).then(|| format!("{name} has not been asked since"))))
        });
        match answered {
            Err(failure) if self.task.ctx.stop.requested() => Err(failure),
            _ => Ok(stuck),
        }
    }

    fn partitions(&self) -> Result<u32> {
        let answers = metadata(self.task, &self.load.topic, &self.task.lab().bootstrap())?.unwrap_or_default();
        let most = answers.iter().flat_map(|answer| &answer.topics).map(|topic| topic.partitions.len()).max();
        Ok(u32::try_from(most.unwrap_or(0)).unwrap_or(u32::MAX))
    }

    /// Notes that something is about to be broken.
    fn note_strike(&mut self, target: Option<Target>) {
        if self.observed.struck_ms.is_none() {
            self.observed.progress.before = Some(self.load.progress());
            self.observed.struck_ms = Some(self.watch.clock.ms());
            self.observed.wall.0 = self.watch.clock.wall_ms();
        }
        if let Some(target) = target {
            self.observed.hit_ms.entry(target).or_insert(self.watch.clock.ms());
        }
    }

    /// Notes that something is about to be started or resumed.
    fn note_mending(&mut self, target: Target) -> Result<()> {
        if self.observed.progress.after.is_none() {
            self.observed.progress.after = Some(self.load.progress());
        }
        self.observe_new_leader()?;
        let now = self.watch.clock.ms();
        self.observed.mending_ms.entry(target).or_insert(now);
        Ok(())
    }

    /// Observes who leads while others are down, if the fault has to prove that. Pods come back without a move of ours,
    /// so this is also due after the last move: later their broker may be the preferred leader again.
    ///
    /// # Errors
    /// An interruption.
    pub fn observe_new_leader(&mut self) -> Result<()> {
        if !self.has(|proof| matches!(proof, Proof::EpochRaised(_))) {
            return Ok(());
        }
        // Asking the brokers that are down would wait for them.
        let back = |hit: &Target| self.observed.mending_ms.contains_key(hit);
        let down = self.observed.hit_ms.keys().filter(|hit| !back(hit));
        let down = down.filter_map(|hit| self.observed.brokers.get(hit)).flatten().copied().collect();
        self.observe_leader(&down)
    }

    /// Observes the partition's leader, as reported by all brokers that are not `down`.
    fn observe_leader(&mut self, down: &BTreeSet<u32>) -> Result<()> {
        let lab = self.task.lab();
        let asked: Vec<String> =
            lab.broker_ids().filter(|id| !down.contains(id)).map(|id| lab.broker_address(id)).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let answers = metadata(self.task, &self.load.topic, &asked.join(","))?.unwrap_or_default();
        let (leader, preferred) = agreed(&answers, self.observed.partition);
        self.observed.leaders.push(LeaderSeen { at_ms: self.watch.clock.ms(), leader, preferred });
        Ok(())
    }

    /// The first partition whose leader is not on the coordinator's node; partition 0 if there is none.
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

    /// Returns the servers of `target`, resolved once.
    fn servers(&mut self, target: Target) -> Result<Vec<Service>> {
        if let Some(known) = self.resolved.get(&target) {
            return Ok(known.clone());
        }
        let count = self.task.lab().facts.brokers.count;
        let next = |id: u32| (id + 1) % count.max(1);
        let ids: Vec<u32> = match target {
            Target::Coordinator
            | Target::ActiveController
            | Target::MostControllers
            | Target::Producer
            | Target::Consumer => Vec::new(),
            Target::Leader => vec![self.leader()?],
            Target::Followers => {
                let leader = self.servers(Target::Leader)?;
                self.task.lab().broker_ids().filter(|id| !leader.contains(&Service::Broker(*id))).collect()
            }
            Target::Controller => vec![self.controller()?],
            Target::LeaderAndController => {
                let (leader, controller) = (self.leader()?, self.controller()?);
                vec![leader, if controller == leader { next(leader) } else { controller }]
            }
            Target::TwoBrokers => {
                let leader = self.leader()?;
                vec![leader, next(leader)]
            }
            Target::AllBrokers => self.task.lab().broker_ids().collect(),
        };
        self.observed.brokers.insert(target, ids.iter().copied().collect());
        let mut servers: Vec<Service> = ids.into_iter().map(Service::Broker).collect();
        match target {
            Target::Coordinator => servers.extend(Service::coordinators(self.task.lab())),
            Target::ActiveController => servers.extend(self.controllers()?.first()),
            Target::MostControllers => {
                let all = self.controllers()?;
                servers.extend(&all[..=all.len() / 2]);
            }
            _ => {}
        }
        self.resolved.insert(target, servers.clone());
        Ok(servers)
    }

    fn ids(&mut self, target: Target) -> Result<Vec<u32>> {
        Ok(self.servers(target)?.iter().filter_map(broker).collect())
    }

    /// Waits until all brokers that answer name the same leader of the partition.
    fn leader(&self) -> Result<u32> {
        let (task, partition) = (self.task, self.observed.partition);
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
                Ok(None) => Poll::NotYet("the coordinator knows no controller".into()),
                Err(why) => Poll::NotYet(format!("the coordinator does not answer: {why}")),
            })
        })
    }

    /// Returns the controllers of KRaft mode, the active one first. Brokers may be controllers too.
    fn controllers(&self) -> Result<Vec<Service>> {
        let lab = self.task.lab();
        let active = self.controller()?;
        let voters = lab.facts.coordinator.quorum.iter().flat_map(|quorum| &quorum.voters);
        let mut all: Vec<(u32, Service)> = (0..)
            .zip(voters)
            .map(|(number, id)| match lab.facts.coordinator.count {
                0 => (*id, Service::Broker(*id)),
                _ => (*id, Service::Coordinator(number)),
            })
            .collect();
        all.sort_by_key(|(id, _)| *id != active);
        Ok(all.into_iter().map(|(_, server)| server).collect())
    }

    /// Returns the processes of `target` with their names. All must run: a client that does not has ended by itself,
    /// and a server that does not was not broken by this drill.
    fn processes(&mut self, target: Target) -> Result<Vec<(String, Identity)>> {
        let client = match target {
            Target::Producer => Some(self.load.producers.last_mut()),
            Target::Consumer => Some(self.load.consumers.last_mut()),
            _ => None,
        };
        match client {
            Some(Some(client)) if client.identity.life() == Life::Gone => {
                client.fate = Fate::ByItself;
                Err(Failure::fault(format!("{} ended by itself before the move", client.name)).log(&client.log))
            }
            Some(Some(client)) => Ok(vec![(client.name.clone(), client.identity.clone())]),
            // A control has no producer.
            Some(None) if self.without.load => Ok(Vec::new()),
            Some(None) => Err(Failure::step(format!("cannot signal {target}: there is no such process"))),
            None => {
                let lab = self.task.lab();
                let one = |server: Service| match server.living(lab) {
                    Some(identity) => Ok((server.name(lab), identity)),
                    None => Err(Failure::step(format!("cannot signal {}: it is not running", server.name(lab)))),
                };
                self.servers(target)?.into_iter().map(one).collect()
            }
        }
    }

    /// Sends a signal to a process that must still be there.
    fn signal(&self, name: &str, identity: &Identity, signal: Signal) -> Result<()> {
        match self.without.signal(identity, signal)? {
            true => Ok(()),
            false => Err(Failure::fault(format!("{name} (pid {}) had ended before the signal", identity.pid))),
        }
    }

    /// Ends processes and waits for their end.
    fn end(&mut self, target: Target, signal: EndSignal) -> Result<()> {
        let processes = self.processes(target)?;
        self.note_strike(Some(target));
        let mut terminations = Vec::new();
        for (name, identity) in &processes {
            let ran = identity.life() != Life::Gone;
            self.signal(name, identity, if signal == EndSignal::Kill { Signal::KILL } else { Signal::TERM })?;
            let (name, ended, handed_over) = (name.clone(), false, None);
            terminations.push(Termination { target, name, signal, ran, reached: true, ended, handed_over });
        }
        for (termination, (_, identity)) in terminations.iter_mut().zip(&processes) {
            termination.ended = self.ends(identity)?;
            let fate = match (signal, termination.ended, self.without.strike) {
                (_, _, true) => continue,
                (EndSignal::Kill, ..) => Fate::Killed,
                (EndSignal::Term, in_time, _) => Fate::Asked { in_time },
            };
            if let Some(client) = self.load.client(identity) {
                client.fate = fate;
            }
            if !termination.ended {
                // It hangs, and the next moves need it gone.
                identity.signal(Signal::KILL)?;
                self.ends(identity)?;
            }
        }
        self.observed.terminations.extend(terminations);
        self.note_down(target);
        Ok(())
    }

    /// Waits for the end of a process. Returns whether it ends in time.
    fn ends(&self, process: &Identity) -> Result<bool> {
        if self.without.strike {
            return Ok(process.is_over());
        }
        let (task, timeout) = (self.task, self.task.lab().timeout(|t| t.stop));
        let ended = task.wait("its end", timeout, Duration::from_millis(20), || {
            Ok(Poll::unless((!process.is_over()).then(|| format!("pid {} is still there", process.pid))))
        });
        match ended {
            Err(failure) if task.ctx.stop.requested() => Err(failure),
            ended => Ok(ended.is_ok()),
        }
    }

    fn pause(&mut self, target: Target) -> Result<()> {
        let processes = self.processes(target)?;
        self.note_strike(Some(target));
        for (name, identity) in &processes {
            self.signal(name, identity, Signal::STOP)?;
            self.watch.on(target, name, identity);
        }
        self.note_down(target);
        Ok(())
    }

    /// Notes that servers serve no more from here on.
    fn note_down(&mut self, target: Target) {
        if !matches!(target, Target::Producer | Target::Consumer) && !self.without.strike {
            self.observed.down_wall = Some((self.watch.clock.wall_ms(), u64::MAX));
        }
    }

    /// Notes that the servers that are down are about to serve again.
    fn note_up(&mut self) {
        if let Some((_, until)) = &mut self.observed.down_wall {
            *until = (*until).min(self.watch.clock.wall_ms());
        }
    }

    fn resume(&mut self, target: Target) -> Result<()> {
        let processes = self.processes(target)?;
        self.note_mending(target)?;
        self.watch.off(target);
        self.note_up();
        processes.iter().try_for_each(|(name, identity)| self.signal(name, identity, Signal::CONT))
    }

    fn start(&mut self, target: Target) -> Result<()> {
        let (task, without) = (self.task, self.without);
        if target == Target::Consumer {
            // The start of a late consumer is the fault itself.
            self.note_strike(None);
        }
        self.note_mending(target)?;
        match target {
            Target::Producer if without.load => Ok(()),
            Target::Producer => without.act(|| self.load.start_producer(task)),
            Target::Consumer => without.act(|| self.load.start_consumer(task)),
            _ => {
                self.note_up();
                let servers = self.servers(target)?;
                without.act(|| servers::start_all(task, servers))
            }
        }
    }

    /// Removes a broker's `whole` log folder, or only its folders of the topic's partitions, `TOPIC-N`.
    fn wipe(&mut self, target: Target, whole: bool) -> Result<()> {
        for server in self.servers(target)? {
            let Some(broker) = broker(&server) else { continue };
            let data = server.dir(self.task.lab()).join("data");
            let folders = self.folders(&data)?;
            let bytes = folders.iter().map(|folder| bytes_of(folder)).sum();
            self.without.act(|| match whole {
                true => fs::remove_dir_all(&data).cannot("remove", &data),
                false => folders.iter().try_for_each(|folder| fs::remove_dir_all(folder).cannot("remove", folder)),
            })?;
            let left = if data.exists() { self.folders(&data)?.len() } else { 0 };
            self.observed.removed.push(RemovedFolders { broker, folders: folders.len(), bytes, left });
        }
        Ok(())
    }

    /// Lists the folders of the topic's partitions.
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

    /// Performs an action on the pods of brokers.
    fn pods(&mut self, target: Target, act: fn(&Task<'_>, u32) -> Result<()>) -> Result<()> {
        for id in self.ids(target)? {
            // A node is gone seconds before docker returns.
            self.note_strike(Some(target));
            self.without.act(|| act(self.task, id))?;
        }
        Ok(())
    }

    /// Observes whether nodes are paused.
    fn observe_nodes(&mut self, target: Target) -> Result<()> {
        for id in self.ids(target)? {
            let seen = pods::node_seen(self.task, id)?;
            let now = self.watch.clock.ms();
            let node = self.observed.nodes.entry(id).or_default();
            if seen.is_some_and(|seen| seen.paused) {
                node.paused = Some((node.paused.map_or(now, |(from, _)| from), now));
            }
        }
        Ok(())
    }

    /// Restarts each broker; the next one when the last is back in every ISR.
    fn roll(&mut self) -> Result<()> {
        let (task, target) = (self.task, Target::AllBrokers);
        for server in self.servers(target)? {
            let name = server.name(task.lab());
            (task.status)(&format!("restarting {name}"));
            let Some(process) = server.living(task.lab()) else {
                return Err(Failure::step(format!("cannot restart {name}: it is not running")));
            };
            self.note_strike(Some(target));
            let log = server.log(task.lab());
            let written = fs::metadata(&log).map(|meta| meta.len()).ok();
            self.signal(&name, &process, Signal::TERM)?;
            let ended = self.ends(&process)?;
            let handed_over = written
                .and_then(|written| text_since(&log, written))
                .map(|text| HANDED_OVER.iter().any(|line| text.contains(line)));
            let (signal, ran, reached) = (EndSignal::Term, true, true);
            self.observed.terminations.push(Termination { target, name, signal, ran, reached, ended, handed_over });
            if self.has(|proof| matches!(proof, Proof::EpochRaised(_))) {
                self.observe_leader(&broker(&server).into_iter().collect())?;
            }
            self.without.act(|| servers::start(task, server).map(drop))?;
            in_sync(task, &self.load.topic, self.without)?;
        }
        Ok(())
    }
}

/// Reads what was appended to a log since it had `written` bytes; the whole log if it was rotated. `None` if it cannot
/// be read.
fn text_since(log: &Path, written: u64) -> Option<String> {
    let bytes = fs::read(log).ok()?;
    let from = usize::try_from(written).ok().filter(|from| *from <= bytes.len()).unwrap_or(0);
    Some(String::from_utf8_lossy(&bytes[from..]).into_owned())
}

/// The bytes in a partition's log segments.
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
