//! Storage on a real disk: what is written, what is refused, and what outsiders can do to it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use sha1::{Digest, Sha1};
use shoal::base::Verdict;
use shoal::base::{Bitfield, InfoHash, Rng};
use shoal::storage::{
    BitsFile, FileSpec, Folder, Layout, PartFiles, PieceHasher, SharedFiles, check_and_write,
    check_target, errno_of, is_disk_full, scan,
};

const HASH: InfoHash = InfoHash([9; 20]);

/// A folder on the disk that the build is on: a temporary one may be small, and in memory.
fn scratch() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch folder");
    let folder = Folder::open(dir.path()).expect("the folder");
    (dir, folder)
}

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

/// The names in a folder, sorted.
fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).expect("readable");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names
}

/// Runs the test called `name` once more in a process of its own, after `setup` in a shell, with `work` for its folder.
fn in_a_child(name: &str, setup: &str, work: &Path) -> Output {
    let this = std::env::current_exe().expect("the test itself");
    Command::new("sh")
        .args(["-c", &format!("{setup}; exec \"$0\" \"$@\"")])
        .arg(this)
        .args(["--exact", name, "--nocapture"])
        .env("SHOAL_TEST_CHILD", work)
        .output()
        .expect("a child")
}

/// The folder that a child works in; none in the process that runs the tests.
fn childs_folder() -> Option<PathBuf> {
    std::env::var_os("SHOAL_TEST_CHILD").map(PathBuf::from)
}

fn assert_success(output: &Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let ran = text.contains("1 passed");
    assert!(output.status.success() && ran, "{text}");
}

#[test]
fn a_file_is_written_in_pieces_and_gets_its_name_at_the_end() {
    let (dir, folder) = scratch();
    let bytes = random_bytes(1, 100_000);
    let part =
        PartFiles::create_or_open(&folder, "ü name", &[spec("x", 100_000)], true).expect("new");
    assert_eq!(names(dir.path()), ["ü name.part"]);
    assert_eq!(part.new_files(), [0]);
    for (index, piece) in bytes.chunks(30_000).enumerate().rev() {
        let (offset, good) = (index as u64 * 30_000, Sha1::digest(piece).into());
        let wrong = check_and_write(&part, offset, piece, &[0; 20]);
        assert!(matches!(wrong, Verdict::Wrong));
        let mut found = vec![1; piece.len()];
        part.read_at(offset, &mut found).expect("readable");
        assert!(found.iter().all(|&byte| byte == 0), "nothing was written");
        assert!(matches!(
            check_and_write(&part, offset, piece, &good),
            Verdict::Good
        ));
    }
    let path = part.finish(false).expect("the name is free");
    assert_eq!(path, dir.path().join("ü name"));
    assert_eq!(names(dir.path()), ["ü name"]);
    assert!(fs::read(path).expect("readable") == bytes);
    let mut again = vec![0; bytes.len()];
    part.read_at(0, &mut again).expect("still served");
    assert!(again == bytes);
}

#[test]
fn a_folder_is_written_across_its_files_with_empty_and_padding_ones() {
    let (dir, folder) = scratch();
    let padding = FileSpec {
        is_padding: true,
        ..spec(".pad/50", 50)
    };
    let files = [
        spec("a", 0),
        spec("b/c d", 100),
        padding,
        spec("b/e/f", 70),
        spec("z/empty", 0),
    ];
    let part = PartFiles::create_or_open(&folder, "top", &files, false).expect("new");
    let mut bytes = random_bytes(2, 220);
    part.write_at(0, &bytes).expect("writable");
    bytes[100..150].fill(0);
    let mut found = vec![1; 220];
    part.read_at(0, &mut found).expect("readable");
    assert_eq!(found, bytes);
    part.sync_data().expect("synced");
    let top = part.finish(false).expect("the name is free");
    assert_eq!(names(dir.path()), ["top"]);
    assert_eq!(names(&top), ["a", "b", "z"], "no padding file");
    assert_eq!(fs::read(top.join("b/c d")).expect("there"), bytes[..100]);
    assert_eq!(fs::read(top.join("b/e/f")).expect("there"), bytes[150..]);
    assert_eq!(fs::metadata(top.join("z/empty")).expect("there").len(), 0);
}

