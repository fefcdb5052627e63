//! The services of a lab on any backend: the coordinator, the brokers, the clients.

use crate::config::Lab;
use crate::coordination;

/// A service: a process on local, a pod on Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The brokers' coordinator.
    Coordinator,
    /// A broker, by id.
    Broker(u32),
    /// A client: index of its Deployment in clients.yml, and number of the replica.
    Client(usize, u32),
}

impl Service {
    /// Returns its name, as in step titles and log files.
    pub fn name(self, lab: &Lab) -> String {
        match self {
            Service::Coordinator => coordination::WORKLOAD.into(),
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
        std::iter::once(Service::Coordinator).chain(lab.broker_ids().map(Service::Broker)).collect()
    }

    /// Returns all clients of the lab.
    pub fn clients(lab: &Lab) -> Vec<Service> {
        let clients = lab.facts.clients.iter().enumerate();
        clients.flat_map(|(index, client)| (0..client.replicas).map(move |n| Service::Client(index, n))).collect()
    }
}
