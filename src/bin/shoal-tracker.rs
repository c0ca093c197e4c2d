//! The tracker: knows which contents exist and who holds which piece.
fn main() {}
