//! Just enough of Rust's grammar to see where items begin and end, and which paths they name.

use std::ops::Range;

/// A word, `::` or another sign; a literal of text is the sign `"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

impl Token<'_> {
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(is_word_char)
    }
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The tokens of Rust source, without comments.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut found, mut rest, mut line) = (Vec::new(), text, 1);
    while let Some(first) = rest.chars().next() {
        let literal = literal_len(rest);
        let word = rest.find(|c| !is_word_char(c)).unwrap_or(rest.len());
        let (len, shown) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if rest.starts_with("/*") {
            (comment_len(rest), None)
        } else if literal > 0 {
            (literal, Some("\""))
        } else if word > 0 {
            (word, Some(&rest[..word]))
        } else if rest.starts_with("::") {
            (2, Some("::"))
        } else {
            let len = first.len_utf8();
            (len, Some(&rest[..len]).filter(|_| !first.is_whitespace()))
        };
        found.extend(shown.map(|text| Token { text, line }));
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    found
}

/// Bytes of the block comment that `text` starts with; comments nest.
fn comment_len(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += 1;
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Bytes of the literal of text or of a character that `text` starts with; 0 if it starts with something else.
fn literal_len(text: &str) -> usize {
    if let Some(raw) = text
        .strip_prefix("br")
        .or_else(|| text.strip_prefix("cr"))
        .or_else(|| text.strip_prefix('r'))
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = text.len() - raw.len() + hashes + 1;
            let len = text[start..].find(&end).map(|at| start + at + end.len());
            return len.unwrap_or(text.len());
        }
    }
    let quote = text.chars().next().filter(|c| "\"'".contains(*c));
    let Some(quote) = quote else {
        return 0;
    };
    let mut inside = text.char_indices().skip(1);
    let (second, third) = (text.chars().nth(1), text.chars().nth(2));
    if quote == '\'' && second != Some('\\') && third != Some('\'') {
        return 0; // a lifetime
    }
    while let Some((at, c)) = inside.next() {
        if c == '\\' {
            inside.next();
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// One past the last token of the item at `start`: its `;`, or the end of its body.
pub(crate) fn item_end(tokens: &[Token<'_>], start: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The items that are compiled for tests only, with their attribute.
pub(crate) fn test_items(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let ahead = tokens[at..].iter().map(|token| token.text);
        if ahead.take(ATTRIBUTE.len()).eq(ATTRIBUTE) {
            let end = item_end(tokens, at + ATTRIBUTE.len());
            found.push(at..end);
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

pub(crate) fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let (mut kept, mut from) = (Vec::new(), 0);
    for item in test_items(tokens) {
        kept.extend_from_slice(&tokens[from..item.start]);
        from = item.end;
    }
    kept.extend_from_slice(&tokens[from..]);
    kept
}

/// Every path that is spelt out, with its line; the branches of a `use` one by one.
pub(crate) fn paths<'a>(tokens: &[Token<'a>]) -> Vec<(usize, Vec<&'a str>)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let is_used = at > 0 && text(at - 1) == "use";
        let is_inner =
            at > 1 && text(at - 1) == "::" && tokens[at - 2].is_word() && text(at - 2) != "use";
        if tokens[at].is_word() && !is_inner && (is_used || text(at + 1) == "::") {
            at = branches(tokens, at, &mut Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Adds the paths of the tree at `at` below `stem`, and gives the place after it.
fn branches<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    stem: &mut Vec<&'a str>,
    found: &mut Vec<(usize, Vec<&'a str>)>,
) -> usize {
    let depth = stem.len();
    while let Some(token) = tokens.get(at) {
        at += 1;
        if token.text == "{" {
            while tokens.get(at).is_some_and(|token| token.text != "}") {
                let next = branches(tokens, at, stem, found);
                at = next.max(at + 1);
            }
            at += 1;
            break;
        }
        if token.is_word() {
            stem.push(token.text);
        }
        if !token.is_word() || tokens.get(at).is_none_or(|token| token.text != "::") {
            if stem.len() > depth {
                found.push((token.line, stem.clone()));
            }
            if tokens.get(at).is_some_and(|token| token.text == "as") {
                at += 2;
            }
            break;
        }
        at += 1;
    }
    stem.truncate(depth);
    at
}

/// Lines from the first token to the last.
pub(crate) fn line_count(tokens: &[Token<'_>]) -> usize {
    match tokens {
        [first, .., last] => last.line - first.line + 1,
        _ => tokens.len(),
    }
}
