//! Small looks at what the user names on the command line.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::paths::{at, failure};

/// Bytes of a list that the user wrote.
pub const LIST_BYTES_MAX: u64 = 1 << 20;

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
