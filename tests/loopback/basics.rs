//! One shares, others fetch: every size and name.

use std::fs;

use crate::common::world::text;
use crate::common::{Running, World, assert_same};

const MIB: usize = 1 << 20;

#[test]
fn one_shares_and_one_gets() {
    let world = World::new();
    let source = world.file("image.bin", 1, 9 * MIB + 321);
    let share = world.share(&[text(&source)]);
    let to = world.folder("to");
    let got = world.get(&["image.bin", "-o", &to]).exits(0);
    assert_same(&source, &world.path("to/image.bin"));
    let summary = got.summary();
    assert_eq!(summary["path"], text(&world.path("to/image.bin")));
    assert_eq!(summary["down_bytes"], 9 * MIB + 321);
    assert_eq!(summary["hash_fail"], 0);
    assert_eq!(got.events("start")[0]["have"], 0);
    assert_eq!(got.events("first_piece").len(), 1);
    let shared = share.stop().exits(0).summary();
    assert_eq!(shared["up_bytes"], 9 * MIB + 321);
    let left: Vec<_> = fs::read_dir(&to).expect("a folder").collect();
    assert_eq!(left.len(), 1, "no .part and no .bits are left: {left:?}");
}

#[test]
fn one_shares_and_eight_get_at_once_and_serve_one_another() {
    let world = World::new();
    let source = world.file("image.bin", 2, 48 * MIB);
    let share = world.share(&[text(&source)]);
    let getters: Vec<Running> = (0..8)
        .map(|n| {
            let to = world.folder(&format!("to{n}"));
            world.start_get(&["image.bin", "-o", &to, "--check"])
        })
        .collect();
    let mut between = 0;
    for (n, getter) in getters.into_iter().enumerate() {
        let summary = getter.end().exits(0).summary();
        between += summary["up_bytes"].as_u64().expect("a number");
        assert_same(&source, &world.path(&format!("to{n}/image.bin")));
    }
    assert!(between > 0, "getters serve what they have");
    let sent = share.stop().exits(0).summary();
    let sent = sent["up_bytes"].as_u64().expect("a number");
    assert!(sent + between >= 8 * 48 * MIB as u64);
}
