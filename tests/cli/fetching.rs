//! `get`: where it puts what it fetches, what it says, and every way in which it fails here.

use nix::sys::signal::Signal;

use crate::program::{Scene, noise, sparse};

#[test]
fn stdout_gets_only_the_final_path() {
    let scene = Scene::new();
    scene.file("in/x y", &noise(300_000));
    let _share = scene.share(&["in/x y"]);
    let script = "img=$(shoal-peer get 'x y' -o out/) && cat \"$img\"";
    let mut shell = std::process::Command::new("sh");
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_shoal-peer"))
        .parent()
        .expect("a folder");
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    shell
        .args(["-c", script])
        .env("PATH", path)
        .env("SHOAL_TRACKER", &scene.addr)
        .current_dir(scene.folder.path());
    let ended = shell.output().expect("a shell");
    assert!(ended.status.success() && ended.stdout == noise(300_000));
    let said = String::from_utf8(ended.stderr).expect("text");
    assert!(
        said.contains("get  x y  293 KiB") && said.contains("done x y  293 KiB in "),
        "{said}"
    );
}

#[test]
fn an_output_is_a_folder_or_a_name() {
    let scene = Scene::new();
    scene.file("in/x", b"xx");
    scene.file("in/y", b"yyy");
    std::fs::create_dir(scene.path("there")).expect("a folder");
    let _share = scene.share(&["in/x", "in/y"]);
    for (words, paths) in [
        (&["x"][..], &["x"][..]),
        (&["x", "-o", "new/deep/"], &["new/deep/x"]),
        (&["x", "-o", "there"], &["there/x"]),
        (&["-o", "file", "x"], &["file"]),
        (&["x", "-o", "there/other"], &["there/other"]),
        (&["x", "y", "-o", "both"], &["both/x", "both/y"]),
    ] {
        let ended = scene.run([&["get"], words].concat()).expect(0);
        let mut lines: Vec<&str> = ended.out.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, paths, "{words:?}");
        for path in paths {
            let bytes: &[u8] = if path.ends_with('y') { b"yyy" } else { b"xx" };
            assert_eq!(scene.read(path), bytes);
        }
    }
    let ended = scene.run(["get", "x", "-o", "no/where"]).expect(17);
    assert!(
        ended.err.contains("no")
            && ended
                .err
                .contains("No such file or directory (check the path)"),
        "{ended:?}"
    );
}

#[test]
fn a_target_that_exists_is_kept() {
    let scene = Scene::new();
    scene.file("in/x", b"new");
    let _share = scene.share(&["in/x"]);
    scene.file("x", b"old");
    let ended = scene.run(["get", "x"]).expect(13);
    let remedy = "move it away, choose another place with -o, or use --overwrite";
    assert_eq!(
        ended.err,
        format!("shoal-peer: get x: x: exists already ({remedy})\n")
    );
    assert_eq!(
        (ended.out.as_str(), scene.read("x").as_slice()),
        ("", &b"old"[..])
    );
    scene.run(["get", "x", "--overwrite"]).expect(0);
    assert_eq!(scene.read("x"), b"new");
    for name in ["x.part", "x.part.bits"] {
        assert!(!scene.path(name).exists(), "{name}");
    }
}

#[test]
fn of_several_the_first_failure_is_the_exit_code() {
    let scene = Scene::new();
    scene.file("in/x", b"x");
    let _share = scene.share(&["in/x"]);
    let ended = scene.run(["get", "nothing", "x", "-o", "out"]).expect(3);
    assert_eq!(ended.out, "out/x\n");
    assert!(ended.err.contains("shoal-peer: get nothing: "), "{ended:?}");
}

#[test]
fn a_digest_that_differs_leaves_no_file() {
    let scene = Scene::new();
    scene.file("in/x", b"x");
    scene.file("dir/a", b"x");
    let mut plain = scene.start([
        "share",
        "in/x",
        "--no-sha256",
        "-n",
        "plain",
        "-l",
        "127.0.0.1:0",
    ]);
    plain.wait_err("get it: ");
    let _share = scene.share(&["in/x", "dir"]);
    let right = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    let wrong = right.replace('2', "3");
    let ended = scene.run(["get", "x", "--sha256", right]).expect(0);
    assert!(
        ended.err.contains(", verified, SHA-256 matches"),
        "{ended:?}"
    );
    let ended = scene
        .run(["get", "x", "-o", "y", "--sha256", &wrong])
        .expect(32);
    let why = format!("the SHA-256 of x is {right}, and should be {wrong}");
    assert!(
        ended.err.contains(&format!("shoal-peer: get x: {why} (")),
        "{ended:?}"
    );
    assert!(!scene.path("y").exists() && scene.path("y.part").exists());
    let ended = scene
        .run(["get", "dir", "-o", "copy", "--sha256", right])
        .expect(28);
    assert!(
        ended.err.contains("--sha256 is for a content of one file"),
        "{ended:?}"
    );
    scene.run(["get", "dir", "-o", "copy", "--check"]).expect(0);
    let ended = scene.run(["get", "plain", "--check"]).expect(0);
    assert!(
        ended
            .err
            .contains("warning: get plain: it was shared without SHA-256"),
        "{ended:?}"
    );
    assert!(
        ended.err.contains(", verified\n"),
        "nothing was compared: {ended:?}"
    );
}

