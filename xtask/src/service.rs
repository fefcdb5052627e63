//! The services of a lab on any backend: the coordinator, the brokers, the clients.

use crate::config::Lab;
use crate::coordination::Mode;

/// A service: a process on local, a pod on Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A server of the brokers' coordinator, by number: ZooKeeper is 0, a controller has the ordinal of its pod.
    Coordinator(u32),
    /// A broker, by id.
    Broker(u32),
    /// A client: index of its Deployment in clients.yml, and number of the replica.
    Client(usize, u32),
}

impl Service {
    /// Returns its name, as in step titles and log files.
    pub fn name(self, lab: &Lab) -> String {
        match self {
            Service::Coordinator(number) => match lab.release.mode {
                Mode::KRaft => format!("{}-{number}", lab.release.mode.workload()),
                mode => mode.workload().into(),
            },
            Service::Broker(id) => format!("kafka-{id}"),
            Service::Client(index, replica) => match lab.facts.clients.get(index) {
                Some(client) if client.replicas == 1 => client.name.clone(),
                Some(client) => format!("{}-{replica}", client.name),
                None => format!("client-{index}-{replica}"),
            },
        }
    }

    /// Returns all servers of the lab.
    pub fn servers(lab: &Lab) -> Vec<Service> {
        Service::coordinators(lab).into_iter().chain(lab.broker_ids().map(Service::Broker)).collect()
    }

    /// Returns the coordinator's servers. There are none if the brokers are the controllers too.
    pub fn coordinators(lab: &Lab) -> Vec<Service> {
        (0..lab.facts.coordinator.count).map(Service::Coordinator).collect()
    }

    /// Returns all clients of the lab.
    pub fn clients(lab: &Lab) -> Vec<Service> {
        let clients = lab.facts.clients.iter().enumerate();
        clients.flat_map(|(index, client)| (0..client.replicas).map(move |n| Service::Client(index, n))).collect()
    }
}
