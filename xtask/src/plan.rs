//! Builds the plan of each command from a [`Lab`]. Pure. Each backend has its own lists.

use crate::backend::Backend;
use crate::config::Lab;
use crate::drill::run::Drill;
use crate::k8s::workload::WorkloadGroup;
use crate::kind::setup::Recipe;
use crate::service::Service;
use crate::step::Step;
use crate::steps::check::ToolCheck;

/// A step and its dependencies. Steps that do not depend on each other run in parallel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The step.
    pub step: Step,
    /// Indices of the steps that must have succeeded before.
    pub after: Vec<usize>,
}

/// The steps of one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, each after its dependencies.
    pub steps: Vec<Planned>,
    /// Whether steps still run after a failed one that they do not depend on: checks do, changes do not.
    pub keep_going: bool,
}

impl Plan {
    /// Appends a step; returns its index.
    fn add(&mut self, step: Step, after: &[usize]) -> usize {
        self.steps.push(Planned { step, after: after.to_vec() });
        self.steps.len() - 1
    }

    /// Appends the build of the clients, and of their image on a cluster; returns the last index.
    fn client_image(&mut self, lab: &Lab, after: &[usize]) -> usize {
        let build = self.add(Step::BuildClients, after);
        match lab.backend {
            Backend::Local => build,
            Backend::Kind => self.add(Step::Image(Recipe::Clients), &[build]),
        }
    }

    /// Appends [`Plan::client_image`] and, on a cluster, loads the image into every node.
    fn client_load(&mut self, lab: &Lab, after: &[usize]) -> usize {
        let built = self.client_image(lab, after);
        match lab.backend {
            Backend::Local => built,
            Backend::Kind => self.add(Step::Load(Recipe::Clients), &[built]),
        }
    }

    /// Appends a health check for every service and, on a cluster, for the nodes.
    fn healthy(&mut self, lab: &Lab, after: &[usize]) {
        let all = Service::servers(lab).into_iter().chain(Service::clients(lab));
        self.add_all(all.map(Step::Healthy), after);
        match lab.backend {
            Backend::Local => {}
            Backend::Kind => drop(self.add(Step::NodesReady, after)),
        }
    }

    /// Appends steps that run in parallel; returns their indices.
    fn add_all(&mut self, steps: impl IntoIterator<Item = Step>, after: &[usize]) -> Vec<usize> {
        steps.into_iter().map(|step| self.add(step, after)).collect()
    }
}

/// Options of `up` that change its plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpOptions {
    /// Leave out the producer and the consumer.
    pub no_clients: bool,
    /// Recreate the cluster.
    pub recreate: bool,
    /// Add our context to the user's kubeconfig.
    pub merge: bool,
}

/// Returns the plan of `up`.
pub fn up(lab: &Lab, options: UpOptions) -> Plan {
    match lab.backend {
        Backend::Kind => {
            let mut plan = Plan::default();
            let preflight = plan.add(Step::Preflight, &[]);
            let record = plan.add(Step::Record, &[preflight]);
            let node_image = plan.add(Step::Image(Recipe::Node), &[record]);
            let kafka_image = plan.add(Step::Image(Recipe::Kafka), &[record]);
            let build = plan.add(Step::BuildClients, &[record]);
            let clients_image = plan.add(Step::Image(Recipe::Clients), &[build]);
            // Processes left by a killed drill would continue with the next cluster at the same ports.
            let strays = plan.add(Step::EndStrays, &[record]);
            let old = plan.add(Step::OldCluster { recreate: options.recreate }, &[node_image, strays]);
            let cluster = plan.add(Step::Cluster, &[old]);
            // A node accepts images long before it joins, so loading overlaps with creating the cluster.
            let kafka_load = plan.add(Step::Load(Recipe::Kafka), &[old, kafka_image]);
            // The small image comes second: by then every node accepts images without retries.
            let clients_load = plan.add(Step::Load(Recipe::Clients), &[kafka_load, clients_image]);
            // Pods that are applied early start on each node as it becomes Ready. They come after their image, and
            // brokers after the compiler, as explained below.
            let api = plan.add(Step::ApiServer, &[old]);
            let apply = plan.add(Step::Apply(WorkloadGroup::Servers), &[api, kafka_load, build]);
            let joined = plan.add(Step::NodesJoined, &[cluster]);
            let pods = plan.add(Step::PodsReady(WorkloadGroup::Servers), &[apply, joined]);
            let serving = plan.add(Step::Serving, &[apply, joined]);
            let topic = plan.add(Step::Topic, &[serving]);
            // Runs in the producer's pod, or in a Job if there are no clients.
            let mut inside = vec![pods, topic, clients_load];
            if !options.no_clients {
                let apply = plan.add(Step::Apply(WorkloadGroup::Clients), &[topic, clients_load]);
                inside.push(plan.add(Step::PodsReady(WorkloadGroup::Clients), &[apply]));
            }
            plan.add(Step::ServingInside { clients: !options.no_clients }, &inside);
            if options.merge {
                plan.add(Step::MergeKubeconfig, &[cluster]);
            }
            plan
        }
        Backend::Local => {
            let mut plan = Plan::default();
            let preflight = plan.add(Step::Preflight, &[]);
            let record = plan.add(Step::Record, &[preflight]);
            // Jars, the clients' build and ZooKeeper's start overlap. Brokers wait for the build: while a compiler uses
            // every core for minutes, their ZooKeeper sessions expire during startup, which is fatal.
            let build = plan.add(Step::BuildClients, &[record]);
            let jars = plan.add(Step::Jars, &[record]);
            let strays = plan.add(Step::EndStrays, &[record]);
            let coordinators = plan.add_all(Service::coordinators(lab).into_iter().map(Step::Start), &[jars, strays]);
            let before =
                if coordinators.is_empty() { vec![jars, strays, build] } else { [coordinators, vec![build]].concat() };
            let brokers = plan.add_all(lab.broker_ids().map(Service::Broker).map(Step::Start), &before);
            let serving = plan.add(Step::Serving, &brokers);
            let topic = plan.add(Step::Topic, &[serving]);
            if !options.no_clients {
                plan.add_all(Service::clients(lab).into_iter().map(Step::Start), &[topic]);
            }
            plan
        }
    }
}

