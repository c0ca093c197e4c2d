//! The command line of `shoal-peer`: every form it takes, and every refusal.
#![allow(clippy::unwrap_used)]

mod torrents;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use shoal::base::Rng;
use shoal::cli::{
    Expectation, Failure, GetConfig, PeerChoice, PeerCommand, PeerGlobals, PeerInvocation,
    PieceOrder, SeedMode, ShareConfig, StatusConfig, Target, What, parse_peer, wants_json,
};
use shoal::wire::native::Policy;

type Variables<'a> = &'a [(&'a str, &'a str)];

const TRACKER: Variables<'static> = &[("SHOAL_TRACKER", "tr")];

fn parse(words: &[&str], variables: Variables<'_>) -> Result<PeerInvocation, Failure> {
    let environment = |name: &str| {
        let variable = variables.iter().find(|(key, _)| *key == name);
        variable.map(|(_, value)| (*value).to_owned())
    };
    parse_peer(words.iter().map(OsString::from), &environment)
}

fn run_with(words: &[&str], variables: Variables<'_>) -> (PeerGlobals, PeerCommand) {
    match parse(words, variables) {
        Ok(PeerInvocation::Run(globals, command)) => (globals, *command),
        other => panic!("{words:?}: {other:?}"),
    }
}

fn run(line: &str) -> (PeerGlobals, PeerCommand) {
    run_with(&line.split(' ').collect::<Vec<_>>(), TRACKER)
}

fn get(line: &str) -> GetConfig {
    match run(line) {
        (_, PeerCommand::Get(config)) => config,
        other => panic!("{line}: {other:?}"),
    }
}

fn share(line: &str) -> ShareConfig {
    match run(line) {
        (_, PeerCommand::Share(config)) => config,
        other => panic!("{line}: {other:?}"),
    }
}

fn status(line: &str) -> StatusConfig {
    match run(line) {
        (_, PeerCommand::Status(config)) => config,
        other => panic!("{line}: {other:?}"),
    }
}

