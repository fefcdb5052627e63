//! The parts of Kubernetes' and kind's objects that the lab reads. Unknown keys are left to the API server.

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
    #[serde(default)]
    pub(super) selector: Selector,
    pub(super) template: Template,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Selector {
    #[serde(default)]
    pub(super) match_labels: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct Template {
    #[serde(default)]
    pub(super) metadata: TemplateMeta,
    pub(super) spec: PodSpec,
}

#[derive(Default, Deserialize)]
pub(super) struct TemplateMeta {
    #[serde(default)]
    pub(super) labels: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct PodSpec {
    pub(super) containers: Vec<Container>,
    #[serde(default)]
    pub(super) volumes: Vec<Volume>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume {
    pub(super) config_map: Option<ObjectRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) image: String,
    pub(super) image_pull_policy: Option<String>,
    #[serde(default)]
    pub(super) command: Vec<String>,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env_from: Vec<EnvFrom>,
    #[serde(default)]
    pub(super) env: Vec<EnvVar>,
    #[serde(default)]
    pub(super) volume_mounts: Vec<VolumeMount>,
    #[serde(default)]
    pub(super) resources: Resources,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeMount {
    pub(super) mount_path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnvFrom {
    #[serde(default)]
    pub(super) prefix: String,
    pub(super) config_map_ref: Option<ObjectRef>,
    pub(super) secret_ref: Option<ObjectRef>,
}

#[derive(Deserialize)]
pub(super) struct ObjectRef {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) optional: bool,
}

#[derive(Default, Deserialize)]
pub(super) struct Resources {
    #[serde(default)]
    pub(super) requests: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnvVar {
    pub(super) name: String,
    /// Kubernetes accepts only strings; an unquoted number is none.
    pub(super) value: Option<Value>,
    pub(super) value_from: Option<ValueFrom>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ValueFrom {
    pub(super) config_map_key_ref: Option<KeyRef>,
    pub(super) secret_key_ref: Option<KeyRef>,
    pub(super) field_ref: Option<FieldRef>,
    /// Other sources that Kubernetes knows.
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct KeyRef {
    #[serde(default)]
    pub(super) name: String,
    pub(super) key: String,
    #[serde(default)]
    pub(super) optional: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FieldRef {
    pub(super) field_path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigMap {
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) data: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) binary_data: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Secret {
    pub(super) metadata: Meta,
    /// Values in base64.
    #[serde(default)]
    pub(super) data: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) string_data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(super) struct ServiceObject {
    pub(super) metadata: Meta,
    pub(super) spec: ServiceSpec,
}

#[derive(Deserialize)]
pub(super) struct ServiceSpec {
    #[serde(default)]
    pub(super) selector: BTreeMap<String, Value>,
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
    #[serde(default = "default_cluster_name")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) nodes: Vec<NodeConfig>,
}

fn default_cluster_name() -> String {
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