#[test]
fn with_nobody_to_give_it_a_download_gives_up() {
    let scene = Scene::new();
    scene.file("in/x", b"x");
    drop(scene.share(&["in/x"]));
    let remedy = "is anybody sharing it? see shoal-peer status";
    let ended = scene.run(["get", "x", "--stall", "1"]).expect(5);
    let why = "nothing arrived for as long as --stall allows";
    assert!(
        ended
            .err
            .ends_with(&format!("shoal-peer: get x: {why} ({remedy})\n")),
        "{ended:?}"
    );
    let ended = scene.run(["get", "x", "--timeout", "1s"]).expect(2);
    assert!(
        ended
            .err
            .contains("shoal-peer: get x: it took longer than --timeout allows ("),
        "{ended:?}"
    );
    assert!(!scene.path("x").exists());
}

#[test]
fn the_same_download_runs_once_in_a_folder() {
    let scene = Scene::new();
    scene.file("in/x", b"x");
    drop(scene.share(&["in/x"]));
    let mut first = scene.start(["get", "x"]);
    first.wait_err("get  x");
    let ended = scene.run(["get", "x"]).expect(11);
    assert!(
        ended
            .err
            .contains("shoal-peer: get x: the same download runs here already ("),
        "{ended:?}"
    );
    first.send(Signal::SIGTERM);
    first.end().expect(7);
}

#[test]
fn what_is_removed_meanwhile_is_not_waited_for() {
    let scene = Scene::new();
    scene.file("in/x", b"x");
    drop(scene.share(&["in/x"]));
    let mut getter = scene.start(["get", "x"]);
    getter.wait_err("get  x");
    scene.run(["rm", "x"]).expect(0);
    getter.wait_err("shoal-peer: warning: get x: it was removed from the tracker");
    let ended = getter.end().expect(3);
    assert!(
        ended.err.contains(
            "shoal-peer: get x: it was removed from the tracker, and nobody is left who has it"
        ),
        "{ended:?}"
    );
}

#[test]
fn quiet_says_only_what_is_wrong() {
    let scene = Scene::new();
    scene.file("in/x", &noise(300_000));
    let _share = scene.share(&["in/x"]);
    let ended = scene.run(["-q", "get", "x"]).expect(0);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("x\n", ""));
    let ended = scene.run(["get", "x", "--quiet"]).expect(13);
    assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
    let ended = scene
        .run(["get", "x", "--no-progress", "-o", "again"])
        .expect(0);
    let shown: Vec<&str> = ended
        .err
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(shown, ["get", "done"]);
}

#[test]
fn a_pipe_gets_a_line_for_every_tenth() {
    let scene = Scene::new();
    sparse(&scene.path("zeros"), 256 << 20);
    let mut share = scene.start(["share", "-l", "127.0.0.1:0", "zeros", "--piece-size", "64K"]);
    share.wait_err("get it: ");
    let ended = scene.run(["get", "zeros", "-o", "copy"]).expect(0);
    let lines: Vec<&str> = ended.err.lines().collect();
    assert!(
        lines[0].starts_with("get  zeros  256 MiB  4096 × 64 KiB  "),
        "{lines:?}"
    );
    assert!(
        lines
            .last()
            .is_some_and(|line| line.starts_with("done zeros  256 MiB in ")),
        "{lines:?}"
    );
    let tenths: Vec<u32> = lines[1..lines.len() - 1]
        .iter()
        .map(|line| {
            let rest = line.strip_prefix("zeros  ").expect("its name");
            let (percent, rest) = rest.split_once("%  ").expect("per cent");
            assert!(
                rest.contains("/256 MiB  ↓") && rest.contains(" peer"),
                "{line}"
            );
            percent.parse::<u32>().expect("a number") / 10
        })
        .collect();
    assert!(
        tenths.len() <= 10 && tenths.is_sorted_by(|one, next| one < next),
        "{tenths:?}"
    );
}
