//! Text of others, made safe to show.

use std::fmt;

/// Shows a text of others with everything escaped that could move a cursor or turn the reading direction:
/// C0, DEL, C1, line separators and bidirectional controls.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for character in self.0.chars() {
            if is_unsafe(character) {
                write!(f, "{}", character.escape_unicode())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_never_reach_a_terminal() {
        let hostile = "a\u{1b}[2J\r\nb\u{7f}\u{9b}\u{202e}c";
        let shown = Escaped(hostile).to_string();
        assert!(shown.chars().all(|c| !is_unsafe(c)), "{shown}");
        assert_eq!(Escaped("Grüße 世界.iso").to_string(), "Grüße 世界.iso");
    }
}
