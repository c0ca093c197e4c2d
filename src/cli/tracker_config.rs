//! The second step of `shoal-tracker`'s command line: words become values that need no further check.

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::Failure;
use super::args::{Args, Environment, Parsed, parse, variable};
use super::policy::policy;
use super::table::TRACKER;
use super::units::{parse_digits, parse_duration};
use super::value::{TRACKER_PORT, parse_count, parse_listen};
use crate::wire::native::Policy;

/// How many connections one address may have, unless told otherwise.
pub const CONNS_PER_IP_DEFAULT: u32 = 1024;

/// The shortest and the longest announce interval, unless told otherwise.
pub const INTERVAL_DEFAULT: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(30 * 60));
/// The longest announce interval that may be asked for.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);
/// How many peers one announce is answered with, unless told otherwise.
pub const NUMWANT_DEFAULT: u32 = 50;
/// The most peers that may be asked for.
const NUMWANT_MAX: u64 = 1000;

/// Where UDP announces are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpFront {
    /// Nowhere.
    Off,
    /// On every address and port that is listened on.
    WithTcp,
    /// Here; port 0 is the number of the first TCP listener.
    At(SocketAddr),
}

/// What `shoal-tracker` was asked to do.
#[derive(Debug, PartialEq, Eq)]
pub enum TrackerInvocation {
    /// To show this text (help or version) on stdout and exit with 0.
    Show(String),
    /// To run.
    Run(TrackerConfig),
}

/// How the tracker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerConfig {
    /// Where to listen, at least one; port 0 is any free one. `[::]` means IPv4 too.
    pub listen: Vec<SocketAddr>,
    /// Where UDP announces are taken.
    pub udp: UdpFront,
    /// The shortest and the longest interval that HTTP and UDP clients are told, in whole seconds.
    pub interval: (Duration, Duration),
    /// How many peers one announce is answered with, at most.
    pub numwant: u32,
    /// Whether any hash is tracked, not only those of registered files.
    pub is_open: bool,
    /// Whom peers are told to serve.
    pub policy: Policy,
    /// The folder that registered files are kept in; `None` keeps nothing.
    pub state: Option<PathBuf>,
    /// How many connections one address may have; loopback is exempt.
    pub conns_per_ip_max: u32,
    /// Whether nothing is said but errors and warnings.
    pub quiet: bool,
    /// How much more is said than usual.
    pub verbosity: usize,
}

/// Reads the command line of `shoal-tracker`: the words after the program's name, and the environment.
///
/// # Errors
/// A [`Failure`] with exit code 28 that names the option, its value and the remedy.
pub fn parse_tracker(
    words: impl IntoIterator<Item = OsString>,
    environment: Environment<'_>,
) -> Result<TrackerInvocation, Failure> {
    match parse(&TRACKER, words)? {
        Parsed::Show(text) => Ok(TrackerInvocation::Show(text)),
        Parsed::Run(args) => config(&args, environment).map(TrackerInvocation::Run),
    }
}

fn config(args: &Args, environment: Environment<'_>) -> Result<TrackerConfig, Failure> {
    args.option("admin", |text| match text {
        "off" => Ok(()),
        _ => Err("not off, the only value"),
    })?;
    let mut listen = args
        .values("listen")
        .iter()
        .map(|text| args.read("--listen", text, parse_listen))
        .collect::<Result<Vec<_>, _>>()?;
    if listen.is_empty() {
        listen.push(SocketAddr::from((Ipv6Addr::UNSPECIFIED, TRACKER_PORT)));
    }
    let state = args.option("state", |text| match text {
        "" => Err("not a folder"),
        _ => Ok(PathBuf::from(text)),
    })?;
    Ok(TrackerConfig {
        listen,
        udp: args.option("udp", parse_udp)?.unwrap_or(UdpFront::WithTcp),
        interval: args
            .option("interval", parse_interval)?
            .unwrap_or(INTERVAL_DEFAULT),
        numwant: args
            .option("numwant", parse_numwant)?
            .unwrap_or(NUMWANT_DEFAULT),
        is_open: args.is_given("open"),
        policy: policy(args)?.unwrap_or(Policy::Fleet),
        state: state.or_else(|| state_directory(environment)),
        conns_per_ip_max: args
            .option("conns-per-ip", parse_count)?
            .unwrap_or(CONNS_PER_IP_DEFAULT),
        quiet: args.is_given("quiet"),
        verbosity: args.count("verbose"),
    })
}

fn parse_udp(text: &str) -> Result<UdpFront, &'static str> {
    match text {
        "off" => Ok(UdpFront::Off),
        text => parse_listen(text)
            .map(UdpFront::At)
            .map_err(|_| "not off and not an address like [::]:7000, 0.0.0.0:7000, :7000 or 7000"),
    }
}

fn parse_interval(text: &str) -> Result<(Duration, Duration), &'static str> {
    let bounds = text.split_once(':').and_then(|(shortest, longest)| {
        Some((parse_duration(shortest)?, parse_duration(longest)?))
    });
    bounds
        .filter(|(shortest, longest)| {
            !shortest.is_zero() && shortest <= longest && *longest <= INTERVAL_MAX
        })
        .ok_or("not a shortest and a longest interval up to 24h, like 30s:30m")
}

