//! Paths that cannot be led astray: every name from outside is resolved below a folder handle, and no link is followed.
//!
//! Owns folder handles and the text of path errors. Never resolves a name of others against the working directory, and
//! never opens, creates or removes anything outside the folder that was opened, whatever somebody swaps meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{
    AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat, openat2, renameat, renameat2,
};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{UnlinkatFlags, fsync, syncfs, unlinkat};

use crate::base::Escaped;

/// Bytes of a name in a folder (NAME_MAX of Linux).
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a path in one system call, its closing NUL included (PATH_MAX of Linux).
const PATH_BYTES_MAX: usize = 4096;

/// What names a file for good on one machine, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl Identity {
    /// The identity of what `metadata` describes.
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// An open folder, below which names are resolved. Clones share the handle.
#[derive(Clone, Debug)]
pub struct Folder {
    handle: Arc<OwnedFd>,
    path: PathBuf,
}

impl Folder {
    /// Opens the folder at `path`, which the user chose: links on the way there are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let handle = retried(|| nix::fcntl::open(path, flags, Mode::empty()))
            .map_err(|errno| at(path, errno))?;
        Ok(Self {
            handle: Arc::new(handle),
            path: path.to_owned(),
        })
    }

    /// As `open`, after making the folder and those that lead to it, unless they are there.
    pub fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path).map_err(|error| at(path, error))?;
        Self::open(path)
    }

    /// The path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What names it for good.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        let stat = fstat(&*self.handle).map_err(|errno| at(&self.path, errno))?;
        Ok(Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    /// The path of something in it, to be shown.
    pub(super) fn shown<S: AsRef<str>>(&self, names: &[S]) -> PathBuf {
        // As people write it: `a`, and not `./a`.
        let here = self.path == Path::new(".") && !names.is_empty();
        let path = if here {
            PathBuf::new()
        } else {
            self.path.clone()
        };
        names
            .iter()
            .fold(path, |path, name| path.join(name.as_ref()))
    }

    /// Opens what the names lead to: `flags` say how, links are not followed, and a pipe is not waited for.
    pub(super) fn open_file<S: AsRef<str>>(&self, names: &[S], flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // With O_PATH nothing is waited for, and other flags are refused.
        let flags = if flags.contains(OFlag::O_PATH) {
            flags
        } else {
            flags | OFlag::O_NONBLOCK
        };
        for name in names {
            check_name(name.as_ref()).map_err(|error| at(&self.shown(names), error))?;
        }
        beneath(self.handle.as_fd(), names, flags)
            .map(File::from)
            .map_err(|errno| at(&self.shown(names), errno))
    }

    /// Makes a file in it that has no name, and is gone when it is closed.
    pub(super) fn open_unnamed(&self) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_TMPFILE | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let opened = retried(|| openat(&*self.handle, ".", flags, mode));
        let handle = match opened {
            // Not every filesystem has files without names; there the name is taken away at once.
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT) => {
                let name = format!(".shoal-{}", std::process::id());
                let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let opened = retried(|| openat(&*self.handle, name.as_str(), flags, mode));
                opened.and_then(|handle| {
                    unlinkat(&*self.handle, name.as_str(), UnlinkatFlags::NoRemoveDir)?;
                    Ok(handle)
                })
            }
            opened => opened,
        };
        handle
            .map(File::from)
            .map_err(|errno| at(&self.path, errno))
    }

    /// Opens the folder that the names lead to.
    pub(super) fn folder<S: AsRef<str>>(&self, names: &[S]) -> io::Result<Self> {
        let file = self.open_file(names, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        Ok(Self {
            handle: Arc::new(file.into()),
            path: self.shown(names),
        })
    }

    /// Makes the folders that the names lead through, unless they are there, and calls `made` with the names of each new one.
    pub(super) fn make_folders(
        &self,
        names: &[String],
        mut made: impl FnMut(&[String]),
    ) -> io::Result<()> {
        let mut parent = self.clone();
        for (depth, name) in names.iter().enumerate() {
            check_name(name).map_err(|error| at(&self.shown(names), error))?;
            match mkdirat(
                &*parent.handle,
                name.as_str(),
                Mode::from_bits_truncate(0o777),
            ) {
                Ok(()) => made(&names[..=depth]),
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(at(&parent.shown(&[name]), errno)),
            }
            parent = parent.folder(&[name])?;
        }
        Ok(())
    }

    /// What the names lead to, a link itself and not its target; `None` if there is nothing.
    pub(super) fn metadata<S: AsRef<str>>(&self, names: &[S]) -> io::Result<Option<fs::Metadata>> {
        match self.open_file(names, OFlag::O_PATH) {
            Ok(file) => file
                .metadata()
                .map(Some)
                .map_err(|error| at(&self.shown(names), error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As `metadata`, in one call that follows links on the way: enough to see that something changed, not to trust it.
    pub(super) fn glance<S: AsRef<str>>(&self, names: &[S]) -> io::Result<FileStat> {
        let stat = fstatat(
            &*self.handle,
            joined(names).as_str(),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        );
        stat.map_err(|errno| at(&self.shown(names), errno))
    }

    /// Gives `old` the name `new`, which must not be taken: `AlreadyExists` otherwise, and nothing has changed.
    pub(super) fn rename_new(&self, old: &str, new: &str) -> io::Result<()> {
        match self.rename_with(old, new, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                // The filesystem cannot do both in one step.
                if fstatat(&*self.handle, new, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
                    return Err(at(&self.shown(&[new]), Errno::EEXIST));
                }
                self.rename(old, new)
            }
            outcome => outcome.map_err(|errno| at(&self.shown(&[new]), errno)),
        }
    }

    /// Gives `old` the name `new`, replacing in one step a file that bears it.
    pub(super) fn rename(&self, old: &str, new: &str) -> io::Result<()> {
        renameat(&*self.handle, old, &*self.handle, new)
            .map_err(|errno| at(&self.shown(&[new]), errno))
    }

    /// Lets `one` and `other` trade names in one step; `false` if the filesystem cannot do that.
    pub(super) fn exchange(&self, one: &str, other: &str) -> io::Result<bool> {
        match self.rename_with(one, other, RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::EINVAL | Errno::ENOSYS) => Ok(false),
            Err(errno) => Err(at(&self.shown(&[other]), errno)),
        }
    }

    fn rename_with(&self, old: &str, new: &str, flags: RenameFlags) -> Result<(), Errno> {
        renameat2(&*self.handle, old, &*self.handle, new, flags)
    }

    /// Removes the file `name`; it is no error if there is none.
    pub(super) fn remove_file(&self, name: &str) -> io::Result<()> {
        match unlinkat(&*self.handle, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(at(&self.shown(&[name]), errno)),
        }
    }

    /// Removes the folder `name` and all that is in it; links are removed, not followed.
    pub(super) fn remove_tree(&self, name: &str) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let handle = openat(&*self.handle, name, flags, Mode::empty());
        handle
            .and_then(empty_folder)
            .and_then(|()| unlinkat(&*self.handle, name, UnlinkatFlags::RemoveDir))
            .map_err(|errno| at(&self.shown(&[name]), errno))
    }

    /// Bytes that the filesystem below it has left for us.
    pub(super) fn bytes_free(&self) -> io::Result<u64> {
        let stat = fstatvfs(&*self.handle).map_err(|errno| at(&self.path, errno))?;
        Ok((stat.blocks_available() as u64).saturating_mul(stat.fragment_size() as u64))
    }

    /// Waits until the names in it are on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match fsync(&*self.handle) {
            // Some filesystems do not sync folders at all.
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(errno) => Err(at(&self.path, errno)),
        }
    }

    /// Waits until all of the filesystem below it is on disk.
    pub(super) fn sync_filesystem(&self) -> io::Result<()> {
        syncfs(&*self.handle).map_err(|errno| at(&self.path, errno))
    }
}

