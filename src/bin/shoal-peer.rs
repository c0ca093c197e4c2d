//! The peer: shares contents and fetches them.

use std::ffi::OsString;
use std::process::ExitCode;

use shoal::cli::{self, PeerInvocation};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let environment = |name: &str| std::env::var(name).ok();
    match cli::parse_peer(words.clone(), &environment) {
        Ok(PeerInvocation::Show(text)) => show(&text),
        Ok(PeerInvocation::Run(globals, command)) => {
            let level = cli::log_level(globals.output.verbosity);
            if let Err(error) = cli::keep_log(level) {
                eprintln!("shoal-peer: no log: {error}");
            }
            shoal::peer::run(globals, *command).into()
        }
        Err(failure) => shoal::peer::report_failure(cli::wants_json(&words), &failure).into(),
    }
}

/// Help and version go to stdout; a reader that is gone is no failure.
fn show(text: &str) -> ExitCode {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
