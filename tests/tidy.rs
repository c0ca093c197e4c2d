//! The shape of the source tree: who imports whom, what the pure core must not know, how long things are, what lies at
//! the top. Prints every violation with its place, and with `--nocapture` the drawing of the actual imports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "tidy/tokens.rs"]
mod tokens;

use tokens::{Token, item_end, line_count, paths, test_items, tokens, without_tests};

/// Each layer and what it may import; all of that stands further down.
const LAYERS: [(&str, &[&str]); 11] = [
    ("bin", &["cli", "peer", "tracker"]),
    (
        "peer",
        &["cli", "reactor", "storage", "swarm", "wire", "base"],
    ),
    (
        "tracker",
        &["cli", "reactor", "storage", "registry", "wire", "base"],
    ),
    ("cli", &["wire", "base"]),
    ("sim", &["swarm", "registry", "wire", "base"]),
    ("reactor", &["base"]),
    ("storage", &["base"]),
    ("swarm", &["wire", "base"]),
    ("registry", &["wire", "base"]),
    ("wire", &["base"]),
    ("base", &[]),
];

/// Layers without sockets, files, threads, clocks and entropy.
const PURE: [&str; 5] = ["base", "wire", "swarm", "registry", "sim"];
/// What the pure core must not name: the start of a path, or a type wherever it stands.
const IMPURE: [&[&str]; 13] = [
    &["getrandom"],
    &["nix"],
    &["socket2"],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["SystemTime"],
    &["Instant", "now"],
    // Their order is chosen by a hasher that a replay does not know.
    &["HashMap", "new"],
    &["HashMap", "with_capacity"],
    &["HashSet", "new"],
    &["HashSet", "with_capacity"],
    &["RandomState"],
];
/// What only one layer may name.
const OWNED: [(&[&str], &str); 3] = [
    (&["mio"], "reactor"),
    (&["std", "fs"], "storage"),
    (&["std", "thread"], "storage"),
];

const FILE_LINES_MAX: usize = 600;
const FILE_LINES_WITH_TESTS_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;
const TOP: [&str; 9] = [
    ".ci",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "Makefile",
    "README.md",
    "benches",
    "src",
    "tests",
];

#[test]
fn the_source_tree_is_tidy() {
    let tree = Tree::load(Path::new(env!("CARGO_MANIFEST_DIR")));
    println!("{}", tree.drawing());
    let violations = tree.violations();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn nothing_else_lies_at_the_top() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let strangers: Vec<_> = top_entries(root)
        .into_iter()
        .filter(|entry| !TOP.contains(&entry.as_str()))
        .collect();
    assert!(strangers.is_empty(), "at the top: {strangers:?}");
}

/// First components of the tracked files; without a git checkout, what lies there but `target`.
fn top_entries(root: &Path) -> BTreeSet<String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output();
    let listed = listed.map_or(Vec::new(), |output| output.stdout);
    let tracked: BTreeSet<_> = String::from_utf8_lossy(&listed)
        .split('\0')
        .filter_map(|path| path.split('/').next())
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect();
    if !tracked.is_empty() {
        return tracked;
    }
    fs::read_dir(root)
        .expect("the root is readable")
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name != "target" && name != ".git")
        .collect()
}

/// Every Rust file, by its path from the root.
#[derive(Default)]
struct Tree(BTreeMap<String, String>);

impl Tree {
    fn load(root: &Path) -> Self {
        let mut tree = Self::default();
        for folder in ["src", "tests", "benches"] {
            tree.add(root, folder);
        }
        assert!(tree.0.contains_key("src/lib.rs"), "no sources in {root:?}");
        tree
    }

    fn add(&mut self, root: &Path, folder: &str) {
        let Ok(entries) = fs::read_dir(root.join(folder)) else {
            return;
        };
        for entry in entries.map(|entry| entry.expect("an entry")) {
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                self.add(root, &path);
            } else if path.ends_with(".rs") {
                let text = fs::read_to_string(entry.path()).expect("a readable file");
                self.0.insert(path, text);
            }
        }
    }

    fn sample(path: &str, text: &str) -> Self {
        Self(BTreeMap::from([(path.to_owned(), text.to_owned())]))
    }

    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (path, text) in &self.0 {
            let mut report = |line, what: String| found.push(format!("{path}:{line}: {what}"));
            let all = tokens(text);
            let product = without_tests(&all);
            check_words(text, &all, &mut report);
            check_lengths(text, &all, &mut report);
            let Some(layer) = layer_of(path) else {
                continue;
            };
            for (line, target) in self.imports(layer, &all) {
                check_import(layer, target, line, &mut report);
            }
            if !path.ends_with("/tests.rs") {
                check_names(layer, &product, &mut report);
            }
        }
        found.dedup();
        found
    }

    /// The other layers that the tokens of a file of `layer` name, with lines.
    fn imports<'a>(&self, layer: &str, tokens: &[Token<'a>]) -> Vec<(usize, &'a str)> {
        let mut found = Vec::new();
        for (line, path) in paths(tokens) {
            let above = path.iter().take_while(|name| **name == "super").count();
            let target = match path.first() {
                Some(&("crate" | "shoal")) => path.get(1),
                Some(&"super") => path.get(above).filter(|name| {
                    let file = format!("src/{layer}/{name}");
                    let is_sibling = [".rs", "/mod.rs"]
                        .iter()
                        .any(|end| self.0.contains_key(&format!("{file}{end}")));
                    is_layer(name) && !is_sibling
                }),
                _ => None,
            };
            found.extend(target.filter(|name| **name != layer).map(|t| (line, *t)));
        }
        found
    }

    /// One line per layer: what it does import.
    fn drawing(&self) -> String {
        let mut drawing = String::from("imports between the layers:\n");
        for (layer, _) in LAYERS {
            let targets: BTreeSet<_> = self
                .0
                .iter()
                .filter(|(path, _)| layer_of(path) == Some(layer))
                .flat_map(|(_, text)| self.imports(layer, &tokens(text)))
                .map(|(_, target)| target)
                .collect();
            let targets: Vec<_> = targets.into_iter().collect();
            let targets = if targets.is_empty() {
                "nothing".to_owned()
            } else {
                targets.join(", ")
            };
            drawing += &format!("{layer:>9} → {targets}\n");
        }
        drawing
    }
}

