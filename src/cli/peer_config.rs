//! The second step of `shoal-peer`'s command line: words become values that need no further check.
//!
//! An option overrides the environment, which overrides the default. Files are not looked at: what depends on them (is
//! the target a folder, is the port free) is decided by the commands.

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::args::{Args, Environment, Parsed, parse, variable};
use super::limits::{RateLimits, rate_limits};
use super::policy::policy;
use super::seeding::{SeedMode, parse_seed_mode};
use super::table::PEER;
use super::torrent_config::{self, CreateConfig, ExportConfig, SeedConfig, ShowConfig};
use super::value::{
    Advertised, TrackerAddr, What, parse_count, parse_listen, parse_name, parse_path,
    parse_piece_size, parse_sha256, parse_span, parse_zone,
};
use super::{ExitCode, Failure, OutputConfig};
use crate::base::Digest32;
use crate::wire::native::Policy;

/// How long nothing may arrive before `get` gives up, unless `--stall` says otherwise.
pub const STALL_DEFAULT: Duration = Duration::from_secs(600);
/// The most addresses that can be advertised: what HELLO carries.
pub const ADVERTISED_COUNT_MAX: usize = 8;

/// What `shoal-peer` was asked to do.
#[derive(Debug, PartialEq)]
pub enum PeerInvocation {
    /// To show this text (help or version) on stdout and exit with 0.
    Show(String),
    /// To run a command.
    Run(PeerGlobals, Box<PeerCommand>),
}

/// What all commands have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerGlobals {
    /// Where the native tracker is; only commands that can do without one run without one.
    pub tracker: Option<TrackerAddr>,
    /// What is shown, and how.
    pub output: OutputConfig,
}

/// A command and what it needs.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerCommand {
    /// Register contents and seed them.
    Share(ShareConfig),
    /// Fetch contents.
    Get(GetConfig),
    /// List what the tracker knows.
    List(ListConfig),
    /// Show who has how much of a content.
    Status(StatusConfig),
    /// Check a copy.
    Verify(VerifyConfig),
    /// Make the tracker forget a content.
    Remove(RemoveConfig),
    /// Serve what a `.torrent` file describes.
    Seed(SeedConfig),
    /// Write a `.torrent` file of something on disk.
    Create(CreateConfig),
    /// Show what a `.torrent` file says.
    Show(ShowConfig),
    /// Write a `.torrent` file of what the tracker knows.
    Export(ExportConfig),
}

/// What a command has to do with a native tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackerUse {
    /// Nothing, even if one is named.
    Unused,
    /// It speaks with the one that is named, and goes on without it.
    Optional,
    /// It can do nothing without it.
    Required,
}

impl PeerCommand {
    /// The command's word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Share(_) => "share",
            Self::Get(_) => "get",
            Self::List(_) => "ls",
            Self::Status(_) => "status",
            Self::Verify(_) => "verify",
            Self::Remove(_) => "rm",
            Self::Seed(_) => "seed",
            Self::Create(_) => "torrent create",
            Self::Show(_) => "torrent show",
            Self::Export(_) => "torrent export",
        }
    }

    /// How much it may move.
    pub fn limits(&self) -> RateLimits {
        match self {
            Self::Share(config) => config.limits,
            Self::Get(config) => config.limits,
            Self::Seed(config) => config.limits,
            _ => RateLimits::default(),
        }
    }

    /// Whom it serves, if not as the tracker says.
    pub fn policy(&self) -> Option<Policy> {
        match self {
            Self::Share(config) => config.policy,
            Self::Get(config) => config.policy,
            Self::Seed(config) => config.policy,
            _ => None,
        }
    }

    /// What it has to do with a native tracker.
    pub fn tracker_use(&self) -> TrackerUse {
        match self {
            Self::Get(config) if config.whats.iter().all(What::is_self_contained) => {
                TrackerUse::Optional
            }
            Self::Seed(_) => TrackerUse::Optional,
            Self::Verify(config) if matches!(config.what, What::Torrent(_)) => TrackerUse::Unused,
            Self::Create(_) | Self::Show(_) => TrackerUse::Unused,
            _ => TrackerUse::Required,
        }
    }
}

