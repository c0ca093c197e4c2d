//! The tracker: knows which contents exist and who holds which piece.

use std::io::{Write, stdout};
use std::process::ExitCode;

use log::LevelFilter;
use shoal::cli::{Failure, TrackerConfig, TrackerInvocation, parse_tracker};
use shoal::tracker::Tracker;
use simple_logger::SimpleLogger;

fn main() -> ExitCode {
    let words = std::env::args_os().skip(1);
    let outcome = match parse_tracker(words, &|name| std::env::var(name).ok()) {
        Ok(TrackerInvocation::Show(text)) => {
            say(&text);
            Ok(())
        }
        Ok(TrackerInvocation::Run(config)) => run(&config),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("shoal-tracker: {failure}");
            failure.code.into()
        }
    }
}

fn run(config: &TrackerConfig) -> Result<(), Failure> {
    let level = match config.verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    if let Err(error) = SimpleLogger::new().with_level(level).init() {
        eprintln!("shoal-tracker: no log: {error}");
    }
    let tracker = Tracker::start(config)?;
    if !config.quiet {
        say(&tracker.start_line());
    }
    tracker.run()
}

/// Writes a line, or nothing if nobody reads.
fn say(text: &str) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
}
