//! The lab's clients.
fn main() {}