/// Returns the plan of `clients build`: the program, and on kind its image.
pub fn clients_build(lab: &Lab) -> Plan {
    let mut plan = Plan::default();
    plan.client_image(lab, &[]);
    plan
}

/// Returns the plan of `clients load`: the image in every node.
pub fn clients_load(lab: &Lab) -> Plan {
    let mut plan = Plan::default();
    let up = plan.add(Step::LabIsUp, &[]);
    plan.client_load(lab, &[up]);
    plan
}

/// Returns the plan of `clients start`, for a lab that is up.
pub fn clients_start(lab: &Lab) -> Plan {
    let mut plan = Plan::default();
    let up = plan.add(Step::LabIsUp, &[]);
    let loaded = plan.client_load(lab, &[up]);
    match lab.backend {
        Backend::Local => {
            // First end the replicas that a smaller scale no longer asks for.
            let strays = plan.add(Step::EndStrays, &[loaded]);
            plan.add_all(Service::clients(lab).into_iter().map(Step::Start), &[strays]);
        }
        Backend::Kind => {
            let apply = plan.add(Step::Apply(WorkloadGroup::Clients), &[loaded]);
            plan.add(Step::PodsReady(WorkloadGroup::Clients), &[apply]);
        }
    }
    plan
}

/// Returns the plan of `clients stop`.
pub fn clients_stop(lab: &Lab) -> Plan {
    let mut plan = Plan::default();
    match lab.backend {
        Backend::Local => {
            plan.add_all(Service::clients(lab).into_iter().map(Step::Stop), &[]);
        }
        Backend::Kind => {
            let up = plan.add(Step::LabIsUp, &[]);
            plan.add(Step::RemoveClients, &[up]);
        }
    }
    plan
}

/// Returns the plan of `verify`.
pub fn verify(lab: &Lab, messages: u64) -> Plan {
    let mut plan = Plan { keep_going: true, ..Plan::default() };
    let up = plan.add(Step::LabIsUp, &[]);
    plan.healthy(lab, &[up]);
    // Each tool starts a JVM, so they run in parallel.
    let checks = ToolCheck::of(lab.release.mode);
    let mut before = plan.add_all(checks.iter().copied().map(Step::Tool), &[up]);
    let loaded = plan.client_load(lab, &[up]);
    before.push(plan.add(Step::Account, &[loaded]));
    // The flow check runs alone, but does not depend on the results above.
    plan.add(Step::Flow(messages), &before);
    plan
}

/// Returns the plan of `drill`: one drill after the other, whatever each of them finds.
pub fn drill(drills: &[Drill]) -> Plan {
    let mut plan = Plan::default();
    let up = plan.add(Step::LabIsUp, &[]);
    // A checkout that has not been up yet has no clients' program, and drills run the current one.
    let mut last = plan.add(Step::BuildClients, &[up]);
    for drill in drills {
        last = plan.add(Step::Drill(*drill), &[last]);
    }
    plan
}

/// Returns the plan of `status`.
pub fn status(lab: &Lab) -> Plan {
    let mut plan = Plan { keep_going: true, ..Plan::default() };
    let up = plan.add(Step::LabIsUp, &[]);
    plan.healthy(lab, &[up]);
    plan.add(Step::Serving, &[up]);
    plan
}

