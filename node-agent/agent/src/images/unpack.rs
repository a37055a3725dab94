//! Unpacking one layer: checked while it streams, entry by entry, and never through a link that leads out.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

use super::ImageError;
use super::layout::{Blob, Digest, Links, Packing, blob_path, open};
use crate::disk::{Fullness, is_full};

/// How much a layer may be.
#[derive(Debug, Clone)]
pub struct Caps {
    /// Bytes unpacked.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Unpacked bytes for each packed one, once `free_bytes` are unpacked.
    pub ratio: u64,
    /// Unpacked bytes that no ratio is asked of.
    pub free_bytes: u64,
    /// Bytes of a path.
    pub path_bytes: usize,
    /// Parts of a path.
    pub depth: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            bytes: 10 << 30,
            entries: 1_000_000,
            ratio: 200,
            free_bytes: 16 << 20,
            path_bytes: 4096,
            depth: 256,
        }
    }
}

/// The attribute by which a folder hides what the layers below have in it.
pub(super) const OPAQUE: &str = "trusted.overlay.opaque";

/// The longest extended header (a long name, attributes) that is read.
const MAX_HEADER: u64 = 1 << 20;

/// Unpacked bytes after which the disk is looked at again. An entry has at least 512 bytes. It takes at most one block
/// of the disk, besides its content and the missing folders above it.
const LOOK_EVERY: u64 = 1 << 20;
/// Missing folders after which the disk is looked at again. An entry may need hundreds, and each takes a block.
const LOOK_EVERY_FOLDERS: u32 = 1 << 10;
/// Bytes that are left below the limit of the disk, for what else is written there. With blocks of 4 KiB, a layer takes
/// less than this between two looks.
pub(super) const SPARE: u64 = 16 << 20;

/// The disk that layers are unpacked to.
#[derive(Debug, Clone)]
pub struct Disk {
    /// A folder on it.
    pub folder: PathBuf,
    /// Unpacking ends before more than this percentage is in use.
    pub limit: u8,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        let fullness = Fullness::look(&self.folder)?;
        if fullness.left_below(self.limit) < SPARE {
            return Err(io::Error::other(NoRoom(fullness)));
        }
        Ok(())
    }

    /// Why the layer `diff_id` of the image folder `dir` is not written here. The disk may be full below its limit: of
    /// files, by a quota, or filled by others since the last look.
    pub(super) fn unwritten(&self, dir: &Path, diff_id: &Digest, source: io::Error) -> ImageError {
        if !is_full(source.kind()) {
            return ImageError::Unpack { layer: diff_id.to_string(), source };
        }
        match Fullness::look(&self.folder) {
            Ok(fullness) if fullness.left_below(self.limit) < SPARE => {
                self.no_room(dir, fullness, Some(source))
            }
            Ok(_) | Err(_) => ImageError::NoFiles { dir: dir.into(), folder: self.folder.clone(), source },
        }
    }

    fn no_room(&self, dir: &Path, fullness: Fullness, source: Option<io::Error>) -> ImageError {
        let (dir, folder) = (dir.into(), self.folder.clone());
        ImageError::NoRoom { dir, folder, fullness, limit: self.limit, source }
    }
}

/// Unpacks the layer `blob` of the layout `dir` into the empty folder `target`.
pub fn unpack(
    dir: &Path,
    blob: &Blob,
    diff_id: &Digest,
    target: &Path,
    caps: &Caps,
    disk: &Disk,
) -> Result<(), ImageError> {
    let layer = || diff_id.to_string();
    if blob.size > caps.bytes {
        let why = format!("its blob must be at most {} bytes, got {}", caps.bytes, blob.size);
        return Err(ImageError::Refused { layer: layer(), why });
    }
    let path = blob_path(dir, &blob.digest);
    let file = open(&path, Links::Followed)?;
    let packed_bytes = Rc::new(Cell::new(0));
    let mut packed = Hashed::new(file.take(blob.size.saturating_add(1)), packed_bytes.clone());
    let limits = Limits { caps: caps.clone(), packed: packed_bytes, disk: disk.clone(), next_look: 0 };
    let outcome = match blob.packing {
        Packing::Plain => unpack_tar(Capped::new(&mut packed, limits), target),
        Packing::Gzip => {
            unpack_tar(Capped::new(flate2::read::MultiGzDecoder::new(&mut packed), limits), target)
        }
    };
    let outcome = match outcome {
        Ok(got) => Ok(got),
        Err(Stop::Refused(why)) => Err(why),
        Err(Stop::NoRoom(fullness)) => return Err(disk.no_room(dir, fullness, None)),
        Err(Stop::Io(source)) => return Err(disk.unwritten(dir, diff_id, source)),
    };
    io::copy(&mut packed, &mut io::sink()).map_err(|source| ImageError::Read { path, source })?;
    let differs = |what, expected: &Digest, got: Digest| {
        if *expected == got {
            return Ok(());
        }
        Err(ImageError::Digest { dir: dir.into(), what, expected: expected.clone() })
    };
    // A refusal quotes names: only of content that the image's maker had, and not of any file that a link leads to.
    differs("a layer", &blob.digest, packed.digest())?;
    match outcome {
        Ok(got) => differs("an unpacked layer", diff_id, got),
        Err(why) => Err(ImageError::Refused { layer: layer(), why }),
    }
}

