//! What a lab runs, whatever it runs on: the coordinator, the brokers, the clients.

use crate::config::Lab;
use crate::coordination;

/// A service of the lab: a process on local, a pod on Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Who coordinates the brokers.
    Coordinator,
    /// A broker, by its id.
    Broker(u32),
    /// A client: which Deployment of clients.yml, and which of its replicas.
    Client(usize, u32),
}

impl Service {
    /// Its name: as the pod's on Kubernetes.
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

    /// All servers of the lab.
    pub fn servers(lab: &Lab) -> Vec<Service> {
        std::iter::once(Service::Coordinator).chain(lab.broker_ids().map(Service::Broker)).collect()
    }

    /// All clients of the lab.
    pub fn clients(lab: &Lab) -> Vec<Service> {
        let clients = lab.facts.clients.iter().enumerate();
        clients.flat_map(|(index, client)| (0..client.replicas).map(move |n| Service::Client(index, n))).collect()
    }
}
