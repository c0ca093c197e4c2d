//! Sharing from a real disk: scanned, hashed on a pool, verified, and watched for changes.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::mpsc::channel;

use sha1::{Digest, Sha1};
use sha2::Sha256;
use shoal::base::{Bitfield, Rng};
use shoal::storage::{
    ContentHasher, ContentHashes, FileSpec, Layout, PieceHasher, SharedFiles, Shutdown, Task,
    Workers, matching_pieces, scan,
};

fn spec(path: &str, len: u64) -> FileSpec {
    FileSpec {
        path: path.split('/').map(str::to_owned).collect(),
        len,
        is_padding: false,
    }
}

fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let words = (0..len.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes());
    words.take(len).collect()
}

#[test]
fn a_shared_file_that_changes_is_noticed() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch folder");
    let root = dir.path().join("top");
    fs::create_dir(&root).expect("a folder");
    let fresh = || {
        fs::write(root.join("a"), b"aaaa").expect("a file");
        fs::write(root.join("b"), b"bbbb").expect("a file");
        SharedFiles::open(&root, &[spec("a", 4), spec("b", 4)], false).expect("as described")
    };
    let noticed = |shared: &SharedFiles| {
        assert!(!shared.changed(0) && shared.changed(1));
        shared.check_range_unchanged(0, 4).expect("a is as it was");
        let error = shared.check_unchanged().expect_err("b is not");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("top/b: changed"), "{error}");
        assert!(shared.check_range_unchanged(3, 2).is_err());
    };
    let shared = fresh();
    shared.check_unchanged().expect("as it was");
    fs::write(root.join("b"), b"bbbbb").expect("grown");
    noticed(&shared);
    assert!(
        shared.read_at(2, &mut [0; 4]).is_err(),
        "not opened any more"
    );
    let shared = fresh();
    fs::write(root.join("new"), b"bbbb").expect("a file");
    fs::rename(root.join("new"), root.join("b")).expect("replaced");
    noticed(&shared);
    let shared = fresh();
    shared.read_at(0, &mut [0; 8]).expect("opened");
    fs::write(root.join("b"), b"b").expect("cut");
    noticed(&shared);
    let error = shared.read_at(0, &mut [0; 8]).expect_err("too short");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let shared = fresh();
    fs::remove_file(root.join("b")).expect("removed");
    noticed(&shared);

    let single = root.join("a");
    symlink("top/a", dir.path().join("link")).expect("a link");
    for path in [single.clone(), dir.path().join("link")] {
        fs::write(&single, b"aaaa").expect("a file");
        let shared = SharedFiles::open(&path, &[spec("a", 4)], true).expect("as described");
        shared.check_unchanged().expect("as it was");
        fs::write(&single, b"aaa").expect("cut");
        assert!(shared.changed(0) && shared.check_unchanged().is_err());
    }
    let error = SharedFiles::open(&single, &[spec("a", 4)], true).expect_err("too short");
    assert!(
        error.to_string().contains("3 bytes long and should be 4"),
        "{error}"
    );
}

/// The two kinds of hashing, as a pool runs them.
enum Hashing {
    Content(Arc<ContentHasher>),
    Pieces(Arc<PieceHasher>),
}

impl Task for Hashing {
    type Done = Option<io::Result<ContentHashes>>;

    fn run(self) -> Self::Done {
        let of_pieces = |pieces| ContentHashes {
            pieces,
            files: Vec::new(),
        };
        match self {
            Self::Content(hasher) => hasher.run(),
            Self::Pieces(hasher) => hasher.run().map(|outcome| outcome.map(of_pieces)),
        }
    }
}

fn hash_on_a_pool(task: impl Fn() -> Hashing) -> io::Result<ContentHashes> {
    let (told, woken) = channel();
    let wake = Arc::new(move || {
        let _ = told.send(());
    });
    let mut workers = Workers::start("test", 3, 8, wake).expect("threads");
    for _ in 0..3 {
        assert!(workers.submit(task()).is_ok());
    }
    let mut done = Vec::new();
    while done.iter().all(Option::is_none) {
        woken.recv().expect("the pool lives");
        workers.take_done(&mut done);
    }
    let remains = workers.shutdown(Shutdown::Finish);
    assert!(remains.done.iter().all(Option::is_none), "one outcome");
    done.into_iter().flatten().next().expect("an outcome")
}

#[test]
fn a_folder_is_scanned_hashed_and_verified_on_a_pool() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch folder");
    let root = dir.path().join("top");
    let mut all = Vec::new();
    for number in 0..400_usize {
        let sub = root.join(format!("{:02}", number / 10));
        fs::create_dir_all(&sub).expect("a folder");
        let len = if number == 77 { 3_000_001 } else { number * 29 };
        let bytes = random_bytes(number as u64, len);
        fs::write(sub.join(format!("{number:03}")), &bytes).expect("a file");
        all.push(bytes);
    }
    let found = scan(&root).expect("plain files");
    let layout = Layout::new(1 << 16, found.files.iter().map(|file| file.len)).expect("small");
    let shared = Arc::new(SharedFiles::open(&found.root, &found.files, false).expect("as scanned"));
    let content = Arc::new(ContentHasher::new(shared.clone(), &layout, true));
    let hashes = hash_on_a_pool(|| Hashing::Content(content.clone())).expect("readable");
    assert_eq!(
        content.bytes_done(),
        all.iter().map(|bytes| bytes.len() as u64).sum::<u64>()
    );
    let files: Vec<[u8; 32]> = all
        .iter()
        .map(|bytes| Sha256::digest(bytes).into())
        .collect();
    assert!(hashes.files == files);
    let pieces: Vec<u8> = all
        .concat()
        .chunks(1 << 16)
        .flat_map(Sha1::digest)
        .collect();
    assert!(hashes.pieces == pieces);

    // One byte of the long file is turned, in place; then the same bytes are looked at as another content would be.
    let (victim, at) = (root.join("07/077"), 1_500_000);
    let mut bytes = fs::read(&victim).expect("there");
    bytes[at] ^= 1;
    fs::write(&victim, &bytes).expect("writable");
    let again = Arc::new(ContentHasher::new(shared, &layout, true));
    let error = hash_on_a_pool(|| Hashing::Content(again.clone())).expect_err("it changed");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let shared = Arc::new(SharedFiles::open(&found.root, &found.files, false).expect("as long"));
    let wanted = Bitfield::all(layout.piece_count());
    let checker = Arc::new(PieceHasher::new(shared, layout.clone(), &wanted));
    let read = hash_on_a_pool(|| Hashing::Pieces(checker.clone())).expect("readable");
    assert_eq!(checker.bytes_done(), checker.bytes_total());
    let good = matching_pieces(&read.pieces, &pieces, &wanted);
    let before: u64 = found.files[..77].iter().map(|file| file.len).sum();
    let bad = ((before + at as u64) / (1 << 16)) as u32;
    assert_eq!(good.zeros().collect::<Vec<_>>(), [bad]);
}
