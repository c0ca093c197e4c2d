//! The registry
mod availability;
mod scope;
