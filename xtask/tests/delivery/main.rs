//! Delivery on a real lab, where it is hardest to be sure of. Two labs, side by side.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test drives programs itself and fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
mod edges;
mod log;
