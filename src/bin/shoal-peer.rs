//! The peer: shares contents and fetches them.
fn main() {}
