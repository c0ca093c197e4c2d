//! The second step of `shoal-tracker`'s command line: words become values that need no further check.

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::Failure;
use super::args::{Args, Environment, Parsed, parse, variable};
use super::table::TRACKER;
use super::value::{TRACKER_PORT, parse_count, parse_listen};

/// How many connections one address may have, unless told otherwise.
pub const CONNS_PER_IP_DEFAULT: u32 = 1024;

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
    for service in ["udp", "admin"] {
        args.option(service, |text| match text {
            "off" => Ok(()),
            _ => Err("not off, the only value"),
        })?;
    }
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
        state: state.or_else(|| state_directory(environment)),
        conns_per_ip_max: args
            .option("conns-per-ip", parse_count)?
            .unwrap_or(CONNS_PER_IP_DEFAULT),
        quiet: args.is_given("quiet"),
        verbosity: args.count("verbose"),
    })
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
        assert!(!config.quiet);
    }

    #[test]
    fn every_option_reaches_its_value() {
        let config = config_of(
            "-l 127.0.0.1:0 --listen=:7000 -u off -a off -s /var/lib/shoal --conns-per-ip 7 -q -vv",
            "/elsewhere",
        );
        let listen = config.listen.iter().map(ToString::to_string);
        assert_eq!(listen.collect::<Vec<_>>(), ["127.0.0.1:0", "[::]:7000"]);
        assert_eq!(config.state, Some(PathBuf::from("/var/lib/shoal")));
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
                "-u :6969",
                "--udp: \":6969\" is not off, the only value (see shoal-tracker --help)",
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
                "--open",
                "--open: no such option (see shoal-tracker --help)",
            ),
        ] {
            let failure = run(line, "").expect_err(line);
            assert_eq!(failure.to_string(), shown);
            assert_eq!(failure.code.number(), 28);
        }
    }
}
