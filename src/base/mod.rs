//! Values that every layer speaks in: time, randomness, bit fields, buffers, identities, safe text.
//!
//! Imports nothing of ours, and knows neither files nor sockets nor clocks.

mod bitfield;
mod buf;
mod id;
mod rate;
mod rng;
mod text;
mod time;
mod verdict;

pub use bitfield::Bitfield;
pub use buf::{BufferPool, PieceBuf};
pub use id::{Digest20, Digest32, InfoHash, ParseHexError, PeerId, hex};
pub use rate::Rate;
pub use rng::Rng;
pub use text::Escaped;
pub use time::{Deadlines, Time};
pub use verdict::Verdict;
