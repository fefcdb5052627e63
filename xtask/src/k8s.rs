//! What runs in a Kubernetes cluster, whoever made it: manifests, pods, Jobs, kubectl. It knows no Docker.

pub mod answers;
pub mod diagnostics;
pub mod inside;
pub mod job;
pub mod kubeconfig;
pub mod kubectl;
pub mod logs;
pub mod pods;
pub mod render;
pub mod workload;
