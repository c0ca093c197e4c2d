//! The real programs on loopback: from one to one up to what happens when trackers, seeds and disks fail.

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod announces;
mod basics;
mod cold;
mod commands;
mod counts;
mod disks;
mod failures;
mod hostile;
mod large;
mod limits;
mod magnet;
mod malformed;
#[path = "../common/noise.rs"]
mod noise;
mod passing;
mod policy;
mod staying;
#[path = "../common/storm.rs"]
mod storm;
mod stretch;
mod trackers;
mod utp;