fn shown(line: &str) -> String {
    match parse(&line.split_whitespace().collect::<Vec<_>>(), &[]) {
        Ok(PeerInvocation::Show(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

fn tracker_of(globals: &PeerGlobals) -> String {
    let tracker = globals.tracker.as_ref();
    tracker.expect("a tracker").to_string()
}

fn refusal(words: &[&str], variables: Variables<'_>) -> String {
    let failure = parse(words, variables).expect_err(&format!("{words:?}"));
    assert_eq!(failure.code.number(), 28, "{words:?}");
    failure.to_string()
}

#[test]
fn get_has_these_defaults() {
    let config = get("get vm.qcow2");
    assert_eq!(config.whats, [What::Name("vm.qcow2".to_owned())]);
    assert_eq!(config.target, Target::Here);
    assert_eq!(config.order, PieceOrder::Rarest);
    assert_eq!(config.peers, PeerChoice::Random);
    assert_eq!(config.seed, None);
    assert!(!config.check && !config.overwrite);
    assert_eq!((config.sha256, config.timeout), (None, None));
    assert_eq!(config.stall, Duration::from_secs(600));
    assert_eq!(config.reach.listen.to_string(), "[::]:0");
    assert_eq!((config.reach.advertise.len(), config.reach.zone), (0, None));
}

#[test]
fn every_choice_of_peers_has_its_name() {
    let choices = [
        ("auto", PeerChoice::Auto),
        ("random", PeerChoice::Random),
        ("round-robin", PeerChoice::RoundRobin),
        ("bandwidth", PeerChoice::Bandwidth),
        ("availability", PeerChoice::Availability),
        ("proximity", PeerChoice::Proximity),
    ];
    for (name, choice) in choices {
        assert_eq!(get(&format!("get --peers {name} vm")).peers, choice);
    }
}

#[test]
fn every_option_of_get_reaches_its_value() {
    let digest = "ab".repeat(32);
    let config = get(&format!(
        "get -o out --order random --peers=round-robin --seed forever --check --sha256 {digest} --overwrite \
         --timeout 2h --stall=90 --up 20M --down=1.5MiB/s --policy fair -l 7000 --advertise 192.0.2.1 --advertise [2001:db8::1]:7001 --zone a/b vm"
    ));
    assert_eq!(config.target, Target::FolderOrPath("out".into()));
    assert_eq!(config.order, PieceOrder::Random);
    assert_eq!(config.peers, PeerChoice::RoundRobin);
    assert_eq!(config.seed, Some(SeedMode::Forever));
    assert!(config.check && config.overwrite);
    assert_eq!(config.sha256, Some([0xab; 32]));
    assert_eq!(config.timeout, Some(Duration::from_secs(7200)));
    assert_eq!(config.stall, Duration::from_secs(90));
    assert_eq!(config.limits.up_bytes_per_s, Some(20 << 20));
    assert_eq!(config.limits.down_bytes_per_s, Some(3 << 19));
    assert_eq!(config.policy, Some(Policy::Fair));
    assert_eq!(config.reach.listen.to_string(), "[::]:7000");
    let ports: Vec<_> = config.reach.advertise.iter().map(|a| a.port).collect();
    assert_eq!(ports, [None, Some(7001)]);
    assert_eq!(config.reach.zone.as_deref(), Some("a/b"));
}

#[test]
fn what_goes_to_stdout_goes_in_order_unless_another_is_asked_for() {
    let config = get("get -o - a");
    assert_eq!(config.target, Target::Stdout);
    assert_eq!(config.order, PieceOrder::Sequential);
    let config = get("get -o - --order random a");
    assert_eq!(config.order, PieceOrder::Random);
    assert_eq!(get("get --order sequential a").target, Target::Here);
}

#[test]
fn a_target_is_a_folder_if_it_must_be_one() {
    assert_eq!(
        get("get -o out a").target,
        Target::FolderOrPath("out".into())
    );
    assert_eq!(get("get -oout/ a").target, Target::Folder("out/".into()));
    assert_eq!(get("get a b -o out").target, Target::Folder("out".into()));
}

#[test]
fn a_what_is_a_name_a_hash_or_a_prefix() {
    let hash = "4f1c09aa".repeat(5);
    let config = get(&format!("get vm {hash} 4f1c09aa"));
    assert_eq!(
        config.whats,
        [
            What::Name("vm".to_owned()),
            What::Hash(hash.parse().unwrap()),
            What::PrefixOrName("4f1c09aa".to_owned()),
        ]
    );
}

#[test]
fn two_dashes_end_the_options() {
    let config = get("get --check -- -o --help");
    assert!(config.check);
    assert_eq!(config.whats.len(), 2);
    assert_eq!(config.whats[0], What::Name("-o".to_owned()));
}

#[test]
fn share_takes_paths_and_their_options() {
    let config = share("share a b/c");
    assert_eq!(config.paths, [PathBuf::from("a"), PathBuf::from("b/c")]);
    assert!(config.sha256);
    assert_eq!((config.name, config.piece_bytes), (None, None));
    let config = share("share -n other --piece-size 4M --no-sha256 --listen 127.0.0.1:0 a");
    assert_eq!(config.name.as_deref(), Some("other"));
    assert_eq!(config.piece_bytes, Some(4 << 20));
    assert!(!config.sha256);
    assert_eq!(config.reach.listen.to_string(), "127.0.0.1:0");
}

#[test]
fn status_expects_a_number_a_list_of_hosts_or_nothing() {
    assert_eq!(status("status vm").expect, Expectation::Nothing);
    let config = status("status vm --expect 40 --watch");
    assert_eq!(
        (config.expect, config.watch),
        (Expectation::Count(40), true)
    );
    let config = status("status --hosts fleet.txt vm");
    assert_eq!(config.expect, Expectation::Hosts("fleet.txt".into()));
}

#[test]
fn the_small_commands_take_their_operands() {
    assert!(matches!(run("ls").1, PeerCommand::List(config) if config.glob.is_none()));
    let list = run("ls *.iso").1;
    assert!(matches!(list, PeerCommand::List(config) if config.glob.as_deref() == Some("*.iso")));
    let verify = run("verify vm /data/vm").1;
    assert!(matches!(verify, PeerCommand::Verify(config) if config.path == *"/data/vm"));
    assert_eq!(run("rm vm").1.name(), "rm");
}

#[test]
fn globals_stand_before_or_after_the_command() {
    for line in [
        "-t a:1 --json -q -v -v --no-progress get x",
        "get -qvv x -t a:1 --json --no-progress",
    ] {
        let (globals, _) = run(line);
        assert_eq!(tracker_of(&globals), "a:1", "{line}");
        let output = globals.output;
        assert!(output.json && output.quiet && !output.progress, "{line}");
        assert_eq!(output.verbosity, 2, "{line}");
    }
}

#[test]
fn an_option_overrides_the_environment_and_that_the_default() {
    let variables: Variables<'_> = &[
        ("SHOAL_TRACKER", "env:1"),
        ("SHOAL_ZONE", "env"),
        ("NO_COLOR", "1"),
        ("TERM", "dumb"),
    ];
    let zone = |command| match command {
        PeerCommand::Get(config) => config.reach.zone,
        other => panic!("{other:?}"),
    };
    let (globals, command) = run_with(&["get", "x"], variables);
    assert_eq!(tracker_of(&globals), "env:1");
    assert!(!globals.output.color && globals.output.dumb);
    assert_eq!(zone(command).as_deref(), Some("env"));
    let (globals, command) = run_with(&["get", "x", "-t", "flag", "--zone", "flag"], variables);
    assert_eq!(tracker_of(&globals), "flag:6969");
    assert_eq!(zone(command).as_deref(), Some("flag"));
    // A variable that is set to nothing is not set.
    let empty: Variables<'_> = &[
        ("SHOAL_TRACKER", "tr"),
        ("NO_COLOR", ""),
        ("SHOAL_ZONE", ""),
    ];
    let (globals, command) = run_with(&["get", "x"], empty);
    assert!(globals.output.color);
    assert_eq!(zone(command), None);
}

#[test]
fn help_and_version_win_wherever_they_stand() {
    for line in ["-h", "--help", "help", "--bogus -h", "-h nonsense"] {
        assert!(
            shown(line).starts_with("Usage: shoal-peer [OPTIONS] COMMAND\n"),
            "{line}"
        );
    }
    for line in [
        "get -h",
        "get --help",
        "help get",
        "-h get",
        "get x --order foo -h",
        "get --bogus -h",
    ] {
        assert!(
            shown(line).starts_with("Usage: shoal-peer get [OPTIONS] WHAT...\n"),
            "{line}"
        );
    }
    for line in ["-V", "get -V", "--version share"] {
        assert_eq!(shown(line), "shoal-peer 0.1.0\n");
    }
}

#[test]
fn every_command_of_the_help_runs() {
    let help = shown("help");
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let usage = line
                .strip_prefix("  ")
                .filter(|usage| !usage.starts_with(' '))?;
            let is_operand = |word: &&str| word.starts_with(|c: char| c == '[' || c.is_uppercase());
            let operands = usage
                .split(' ')
                .find(|word| word.is_empty() || is_operand(word))?;
            usage.split(operands).next().map(str::trim)
        })
        .collect();
    assert_eq!(
        commands,
        [
            "share",
            "get",
            "ls",
            "status",
            "verify",
            "rm",
            "seed",
            "torrent create",
            "torrent show",
            "torrent export",
            "help",
        ]
    );
    for command in commands {
        for operands in [&[][..], &["a"], &["a", "b"]] {
            let words: Vec<&str> = command.split(' ').chain(operands.iter().copied()).collect();
            // It runs or refuses, but never falls through.
            let _ = parse(&words, TRACKER);
        }
    }
}

