//! What the commands around `.torrent` files were asked to do: words become values that need no further check.

use std::path::PathBuf;

use super::Failure;
use super::args::{Args, Environment};
use super::limits::{RateLimits, rate_limits};
use super::peer_config::{ReachConfig, reach, what};
use super::policy::policy;
use super::value::{What, parse_comment, parse_name, parse_path, parse_piece_size, parse_tier};
use crate::wire::native::Policy;
use crate::wire::torrent::TRACKERS_COUNT_MAX;

/// `seed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedConfig {
    /// The `.torrent` file.
    pub file: PathBuf,
    /// The content itself: a file or a folder.
    pub path: PathBuf,
    /// How much may be moved.
    pub limits: RateLimits,
    /// Whom to serve, if not as the tracker says.
    pub policy: Option<Policy>,
    /// How other peers reach this one.
    pub reach: ReachConfig,
}

/// `torrent create`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateConfig {
    /// The file or folder.
    pub path: PathBuf,
    /// The `.torrent` file to write, if not `NAME.torrent`.
    pub file: Option<PathBuf>,
    /// The trackers in their tiers, at most [`TRACKERS_COUNT_MAX`]; maybe none.
    pub tiers: Vec<Vec<String>>,
    /// The name to describe it under, if not its own.
    pub name: Option<String>,
    /// Bytes per piece, if not chosen by size.
    pub piece_bytes: Option<u32>,
    /// Whether to compute whole-file digests.
    pub sha256: bool,
    /// Whether peers are to be had from its trackers only (BEP 27).
    pub private: bool,
    /// A word of the one who made it.
    pub comment: Option<String>,
}

/// `torrent show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowConfig {
    /// The `.torrent` file.
    pub file: PathBuf,
}

/// `torrent export`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// The content.
    pub what: What,
    /// The `.torrent` file to write, if not `NAME.torrent`.
    pub file: Option<PathBuf>,
}

pub(super) fn seed(args: &Args, environment: Environment<'_>) -> Result<SeedConfig, Failure> {
    Ok(SeedConfig {
        file: PathBuf::from(&args.operands()[0]),
        path: PathBuf::from(&args.operands()[1]),
        limits: rate_limits(args)?,
        policy: policy(args)?,
        reach: reach(args, environment)?,
    })
}

pub(super) fn create(args: &Args) -> Result<CreateConfig, Failure> {
    let tiers = args
        .values("tracker")
        .iter()
        .map(|text| args.read("--tracker", text, parse_tier))
        .collect::<Result<Vec<_>, _>>()?;
    if tiers.iter().flatten().count() > TRACKERS_COUNT_MAX {
        return Err(args.usage("--tracker", "more than 256 trackers"));
    }
    Ok(CreateConfig {
        path: PathBuf::from(&args.operands()[0]),
        file: args.option("torrent", parse_path)?,
        tiers,
        name: args.option("name", parse_name)?,
        piece_bytes: args.option("piece-size", parse_piece_size)?,
        sha256: !args.is_given("no-sha256"),
        private: args.is_given("private"),
        comment: args.option("comment", parse_comment)?,
    })
}

pub(super) fn show(args: &Args) -> ShowConfig {
    ShowConfig {
        file: PathBuf::from(&args.operands()[0]),
    }
}

pub(super) fn export(args: &Args) -> Result<ExportConfig, Failure> {
    let what = what(args, 0)?;
    if matches!(what, What::Torrent(_)) {
        let failure = args.usage("", "WHAT is a .torrent file already");
        let remedy = "name the content, or give its info-hash";
        return Err(failure.with_remedy(remedy));
    }
    Ok(ExportConfig {
        what,
        file: args.option("torrent", parse_path)?,
    })
}
