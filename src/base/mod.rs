//! Values that every layer speaks in: time, randomness, rates and their limits, bit fields, buffers, identities, the
//! reach of addresses, safe text.
//!
//! Imports nothing of ours, and knows neither files nor sockets nor clocks.

mod bitfield;
mod bucket;
mod buf;
mod gate;
mod id;
mod rate;
mod rng;
mod scope;
mod text;
mod time;
mod verdict;

pub use bitfield::Bitfield;
pub use bucket::Bucket;
pub use buf::{BufferPool, PieceBuf};
pub use gate::{GRAIN_BYTES, Gate};
pub use id::{Digest20, Digest32, InfoHash, ParseHexError, PeerId, hex};
pub use rate::Rate;
pub use rng::Rng;
pub use scope::{Scope, canonical, dialable, is_shared_over};
pub use text::Escaped;
pub use time::{Deadlines, Time};
pub use verdict::Verdict;