fn refuses(cases: &[(&str, &str)]) {
    for (line, shown) in cases {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(refusal(&words, TRACKER), *shown, "{line}");
    }
}

#[test]
fn a_refusal_names_the_option_the_value_and_the_remedy() {
    refuses(&[
        (
            "get x --order foo",
            "get: --order: \"foo\" is not rarest, random or sequential (see shoal-peer help get)",
        ),
        (
            "get x --peers foo",
            "get: --peers: \"foo\" is not auto, random, round-robin, bandwidth, availability or proximity \
             (see shoal-peer help get)",
        ),
        (
            "get x --seed 1h",
            "get: --seed: \"1h\" is not none, auto, forever, ratio:R (like 1.5) or time:DUR (like 10m) \
             (see shoal-peer help get)",
        ),
        (
            "share x --up 0",
            "share: --up: \"0\" is not a rate like 512K, 20M or 1.5MiB (bytes per second, at least 1K) \
             (see shoal-peer help share)",
        ),
        (
            "get x --timeout 0",
            "get: --timeout: \"0\" is not a duration like 90, 90s, 10m or 2h (see shoal-peer help get)",
        ),
        (
            "get x --stall 1d",
            "get: --stall: \"1d\" is not a duration like 90, 90s, 10m or 2h (see shoal-peer help get)",
        ),
        (
            "get x --sha256 ab",
            "get: --sha256: \"ab\" is not 64 hexadecimal digits (see shoal-peer help get)",
        ),
        (
            "get x y -o -",
            "get: --output: \"-\" is for one content: several do not fit through a pipe \
             (see shoal-peer help get)",
        ),
        (
            "get x -l tr",
            "get: --listen: \"tr\" is not an address like [::]:7000, 0.0.0.0:7000, :7000 or 7000 (see shoal-peer help get)",
        ),
        (
            "get x --advertise 0.0.0.0",
            "get: --advertise: \"0.0.0.0\" is not an IP or IP:PORT that others can dial (see shoal-peer help get)",
        ),
        (
            "get x -t http://tr",
            "get: --tracker: \"http://tr\" is not HOST or HOST:PORT (see shoal-peer help get)",
        ),
    ]);
}