/// Whether `name` can be the name of one thing in a folder and of nothing else; the error says why not.
pub fn check_name(name: &str) -> io::Result<()> {
    let why = if name.is_empty() || name == "." || name == ".." {
        "not the name of a file"
    } else if name.contains(['/', '\0']) {
        "a name with a separator in it"
    } else if name.len() > NAME_BYTES_MAX {
        "a name of more than 255 bytes"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

/// Whether the disk, the quota or the largest file size forbids to write more: what freeing space can cure.
pub fn is_disk_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// `error` with the path that it is about in its text; the kind stays.
pub(super) fn at(path: &Path, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    let path = path.to_owned();
    io::Error::new(error.kind(), PathError { path, error })
}

/// An error of our own wording about `path`.
pub(super) fn failure(path: &Path, kind: io::ErrorKind, why: &str) -> io::Error {
    at(path, io::Error::new(kind, why))
}

/// The system's number of `error`, also if a path was added to it.
pub fn errno_of(error: &io::Error) -> Option<i32> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let inner: Option<&PathError> = inner;
    error
        .raw_os_error()
        .or_else(|| inner.and_then(|inner| errno_of(&inner.error)))
}

/// A failure and where it happened.
#[derive(Debug)]
struct PathError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", Escaped(&self.path.to_string_lossy()))?;
        if self.error.raw_os_error() == Some(Errno::ELOOP as i32) {
            return f.write_str("a symbolic link is in the way, and links are not followed here");
        }
        self.error.fmt(f)
    }
}

