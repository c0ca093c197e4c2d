//! Small files that the user names on the command line, read or written whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::paths::{at, failure};

/// Bytes of a list that the user wrote.
pub const LIST_BYTES_MAX: u64 = 1 << 20;

/// The folder for files that nobody keeps: `$TMPDIR`, or `/tmp`.
pub fn temporary_folder() -> PathBuf {
    std::env::temp_dir()
}

/// Whether a folder lies at `path`.
pub fn is_folder(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_dir())
}

/// The bytes of the file at `path`, of which there may be at most `bytes_max`.
///
/// # Errors
/// With the path: `InvalidData` if it is no file, `FileTooLarge` if it is longer.
pub fn read_whole(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let wrap = |error| at(path, error);
    // What blocks in open, as a pipe without a writer does, is no file.
    if !fs::metadata(path).map_err(wrap)?.is_file() {
        return Err(failure(path, io::ErrorKind::InvalidData, "not a file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(wrap)?;
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(wrap)?;
    if bytes.len() as u64 > bytes_max {
        return Err(failure(path, io::ErrorKind::FileTooLarge, "too long"));
    }
    Ok(bytes)
}

/// Whether anything lies at `path`, be it a link that leads nowhere.
pub fn is_taken(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Writes a new file, and returns when its bytes are on disk; what was begun is removed after an error.
///
/// # Errors
/// With the path: `AlreadyExists` if anything lies there.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let wrap = |error| at(path, error);
    let mut file = File::create_new(path).map_err(wrap)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Nobody wants half of it, and there is nothing to be done if it stays.
        let _ = fs::remove_file(path);
    }
    written.map_err(wrap)
}

/// The lines of a short text, trimmed; empty ones and those that begin with `#` are left out.
///
/// # Errors
/// With the path: `InvalidData` if it is longer than [`LIST_BYTES_MAX`] or not UTF-8.
pub fn read_list(path: &Path) -> io::Result<Vec<String>> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| at(path, error))?;
    file.take(LIST_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| at(path, error))?;
    if text.len() as u64 > LIST_BYTES_MAX {
        let why = "is longer than 1 MiB, which no list of hosts is";
        return Err(failure(path, io::ErrorKind::InvalidData, why));
    }
    let wanted = |line: &&str| !line.is_empty() && !line.starts_with('#');
    Ok(text
        .lines()
        .map(str::trim)
        .filter(wanted)
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_has_at_most_so_many_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        fs::write(&path, "12345").expect("written");
        assert_eq!(read_whole(&path, 5).expect("read"), b"12345");
        let kind = |path: &Path| read_whole(path, 4).expect_err("refused").kind();
        assert_eq!(kind(&path), io::ErrorKind::FileTooLarge);
        assert_eq!(kind(folder.path()), io::ErrorKind::InvalidData);
        assert_eq!(kind(&path.join("none")), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_new_file_takes_the_place_of_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        assert!(!is_taken(&path));
        write_new(&path, b"one").expect("written");
        assert!(is_taken(&path));
        let error = write_new(&path, b"two").expect_err("it exists");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("there"), b"one");
    }

    #[test]
    fn a_list_leaves_out_comments_and_refuses_what_is_no_list() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hosts");
        fs::write(&path, "# rack 1\n a \n\nb\r\n").expect("written");
        assert_eq!(read_list(&path).expect("a list"), ["a", "b"]);
        fs::write(&path, vec![b'x'; LIST_BYTES_MAX as usize + 1]).expect("written");
        assert_eq!(
            read_list(&path).expect_err("too long").kind(),
            io::ErrorKind::InvalidData
        );
        fs::write(&path, [0xff, 0xfe]).expect("written");
        assert_eq!(
            read_list(&path).expect_err("no text").kind(),
            io::ErrorKind::InvalidData
        );
        let missing = read_list(&folder.path().join("none")).expect_err("missing");
        assert!(missing.to_string().contains("none"), "{missing}");
        assert!(is_folder(folder.path()) && !is_folder(&path));
    }
}