#[test]
fn a_refusal_says_what_does_not_fit_together() {
    let nine = "--advertise 192.0.2.1 ".repeat(9);
    refuses(&[
        (
            &format!("get x y --sha256 {}", "ab".repeat(32)),
            "get: --sha256: one digest cannot fit several WHATs (see shoal-peer help get)",
        ),
        (
            &format!("get {nine}x"),
            "get: --advertise: given more than 8 times (see shoal-peer help get)",
        ),
        ("get", "get: WHAT... expected (see shoal-peer help get)"),
        (
            "share x --down 1M",
            "share: --down: no such option (see shoal-peer help share)",
        ),
        (
            "get x -z",
            "get: -z: no such option (see shoal-peer help get)",
        ),
        (
            "get x --order",
            "get: --order: needs a value (see shoal-peer help get)",
        ),
        (
            "get x --check=1",
            "get: --check: takes no value (see shoal-peer help get)",
        ),
        (
            "get x --order random --order random",
            "get: --order: given more than once (see shoal-peer help get)",
        ),
        (
            "-t a get x -t b",
            "get: --tracker: given more than once (see shoal-peer help get)",
        ),
    ]);
    assert_eq!(
        refusal(&["get", ""], TRACKER),
        "get: operand 1 is empty (see shoal-peer help get)"
    );
}