#[test]
fn empty_contents_are_created_too() {
    let (dir, folder) = scratch();
    for (name, files, single) in [("f", &[spec("f", 0)][..], true), ("d", &[][..], false)] {
        let part = PartFiles::create_or_open(&folder, name, files, single).expect("new");
        part.write_at(0, &[]).expect("nothing to write");
        part.finish(false).expect("the name is free");
    }
    assert_eq!(names(dir.path()), ["d", "f"]);
    assert_eq!(fs::metadata(dir.path().join("f")).expect("there").len(), 0);
}

#[test]
fn offsets_beyond_four_gibibytes_reach_the_disk() {
    let (dir, folder) = scratch();
    let (big, piece) = ((4 << 30) + 100_000, random_bytes(3, 200_000));
    let part = PartFiles::create_or_open(&folder, "big", &[spec("big", big)], true).expect("new");
    let tail = big - piece.len() as u64;
    part.write_at(tail, &piece).expect("writable");
    let metadata = fs::metadata(dir.path().join("big.part")).expect("there");
    assert_eq!(metadata.len(), big);
    assert!(
        metadata.blocks() * 512 < 1 << 20,
        "what is not written takes no space"
    );
    drop(part);

    let part = PartFiles::create_or_open(&folder, "big", &[spec("big", big)], true).expect("old");
    assert!(part.new_files().is_empty());
    let layout = Layout::new(1 << 20, [big]).expect("within bounds");
    let mut wanted = Bitfield::none(layout.piece_count());
    let last = layout.piece_count() - 1;
    wanted.set(last);
    let hasher = PieceHasher::new(Arc::new(part), layout.clone(), &wanted);
    let digests = hasher.run().expect("the only thread").expect("readable");
    let expected = &piece[(layout.piece_offset(last) - tail) as usize..];
    assert_eq!(digests[last as usize * 20..], Sha1::digest(expected)[..]);
}

#[test]
fn what_was_never_written_is_a_hole_and_what_was_is_not() {
    let (_scratch, folder) = scratch();
    let files = [spec("a", 40 << 20), spec("b", 0), spec("c", 40 << 20)];
    let part = PartFiles::create_or_open(&folder, "holes", &files, false).expect("new");
    assert!(part.is_hole(0, 80 << 20).expect("known"));
    part.write_at(42 << 20, &[7; 4096]).expect("writable");
    assert!(part.is_hole(0, 40 << 20).expect("known"));
    assert!(!part.is_hole(39 << 20, 4 << 20).expect("known"));
    assert!(part.is_hole(50 << 20, 30 << 20).expect("known"));
}

#[test]
fn five_thousand_files_take_few_descriptors() {
    const NAME: &str = "five_thousand_files_take_few_descriptors";
    const FILES: u64 = 5000;
    let Some(work) = childs_folder() else {
        let (dir, _) = scratch();
        return assert_success(&in_a_child(NAME, "ulimit -n 40", dir.path()));
    };
    let folder = Folder::open(&work).expect("the folder");
    let files: Vec<FileSpec> = (0..FILES)
        .map(|number| spec(&format!("d{}/f{number}", number % 70), number % 7))
        .collect();
    let part = PartFiles::create_or_open(&folder, "many", &files, false).expect("new");
    let len = files.iter().map(|file| file.len).sum::<u64>();
    let bytes = random_bytes(4, len as usize);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (part, bytes) = (&part, &bytes);
            scope.spawn(move || {
                let mine = bytes.chunks(100).enumerate().skip(thread).step_by(4);
                for (index, chunk) in mine {
                    part.write_at(index as u64 * 100, chunk).expect("writable");
                }
            });
        }
    });
    part.sync_data().expect("synced");
    let root = part.finish(false).expect("the name is free");
    let found = scan(&root).expect("plain files");
    let shared = SharedFiles::open(&root, &files, false).expect("as described");
    let mut read = vec![0; bytes.len()];
    shared.read_at(0, &mut read).expect("readable");
    assert!(read == bytes && found.files.len() == FILES as usize);
}

