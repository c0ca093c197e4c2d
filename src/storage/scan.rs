//! What lies at a path that is to be shared: one file, or a folder with all that is in it.
//!
//! Only looks: opens no file and follows no link below the path, so that the same tree gives the same content anywhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::layout::FileSpec;
use super::paths::{at, failure};
use super::tree::require_regular;

/// A content as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The file or folder itself; links that led to it are resolved.
    pub root: PathBuf,
    /// The last name of the path that was given.
    pub name: String,
    /// Whether it is a single file.
    pub single: bool,
    /// The files, in bytewise order of their paths; the one of a single file has an empty path. Empty folders are left out.
    pub files: Vec<FileSpec>,
}

/// Looks at what lies at `path`, which may itself be a link.
///
/// Errors name the path: `InvalidData` for a name that is not UTF-8, `InvalidInput` for a link or anything else that is
/// neither file nor folder.
pub fn scan(path: &Path) -> io::Result<Scan> {
    let root = fs::canonicalize(path).map_err(|error| at(path, error))?;
    let name = path.file_name().or_else(|| root.file_name());
    let name = name.ok_or_else(|| {
        failure(
            path,
            io::ErrorKind::InvalidInput,
            "has no name to share it by",
        )
    })?;
    let name = name.to_str().ok_or_else(|| not_text(path))?.to_owned();
    let found = fs::metadata(&root).map_err(|error| at(path, error))?;
    let single = !found.is_dir();
    let files = if single {
        require_regular(&found).map_err(|_| odd(path))?;
        vec![FileSpec {
            path: Vec::new(),
            len: found.len(),
            is_padding: false,
        }]
    } else {
        files_below(&root)?
    };
    Ok(Scan {
        root,
        name,
        single,
        files,
    })
}

fn files_below(root: &Path) -> io::Result<Vec<FileSpec>> {
    let mut files = Vec::new();
    let mut folders = vec![(root.to_owned(), Vec::new())];
    while let Some((folder, names)) = folders.pop() {
        let wrap = |error| at(&folder, error);
        for entry in fs::read_dir(&folder).map_err(wrap)? {
            let entry = entry.map_err(wrap)?;
            let path = entry.path();
            let name = entry
                .file_name()
                .into_string()
                .map_err(|_| not_text(&path))?;
            let names: Vec<String> = names.iter().cloned().chain([name]).collect();
            let kind = entry.file_type().map_err(|error| at(&path, error))?;
            if kind.is_dir() {
                folders.push((path, names));
            } else if kind.is_file() {
                let found = entry.metadata().map_err(|error| at(&path, error))?;
                files.push(FileSpec {
                    path: names,
                    len: found.len(),
                    is_padding: false,
                });
            } else {
                return Err(odd(&path));
            }
        }
    }
    files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn not_text(path: &Path) -> io::Error {
    failure(
        path,
        io::ErrorKind::InvalidData,
        "a name that is not UTF-8 cannot be shared",
    )
}

fn odd(path: &Path) -> io::Error {
    let why = "neither a file nor a folder (links and special files cannot be shared)";
    failure(path, io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    fn scratch(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a scratch folder");
        for file in files {
            let path = dir.path().join("top").join(file);
            fs::create_dir_all(path.parent().expect("below top")).expect("folders");
            fs::write(path, file).expect("a file");
        }
        dir
    }

    fn paths(scan: &Scan) -> Vec<String> {
        scan.files.iter().map(|file| file.path.join("/")).collect()
    }

    #[test]
    fn lists_a_folder_in_bytewise_order_of_names() {
        let dir = scratch(&["b", "a/z", "a/ü x", "a.b", "a-", "B", "a/sub/deep/f"]);
        fs::create_dir(dir.path().join("top/empty")).expect("a folder");
        let scan = scan(&dir.path().join("top")).expect("plain files");
        assert_eq!((scan.name.as_str(), scan.single), ("top", false));
        let expected = ["B", "a/sub/deep/f", "a/z", "a/ü x", "a-", "a.b", "b"];
        assert_eq!(paths(&scan), expected);
        assert_eq!(scan.files[1].len, "a/sub/deep/f".len() as u64);
    }

    #[test]
    fn the_given_path_may_be_a_link_and_gives_the_name() {
        let dir = scratch(&["file"]);
        symlink("top/file", dir.path().join("to file")).expect("a link");
        symlink("top", dir.path().join("to folder")).expect("a link");
        let file = scan(&dir.path().join("to file")).expect("a file");
        assert_eq!((file.name.as_str(), file.single), ("to file", true));
        assert_eq!((file.files[0].len, file.files.len()), (4, 1));
        assert!(file.root.ends_with("top/file"));
        let folder = scan(&dir.path().join("to folder/")).expect("a folder");
        assert_eq!((folder.name.as_str(), folder.single), ("to folder", false));
        let here = scan(&dir.path().join("top/.")).expect("a folder");
        assert_eq!(here.name, "top");
        assert!(scan(Path::new("/")).is_err());
    }

    #[test]
    fn what_cannot_be_shared_is_named() {
        let refused = |path: &Path, part: &str| {
            let text = scan(path).expect_err("refused").to_string();
            assert!(text.contains(part), "{text}");
        };
        let dir = scratch(&["sub/file"]);
        let top = dir.path().join("top");
        refused(&dir.path().join("absent"), "absent: ");
        symlink("file", top.join("sub/link")).expect("a link");
        refused(&top, "top/sub/link: neither");
        fs::remove_file(top.join("sub/link")).expect("removed");
        nix::unistd::mkfifo(&top.join("pipe"), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        refused(&top, "top/pipe: neither");
        refused(&top.join("pipe"), "top/pipe: neither");
        fs::remove_file(top.join("pipe")).expect("removed");
        fs::write(top.join(OsStr::from_bytes(b"bad\xff")), b"").expect("a file");
        refused(&top, "UTF-8");
    }
}