/// How other peers reach this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachConfig {
    /// Where to listen; port 0 is any free one. `[::]` means IPv4 too.
    pub listen: SocketAddr,
    /// What to advertise instead of the interfaces' addresses, at most [`ADVERTISED_COUNT_MAX`].
    pub advertise: Vec<Advertised>,
    /// Where this machine is, if known.
    pub zone: Option<String>,
}

/// `share`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareConfig {
    /// The files and folders, at least one.
    pub paths: Vec<PathBuf>,
    /// The name to share the only path under, if not its own.
    pub name: Option<String>,
    /// Bytes per piece, if not chosen by size: a power of two from 16 KiB to 512 MiB.
    pub piece_bytes: Option<u32>,
    /// Whether to compute whole-file digests.
    pub sha256: bool,
    /// The `.torrent` file to write as well, of the only path.
    pub torrent: Option<PathBuf>,
    /// How many others are to be complete before it ends by itself.
    pub until: Option<u32>,
    /// How much may be moved.
    pub limits: RateLimits,
    /// Whom to serve, if not as the tracker says.
    pub policy: Option<Policy>,
    /// How other peers reach this one.
    pub reach: ReachConfig,
}

/// `get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetConfig {
    /// The contents, at least one.
    pub whats: Vec<What>,
    /// Where they go.
    pub target: Target,
    /// Which pieces first.
    pub order: PieceOrder,
    /// Whom to ask.
    pub peers: PeerChoice,
    /// How long to serve after completion; if nothing is said, that depends on where stdout goes.
    pub seed: Option<SeedMode>,
    /// Whether to read the finished file again and compare its whole-file SHA-256 with the tracker's.
    pub check: bool,
    /// The whole-file SHA-256 that the finished file must have; only with one content.
    pub sha256: Option<Digest32>,
    /// Whether a target that exists is replaced.
    pub overwrite: bool,
    /// How long the whole may take.
    pub timeout: Option<Duration>,
    /// How long nothing may arrive.
    pub stall: Duration,
    /// How much may be moved.
    pub limits: RateLimits,
    /// Whom to serve, if not as the tracker says.
    pub policy: Option<Policy>,
    /// How other peers reach this one.
    pub reach: ReachConfig,
}

/// Where fetched contents go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Into the current folder, under their own names.
    Here,
    /// Into this folder, which is created, under their own names.
    Folder(PathBuf),
    /// Into this folder if it is one, else to this path itself.
    FolderOrPath(PathBuf),
    /// To stdout, in order; only of one content.
    Stdout,
}

/// Which piece to fetch first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceOrder {
    /// The one that the fewest peers hold.
    Rarest,
    /// Any.
    Random,
    /// The one that a reader needs next.
    Sequential,
}

/// Which of a piece's holders to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerChoice {
    /// A mix: mostly near ones, some that have most, some at random.
    Auto,
    /// Any.
    Random,
    /// One after the other.
    RoundRobin,
    /// Who sends fastest.
    Bandwidth,
    /// Who has most of what is missing.
    Availability,
    /// Who is nearest, by zone or by address.
    Proximity,
}

/// `ls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListConfig {
    /// Which names, if not all.
    pub glob: Option<String>,
}

/// `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusConfig {
    /// The content.
    pub what: What,
    /// What has to be true for success.
    pub expect: Expectation,
    /// Whether to keep watching until the expectation is met, or stopped.
    pub watch: bool,
}

/// Who has to be complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nobody.
    Nothing,
    /// That many machines.
    Count(u32),
    /// Every host that this file names, one per line.
    Hosts(PathBuf),
}

/// `verify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyConfig {
    /// The content.
    pub what: What,
    /// The copy to check.
    pub path: PathBuf,
}

/// `rm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveConfig {
    /// The content.
    pub what: What,
}

