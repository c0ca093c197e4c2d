//! Runs what is fuzzed (`make fuzz`) with spoilt samples, a few thousand for each target: without coverage, but always
//! and in seconds. A failure prints the target and the seed; `SHOAL_SEED` replays one.
//!
//! With `SHOAL_FUZZ_CORPUS` the samples are written below that folder, for the fuzzer to start from.

use std::fs;
use std::path::Path;

use shoal::base::Rng;

#[expect(unreachable_pub, reason = "it is a crate of its own for the fuzzer")]
#[path = "fuzz/src/lib.rs"]
mod targets;

use targets::{TARGETS, Target};

/// Spoilt samples for each target.
const INPUTS: u64 = 12_000;
/// No input is longer.
const INPUT_BYTES_MAX: usize = 4_096;

#[test]
fn every_target_has_its_file_and_takes_its_samples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    let files = fs::read_dir(root.join("fuzz_targets")).expect("the targets");
    let mut found: Vec<_> = files
        .map(|file| file.expect("an entry").path())
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, names);
    for target in TARGETS {
        let text = fs::read_to_string(root.join(format!("fuzz_targets/{}.rs", target.name)));
        let call = format!("run(\"{}\", data)", target.name);
        assert!(text.expect("it is there").contains(&call), "{call}");
        let bin = format!("[[bin]]\nname = \"{}\"\n", target.name);
        assert!(manifest.contains(&bin), "{bin}");
        (target.samples)()
            .iter()
            .for_each(|sample| targets::run(target.name, sample));
        (target.run)(&[]);
    }
}

#[test]
fn samples_are_written_where_the_fuzzer_wants_them() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let wanted = std::env::var_os("SHOAL_FUZZ_CORPUS");
    let folder = wanted.as_deref().map_or_else(|| scratch.path(), Path::new);
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder).expect("a folder");
        for (at, sample) in (target.samples)().iter().enumerate() {
            fs::write(folder.join(format!("sample-{at}")), sample).expect("a file");
        }
    }
}

/// `sample` with some bytes replaced, cut short, repeated, or joined with another one.
fn spoil(samples: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.pick(samples).expect("there are some").clone();
    if rng.below(4) == 0 {
        let other = rng.pick(samples).expect("there are some");
        bytes.truncate(rng.below(bytes.len() + 1));
        bytes.extend_from_slice(&other[rng.below(other.len() + 1)..]);
    }
    for _ in 0..rng.below(6) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.below(bytes.len());
        match rng.below(6) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.next_u64() as u8,
            2 => bytes[at] = b"0123456789:deil-/\0\xff"[rng.below(19)],
            3 => _ = bytes.remove(at),
            4 => bytes.insert(at, rng.next_u64() as u8),
            _ => bytes.extend_from_within(at..),
        }
    }
    if rng.below(6) == 0 {
        bytes.truncate(rng.below(bytes.len() + 1));
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn run_small(target: Target) {
    let samples = (target.samples)();
    let seeds = match std::env::var("SHOAL_SEED") {
        Ok(seed) => vec![seed.parse().expect("SHOAL_SEED is a number")],
        Err(_) => (1..=INPUTS).collect(),
    };
    for seed in seeds {
        let input = spoil(&samples, &mut Rng::new(seed));
        let outcome = std::panic::catch_unwind(|| (target.run)(&input));
        if outcome.is_err() {
            panic!("{} fails: SHOAL_SEED={seed}, input {input:?}", target.name);
        }
    }
}

macro_rules! small_runs {
    ($($name:ident),+ $(,)?) => {
        #[test]
        fn every_target_has_its_small_run() {
            assert_eq!([$(stringify!($name)),+], TARGETS.map(|target| target.name));
        }
        $(
            #[test]
            fn $name() {
                let target = TARGETS.into_iter().find(|target| target.name == stringify!($name));
                run_small(target.expect("it is one of them"));
            }
        )+
    };
}

small_runs!(
    bencode,
    metainfo,
    torrent,
    names,
    magnet,
    resume,
    handshake,
    messages,
    extension,
    metadata,
    exchange,
    session,
    http_head,
    http_query,
    http_reply,
    http_response,
    tracker_url,
    udp_request,
    udp_reply,
    announces,
    native,
);