/// What `teardown` removes besides the lab itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Teardown {
    /// The caches.
    pub purge: bool,
    /// The logs that a failed `up` kept.
    pub failure_logs: bool,
}

/// Returns the plan of `teardown`.
pub fn teardown(lab: &Lab, Teardown { purge, failure_logs }: Teardown) -> Plan {
    match lab.backend {
        Backend::Kind => {
            let mut plan = Plan::default();
            let unmerge = plan.add(Step::UnmergeKubeconfig, &[]);
            let strays = plan.add(Step::EndStrays, &[]);
            let delete = plan.add(Step::DeleteCluster, &[unmerge, strays]);
            let mut last = plan.add(Step::Remove { failure_logs }, &[delete]);
            if purge {
                last = plan.add(Step::Purge, &[last]);
            }
            plan.add(Step::NothingLeft, &[last]);
            plan
        }
        Backend::Local => {
            let mut plan = Plan::default();
            let mut clients = plan.add_all(Service::clients(lab).into_iter().map(Step::Stop), &[]);
            // A producer among them can flush only while there are brokers.
            clients.push(plan.add(Step::EndStrays, &[]));
            let brokers = plan.add_all(lab.broker_ids().map(Service::Broker).map(Step::Stop), &clients);
            // Brokers hand over their partitions through the coordinator, so it stops last.
            let coordinators = plan.add_all(Service::coordinators(lab).into_iter().map(Step::Stop), &brokers);
            let stopped = if coordinators.is_empty() { brokers } else { coordinators };
            let mut last = plan.add(Step::Remove { failure_logs }, &stopped);
            if purge {
                last = plan.add(Step::Purge, &[last]);
            }
            plan.add(Step::NothingLeft, &[last]);
            plan
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use expect_test::expect;

    use super::*;
    use crate::config::sample;
    use crate::coordination::releases::Version;
    use crate::coordination::{Mode, Release};
    use crate::drill::control::Without;
    use crate::drill::faults::{Scenario, by_name};
    use crate::drill::outcome::DrillOutcome;
    use crate::drill::run::Options;

    fn written(plan: &Plan) -> String {
        let lab = sample::lab();
        plan.steps
            .iter()
            .enumerate()
            .map(|(place, planned)| format!("{place} {} after {:?}\n", planned.step.title(&lab), planned.after))
            .collect()
    }

    #[test]
    fn controllers_start_before_the_brokers_and_stop_after_them() {
        let lab = sample::of(Release { version: Version::V4_3, mode: Mode::KRaft });
        let titles = |plan: Plan| {
            let line = |planned: &Planned| format!("{} after {:?}", planned.step.title(&lab), planned.after);
            plan.steps.iter().map(line).collect::<Vec<_>>()
        };
        let up = titles(up(&lab, UpOptions::default()));
        let from = up.iter().position(|line| line.starts_with("controller-0 ")).unwrap();
        let started = ["controller-0 after [3, 4]", "controller-1 after [3, 4]", "controller-2 after [3, 4]"];
        assert_eq!(up[from..from + 3], started);
        assert_eq!(up[from + 3], format!("kafka-0 after [{from}, {}, {}, 2]", from + 1, from + 2));
        let down = titles(teardown(&lab, Teardown::default()));
        let place = |title: &str| down.iter().position(|line| line.starts_with(title)).unwrap();
        assert!(place("stop kafka-2") < place("stop controller-0") && place("stop controller-2") < place("files"));
        let verified = titles(verify(&lab, 10));
        for check in ["controller-2", "quorum status", "quorum replication", "unfenced brokers", "topic describe"] {
            assert!(verified.iter().any(|line| line.starts_with(check)), "{check} is not in {verified:?}");
        }
        assert!(!verified.iter().any(|line| line.contains("/brokers/ids")), "{verified:?}");

        // Brokers that are the controllers wait for nobody.
        let mut combined = lab.clone();
        combined.facts.coordinator.count = 0;
        let up = titles(super::up(&combined, UpOptions::default()));
        assert!(up.contains(&"kafka-1 after [3, 4, 2]".to_string()), "{up:?}");
    }

    #[test]
    fn up_overlaps_what_it_can() {
        expect![[r#"
            0 preflight after []
            1 record after [0]
            2 clients build after [1]
            3 kafka jars after [1]
            4 strays after [1]
            5 zookeeper after [3, 4]
            6 kafka-0 after [5, 2]
            7 kafka-1 after [5, 2]
            8 kafka-2 after [5, 2]
            9 brokers serve after [6, 7, 8]
            10 topic test after [9]
            11 producer after [10]
            12 consumer after [10]
        "#]]
        .assert_eq(&written(&up(&sample::lab(), UpOptions::default())));
        assert_eq!(up(&sample::lab(), UpOptions { no_clients: true, ..UpOptions::default() }).steps.len(), 11);
    }

    #[test]
    fn on_kind_loading_overlaps_with_making_the_cluster() {
        let mut lab = sample::lab();
        lab.backend = Backend::Kind;
        expect![[r#"
            0 preflight after []
            1 record after [0]
            2 node image after [1]
            3 kafka image after [1]
            4 clients build after [1]
            5 clients image after [4]
            6 strays after [1]
            7 old cluster after [2, 6]
            8 cluster after [7]
            9 load kafka after [7, 3]
            10 load clients after [9, 5]
            11 api server after [7]
            12 apply kafka after [11, 9, 4]
            13 nodes ready after [8]
            14 pods after [12, 13]
            15 brokers serve after [12, 13]
            16 topic test after [15]
            17 apply clients after [16, 10]
            18 clients after [17]
            19 serve in cluster after [14, 16, 10, 18]
            20 kubeconfig after [8]
        "#]]
        .assert_eq(&written(&up(&lab, UpOptions { merge: true, ..UpOptions::default() })));
        expect![[r#"
            0 kubeconfig after []
            1 strays after []
            2 delete cluster after [0, 1]
            3 files after [2]
            4 nothing left after [3]
        "#]]
        .assert_eq(&written(&teardown(&lab, Teardown::default())));
    }

    #[test]
    fn verify_runs_every_check_whatever_the_others_found() {
        let plan = verify(&sample::lab(), 20_000);
        assert!(plan.keep_going);
        expect![[r#"
            0 lab is up after []
            1 zookeeper after [0]
            2 kafka-0 after [0]
            3 kafka-1 after [0]
            4 kafka-2 after [0]
            5 producer after [0]
            6 consumer after [0]
            7 ls /brokers/ids after [0]
            8 get /brokers/ids after [0]
            9 topic list after [0]
            10 topic describe after [0]
            11 clients build after [0]
            12 account after [11]
            13 flow after [7, 8, 9, 10, 12]
        "#]]
        .assert_eq(&written(&plan));
    }

    /// Three drills, of which the second one is already recorded.
    pub fn drills() -> [Drill; 3] {
        let options = Options { rate: 200, keep_topic: false, without: Without::default() };
        let drill = |scenario, recorded| Drill { scenario, options, recorded };
        let one = |name, recorded| drill(Scenario::One(by_name(name).unwrap()), recorded);
        let soak = Scenario::Soak { seed: 1, duration: Duration::from_secs(60) };
        [one("leader-kill", None), one("pod-delete", Some(DrillOutcome::Broken)), drill(soak, None)]
    }

    #[test]
    fn drills_run_one_after_the_other() {
        let plan = drill(&drills());
        assert!(!plan.keep_going, "without a lab or clients there is no drill");
        expect![[r#"
            0 lab is up after []
            1 clients build after [0]
            2 leader-kill after [1]
            3 pod-delete after [2]
            4 soak after [3]
        "#]]
        .assert_eq(&written(&plan));
    }

    #[test]
    fn teardown_stops_zookeeper_last_and_proves_the_end() {
        expect![[r#"
            0 stop producer after []
            1 stop consumer after []
            2 strays after []
            3 stop kafka-0 after [0, 1, 2]
            4 stop kafka-1 after [0, 1, 2]
            5 stop kafka-2 after [0, 1, 2]
            6 stop zookeeper after [3, 4, 5]
            7 files after [6]
            8 caches after [7]
            9 nothing left after [8]
        "#]]
        .assert_eq(&written(&teardown(&sample::lab(), Teardown { purge: true, failure_logs: true })));
    }

    #[test]
    fn the_list_follows_the_number_of_brokers() {
        let mut lab = sample::lab();
        lab.facts.brokers.count = 5;
        let started = up(&lab, UpOptions::default())
            .steps
            .iter()
            .filter(|planned| matches!(planned.step, Step::Start(Service::Broker(_))))
            .count();
        assert_eq!(started, 5);
    }

    #[test]
    fn every_step_waits_only_for_earlier_ones() {
        let mut lab = sample::lab();
        for backend in [Backend::Local, Backend::Kind] {
            lab.backend = backend;
            for plan in [
                up(&lab, UpOptions::default()),
                verify(&lab, 1),
                teardown(&lab, Teardown { purge: true, failure_logs: true }),
                status(&lab),
                clients_build(&lab),
                clients_load(&lab),
                clients_start(&lab),
                clients_stop(&lab),
            ] {
                for (place, planned) in plan.steps.iter().enumerate() {
                    assert!(planned.after.iter().all(|earlier| *earlier < place));
                }
            }
        }
    }
}