/// Why unpacking ends early.
#[derive(Debug)]
enum Stop {
    Refused(String),
    NoRoom(Fullness),
    Io(io::Error),
}

impl From<rustix::io::Errno> for Stop {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A cap or a limit that is passed while reading arrives as an error of the reader. Errors that are not the system's
/// are those of the readers of gzip and tar; the latter quote what they read.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if let Some(NoRoom(fullness)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::NoRoom(*fullness);
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TooMuch>()) {
            Some(too_much) => Self::Refused(too_much.0.clone()),
            None if error.raw_os_error().is_some() => Self::Io(error),
            None => Self::Refused("it is damaged, or packed in another way than its mediaType says".into()),
        }
    }
}

/// A cap that was passed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct TooMuch(String);

/// The disk has no room for more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoRoom(Fullness);

/// Counts and hashes what passes.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
    bytes: Rc<Cell<u64>>,
}

impl<R> Hashed<R> {
    fn new(inner: R, bytes: Rc<Cell<u64>>) -> Self {
        Self { inner, hasher: Sha256::new(), bytes }
    }

    fn digest(self) -> Digest {
        Digest::of(self.hasher)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}

struct Limits {
    caps: Caps,
    packed: Rc<Cell<u64>>,
    disk: Disk,
    /// The disk is looked at when so many bytes came out.
    next_look: u64,
}

/// Fails once more comes out than a layer may be, or than the disk has room for.
struct Capped<R> {
    inner: Hashed<R>,
    limits: Limits,
}

impl<R> Capped<R> {
    fn new(inner: R, limits: Limits) -> Self {
        Self { inner: Hashed::new(inner, Rc::new(Cell::new(0))), limits }
    }
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let (out, caps) = (self.inner.bytes.get(), &self.limits.caps);
        if out > caps.bytes {
            return Err(io::Error::other(TooMuch(format!("it unpacks to more than {} bytes", caps.bytes))));
        }
        if out > caps.free_bytes && out / caps.ratio > self.limits.packed.get() {
            return Err(io::Error::other(TooMuch(format!(
                "it unpacks to more than {} times its size",
                caps.ratio
            ))));
        }
        if out >= self.limits.next_look {
            self.limits.next_look = out + LOOK_EVERY;
            self.limits.disk.check()?;
        }
        Ok(read)
    }
}

fn unpack_tar<R: Read>(reader: Capped<R>, target: &Path) -> Result<Digest, Stop> {
    let writer = Writer::below(target, &reader.limits)?;
    let most = writer.caps.entries;
    let mut archive = Archive::new(reader);
    let mut ahead = Ahead::default();
    let mut count = 0u64;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        count += 1;
        if count > most {
            return Err(Stop::Refused(format!("it has more than {most} entries")));
        }
        if !ahead.takes(&mut entry)? {
            let described = std::mem::take(&mut ahead);
            writer.write(&mut entry, described)?;
        }
    }
    let mut reader = archive.into_inner();
    io::copy(&mut reader, &mut io::sink())?;
    Ok(reader.inner.digest())
}