fn parse_numwant(text: &str) -> Result<u32, &'static str> {
    parse_digits(text)
        .filter(|count| (1..=NUMWANT_MAX).contains(count))
        .map(|count| count as u32)
        .ok_or("not a number from 1 to 1000")
}

/// The folder that a service manager made for us; it may name several, of which the first is ours (systemd.exec(5)).
fn state_directory(environment: Environment<'_>) -> Option<PathBuf> {
    let folders = variable(environment, "STATE_DIRECTORY")?;
    let first = folders.split(':').next()?;
    (!first.is_empty()).then(|| PathBuf::from(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str, state_directory: &str) -> Result<TrackerInvocation, Failure> {
        let environment =
            |name: &str| (name == "STATE_DIRECTORY").then(|| state_directory.to_owned());
        parse_tracker(line.split_whitespace().map(OsString::from), &environment)
    }

    fn config_of(line: &str, state_directory: &str) -> TrackerConfig {
        match run(line, state_directory) {
            Ok(TrackerInvocation::Run(config)) => config,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn without_options_it_listens_on_the_usual_port_and_keeps_nothing() {
        let config = config_of("", "");
        assert_eq!(config.listen, ["[::]:6969".parse().expect("valid")]);
        assert_eq!(config.state, None);
        assert_eq!(config.conns_per_ip_max, 1024);
        assert_eq!(config.udp, UdpFront::WithTcp);
        assert_eq!(config.interval, INTERVAL_DEFAULT);
        assert_eq!((config.numwant, config.is_open), (50, false));
        assert_eq!(config.policy, Policy::Fleet);
        assert!(!config.quiet);
    }

    #[test]
    fn every_option_reaches_its_value() {
        let config = config_of(
            "-l 127.0.0.1:0 --listen=:7000 -u off -a off -s /var/lib/shoal --conns-per-ip 7 -i 1:2h -n 9 --open --policy fair -q -vv",
            "/elsewhere",
        );
        let listen = config.listen.iter().map(ToString::to_string);
        assert_eq!(listen.collect::<Vec<_>>(), ["127.0.0.1:0", "[::]:7000"]);
        assert_eq!(config.state, Some(PathBuf::from("/var/lib/shoal")));
        assert_eq!(config.udp, UdpFront::Off);
        let bounds = (Duration::from_secs(1), Duration::from_secs(7200));
        assert_eq!(config.interval, bounds);
        assert_eq!((config.numwant, config.is_open), (9, true));
        assert_eq!(config.policy, Policy::Fair);
        let at = config_of("-u 127.0.0.1:0", "").udp;
        assert_eq!(at, UdpFront::At("127.0.0.1:0".parse().expect("valid")));
        assert_eq!(
            (config.conns_per_ip_max, config.quiet, config.verbosity),
            (7, true, 2)
        );
    }

    #[test]
    fn the_service_managers_folder_is_the_default_state() {
        let state = config_of("", "/var/lib/shoal:/var/lib/other").state;
        assert_eq!(state, Some(PathBuf::from("/var/lib/shoal")));
    }

    #[test]
    fn help_and_version_win() {
        for (line, begin) in [
            ("-s x -h", "Usage: shoal-tracker [OPTIONS]\n"),
            ("--bogus --help", "Usage: shoal-tracker [OPTIONS]\n"),
            ("-V", "shoal-tracker 0."),
        ] {
            match run(line, "") {
                Ok(TrackerInvocation::Show(text)) => assert!(text.starts_with(begin), "{text}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_refusal_names_the_option_the_value_and_the_remedy() {
        for (line, shown) in [
            (
                "-l tr",
                "--listen: \"tr\" is not an address like [::]:7000, 0.0.0.0:7000, :7000 or 7000 (see shoal-tracker --help)",
            ),
            (
                "-u on",
                "--udp: \"on\" is not off and not an address like [::]:7000, 0.0.0.0:7000, :7000 or 7000 (see shoal-tracker --help)",
            ),
            (
                "-i 30m",
                "--interval: \"30m\" is not a shortest and a longest interval up to 24h, like 30s:30m (see shoal-tracker --help)",
            ),
            (
                "-i 2m:1m",
                "--interval: \"2m:1m\" is not a shortest and a longest interval up to 24h, like 30s:30m (see shoal-tracker --help)",
            ),
            (
                "-n 1001",
                "--numwant: \"1001\" is not a number from 1 to 1000 (see shoal-tracker --help)",
            ),
            (
                "--admin 1",
                "--admin: \"1\" is not off, the only value (see shoal-tracker --help)",
            ),
            (
                "--conns-per-ip 0",
                "--conns-per-ip: \"0\" is not a number from 1 to 1000000 (see shoal-tracker --help)",
            ),
            (
                "extra",
                "\"extra\" is one operand too many (see shoal-tracker --help)",
            ),
            ("-s", "-s: needs a value (see shoal-tracker --help)"),
            (
                "-s a --state b",
                "--state: given more than once (see shoal-tracker --help)",
            ),
            (
                "--policy equal",
                "--policy: \"equal\" is not fleet or fair (see shoal-tracker --help)",
            ),
        ] {
            let failure = run(line, "").expect_err(line);
            assert_eq!(failure.to_string(), shown);
            assert_eq!(failure.code.number(), 28);
        }
    }
}