/// Reads the command line of `shoal-peer`: the words after the program's name, and the environment.
///
/// # Errors
/// A [`Failure`] with exit code 28, or 27 for a bad magnet link, that names the option, its value and the remedy.
pub fn parse_peer(
    words: impl IntoIterator<Item = OsString>,
    environment: Environment<'_>,
) -> Result<PeerInvocation, Failure> {
    let args = match parse(&PEER, words)? {
        Parsed::Show(text) => return Ok(PeerInvocation::Show(text)),
        Parsed::Run(args) => args,
    };
    let command = match args.command() {
        "share" => PeerCommand::Share(share(&args, environment)?),
        "get" => PeerCommand::Get(get(&args, environment)?),
        "ls" => PeerCommand::List(ListConfig {
            glob: args.operands().first().cloned(),
        }),
        "status" => PeerCommand::Status(status(&args)?),
        "verify" => PeerCommand::Verify(VerifyConfig {
            what: what(&args, 0)?,
            path: PathBuf::from(&args.operands()[1]),
        }),
        "rm" => PeerCommand::Remove(RemoveConfig {
            what: what(&args, 0)?,
        }),
        "seed" => PeerCommand::Seed(torrent_config::seed(&args, environment)?),
        "torrent create" => PeerCommand::Create(torrent_config::create(&args)?),
        "torrent show" => PeerCommand::Show(torrent_config::show(&args)),
        "torrent export" => PeerCommand::Export(torrent_config::export(&args)?),
        other => unreachable!("{other} is in the table and not here"),
    };
    let tracker_use = command.tracker_use();
    let globals = globals(&args, environment, tracker_use)?;
    if globals.tracker.is_none() && tracker_use == TrackerUse::Required {
        let failure = args.usage("", "no tracker given");
        return Err(failure.with_remedy("set -t HOST:PORT or SHOAL_TRACKER"));
    }
    Ok(PeerInvocation::Run(globals, Box::new(command)))
}

fn globals(
    args: &Args,
    environment: Environment<'_>,
    tracker_use: TrackerUse,
) -> Result<PeerGlobals, Failure> {
    let tracker = match tracker_use {
        TrackerUse::Unused => None,
        _ => args.option_or_variable(environment, "tracker", "SHOAL_TRACKER", str::parse)?,
    };
    Ok(PeerGlobals {
        tracker,
        output: OutputConfig {
            json: args.is_given("json"),
            quiet: args.is_given("quiet"),
            verbosity: args.count("verbose"),
            progress: !args.is_given("no-progress"),
            color: variable(environment, "NO_COLOR").is_none(),
            dumb: variable(environment, "TERM").is_some_and(|term| term == "dumb"),
        },
    })
}

fn share(args: &Args, environment: Environment<'_>) -> Result<ShareConfig, Failure> {
    let name = args.option("name", parse_name)?;
    let torrent = args.option("torrent", parse_path)?;
    if let (Some(name), [_, _, ..]) = (&name, args.operands()) {
        return Err(args.usage("--name", &format!("\"{name}\" cannot name several PATHs")));
    }
    if let (Some(_), [_, _, ..]) = (&torrent, args.operands()) {
        return Err(args.usage("--torrent", "one file cannot describe several PATHs"));
    }
    Ok(ShareConfig {
        paths: args.operands().iter().map(PathBuf::from).collect(),
        name,
        piece_bytes: args.option("piece-size", parse_piece_size)?,
        sha256: !args.is_given("no-sha256"),
        torrent,
        until: args.option("until", parse_count)?,
        limits: rate_limits(args)?,
        policy: policy(args)?,
        reach: reach(args, environment)?,
    })
}

