//! The local backend: the coordinator, the brokers and the clients as processes on this machine.

pub mod driver;
pub mod jars;
pub mod logs;
pub mod ports;
pub mod preflight;
pub mod process;
pub mod servers;
pub mod service;
pub mod storage;