#[test]
fn more_than_the_disk_has_is_refused_before_anything_is_created() {
    let (dir, folder) = scratch();
    for single in [true, false] {
        let error = PartFiles::create_or_open(&folder, "huge", &[spec("huge", 1 << 60)], single);
        let error = error.expect_err("no disk is that large");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(is_disk_full(&error));
        assert!(names(dir.path()).is_empty());
    }
}

#[test]
fn a_write_that_the_disk_refuses_is_recognised_and_can_be_repeated() {
    const NAME: &str = "a_write_that_the_disk_refuses_is_recognised_and_can_be_repeated";
    let Some(work) = childs_folder() else {
        let (dir, folder) = scratch();
        let part = PartFiles::create_or_open(&folder, "file", &[spec("file", 3 << 20)], true);
        drop(part.expect("new"));
        // In units of 512 or of 1024 bytes, as the shell likes.
        let setup = "trap '' XFSZ; ulimit -f 2048";
        assert_success(&in_a_child(NAME, setup, dir.path()));
        let part = PartFiles::create_or_open(&folder, "file", &[spec("file", 3 << 20)], true);
        let part = part.expect("kept");
        let mut found = vec![0; 2000];
        part.read_at(0, &mut found).expect("readable");
        assert_eq!(found, vec![1; 2000], "what was written before is kept");
        assert!(part.new_files().is_empty());
        return part
            .write_at((3 << 20) - 2000, &[2; 2000])
            .expect("room again");
    };
    let folder = Folder::open(&work).expect("the folder");
    let part = PartFiles::create_or_open(&folder, "file", &[spec("file", 3 << 20)], true);
    let part = part.expect("its length is there already");
    part.write_at(0, &[1; 2000]).expect("below the limit");
    let piece = [2; 2000];
    let verdict = check_and_write(&part, (3 << 20) - 2000, &piece, &Sha1::digest(piece).into());
    let Verdict::Unwritten(error) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(is_disk_full(&error), "{error}");
    assert_eq!(errno_of(&error), Some(nix::errno::Errno::EFBIG as i32));
    assert!(error.to_string().contains("file.part: "), "{error}");
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused_before_anything_is_created() {
    let (dir, folder) = scratch();
    let long = "n".repeat(256);
    for name in ["..", ".", "", "a/b", "/abs", "../x", "a\0", &long] {
        for single in [true, false] {
            let outcome = PartFiles::create_or_open(&folder, name, &[spec("f", 1)], single);
            assert_eq!(outcome.expect_err(name).kind(), io::ErrorKind::InvalidInput);
        }
    }
    let clash = [spec("a/b", 1), spec("c", 1), spec("a", 1)];
    let twice = [spec("a", 1), spec("b", 1), spec("a", 1)];
    for files in [
        &[spec("../f", 1)][..],
        &[spec("a/../../f", 1)],
        &[spec("/f", 1)],
        &[spec("", 1)],
        &[spec("a//f", 1)],
        &[spec("./f", 1)],
        &clash,
        &twice,
    ] {
        let outcome = PartFiles::create_or_open(&folder, "top", files, false);
        assert_eq!(
            outcome.expect_err("refused").kind(),
            io::ErrorKind::InvalidInput
        );
    }
    let nameless = FileSpec {
        path: Vec::new(),
        ..spec("", 1)
    };
    assert!(PartFiles::create_or_open(&folder, "top", &[nameless], false).is_err());
    assert!(PartFiles::create_or_open(&folder, "top", &[], true).is_err());
    assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
}

#[test]
fn what_is_in_the_way_is_named_and_left_alone() {
    let (dir, folder) = scratch();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("victim"), b"kept").expect("a file");
    fs::create_dir(path("outside")).expect("a folder");
    symlink("victim", path("link.part")).expect("a link");
    symlink("outside", path("linked.part")).expect("a link");
    fs::create_dir_all(path("folder.part/sub")).expect("a folder");
    symlink("../../outside", path("folder.part/sub/in")).expect("a link");
    symlink("../victim", path("folder.part/file")).expect("a link");
    let pipe = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
    nix::unistd::mkfifo(&path("pipe.part"), pipe).expect("a pipe");

    let refused = |name: &str, file: &str, single: bool, named: &str| {
        let new = spec("new", 5);
        let files = if single {
            vec![spec(file, 5)]
        } else {
            vec![new, spec(file, 5)]
        };
        let error = PartFiles::create_or_open(&folder, name, &files, single).expect_err(name);
        assert!(error.to_string().contains(named), "{error}");
    };
    refused("link", "x", true, "link.part: ");
    refused("linked", "x", false, "linked.part: ");
    refused("pipe", "x", true, "pipe.part: ");
    refused("pipe", "x", false, "pipe.part: ");
    refused("folder", "x", true, "folder.part: ");
    refused("folder", "sub/in/x", false, "folder.part/sub/in/x: ");
    refused("folder", "file", false, "folder.part/file: ");
    refused("folder", "sub", false, "folder.part/sub: ");
    assert_eq!(fs::read(path("victim")).expect("there"), b"kept");
    assert!(names(&path("outside")).is_empty());
    assert_eq!(
        names(&path("folder.part")),
        ["file", "sub"],
        "nothing was created"
    );
}

