//! Delivery on a real lab, where it is hardest to be sure of. Two labs, side by side.

mod edges;
mod log;
