//! The one table of options: what every program and subcommand accepts, in the order in which help shows it.
//!
//! It feeds the parser and the help texts; nothing is accepted that is not here. Meaning and limits of the values are
//! checked later, where they become typed.

/// An option.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flag {
    /// The letter after one dash, or nothing.
    pub(super) short: &'static str,
    /// The word after two dashes; also the option's key.
    pub(super) long: &'static str,
    /// What help calls its value; `None` if it takes none.
    pub(super) metavar: Option<&'static str>,
    /// One line of help.
    pub(super) help: &'static str,
    /// Whether it may be given several times.
    pub(super) repeatable: bool,
}

/// A subcommand, or a whole program that has none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Its name on the command line: one word, or the word of its group and its own.
    pub(super) name: &'static str,
    /// Its operands as help shows them.
    pub(super) operands: &'static str,
    /// The fewest operands it takes.
    pub(super) operands_min: usize,
    /// The most operands it takes.
    pub(super) operands_max: usize,
    /// What it does, in one line.
    pub(super) summary: &'static str,
    /// What else its help says, one line each.
    pub(super) details: &'static [&'static str],
    /// Its own options. One that bears the name of an option of the program takes its place.
    pub(super) flags: &'static [Flag],
}

/// A program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Its name.
    pub(super) name: &'static str,
    /// What it does, in one line.
    pub(super) summary: &'static str,
    /// Options that stand before or after the subcommand; all of them, if there are no subcommands.
    pub(super) flags: &'static [Flag],
    /// Its subcommands, if it has any.
    pub(super) commands: &'static [Command],
    /// What its help ends with, one line each.
    pub(super) details: &'static [&'static str],
}

impl Program {
    /// The subcommand of that name.
    pub(super) fn command(&self, name: &str) -> Option<&'static Command> {
        self.commands.iter().find(|command| command.name == name)
    }

    /// The subcommands whose names begin with this word and have another.
    pub(super) fn group(&self, word: &str) -> impl Iterator<Item = &'static Command> {
        self.commands.iter().filter(move |command| {
            let rest = command.name.strip_prefix(word);
            rest.is_some_and(|rest| rest.starts_with(' '))
        })
    }

    /// The program's own options, but those whose place an option of the subcommand takes.
    pub(super) fn flags_beside(&self, command: &Command) -> impl Iterator<Item = &'static Flag> {
        let is_taken = |flag: &Flag| command.flags.iter().any(|own| own.long == flag.long);
        self.flags.iter().filter(move |flag| !is_taken(flag))
    }
}

const fn switch(short: &'static str, long: &'static str, help: &'static str) -> Flag {
    Flag {
        short,
        long,
        metavar: None,
        help,
        repeatable: true,
    }
}

const fn option(
    short: &'static str,
    long: &'static str,
    metavar: &'static str,
    help: &'static str,
) -> Flag {
    Flag {
        short,
        long,
        metavar: Some(metavar),
        help,
        repeatable: false,
    }
}

const fn list(
    short: &'static str,
    long: &'static str,
    metavar: &'static str,
    help: &'static str,
) -> Flag {
    Flag {
        repeatable: true,
        ..option(short, long, metavar, help)
    }
}

const HELP: Flag = switch("h", "help", "show this help");
const VERSION: Flag = switch("V", "version", "show the version");
const QUIET: Flag = switch("q", "quiet", "say nothing but errors and warnings");
const VERBOSE: Flag = switch("v", "verbose", "say more; twice: still more");
const LISTEN: Flag = option(
    "l",
    "listen",
    "ADDR",
    "serve peers on this address (any free port)",
);
const ADVERTISE: Flag = list(
    "",
    "advertise",
    "ADDR",
    "tell others to dial IP or IP:PORT, at most 8",
);
const ZONE: Flag = option(
    "",
    "zone",
    "SITE/RACK",
    "where this machine is ($SHOAL_ZONE)",
);

const UP: Flag = option(
    "",
    "up",
    "RATE",
    "send peers at most this much a second, in all",
);
const RATES: &str = "RATE is bytes per second, as 512K, 20M or 1.5M; trackers are not counted.";

