//! HTTP as trackers speak it: heads of requests, queries of announce and scrape, replies (BEP 3, 7, 23, 24, 31, 48), and
//! the client's side of an announce.
//!
//! Owns what a request may look like. Strict where two readers could disagree about where a request ends (RFC 9112,
//! section 11.2), lenient in what a query may leave out. Keeps no state but the start of a head.

pub mod client;
pub mod head;
pub mod query;
pub mod reply;
