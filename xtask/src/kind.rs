//! The kind backend: a cluster of Docker containers, and what runs in it.

pub mod cluster;
pub mod config;
pub mod images;
pub mod job;
pub mod pack;
pub mod pods;
pub mod render;
pub mod setup;