const WHAT: &str = "WHAT is a name, an info-hash (40 hex digits) or a unique prefix of one (8 up),";
const WHAT_FILE: &str = "a magnet link or a .torrent file.";
const WHAT_NEWEST: &str =
    "Of several contents with one name the newest is meant; ls shows all of them.";

/// `shoal-peer`.
pub(super) static PEER: Program = Program {
    name: "shoal-peer",
    summary: "Shares contents with many machines, and fetches them.",
    flags: &[
        option(
            "t",
            "tracker",
            "HOST:PORT",
            "the tracker, port 6969 if none ($SHOAL_TRACKER)",
        ),
        switch("", "json", "one JSON object per line on stdout"),
        QUIET,
        VERBOSE,
        switch("", "no-progress", "show results, but no progress"),
        HELP,
        VERSION,
    ],
    commands: &[
        SHARE,
        GET,
        LS,
        STATUS,
        VERIFY,
        RM,
        SEED,
        TORRENT_CREATE,
        TORRENT_SHOW,
        TORRENT_EXPORT,
        HELP_COMMAND,
    ],
    details: &[
        "Sizes take K, M and G (powers of 1024); durations take s (as without), m and h.",
        "Environment: SHOAL_TRACKER, SHOAL_ZONE, NO_COLOR. Options override it.",
        "Exit codes: 0 done, 1 other, 2 timeout, 3 not found, 5 stalled, 6 network,",
        "  7 unfinished (signal), 9 disk full, 11 runs already, 13 exists, 17 I/O,",
        "  19 name resolution, 24 refused, 25 unreadable torrent, 26 torrent not",
        "  acceptable, 27 bad magnet link, 28 usage, 32 checksum, 33 expectation unmet.",
    ],
};

const POLICY: Flag = option(
    "",
    "policy",
    "POLICY",
    "fleet or fair (as the tracker says, else fleet)",
);

const PIECE_SIZE: Flag = option(
    "",
    "piece-size",
    "SIZE",
    "bytes per piece: a power of two, 16K to 512M",
);
const NO_SHA256: Flag = switch("", "no-sha256", "do not compute whole-file SHA-256 digests");
const PIECES_CHOSEN: &str =
    "The piece size is chosen so that there are at most 2048 pieces, unless given.";
const NOT_OVERWRITTEN: &str = "A FILE that exists is not overwritten.";

const SHARE: Command = Command {
    name: "share",
    operands: "PATH...",
    operands_min: 1,
    operands_max: usize::MAX,
    summary: "register files or folders, seed them until stopped",
    details: &[
        PIECES_CHOSEN,
        "The magnet link and the .torrent file are for other BitTorrent clients.",
        "A FILE that exists is left if it says the same, and never overwritten.",
        RATES,
    ],
    flags: &[
        option("n", "name", "NAME", "share under this name (one PATH only)"),
        PIECE_SIZE,
        NO_SHA256,
        option(
            "",
            "torrent",
            "FILE",
            "write a .torrent file as well (one PATH only)",
        ),
        option("", "until", "N", "end with 0 once N others are complete"),
        UP,
        POLICY,
        LISTEN,
        ADVERTISE,
        ZONE,
    ],
};

