//! What runs in `shoal-peer`: links, swarm, workers and the tracker's client behind one service.

mod tracker_client;

pub use tracker_client::{Event, Failure, HelloConfig, OwnedReply, OwnedRequest, TrackerClient};