#[test]
fn a_refusal_points_to_the_help_of_its_command() {
    refuses(&[
        (
            "share a --piece-size 3M",
            "share: --piece-size: \"3M\" is not a power of two from 16K to 512M (see shoal-peer help share)",
        ),
        (
            "share a -n b/c",
            "share: --name: \"b/c\" is not a name that a file can have (see shoal-peer help share)",
        ),
        (
            "share a b -n c",
            "share: --name: \"c\" cannot name several PATHs (see shoal-peer help share)",
        ),
        (
            "status x --expect 0",
            "status: --expect: \"0\" is not a number from 1 to 1000000 (see shoal-peer help status)",
        ),
        (
            "status x --expect 1 --hosts f",
            "status: --expect: cannot be combined with --hosts (see shoal-peer help status)",
        ),
        (
            "status x y",
            "status: \"y\" is one operand too many (see shoal-peer help status)",
        ),
        (
            "verify x",
            "verify: WHAT PATH expected (see shoal-peer help verify)",
        ),
        (
            "help nonsense",
            "help: \"nonsense\" is no command (see shoal-peer help help)",
        ),
        ("gte x", "\"gte\" is no command (see shoal-peer help)"),
        (
            "--bogus get x",
            "--bogus: no such option (see shoal-peer help)",
        ),
    ]);
    assert_eq!(
        refusal(&[], TRACKER),
        "no command given (see shoal-peer help)"
    );
}

#[test]
fn without_a_tracker_it_says_how_to_name_one() {
    let expected = "get: no tracker given (set -t HOST:PORT or SHOAL_TRACKER)";
    assert_eq!(refusal(&["get", "x"], &[]), expected);
    assert_eq!(refusal(&["get", "x"], &[("SHOAL_TRACKER", "")]), expected);
}

#[test]
fn a_refusal_names_the_variable_that_is_wrong() {
    assert_eq!(
        refusal(&["ls"], &[("SHOAL_TRACKER", "tr:0")]),
        "ls: SHOAL_TRACKER: \"tr:0\" is not HOST or HOST:PORT (see shoal-peer help ls)"
    );
}

#[test]
fn a_refusal_stays_on_one_line_and_steers_no_terminal() {
    assert_eq!(
        refusal(&["get", "x", "--order", "a\n\u{1b}[2J"], TRACKER),
        "get: --order: \"a\\u{a}\\u{1b}[2J\" is not rarest, random or sequential (see shoal-peer help get)"
    );
    let words = [OsString::from("get"), OsString::from_vec(b"a\xff".to_vec())];
    let failure = parse_peer(words, &|_| None).expect_err("not UTF-8");
    assert_eq!(
        failure.to_string(),
        "\"a\u{fffd}\" is not UTF-8 (see shoal-peer help)"
    );
}

#[test]
fn a_wrong_command_line_still_tells_whether_json_was_wanted() {
    let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
    assert!(wants_json(&words("get --bogus --json")));
    assert!(!wants_json(&words("get -- --json")));
}

#[test]
fn any_words_run_show_or_are_refused() {
    let vocabulary = [
        "get",
        "share",
        "torrent",
        "create",
        "show",
        "seed",
        "--tracker",
        "x.torrent",
        "ls",
        "status",
        "verify",
        "rm",
        "help",
        "-t",
        "tr",
        "--json",
        "-qv",
        "-o",
        "out/",
        "-",
        "--",
        "--order",
        "random",
        "--order=",
        "--=x",
        "-é",
        "--é",
        "",
        "-l",
        "[::]:0",
        "--stall",
        "9h",
        "--piece-size",
        "64K",
        "é🦀",
        "--sha256",
        "4f1c09aa",
        "-n",
        "--advertise",
        "::1",
        "--expect",
        "7",
        "--zone",
        "\u{1b}",
    ];
    for seed in 0..20_000 {
        let mut rng = Rng::new(seed);
        let words: Vec<&str> = (0..rng.below(7))
            .filter_map(|_| rng.pick(&vocabulary).copied())
            .collect();
        if let Err(failure) = parse(&words, TRACKER) {
            let shown = failure.to_string();
            assert_eq!(failure.code.number(), 28, "seed {seed}: {words:?}");
            assert!(
                !shown.chars().any(char::is_control),
                "seed {seed}: {shown:?}"
            );
            assert!(shown.ends_with(')'), "seed {seed}: {shown}");
        }
    }
}