const GET: Command = Command {
    name: "get",
    operands: "WHAT...",
    operands_min: 1,
    operands_max: usize::MAX,
    summary: "fetch contents, serving what is here meanwhile",
    details: &[
        WHAT,
        WHAT_FILE,
        WHAT_NEWEST,
        "Without -t all WHAT must be links or files: they name trackers of their own.",
        "--peers random, round-robin, bandwidth (who sends fastest), availability (who",
        "has most of what is missing), proximity (by --zone or address) or auto (a mix).",
        "Several WHAT go into a folder, which is created.",
        "-o - writes one file to stdout, in order, while it arrives; it waits in $TMPDIR.",
        "--seed auto leaves when others hold all pieces twice, nobody fetches it, or 30 s",
        "are over. Where stdout is a terminal it is the default; elsewhere that is none.",
        "Interrupted and started again, get continues with the verified pieces.",
        RATES,
    ],
    flags: &[
        option(
            "o",
            "output",
            "PATH|DIR",
            "target; DIR if it ends in / or is one; - is stdout",
        ),
        option(
            "",
            "order",
            "ORDER",
            "pieces first: rarest (default), random, sequential",
        ),
        option(
            "",
            "peers",
            "CHOICE",
            "whom to ask first: see below (default random)",
        ),
        option(
            "",
            "seed",
            "MODE",
            "serve on: none, auto, forever, ratio:R or time:DUR",
        ),
        switch(
            "",
            "check",
            "read the finished file again, compare its SHA-256",
        ),
        option("", "sha256", "HEX", "the SHA-256 that the file must have"),
        switch("", "overwrite", "replace a target that exists"),
        option("", "timeout", "DUR", "give up after this long (never)"),
        option(
            "",
            "stall",
            "DUR",
            "give up if nothing arrives for this long (10m)",
        ),
        UP,
        option(
            "",
            "down",
            "RATE",
            "take at most this much a second, in all",
        ),
        POLICY,
        LISTEN,
        ADVERTISE,
        ZONE,
    ],
};

const LS: Command = Command {
    name: "ls",
    operands: "[GLOB]",
    operands_min: 0,
    operands_max: 1,
    summary: "list what the tracker knows",
    details: &[],
    flags: &[],
};

const STATUS: Command = Command {
    name: "status",
    operands: "WHAT",
    operands_min: 1,
    operands_max: 1,
    summary: "show which machine has how much of a content",
    details: &[WHAT, WHAT_FILE, WHAT_NEWEST],
    flags: &[
        option(
            "",
            "expect",
            "N",
            "exit with 33 unless N machines are complete",
        ),
        option(
            "",
            "hosts",
            "FILE",
            "exit with 33 unless all hosts in FILE are complete",
        ),
        switch("", "watch", "keep watching until the expectation is met"),
    ],
};

const VERIFY: Command = Command {
    name: "verify",
    operands: "WHAT PATH",
    operands_min: 2,
    operands_max: 2,
    summary: "read a copy again, check every piece and SHA-256",
    details: &[WHAT, WHAT_FILE, WHAT_NEWEST],
    flags: &[],
};

const RM: Command = Command {
    name: "rm",
    operands: "WHAT",
    operands_min: 1,
    operands_max: 1,
    summary: "make the tracker forget a content (files stay)",
    details: &[WHAT, WHAT_FILE, WHAT_NEWEST],
    flags: &[],
};

const SEED: Command = Command {
    name: "seed",
    operands: "FILE.torrent PATH",
    operands_min: 2,
    operands_max: 2,
    summary: "serve what is on disk, verified once, until stopped",
    details: &[
        "PATH is the content itself: its file or its folder.",
        "If some pieces are missing or differ, those that match are served.",
        "With -t it is registered with that tracker too; the file's own are told anyway.",
        RATES,
    ],
    flags: &[UP, POLICY, LISTEN, ADVERTISE, ZONE],
};

const TORRENT_CREATE: Command = Command {
    name: "torrent create",
    operands: "PATH",
    operands_min: 1,
    operands_max: 1,
    summary: "describe a file or folder in a .torrent file",
    details: &[
        "Each --tracker is a tier of its own: the next is asked if none of it answers.",
        "A Shoal tracker may be given as HOST:PORT. Without any the file names none, and",
        "peers have to be found otherwise. Nothing is sent or registered.",
        PIECES_CHOSEN,
        NOT_OVERWRITTEN,
    ],
    flags: &[
        option("", "torrent", "FILE", "the file to write (NAME.torrent)"),
        list(
            "t",
            "tracker",
            "URL[,URL]",
            "a tracker, or several that stand for each other",
        ),
        option("n", "name", "NAME", "describe it under this name"),
        PIECE_SIZE,
        NO_SHA256,
        switch("", "private", "peers come from these trackers only"),
        option("", "comment", "TEXT", "a word to whoever reads the file"),
    ],
};

