//! The local backend: ZooKeeper, the brokers and the clients as processes of this machine.

pub mod jars;
pub mod ports;
pub mod process;
pub mod service;
