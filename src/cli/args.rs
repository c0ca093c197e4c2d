//! The first step of the command line: words become a command, its operands and the values of its options.
//!
//! Knows the table of options and nothing of what the values mean; no environment, no files. Help and version win over
//! everything else, wherever they stand.

use std::ffi::OsString;

use getopts::{Fail, HasArg, Matches, Occur, Options, ParsingStyle};

use super::help::{command_help, group_help, program_help};
use super::table::{Command, Flag, Program};
use super::{ExitCode, Failure};

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the words of a command line ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// To show this text on stdout and leave.
    Show(String),
    /// To do something.
    Run(Args),
}

/// A command with its operands and options, none of them understood yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Args {
    program: &'static Program,
    command: Option<&'static Command>,
    operands: Vec<String>,
    /// Options in table order: the key, and one value for each time it was given.
    values: Vec<(&'static str, Vec<String>)>,
}

/// Reads the words after the program's name.
///
/// # Errors
/// A [`Failure`] with [`ExitCode::Usage`] that names the word and where to find help.
pub(super) fn parse(
    program: &'static Program,
    words: impl IntoIterator<Item = OsString>,
) -> Result<Parsed, Failure> {
    let words = utf8(program, words)?;
    let mut options = options(program.flags);
    options.parsing_style(ParsingStyle::StopAtFirstFree);
    let before = match options.parse(&words) {
        Ok(matches) => matches,
        Err(_) if asks_for_help(&words) => return Ok(Parsed::Show(help_for(program, &words))),
        Err(fail) => return Err(not_parsed(program, None, &fail)),
    };
    let mut args = Args {
        program,
        command: None,
        operands: Vec::new(),
        values: Vec::new(),
    };
    args.take(program.flags, &before);
    if args.is_given("help") {
        return Ok(Parsed::Show(help_for(program, &before.free)));
    }
    if args.is_given("version") {
        return Ok(Parsed::Show(version(program)));
    }
    if program.commands.is_empty() {
        args.operands = before.free;
        return args.checked();
    }
    let Some((name, rest)) = before.free.split_first() else {
        return Err(usage(program, None, "", "no command given"));
    };
    match program.command(name) {
        Some(command) => args.parse_command(command, rest),
        None if is_group(program, name) => args.parse_group(name, rest),
        None => {
            let why = format!("\"{name}\" is no command");
            Err(usage(program, None, "", &why))
        }
    }
}

/// The value of an environment variable that is set to something.
pub(super) fn variable(environment: Environment<'_>, name: &str) -> Option<String> {
    environment(name).filter(|value| !value.is_empty())
}

/// Whether the words ask for JSON, so that a command line that is wrong can be answered in kind.
pub fn wants_json(words: &[OsString]) -> bool {
    words
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--json")
}