impl std::error::Error for PathError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Opens `names` below `folder`, following no link: in one step where the kernel can do it, else name by name.
fn beneath<S: AsRef<str>>(
    folder: BorrowedFd<'_>,
    names: &[S],
    flags: OFlag,
) -> Result<OwnedFd, Errno> {
    let joined = joined(names);
    if joined.len() < PATH_BYTES_MAX {
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new()
            .flags(flags)
            .mode(mode_of(flags))
            .resolve(resolve);
        match retried(|| openat2(folder, joined.as_str(), how)) {
            // Kernels before 5.6 do not know the call, and some sandboxes forbid what they do not know.
            Err(Errno::ENOSYS | Errno::EPERM) => {}
            outcome => return outcome,
        }
    }
    walk(folder, names, flags)
}

fn joined<S: AsRef<str>>(names: &[S]) -> String {
    let mut path = String::new();
    for name in names {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(name.as_ref());
    }
    path
}

/// As `beneath`, by opening one folder after the other.
fn walk<S: AsRef<str>>(
    folder: BorrowedFd<'_>,
    names: &[S],
    flags: OFlag,
) -> Result<OwnedFd, Errno> {
    let Some((last, leading)) = names.split_last() else {
        return Err(Errno::ENOENT);
    };
    let passing = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut parent: Option<OwnedFd> = None;
    for name in leading {
        let below = parent.as_ref().map_or(folder, AsFd::as_fd);
        parent = Some(retried(|| {
            openat(below, name.as_ref(), passing, Mode::empty())
        })?);
    }
    let below = parent.as_ref().map_or(folder, AsFd::as_fd);
    retried(|| openat(below, last.as_ref(), flags, mode_of(flags)))
}

/// openat2 refuses a mode where nothing can be created.
fn mode_of(flags: OFlag) -> Mode {
    if flags.contains(OFlag::O_CREAT) {
        Mode::from_bits_truncate(0o666)
    } else {
        Mode::empty()
    }
}

fn retried<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            outcome => return outcome,
        }
    }
}

