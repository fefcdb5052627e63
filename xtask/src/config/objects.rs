//! The part of Kubernetes' and kind's objects that the lab reads, as types. Unknown keys are the API server's business.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::yaml::Value;

#[derive(Deserialize)]
pub(super) struct Meta {
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(super) struct Workload {
    pub(super) metadata: Meta,
    pub(super) spec: WorkloadSpec,
}

#[derive(Deserialize)]
pub(super) struct WorkloadSpec {
    pub(super) replicas: Option<i64>,
    pub(super) template: Template,
}

#[derive(Deserialize)]
pub(super) struct Template {
    pub(super) spec: PodSpec,
}

#[derive(Deserialize)]
pub(super) struct PodSpec {
    pub(super) containers: Vec<Container>,
}

#[derive(Deserialize)]
pub(super) struct Container {
    #[serde(default)]
    pub(super) image: String,
    #[serde(default)]
    pub(super) env: Vec<EnvVar>,
    #[serde(default)]
    pub(super) resources: Resources,
}

#[derive(Default, Deserialize)]
pub(super) struct Resources {
    #[serde(default)]
    pub(super) requests: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct EnvVar {
    pub(super) name: String,
    /// Kubernetes takes text only, which an unquoted number is not.
    pub(super) value: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct ConfigMap {
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(super) struct Service {
    pub(super) metadata: Meta,
    pub(super) spec: ServiceSpec,
}

#[derive(Deserialize)]
pub(super) struct ServiceSpec {
    #[serde(default)]
    pub(super) ports: Vec<ServicePort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServicePort {
    pub(super) node_port: Option<u16>,
}

#[derive(Deserialize)]
pub(super) struct ClusterConfig {
    #[serde(default = "kinds_default_name")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) nodes: Vec<NodeConfig>,
}

fn kinds_default_name() -> String {
    "kind".into()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeConfig {
    #[serde(default)]
    pub(super) role: String,
    pub(super) image: Option<String>,
    #[serde(default)]
    pub(super) extra_port_mappings: Vec<PortMapping>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PortMapping {
    pub(super) container_port: u16,
    pub(super) host_port: u16,
    pub(super) listen_address: Option<String>,
}