#[test]
fn a_folder_that_turns_into_a_link_and_back_leads_no_byte_outside() {
    const TURNS: usize = 300;
    const FILES: usize = 150;
    let (dir, folder) = scratch();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    let files: Vec<FileSpec> = (0..FILES).map(|n| spec(&format!("sub/f{n}"), 10)).collect();
    for file in &files {
        fs::write(outside.join(&file.path[1]), b"untouched!").expect("a file");
    }
    drop(PartFiles::create_or_open(&folder, "top", &files, false).expect("new"));
    let root = dir.path().join("top.part");
    symlink("../outside", root.join("link")).expect("a link");

    let stop = AtomicBool::new(false);
    let (mut written, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (sub, link) = (root.join("sub"), root.join("link"));
            while !stop.load(Ordering::Relaxed) {
                let exchange = RenameFlags::RENAME_EXCHANGE;
                renameat2(AT_FDCWD, &sub, AT_FDCWD, &link, exchange).expect("both are there");
            }
        });
        for turn in 0..TURNS {
            // More files than are kept open, so that most are opened again in each turn.
            let Ok(part) = PartFiles::create_or_open(&folder, "top", &files, false) else {
                refused += 1;
                continue;
            };
            for file in 0..FILES {
                match part.write_at((file * 10) as u64, &[turn as u8; 10]) {
                    Ok(()) => written += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(written + refused > 0);
    for file in &files {
        let bytes = fs::read(outside.join(&file.path[1])).expect("there");
        assert_eq!(bytes, b"untouched!");
    }
    assert_eq!(names(&outside).len(), FILES);
}

#[test]
fn a_taken_name_is_kept_unless_the_same_kind_may_be_overwritten() {
    let (dir, folder) = scratch();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("file"), b"old").expect("a file");
    fs::create_dir_all(path("folder/deep/er")).expect("folders");
    fs::write(path("folder/deep/er/old"), b"old").expect("a file");
    symlink("../../file", path("folder/deep/link")).expect("a link");
    symlink("file", path("link")).expect("a link");

    let part = |name: &str, single: bool| {
        let part =
            PartFiles::create_or_open(&folder, name, &[spec("new", 3)], single).expect("new");
        part.write_at(0, b"new").expect("writable");
        part
    };
    let refused = |name: &str, single: bool, overwrite: bool| {
        let before = check_target(&folder, name, single, overwrite).expect_err("taken");
        assert_eq!(before.kind(), io::ErrorKind::AlreadyExists);
        let part = part(name, single);
        let error = part.finish(overwrite).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
        assert!(path(&format!("{name}.part")).exists(), "kept");
        let remove = if single {
            fs::remove_file
        } else {
            |path: PathBuf| fs::remove_dir_all(path)
        };
        remove(path(&format!("{name}.part"))).expect("removed");
    };
    refused("file", true, false);
    refused("folder", false, false);
    refused("link", true, false);
    refused("file", false, true);
    refused("folder", true, true);
    refused("link", true, true);
    refused("link", false, true);
    assert_eq!(fs::read(path("file")).expect("there"), b"old");
    assert_eq!(fs::read(path("folder/deep/er/old")).expect("there"), b"old");

    check_target(&folder, "file", true, true).expect("a file by a file");
    part("file", true).finish(true).expect("replaced");
    assert_eq!(fs::read(path("file")).expect("there"), b"new");
    part("folder", false).finish(true).expect("replaced");
    assert_eq!(names(&path("folder")), ["new"]);
    check_target(&folder, "free", true, false).expect("free");
    part("free", false)
        .finish(true)
        .expect("nothing to replace");
    assert_eq!(names(dir.path()), ["file", "folder", "free", "link"]);
}

#[test]
fn a_download_continues_with_what_its_record_vouches_for() {
    let (dir, folder) = scratch();
    let files = [spec("a", 10), spec("b", 10)];
    let open = || PartFiles::create_or_open(&folder, "top", &files, false).expect("opens");
    let (part, mut have) = (open(), Bitfield::none(20));
    have.set(3);
    part.write_at(3, b"x").expect("writable");
    part.sync_data().expect("synced");
    let mut bits = BitsFile::open(&folder, "top").expect("free");
    bits.save(HASH, part.identity(), &have).expect("saved");
    drop((part, bits));

    let (part, bits) = (open(), BitsFile::open(&folder, "top").expect("free"));
    assert!(part.new_files().is_empty());
    assert_eq!(bits.load(HASH, part.identity(), 20), Some(have));
    drop((part, bits));

    fs::remove_file(dir.path().join("top.part/a")).expect("removed");
    fs::write(dir.path().join("top.part/b"), b"short").expect("cut");
    assert_eq!(open().new_files(), [0, 1], "their bits are void");
    fs::write(dir.path().join("top.part/b"), b"much too long").expect("grown");
    assert!(open().new_files().is_empty());
    assert_eq!(
        fs::metadata(dir.path().join("top.part/b"))
            .expect("there")
            .len(),
        10
    );

    fs::remove_dir_all(dir.path().join("top.part")).expect("removed");
    assert_eq!(
        open().new_files(),
        [0, 1],
        "even if the inode is the same again"
    );
    let bits = BitsFile::open(&folder, "top").expect("free");
    bits.remove().expect("removed");
    assert_eq!(names(dir.path()), ["top.part"]);
}

#[test]
fn another_process_is_refused_the_record_until_its_holder_is_killed() {
    const NAME: &str = "another_process_is_refused_the_record_until_its_holder_is_killed";
    if let Some(work) = childs_folder() {
        let folder = Folder::open(&work).expect("the folder");
        let mut bits = BitsFile::open(&folder, "name").expect("free");
        let identity = PartFiles::create_or_open(&folder, "name", &[spec("f", 1)], true)
            .expect("new")
            .identity();
        bits.save(HASH, identity, &Bitfield::all(1)).expect("saved");
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).expect("the end");
    }
    let (dir, folder) = scratch();
    let bits = BitsFile::open(&folder, "name").expect("free");
    let refused = in_a_child(NAME, ":", dir.path());
    let text = [&refused.stdout[..], &refused.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.contains("the same download already runs here"),
        "{text}"
    );
    drop(bits);
    let killed = in_a_child(NAME, ":", dir.path());
    assert!(!killed.status.success());
    let part = PartFiles::create_or_open(&folder, "name", &[spec("f", 1)], true).expect("old");
    let bits = BitsFile::open(&folder, "name").expect("nobody holds it");
    assert_eq!(bits.load(HASH, part.identity(), 1), Some(Bitfield::all(1)));
}