/// What extended headers say about the entry after them.
#[derive(Default)]
struct Ahead {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Ahead {
    /// Whether `entry` was a header about the next one, and is read.
    fn takes<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<bool, Stop> {
        match entry.header().entry_type() {
            EntryType::GNULongName => self.path = Some(name(header_bytes(entry)?)),
            EntryType::GNULongLink => self.link = Some(name(header_bytes(entry)?)),
            EntryType::XHeader => self.take_pax(&header_bytes(entry)?)?,
            EntryType::XGlobalHeader => drop(header_bytes(entry)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_pax(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let number = |value: &[u8]| str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        for extension in tar::PaxExtensions::new(bytes) {
            let extension = extension?;
            match extension.key_bytes() {
                b"path" => self.path = Some(extension.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(extension.value_bytes().to_vec()),
                b"uid" => self.uid = number(extension.value_bytes()),
                b"gid" => self.gid = number(extension.value_bytes()),
                // Sizes that two readers could see differently.
                b"size" => {
                    return Err(Stop::Refused("an extended header changes the size of an entry".into()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn header_bytes<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, Stop> {
    let mut bytes = Vec::new();
    entry.take(MAX_HEADER + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_HEADER {
        return Err(Stop::Refused(format!("an extended header is longer than {MAX_HEADER} bytes")));
    }
    Ok(bytes)
}

/// A long name ends with a NUL.
fn name(mut bytes: Vec<u8>) -> Vec<u8> {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

/// Who and how of an entry.
struct Owner {
    uid: Uid,
    gid: Gid,
    mode: Mode,
}

/// Writes entries below a folder.
struct Writer {
    root: OwnedFd,
    caps: Caps,
    disk: Disk,
    /// Folders made because they were missing above an entry.
    made: Cell<u32>,
}

impl Writer {
    fn below(target: &Path, limits: &Limits) -> rustix::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, target, flags, Mode::empty())?;
        Ok(Self { root, caps: limits.caps.clone(), disk: limits.disk.clone(), made: Cell::new(0) })
    }

    fn write<R: Read>(&self, entry: &mut Entry<'_, R>, ahead: Ahead) -> Result<(), Stop> {
        let header = entry.header();
        let raw = ahead.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let path = self.checked(&raw)?;
        let link = ahead.link.or_else(|| header.link_name_bytes().map(|bytes| bytes.into_owned()));
        let narrow = |id: Option<u32>, wide: io::Result<u64>| {
            id.or_else(|| u32::try_from(wide.ok()?).ok()).filter(|id| *id != u32::MAX).unwrap_or(0)
        };
        let owner = Owner {
            uid: Uid::from_raw(narrow(ahead.uid, header.uid())),
            gid: Gid::from_raw(narrow(ahead.gid, header.gid())),
            // No container gains privileges by a file, so none needs setuid or setgid.
            mode: Mode::from_raw_mode(header.mode()? & 0o1777),
        };
        let kind = header.entry_type();
        let Some((parent, name)) = split(&path) else {
            // The root folder itself: overlayfs shows the topmost layer's.
            return if kind.is_dir() {
                Ok(own(&self.root_folder()?, &owner)?)
            } else {
                Err(refused(&path, "has no name"))
            };
        };
        let parent = self.folder(parent)?;
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            return whiteout(&parent, OsStr::from_bytes(hidden), &path);
        }
        match kind {
            EntryType::Directory => write_folder(&parent, name, &owner),
            EntryType::Regular | EntryType::Continuous => write_file(&parent, name, &owner, entry),
            EntryType::Symlink => {
                let target = link.ok_or_else(|| refused(&path, "is a link to nothing"))?;
                make_room(&parent, name)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&target), &parent, name)?;
                Ok(rustix::fs::chownat(
                    &parent,
                    name,
                    Some(owner.uid),
                    Some(owner.gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?)
            }
            EntryType::Link => {
                let target = self.checked(&link.ok_or_else(|| refused(&path, "is a link to nothing"))?)?;
                self.write_hard_link(&parent, name, &target)
            }
            EntryType::Fifo => {
                make_room(&parent, name)?;
                rustix::fs::mknodat(&parent, name, FileType::Fifo, owner.mode, 0)?;
                Ok(rustix::fs::chownat(
                    &parent,
                    name,
                    Some(owner.uid),
                    Some(owner.gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?)
            }
            EntryType::Char | EntryType::Block => Err(refused(&path, "is a device")),
            other => {
                Err(refused(&path, &format!("is of the unknown type {:?}", char::from(other.as_byte()))))
            }
        }
    }

    /// A path without root and `.`; refused with `..`, or when it is too long or too deep.
    fn checked(&self, raw: &[u8]) -> Result<PathBuf, Stop> {
        let path = PathBuf::from(OsString::from_vec(raw.to_vec()));
        if raw.len() > self.caps.path_bytes || raw.contains(&0) {
            return Err(refused(&path, "is too long or has a NUL in its name"));
        }
        let mut kept = PathBuf::new();
        for part in path.components() {
            match part {
                Component::Normal(word) => kept.push(word),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(refused(&path, "leads out of the image"));
                }
            }
        }
        if kept.components().count() > self.caps.depth {
            return Err(refused(&kept, "is too deep"));
        }
        Ok(kept)
    }

    fn root_folder(&self) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat(
            &self.root,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    /// The folder at `path`, made with all above it where missing or hidden. Links within the layer are followed, none
    /// that leads out is.
    fn folder(&self, path: &Path) -> Result<OwnedFd, Stop> {
        let outside = || refused(path, "is reached through a link that leads out, or through a file");
        let in_the_way = match self.open_folder(path) {
            Ok(folder) => return Ok(folder),
            // A link to what is not there.
            Err(Errno::NOENT) => refused(path, "is a link to nothing"),
            // A file, or a whiteout.
            Err(Errno::NOTDIR) => outside(),
            Err(Errno::XDEV | Errno::LOOP) => return Err(outside()),
            Err(error) => return Err(error.into()),
        };
        let (above, name) = split(path).ok_or_else(|| refused(path, "has no name"))?;
        let above = self.folder(above)?;
        let below = make_room_in_whiteout(&above, name)?;
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(in_the_way),
            Err(error) => return Err(error.into()),
        }
        rustix::fs::chmodat(&above, name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
        let folder = self.open_folder(path)?;
        below.keep_hidden(&folder)?;
        self.count_made()?;
        Ok(folder)
    }

    /// Looks at the disk after every [`LOOK_EVERY_FOLDERS`] folders.
    fn count_made(&self) -> io::Result<()> {
        self.made.set(self.made.get().wrapping_add(1));
        if self.made.get().is_multiple_of(LOOK_EVERY_FOLDERS) { self.disk.check() } else { Ok(()) }
    }

    fn open_folder(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return self.root_folder();
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    fn write_hard_link(&self, parent: &OwnedFd, name: &OsStr, target: &Path) -> Result<(), Stop> {
        let (from, file) = split(target).ok_or_else(|| refused(target, "is a folder"))?;
        let from = self.folder(from)?;
        let stat = rustix::fs::statat(&from, file, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| refused(target, "is linked to and is not there"))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Symlink | FileType::Fifo => {}
            FileType::Directory
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Err(refused(target, "is linked to and is no file")),
        }
        make_room(parent, name)?;
        Ok(rustix::fs::linkat(&from, file, parent, name, AtFlags::empty())?)
    }
}

fn refused(path: &Path, why: &str) -> Stop {
    Stop::Refused(format!("{:?} {why}", path.to_string_lossy()))
}

fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

/// Of two entries of one name the later wins; a folder in the way must be empty.
fn make_room(parent: &OwnedFd, name: &OsStr) -> Result<(), Stop> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {
            Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn own(place: &OwnedFd, owner: &Owner) -> rustix::io::Result<()> {
    rustix::fs::fchown(place, Some(owner.uid), Some(owner.gid))?;
    rustix::fs::fchmod(place, owner.mode)
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn write_folder(parent: &OwnedFd, name: &OsStr, owner: &Owner) -> Result<(), Stop> {
    let folder = match rustix::fs::openat(parent, name, FOLDER, Mode::empty()) {
        Ok(folder) => folder,
        Err(_) => {
            let below = make_room_in_whiteout(parent, name)?;
            make_room(parent, name)?;
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
            let folder = rustix::fs::openat(parent, name, FOLDER, Mode::empty())?;
            below.keep_hidden(&folder)?;
            folder
        }
    };
    Ok(own(&folder, owner)?)
}

/// What the layers below have under a name that this layer is about to give to a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Shown,
    /// A whiteout of this layer hid it.
    Hidden,
}

impl Below {
    fn keep_hidden(self, folder: &OwnedFd) -> rustix::io::Result<()> {
        match self {
            Self::Shown => Ok(()),
            Self::Hidden => hide_below(folder),
        }
    }
}

/// Removes the whiteout of this name, if there is one.
fn make_room_in_whiteout(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<Below> {
    match kind_of(parent, name)? {
        Some(FileType::CharacterDevice) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            Ok(Below::Hidden)
        }
        Some(_) | None => Ok(Below::Shown),
    }
}

/// What this layer has under a name; devices are only its whiteouts.
fn kind_of(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<Option<FileType>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Hides all that the layers below have in this folder.
fn hide_below(folder: &OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::fsetxattr(folder, OPAQUE, b"y", XattrFlags::empty())
}

fn write_file<R: Read>(parent: &OwnedFd, name: &OsStr, owner: &Owner, from: &mut R) -> Result<(), Stop> {
    make_room(parent, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
    own(&file, owner)?;
    io::copy(from, &mut File::from(file))?;
    Ok(())
}

/// `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` all that they have in this folder. Neither hides what the
/// layer itself has, before or after.
fn whiteout(parent: &OwnedFd, hidden: &OsStr, path: &Path) -> Result<(), Stop> {
    match hidden.as_bytes() {
        b".wh..opq" => Ok(hide_below(parent)?),
        // Notes of the tool that made the layer.
        other if other.starts_with(b".wh.") => Ok(()),
        b"" | b"." | b".." => Err(refused(path, "hides nothing")),
        _ => match kind_of(parent, hidden)? {
            None => Ok(rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)?),
            Some(FileType::Directory) => {
                Ok(hide_below(&rustix::fs::openat(parent, hidden, FOLDER, Mode::empty())?)?)
            }
            // The layer's own entry hides what is below.
            Some(_) => Ok(()),
        },
    }
}
