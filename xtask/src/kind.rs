//! The kind backend: a Kubernetes cluster of Docker containers. What runs in the cluster is in `k8s`.

pub mod cluster;
pub mod config;
pub mod driver;
pub mod images;
pub mod import;
pub mod nodes;
pub mod pack;
pub mod preflight;
pub mod setup;