fn empty_folder(handle: OwnedFd) -> Result<(), Errno> {
    let mut dir = Dir::from_fd(handle)?;
    let entries = dir.iter().collect::<Result<Vec<_>, _>>()?;
    for entry in entries {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => {
                let flags =
                    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                empty_folder(openat(&dir, name, flags, Mode::empty())?)?;
                unlinkat(&dir, name, UnlinkatFlags::RemoveDir)?;
            }
            outcome => outcome?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn scratch() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let inner = dir.path().join("inner");
        fs::create_dir_all(inner.join("a/b")).expect("folders");
        fs::write(inner.join("a/b/file"), b"inside").expect("a file");
        fs::write(dir.path().join("secret"), b"outside").expect("a file");
        symlink("../secret", inner.join("link")).expect("a link");
        symlink("..", inner.join("a/up")).expect("a link");
        let folder = Folder::open(&inner).expect("the folder");
        (dir, folder)
    }

    #[test]
    fn follows_no_link_in_one_step_or_name_by_name() {
        let (_dir, folder) = scratch();
        let handle = folder.handle.as_fd();
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        for names in [
            &["link"][..],
            &["a", "up", "secret"],
            &["a", "up", "inner", "a"],
        ] {
            assert!(beneath(handle, names, flags).is_err(), "{names:?}");
            assert!(walk(handle, names, flags).is_err(), "{names:?}");
        }
        let names = ["a", "b", "file"];
        assert!(beneath(handle, &names, flags).is_ok());
        assert!(walk(handle, &names, flags).is_ok());
        let refused = folder.open_file(&["link"], OFlag::O_RDONLY);
        let text = refused.expect_err("a link").to_string();
        assert!(text.contains("inner/link: a symbolic link"), "{text}");
        let link = folder.metadata(&["link"]).expect("readable");
        assert!(link.is_some_and(|found| found.is_symlink()));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let (_dir, folder) = scratch();
        let long = "x".repeat(256);
        for name in ["", ".", "..", "/", "a/b", "/etc", "a\0b", &long] {
            let kind = |outcome: io::Result<()>| outcome.expect_err("refused").kind();
            let opened = folder.open_file(&["a", name], OFlag::O_RDONLY);
            assert_eq!(kind(opened.map(drop)), io::ErrorKind::InvalidInput);
            let made = folder.make_folders(&[name.to_owned()], |_| ());
            assert_eq!(kind(made), io::ErrorKind::InvalidInput);
        }
        assert!(check_name("...").is_ok() && check_name("a\\b ü").is_ok());
    }

    #[test]
    fn a_path_longer_than_one_call_takes_is_walked() {
        let (_dir, folder) = scratch();
        let names: Vec<String> = (0..30).map(|_| "n".repeat(200)).collect();
        let mut made = 0;
        folder.make_folders(&names, |_| made += 1).expect("folders");
        assert_eq!(made, 30);
        let found = folder.metadata(&names).expect("readable");
        assert!(found.is_some_and(|found| found.is_dir()));
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let (_dir, folder) = scratch();
        let pipe = folder.shown(&["pipe"]);
        nix::unistd::mkfifo(&pipe, Mode::from_bits_truncate(0o600)).expect("a pipe");
        assert!(folder.open_file(&["pipe"], OFlag::O_RDONLY).is_ok());
    }

    #[test]
    fn removing_a_tree_removes_links_and_not_their_targets() {
        let (dir, folder) = scratch();
        symlink("../../../secret", dir.path().join("inner/a/b/link")).expect("a link");
        folder.remove_tree("a").expect("removed");
        assert!(folder.metadata(&["a"]).expect("readable").is_none());
        assert!(dir.path().join("secret").exists());
        assert!(folder.remove_tree("link").is_err());
        assert!(dir.path().join("secret").exists());
    }

    #[test]
    fn a_new_name_never_replaces_anything() {
        let (dir, folder) = scratch();
        fs::write(dir.path().join("inner/one"), b"1").expect("a file");
        let taken = folder.rename_new("one", "link").expect_err("taken");
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(errno_of(&taken), Some(Errno::EEXIST as i32));
        folder.rename_new("one", "two").expect("free");
        assert!(folder.exchange("two", "a").expect("possible"));
        assert!(dir.path().join("inner/two/b").is_dir());
    }

    #[test]
    fn a_full_disk_is_recognised_with_a_path_added() {
        for (errno, full) in [
            (Errno::ENOSPC, true),
            (Errno::EDQUOT, true),
            (Errno::EFBIG, true),
            (Errno::EIO, false),
        ] {
            let error = at(Path::new("/a\u{1b}b"), errno);
            assert_eq!(is_disk_full(&error), full, "{errno}");
            assert_eq!(errno_of(&error), Some(errno as i32));
            assert!(error.to_string().starts_with("/a\\u{1b}b: "));
        }
    }
}