impl Args {
    /// The command's name; the empty string in a program without subcommands.
    pub(super) fn command(&self) -> &'static str {
        self.command.map_or("", |command| command.name)
    }

    /// The operands, in order.
    pub(super) fn operands(&self) -> &[String] {
        &self.operands
    }

    /// How often the option was given.
    pub(super) fn count(&self, long: &str) -> usize {
        self.values(long).len()
    }

    /// Whether the option was given.
    pub(super) fn is_given(&self, long: &str) -> bool {
        self.count(long) > 0
    }

    /// The value of the option.
    pub(super) fn value(&self, long: &str) -> Option<&str> {
        self.values(long).first().map(String::as_str)
    }

    /// All values of a repeatable option, in order.
    pub(super) fn values(&self, long: &str) -> &[String] {
        self.values
            .iter()
            .find(|(key, _)| *key == long)
            .map_or(&[], |(_, values)| values)
    }

    /// The failure that says why `subject` (an option with its dashes, or an operand) is wrong here.
    pub(super) fn usage(&self, subject: &str, why: &str) -> Failure {
        usage(self.program, self.command, subject, why)
    }

    /// Has `reader` read the value of the option, if it was given.
    ///
    /// # Errors
    /// A usage failure that quotes the value; `reader` says what it is not.
    pub(super) fn option<T, E: AsRef<str>>(
        &self,
        long: &str,
        reader: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Failure> {
        self.value(long)
            .map(|text| self.read(&format!("--{long}"), text, reader))
            .transpose()
    }

    /// Has `reader` read the value of the option, else of the environment variable `name`, if one was given.
    ///
    /// # Errors
    /// A usage failure that names the one that was read.
    pub(super) fn option_or_variable<T, E: AsRef<str>>(
        &self,
        environment: Environment<'_>,
        long: &str,
        name: &str,
        reader: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Failure> {
        if self.is_given(long) {
            return self.option(long, reader);
        }
        variable(environment, name)
            .map(|text| self.read(name, &text, reader))
            .transpose()
    }

    /// Has `reader` read `text`, the value of `subject`.
    ///
    /// # Errors
    /// A usage failure that names both.
    pub(super) fn read<T, E: AsRef<str>>(
        &self,
        subject: &str,
        text: &str,
        reader: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, Failure> {
        reader(text).map_err(|why| self.usage(subject, &format!("\"{text}\" is {}", why.as_ref())))
    }

    /// Reads what follows the word of a group: options of the program, then the second word of a command.
    fn parse_group(mut self, group: &str, words: &[String]) -> Result<Parsed, Failure> {
        let program = self.program;
        let mut options = options(program.flags);
        options.parsing_style(ParsingStyle::StopAtFirstFree);
        let between = match options.parse(words) {
            Ok(matches) => matches,
            Err(_) if asks_for_help(words) => {
                return Ok(Parsed::Show(help_of_group(program, group, words)));
            }
            Err(fail) => return Err(not_parsed(program, None, &fail)),
        };
        self.take(program.flags, &between);
        if self.is_given("help") {
            return Ok(Parsed::Show(help_of_group(program, group, &between.free)));
        }
        if self.is_given("version") {
            return Ok(Parsed::Show(version(program)));
        }
        let wrong = |why: String| {
            let failure = usage(program, None, group, &why);
            failure.with_remedy(format!("see {} help {group}", program.name))
        };
        let Some((word, rest)) = between.free.split_first() else {
            return Err(wrong("no command given".to_owned()));
        };
        let command = program
            .command(&format!("{group} {word}"))
            .ok_or_else(|| wrong(format!("\"{word}\" is no command")))?;
        self.parse_command(command, rest)
    }

    fn parse_command(
        mut self,
        command: &'static Command,
        words: &[String],
    ) -> Result<Parsed, Failure> {
        let program = self.program;
        self.command = Some(command);
        let mut options = options(command.flags);
        add_flags(&mut options, program.flags_beside(command));
        let after = match options.parse(words) {
            Ok(matches) => matches,
            Err(_) if asks_for_help(words) => {
                return Ok(Parsed::Show(command_help(program, command)));
            }
            Err(fail) => return Err(not_parsed(program, Some(command), &fail)),
        };
        self.take(command.flags, &after);
        self.take(program.flags_beside(command), &after);
        if self.is_given("help") {
            return Ok(Parsed::Show(command_help(program, command)));
        }
        if self.is_given("version") {
            return Ok(Parsed::Show(version(program)));
        }
        self.operands = after.free;
        if command.name == "help" {
            return self.help();
        }
        self.checked()
    }

    /// Adds what getopts found for `flags`.
    fn take(&mut self, flags: impl IntoIterator<Item = &'static Flag>, matches: &Matches) {
        for flag in flags {
            let found = match flag.metavar {
                Some(_) => matches.opt_strs(flag.long),
                None => vec![String::new(); matches.opt_count(flag.long)],
            };
            match self.values.iter_mut().find(|(key, _)| *key == flag.long) {
                Some((_, values)) => values.extend(found),
                None => self.values.push((flag.long, found)),
            }
        }
    }

    fn help(&self) -> Result<Parsed, Failure> {
        let text = match self.operands.as_slice() {
            [] => program_help(self.program),
            [name] if is_group(self.program, name) => group_help(self.program, name),
            [group, rest @ ..] if is_group(self.program, group) && rest.len() > 1 => {
                return Err(self.usage("", &format!("\"{}\" is one operand too many", rest[1])));
            }
            [name, extra, ..] if !is_group(self.program, name) => {
                return Err(self.usage("", &format!("\"{extra}\" is one operand too many")));
            }
            words => {
                let name = words.join(" ");
                match self.program.command(&name) {
                    Some(command) => command_help(self.program, command),
                    None => return Err(self.usage("", &format!("\"{name}\" is no command"))),
                }
            }
        };
        Ok(Parsed::Show(text))
    }

    /// Checks what the table says about numbers: of operands, and of times an option is given.
    fn checked(self) -> Result<Parsed, Failure> {
        let flags: Vec<&Flag> = match self.command {
            Some(command) => {
                let others = self.program.flags_beside(command);
                others.chain(command.flags).collect()
            }
            None => self.program.flags.iter().collect(),
        };
        for flag in flags {
            if !flag.repeatable && self.count(flag.long) > 1 {
                return Err(self.usage(&format!("--{}", flag.long), "given more than once"));
            }
        }
        let (operands_min, operands_max) = self.command.map_or((0, 0), |command| {
            (command.operands_min, command.operands_max)
        });
        if let Some(extra) = self.operands.get(operands_max) {
            return Err(self.usage("", &format!("\"{extra}\" is one operand too many")));
        }
        if self.operands.len() < operands_min {
            let wanted = self.command.map_or("", |command| command.operands);
            return Err(self.usage("", &format!("{wanted} expected")));
        }
        if let Some(at) = self.operands.iter().position(String::is_empty) {
            return Err(self.usage("", &format!("operand {} is empty", at + 1)));
        }
        Ok(Parsed::Run(self))
    }
}

/// `shoal-peer 0.1.0`, as `-V` shows it.
fn version(program: &Program) -> String {
    format!("{} {}\n", program.name, env!("CARGO_PKG_VERSION"))
}

fn options(flags: &'static [Flag]) -> Options {
    let mut options = Options::new();
    add_flags(&mut options, flags);
    options
}

/// How often an option may be given is checked over both halves of the command line, so getopts allows any number.
fn add_flags(options: &mut Options, flags: impl IntoIterator<Item = &'static Flag>) {
    for flag in flags {
        let has_arg = match flag.metavar {
            Some(_) => HasArg::Yes,
            None => HasArg::No,
        };
        let metavar = flag.metavar.unwrap_or_default();
        options.opt(
            flag.short,
            flag.long,
            flag.help,
            metavar,
            has_arg,
            Occur::Multi,
        );
    }
}

fn utf8(
    program: &'static Program,
    words: impl IntoIterator<Item = OsString>,
) -> Result<Vec<String>, Failure> {
    let words = words.into_iter().map(OsString::into_string);
    words.collect::<Result<_, _>>().map_err(|word| {
        let why = format!("\"{}\" is not UTF-8", word.display());
        usage(program, None, "", &why)
    })
}

fn not_parsed(program: &Program, command: Option<&Command>, fail: &Fail) -> Failure {
    let (name, why) = match fail {
        Fail::ArgumentMissing(name) => (name, "needs a value"),
        Fail::UnexpectedArgument(name) => (name, "takes no value"),
        Fail::UnrecognizedOption(name) => (name, "no such option"),
        Fail::OptionMissing(name) => (name, "missing"),
        Fail::OptionDuplicated(name) => (name, "given more than once"),
    };
    let dashes = if name.chars().count() == 1 { "-" } else { "--" };
    usage(program, command, &format!("{dashes}{name}"), why)
}

fn usage(program: &Program, command: Option<&Command>, subject: &str, why: &str) -> Failure {
    let what = match (command.map_or("", |command| command.name), subject) {
        ("", subject) => subject.to_owned(),
        (command, "") => command.to_owned(),
        (command, subject) => format!("{command}: {subject}"),
    };
    let remedy = match command {
        Some(command) => format!("see {} help {}", program.name, command.name),
        None if program.commands.is_empty() => format!("see {} --help", program.name),
        None => format!("see {} help", program.name),
    };
    Failure::new(ExitCode::Usage, what, why).with_remedy(remedy)
}

fn asks_for_help(words: &[String]) -> bool {
    words
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "-h" || word == "--help")
}

fn is_group(program: &Program, word: &str) -> bool {
    program.group(word).next().is_some()
}

/// The help of the first command among `words`, else of the program.
fn help_for(program: &'static Program, words: &[String]) -> String {
    for (at, word) in words.iter().enumerate() {
        if let Some(command) = program.command(word) {
            return command_help(program, command);
        }
        if is_group(program, word) {
            return help_of_group(program, word, &words[at + 1..]);
        }
    }
    program_help(program)
}

/// The help of the first command of the group among `words`, else of the group.
fn help_of_group(program: &'static Program, group: &str, words: &[String]) -> String {
    let command = |word: &String| program.command(&format!("{group} {word}"));
    match words.iter().find_map(command) {
        Some(command) => command_help(program, command),
        None => group_help(program, group),
    }
}