type Report<'a> = dyn FnMut(usize, String) + 'a;

fn is_layer(name: &str) -> bool {
    LAYERS.iter().any(|(layer, _)| *layer == name)
}

/// The folder below `src` that a file is in.
fn layer_of(path: &str) -> Option<&str> {
    let (layer, _) = path.strip_prefix("src/")?.split_once('/')?;
    Some(layer)
}

fn check_import(layer: &str, target: &str, line: usize, report: &mut Report<'_>) {
    let allowed = LAYERS.iter().find(|(name, _)| *name == layer);
    match allowed {
        None => report(line, format!("{layer} is no layer of the drawing")),
        Some((_, allowed)) if !allowed.contains(&target) => {
            report(line, format!("{layer} must not import {target}"));
        }
        Some(_) => {}
    }
}

fn check_names(layer: &str, product: &[Token<'_>], report: &mut Report<'_>) {
    for (line, path) in paths(product) {
        for (name, owner) in OWNED {
            if layer != owner && path.starts_with(name) {
                report(line, format!("only {owner} may use {}", name.join("::")));
            }
        }
    }
    if !PURE.contains(&layer) {
        return;
    }
    for (at, token) in product.iter().enumerate() {
        let named = |name: &&&[&str]| {
            let parts = product[at..].iter().map(|token| token.text);
            let spelt = name.join(" :: ");
            parts.take(2 * name.len() - 1).eq(spelt.split(' '))
        };
        if let Some(name) = IMPURE.iter().find(named) {
            let what = name.join("::");
            report(token.line, format!("the pure core must not know {what}"));
        }
    }
}

fn check_words(text: &str, tokens: &[Token<'_>], report: &mut Report<'_>) {
    for (at, line) in text.lines().enumerate() {
        for word in [concat!("TO", "DO"), concat!("FIX", "ME")] {
            if line.contains(word) {
                report(at + 1, format!("{word} is left"));
            }
        }
    }
    for pair in tokens.windows(2) {
        if ["todo", "unimplemented"].contains(&pair[0].text) && pair[1].text == "!" {
            report(pair[0].line, format!("{}! is left", pair[0].text));
        }
    }
}

fn check_lengths(text: &str, all: &[Token<'_>], report: &mut Report<'_>) {
    let lines = text.lines().count();
    let tests = test_items(all);
    let test_lines: usize = tests.into_iter().map(|item| line_count(&all[item])).sum();
    if lines - test_lines > FILE_LINES_MAX {
        report(lines, format!("{} lines without tests", lines - test_lines));
    }
    if lines > FILE_LINES_WITH_TESTS_MAX {
        report(lines, format!("{lines} lines with tests"));
    }
    for (at, pair) in all.windows(2).enumerate() {
        if pair[0].text == "fn" && pair[1].is_word() {
            let lines = line_count(&all[at..item_end(all, at)]);
            if lines > FUNCTION_LINES_MAX {
                report(pair[0].line, format!("{} has {lines} lines", pair[1].text));
            }
        }
    }
}

/// The violations of a file with this content.
fn judge(path: &str, text: &str) -> Vec<String> {
    Tree::sample(path, text).violations()
}

#[test]
fn the_drawing_of_the_layers_has_no_circle() {
    for (at, (layer, allowed)) in LAYERS.iter().enumerate() {
        for target in *allowed {
            let below = LAYERS[at + 1..].iter().any(|(name, _)| name == target);
            assert!(below, "{layer} → {target} does not lead down");
        }
    }
}

#[test]
fn an_import_against_the_direction_is_reported() {
    let refused = |path: &str, text: &str| {
        let found = judge(path, text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains("must not import swarm"), "{found:?}");
        found
    };
    let found = refused("src/wire/peer.rs", "\nuse crate::swarm::Swarm;");
    assert!(found[0].starts_with("src/wire/peer.rs:2: "), "{found:?}");
    refused("src/base/mod.rs", "fn f() { crate::swarm::go() }");
    refused(
        "src/reactor/mod.rs",
        "use crate::{base::{A, B as C}, swarm as s};",
    );
    refused("src/storage/disk.rs", "use super::super::swarm::Swarm;");
    refused("src/bin/a.rs", "use shoal::{cli, swarm::{self, Swarm}};");
    refused("src/cli/mod.rs", "mod tests { use crate::swarm; }");
    assert_eq!(judge("src/other/mod.rs", "use crate::base::Time;").len(), 1);
    for (path, text) in [
        (
            "src/peer/mod.rs",
            "use crate::{swarm, wire::peer::{Message, id}};",
        ),
        (
            "src/wire/mod.rs",
            "use super::wire::x; use self::peer::Y; mod a;",
        ),
        (
            "src/wire/mod.rs",
            "// crate::swarm\nconst A: &str = \"crate::swarm\";",
        ),
        ("tests/any.rs", "use shoal::swarm::Swarm;"),
    ] {
        assert_eq!(judge(path, text), [""; 0], "{text}");
    }
}

#[test]
fn a_sibling_may_bear_the_name_of_a_layer() {
    let text = "use super::peer::Message;";
    let mut tree = Tree::sample("src/wire/decoder.rs", text);
    assert_eq!(tree.violations().len(), 1);
    tree.0.insert("src/wire/peer.rs".into(), String::new());
    assert_eq!(tree.violations(), [""; 0]);
}

#[test]
fn what_the_pure_core_must_not_know_is_reported_outside_of_tests() {
    for text in [
        "use mio::Poll;",
        "use std::{io, fs::{self, File}};",
        "fn f() { std::thread::yield_now() }",
        "use std::net::{SocketAddr, TcpStream};",
        "fn f() { Instant::now(); }",
        "use std::time::SystemTime;",
        "fn f() { let a: HashMap<u8, u8> = HashMap::new(); }",
        "fn f() { ::std::fs::read(\"\") }",
    ] {
        assert_eq!(judge("src/swarm/mod.rs", text).len(), 1, "{text}");
        let tested = format!("#[cfg(test)]\nmod tests {{ {text} }}");
        assert_eq!(judge("src/swarm/mod.rs", &tested), [""; 0], "{text}");
        assert_eq!(judge("src/swarm/tests.rs", text), [""; 0], "{text}");
        let before = format!("#[cfg(test)] mod tests {{}} {text}");
        assert_eq!(judge("src/swarm/mod.rs", &before).len(), 1, "{text}");
    }
    let text = "use std::net::{IpAddr, SocketAddr}; use std::time::Duration; fn f<'a>(a: &'a u8) { 'x'; Map::new() }";
    assert_eq!(judge("src/swarm/mod.rs", text), [""; 0]);
}

#[test]
fn only_the_owner_of_a_thing_may_use_it() {
    for (text, owner) in [
        ("use mio::Poll;", "reactor"),
        ("use std::fs;", "storage"),
        ("use std::{fs::File, io};", "storage"),
        ("fn f() { std::thread::spawn(g) }", "storage"),
    ] {
        for layer in ["reactor", "storage", "tracker", "bin"] {
            let found = judge(&format!("src/{layer}/a.rs"), text);
            assert_eq!(found.len(), usize::from(layer != owner), "{found:?}");
        }
    }
}

#[test]
fn what_is_too_long_is_reported() {
    let function = |lines: usize| format!("fn long() {{{}}}\n", "\n".repeat(lines - 1));
    assert_eq!(judge("tests/a.rs", &function(70)), [""; 0]);
    let found = judge("benches/a.rs", &format!("\n{}", function(71)));
    assert_eq!(found, ["benches/a.rs:2: long has 71 lines"]);
    let braces = "fn a() {\n'{'; \"{\"; r#\"{\"{\"#; /* { /* { */ */ b'{'; // {\n}\n";
    assert_eq!(judge("src/lib.rs", &braces.repeat(60)), [""; 0]);

    let lines = |count: usize| "const A: u8 = 1;\n".repeat(count);
    let tests = |count: usize| format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(count - 3));
    assert_eq!(judge("src/lib.rs", &lines(600)), [""; 0]);
    assert_eq!(judge("src/lib.rs", &lines(601)).len(), 1);
    assert_eq!(judge("src/lib.rs", &(lines(600) + &tests(100))), [""; 0]);
    assert_eq!(judge("src/lib.rs", &(lines(600) + &tests(101))).len(), 1);
}

#[test]
fn what_is_left_to_do_is_reported() {
    for text in [
        concat!("// TO", "DO: more"),
        concat!("/// FIX", "ME"),
        concat!("fn f() { to", "do!() }"),
        concat!("fn f() { unimple", "mented!(\"later\") }"),
    ] {
        assert_eq!(judge("tests/a.rs", text).len(), 1, "{text}");
    }
    assert_eq!(
        judge("tests/a.rs", "// nothing to do\nfn todo() {}"),
        [""; 0]
    );
}
