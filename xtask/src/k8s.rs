//! What runs in any Kubernetes cluster: manifests, pods, Jobs, kubectl.

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
