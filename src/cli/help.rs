//! Help texts, written from the table of options.

use super::table::{Command, Flag, Program};

/// Columns before the text of an option or command.
const TEXT_COLUMN: usize = 27;

/// How the whole program is used.
pub(super) fn program_help(program: &Program) -> String {
    let usage = match program.commands {
        [] => format!("Usage: {} [OPTIONS]", program.name),
        _ => format!("Usage: {} [OPTIONS] COMMAND", program.name),
    };
    let mut text = format!("{usage}\n{}\n", program.summary);
    if !program.commands.is_empty() {
        text.push_str("\nCommands:\n");
        for command in program.commands {
            push_row(
                &mut text,
                &format!("  {} {}", command.name, command.operands),
                command.summary,
            );
        }
    }
    push_flags(&mut text, "Options", program.flags);
    if !program.commands.is_empty() {
        text.push_str(&format!(
            "\n{} help COMMAND shows the options of a command.\n",
            program.name
        ));
    }
    push_details(&mut text, program.details);
    text
}

/// How the subcommands that begin with `word` are used.
pub(super) fn group_help(program: &Program, word: &str) -> String {
    let mut text = format!(
        "Usage: {} {word} COMMAND [OPTIONS]\n\nCommands:\n",
        program.name
    );
    for command in program.group(word) {
        let own = &command.name[word.len() + 1..];
        let usage = format!("  {own} {}", command.operands);
        push_row(&mut text, &usage, command.summary);
    }
    text.push_str(&format!(
        "\n{} help {word} COMMAND shows the options of one.\n",
        program.name
    ));
    text
}

/// How one subcommand is used.
pub(super) fn command_help(program: &Program, command: &Command) -> String {
    let mut text = format!(
        "Usage: {} {} [OPTIONS] {}\n{}\n",
        program.name, command.name, command.operands, command.summary
    );
    push_flags(&mut text, "Options", command.flags);
    let others = program.flags_beside(command);
    push_flags(&mut text, "Options of every command", others);
    push_details(&mut text, command.details);
    text
}

fn push_flags(text: &mut String, title: &str, flags: impl IntoIterator<Item = &'static Flag>) {
    let mut flags = flags.into_iter().peekable();
    if flags.peek().is_none() {
        return;
    }
    text.push_str(&format!("\n{title}:\n"));
    for flag in flags {
        let short = match flag.short {
            "" => "    ".to_owned(),
            short => format!("-{short}, "),
        };
        let metavar = flag
            .metavar
            .map(|name| format!(" {name}"))
            .unwrap_or_default();
        push_row(
            text,
            &format!("  {short}--{}{metavar}", flag.long),
            flag.help,
        );
    }
}

fn push_row(text: &mut String, name: &str, help: &str) {
    if name.len() < TEXT_COLUMN - 1 {
        text.push_str(&format!("{name:<TEXT_COLUMN$}{help}\n"));
    } else {
        text.push_str(&format!("{name}\n{:TEXT_COLUMN$}{help}\n", ""));
    }
}

fn push_details(text: &mut String, details: &[&str]) {
    if !details.is_empty() {
        text.push_str(&format!("\n{}\n", details.join("\n")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::{PEER, TRACKER};

    #[test]
    fn every_option_and_command_of_the_table_is_shown() {
        let text = program_help(&PEER);
        for command in PEER.commands {
            assert!(text.contains(command.summary), "{}", command.name);
            let own = command_help(&PEER, command);
            for flag in PEER.flags_beside(command).chain(command.flags) {
                assert!(own.contains(&format!("--{}", flag.long)), "{}", flag.long);
                assert!(own.contains(flag.help), "{}", flag.long);
            }
        }
        assert!(program_help(&TRACKER).contains("-s, --state DIR"));
        assert!(!program_help(&TRACKER).contains("Commands"));
    }

    #[test]
    fn help_fits_a_narrow_terminal() {
        let commands = PEER
            .commands
            .iter()
            .map(|command| command_help(&PEER, command));
        let whole = [program_help(&PEER), program_help(&TRACKER)];
        for text in commands.chain(whole).chain([group_help(&PEER, "torrent")]) {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}
