//! `get -o -`: the content itself on stdout, in order, while it arrives, whatever its reader does.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Output, Stdio};

use crate::common::{World, assert_same, text};

const MIB: usize = 1 << 20;

/// Fetches `what` to a pipe. What waits lies in the folder `tmp`.
fn pass(world: &World, what: &str, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-peer"));
    command.args(["get", what, "-o", "-", "--listen", "127.0.0.1:0"]);
    command.args(args).env("SHOAL_TRACKER", &world.tracker.addr);
    command.env("TMPDIR", world.folder("tmp"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().expect("started")
}

/// What it wrote, once it has ended with this code.
fn ended(child: Child, code: i32) -> Output {
    let output = child.wait_with_output().expect("it ended");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    output
}

#[test]
fn the_content_comes_through_a_pipe_and_nothing_stays() {
    let world = World::new();
    let source = world.file("image.bin", 1, 5 * MIB + 77);
    let share = world.share(&[text(&source)]);
    let output = ended(pass(&world, "image.bin", &["--check"]), 0);
    assert!(output.stdout == fs::read(&source).expect("readable"));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("done image.bin"), "{said}");
    let left = fs::read_dir(world.path("tmp")).expect("a folder").count();
    assert_eq!(left, 0);
    world.file("empty", 2, 0);
    let empty = world.share(&["empty"]);
    assert!(ended(pass(&world, "empty", &[]), 0).stdout.is_empty());
    empty.stop().exits(0);
    share.stop().exits(0);
}

#[test]
fn a_reader_that_does_not_read_keeps_nobody_else_waiting() {
    let world = World::new();
    let source = world.file("image.bin", 3, 8 * MIB);
    let share = world.share(&[text(&source)]);
    let mut blocked = pass(&world, "image.bin", &["--seed", "time:1"]);
    // It has all of it, and could write next to nothing.
    let complete = ["status", "image.bin", "--watch", "--expect", "2"];
    world.run(&complete).exits(0);
    share.stop().exits(0);
    world.get(&["image.bin", "-o", "copy"]).exits(0);
    assert_same(&source, &world.path("copy"));
    let mut bytes = vec![0; MIB];
    let out = blocked.stdout.as_mut().expect("piped");
    out.read_exact(&mut bytes).expect("the first of it");
    let output = ended(blocked, 0);
    bytes.extend(output.stdout);
    assert!(bytes == fs::read(&source).expect("readable"));
}

#[test]
fn a_reader_that_has_enough_ends_it_without_a_word() {
    let world = World::new();
    let source = world.file("image.bin", 4, 4 * MIB);
    let share = world.share(&[text(&source)]);
    let mut child = pass(&world, "image.bin", &["-q"]);
    let mut head = vec![0; 1000];
    let mut out = child.stdout.take().expect("piped");
    out.read_exact(&mut head).expect("the first of it");
    drop(out);
    let output = ended(child, 7);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(head == fs::read(&source).expect("readable")[..1000]);
    share.stop().exits(0);
}

#[test]
fn what_has_no_single_order_is_refused() {
    let world = World::new();
    world.folder("tree");
    world.file("tree/a", 5, 100);
    let share = world.share(&["tree"]);
    let output = ended(pass(&world, "tree", &[]), 28);
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.contains("a folder does not fit through a pipe"),
        "{said}"
    );
    ended(pass(&world, "tree", &["other"]), 28);
    ended(pass(&world, "tree", &["--json"]), 28);
    share.stop().exits(0);
}

#[test]
fn pieces_in_order_arrive_as_well_as_in_any_other() {
    let world = World::new();
    let source = world.file("image.bin", 6, 6 * MIB + 1);
    let share = world.share(&[text(&source)]);
    let getters: Vec<_> = (0..3)
        .map(|n| {
            let to = format!("copy{n}");
            let args = ["image.bin", "-o", &to, "--order", "sequential", "--check"];
            world.start_get(&args)
        })
        .collect();
    for (n, getter) in getters.into_iter().enumerate() {
        getter.end().exits(0);
        assert_same(&source, &world.path(&format!("copy{n}")));
    }
    share.stop().exits(0);
}