fn get(args: &Args, environment: Environment<'_>) -> Result<GetConfig, Failure> {
    let several = args.operands().len() > 1;
    let sha256 = args.option("sha256", parse_sha256)?;
    if sha256.is_some() && several {
        return Err(args.usage("--sha256", "one digest cannot fit several WHATs"));
    }
    let target = target(args, several)?;
    if target == Target::Stdout && args.is_given("json") {
        return Err(args.usage(
            "--json",
            "stdout takes either the events or, with -o -, the content",
        ));
    }
    let order = choice(&[
        ("rarest", PieceOrder::Rarest),
        ("random", PieceOrder::Random),
        ("sequential", PieceOrder::Sequential),
    ]);
    let peers = choice(&[
        ("auto", PeerChoice::Auto),
        ("random", PeerChoice::Random),
        ("round-robin", PeerChoice::RoundRobin),
        ("bandwidth", PeerChoice::Bandwidth),
        ("availability", PeerChoice::Availability),
        ("proximity", PeerChoice::Proximity),
    ]);
    Ok(GetConfig {
        whats: (0..args.operands().len())
            .map(|at| what(args, at))
            .collect::<Result<_, _>>()?,
        order: args.option("order", order)?.unwrap_or(match target {
            Target::Stdout => PieceOrder::Sequential,
            _ => PieceOrder::Rarest,
        }),
        target,
        peers: args.option("peers", peers)?.unwrap_or(PeerChoice::Random),
        seed: args.option("seed", parse_seed_mode)?,
        check: args.is_given("check"),
        sha256,
        overwrite: args.is_given("overwrite"),
        timeout: args.option("timeout", parse_span)?,
        stall: args.option("stall", parse_span)?.unwrap_or(STALL_DEFAULT),
        limits: rate_limits(args)?,
        policy: policy(args)?,
        reach: reach(args, environment)?,
    })
}

/// Reads operand `at` as a WHAT; only a magnet link can be wrong.
pub(super) fn what(args: &Args, at: usize) -> Result<What, Failure> {
    let read = |text: &str| What::parse(text).map_err(|error| error.to_string());
    args.read("", &args.operands()[at], read)
        .map_err(|failure| Failure {
            code: ExitCode::BadMagnet,
            ..failure
        })
}

fn target(args: &Args, several: bool) -> Result<Target, Failure> {
    let path = |text: &str| match text {
        "-" if several => Err("for one content: several do not fit through a pipe"),
        "-" => Ok(Target::Stdout),
        "" => Err("not a path"),
        _ if several || text.ends_with('/') => Ok(Target::Folder(text.into())),
        _ => Ok(Target::FolderOrPath(text.into())),
    };
    Ok(args.option("output", path)?.unwrap_or(Target::Here))
}

fn status(args: &Args) -> Result<StatusConfig, Failure> {
    let count = args.option("expect", parse_count)?;
    let hosts = args.option("hosts", parse_path)?;
    Ok(StatusConfig {
        what: what(args, 0)?,
        expect: match (count, hosts) {
            (None, None) => Expectation::Nothing,
            (Some(count), None) => Expectation::Count(count),
            (None, Some(hosts)) => Expectation::Hosts(hosts),
            (Some(_), Some(_)) => {
                return Err(args.usage("--expect", "cannot be combined with --hosts"));
            }
        },
        watch: args.is_given("watch"),
    })
}

pub(super) fn reach(args: &Args, environment: Environment<'_>) -> Result<ReachConfig, Failure> {
    let advertise = args
        .values("advertise")
        .iter()
        .map(|text| args.read("--advertise", text, str::parse))
        .collect::<Result<Vec<_>, _>>()?;
    if advertise.len() > ADVERTISED_COUNT_MAX {
        return Err(args.usage("--advertise", "given more than 8 times"));
    }
    Ok(ReachConfig {
        listen: args
            .option("listen", parse_listen)?
            .unwrap_or_else(|| (Ipv6Addr::UNSPECIFIED, 0).into()),
        advertise,
        zone: args.option_or_variable(environment, "zone", "SHOAL_ZONE", parse_zone)?,
    })
}

/// Reads one of a closed set of words; the error names the words.
fn choice<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let (last, others) = words.split_last().expect("there is a choice");
            format!("not {} or {last}", others.join(", "))
        })
    }
}
