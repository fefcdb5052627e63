//! The integration tests, one program with a module for each kind. `cargo xtask test` runs those that need
//! a feature in groups.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test drives programs itself and fails by panicking"
)]

mod advice;
#[cfg(feature = "lab")]
mod bench;
mod cli;
mod common;
mod contract;
#[cfg(feature = "lab")]
mod delivery;
#[cfg(feature = "lab")]
mod drills;
mod hostile;
#[cfg(feature = "kind")]
mod kind;
#[cfg(feature = "lab")]
mod kraft;
#[cfg(feature = "lab")]
mod lab;
mod manners;
#[cfg(feature = "browser")]
mod page;
#[cfg(feature = "lab")]
mod record;
#[cfg(feature = "kind")]
mod registry;
#[cfg(feature = "lab")]
mod survive;
mod terminal;