const TORRENT_SHOW: Command = Command {
    name: "torrent show",
    operands: "FILE",
    operands_min: 1,
    operands_max: 1,
    summary: "show what a .torrent file says",
    details: &[],
    flags: &[],
};

const TORRENT_EXPORT: Command = Command {
    name: "torrent export",
    operands: "WHAT",
    operands_min: 1,
    operands_max: 1,
    summary: "write a .torrent file of what the tracker knows",
    details: &[WHAT, WHAT_FILE, WHAT_NEWEST, NOT_OVERWRITTEN],
    flags: &[option(
        "",
        "torrent",
        "FILE",
        "the file to write (NAME.torrent)",
    )],
};

const HELP_COMMAND: Command = Command {
    name: "help",
    operands: "[COMMAND]",
    operands_min: 0,
    operands_max: 2,
    summary: "show how a command is used",
    details: &[],
    flags: &[],
};

/// `shoal-tracker`.
pub(super) static TRACKER: Program = Program {
    name: "shoal-tracker",
    summary: "Knows which contents exist and who holds which piece; holds no content itself.",
    flags: &[
        list(
            "l",
            "listen",
            "ADDR",
            "serve natives and HTTP here ([::]:6969, IPv4 too)",
        ),
        option(
            "u",
            "udp",
            "ADDR|off",
            "take UDP announces here (where --listen says)",
        ),
        option("a", "admin", "off", "no admin page: the only value"),
        option(
            "s",
            "state",
            "DIR",
            "keep registered files in DIR ($STATE_DIRECTORY)",
        ),
        option(
            "i",
            "interval",
            "MIN:MAX",
            "how often HTTP and UDP clients announce (30s:30m)",
        ),
        option(
            "n",
            "numwant",
            "N",
            "peers that one announce is answered with (50)",
        ),
        switch("", "open", "track any hash, not only registered files"),
        option(
            "",
            "policy",
            "POLICY",
            "whom peers serve: fleet (default) or fair",
        ),
        option(
            "",
            "conns-per-ip",
            "N",
            "connections per address, loopback exempt (1024)",
        ),
        QUIET,
        VERBOSE,
        HELP,
        VERSION,
    ],
    commands: &[],
    details: &[
        "ADDR is [::]:6969, 0.0.0.0:6969, :6969 or 6969; port 0 is any free one.",
        "Without a state folder nothing is kept: a restart knows no file until its",
        "holders register it again.",
        "POLICY fleet: everybody is to be complete as early as possible. POLICY fair:",
        "tit for tat, whoever uploads nothing waits longer. Peers may overrule it.",
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_options_that_meet_share_a_name() {
        let without_commands = Command { flags: &[], ..RM };
        for program in [&PEER, &TRACKER] {
            for command in program.commands.iter().chain([&without_commands]) {
                let mut names = BTreeSet::new();
                for flag in program.flags_beside(command).chain(command.flags) {
                    assert!(names.insert(flag.long), "{} {}", command.name, flag.long);
                    assert!(
                        flag.short.is_empty() || names.insert(flag.short),
                        "{}",
                        flag.short
                    );
                }
            }
        }
    }

    #[test]
    fn a_group_is_no_command() {
        let grouped = PEER.commands.iter().filter_map(|c| c.name.split_once(' '));
        for (word, rest) in grouped {
            assert!(
                PEER.command(word).is_none() && !rest.contains(' '),
                "{word}"
            );
            assert!(PEER.group(word).count() > 1, "{word}");
        }
        assert_eq!(PEER.group("get").count() + PEER.group("torr").count(), 0);
    }

    #[test]
    fn options_of_later_issues_are_not_accepted() {
        let later = ["config"];
        for program in [&PEER, &TRACKER] {
            for flag in program
                .flags
                .iter()
                .chain(program.commands.iter().flat_map(|c| c.flags))
            {
                assert!(!later.contains(&flag.long), "{}", flag.long);
            }
        }
    }
}
