//! The kind backend: a Kubernetes cluster of Docker containers. `k8s` handles what runs in the cluster.

pub mod cluster;
pub mod config;
pub mod driver;
pub mod images;
pub mod import;
pub mod nodes;
pub mod pack;
pub mod preflight;
pub mod setup;
