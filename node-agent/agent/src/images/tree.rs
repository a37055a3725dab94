//! Looking into stacked layers without mounting them. Links that an image made are followed step by step within it, as
//! in a container, and never by the kernel.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::ImageError;
use super::unpack::OPAQUE;
use crate::runtime_spec::User;

/// The largest passwd or group file that is read.
const MAX_FILE: u64 = 1 << 20;

/// The most links on the way to a file.
const MAX_LINKS: usize = 40;
/// The most groups of a user.
const MAX_GROUPS: usize = 1_000;

/// What the kernel takes for "as it was", which is root.
const UNCHANGED: u32 = u32::MAX;

/// Layers, the topmost first.
#[derive(Debug)]
pub struct Tree<'a> {
    layers: &'a [PathBuf],
}

/// What lies at a path of one layer.
enum Seen {
    Nothing,
    /// A whiteout, or nothing in an opaque folder: what layers below have there does not show.
    Hidden,
    /// Neither folder, file nor link; or a parent in the path is not a folder.
    Other,
    Folder,
    Link(PathBuf),
    File(OwnedFd),
}

impl<'a> Tree<'a> {
    /// The tree that these layers make.
    pub fn new(layers: &'a [PathBuf]) -> Self {
        Self { layers }
    }

    /// Whether nothing shows at `dir`.
    pub fn lacks_folder(&self, dir: &Path) -> bool {
        matches!(self.topmost(dir), Ok(Seen::Nothing | Seen::Hidden))
    }

    /// The user that `text` names: `uid`, `uid:gid`, `name`, `name:group`; empty is root. Names are read from the
    /// tree's own passwd and group files.
    pub fn user(&self, text: &str) -> Result<User, ImageError> {
        let refused = |why: String| ImageError::User { why };
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let user = if user.is_empty() { "0" } else { user };
        let passwd = self.read(Path::new("etc/passwd")).map_err(|e| refused(e.to_string()))?;
        let mut known = passwd.lines().filter_map(PasswdLine::parse);
        let line = match user.parse::<u32>() {
            Ok(uid) => known.find(|line| line.uid == uid).ok_or(uid),
            Err(_) => {
                let line = known.find(|line| line.name == user);
                Ok(line.ok_or_else(|| refused("its passwd file has no such name".into()))?)
            }
        };
        let found = match line {
            Ok(line) => User { groups: self.groups_of(line.name).map_err(refused)?, ..line.user() },
            Err(uid) => User { uid, gid: 0, home: None, groups: Vec::new() },
        };
        let gid = if group.is_empty() { found.gid } else { self.group(group).map_err(refused)? };
        if [found.uid, gid].contains(&UNCHANGED) {
            return Err(refused(format!("ids must be below {UNCHANGED}")));
        }
        Ok(User { gid, ..found })
    }

    fn group(&self, group: &str) -> Result<u32, String> {
        if let Ok(gid) = group.parse() {
            return Ok(gid);
        }
        let text = self.read(Path::new("etc/group")).map_err(|e| e.to_string())?;
        let mut known = text.lines().filter_map(GroupLine::parse);
        let gid = known.find(|line| line.name == group).map(|line| line.gid);
        gid.ok_or_else(|| "its group file has no such name".to_owned())
    }

    /// The groups that have the user of this name as a member.
    fn groups_of(&self, user: &str) -> Result<Vec<u32>, String> {
        let text = self.read(Path::new("etc/group")).map_err(|e| e.to_string())?;
        let known = text.lines().filter_map(GroupLine::parse);
        let has = |line: &GroupLine<'_>| line.gid != UNCHANGED && line.members.split(',').any(|m| m == user);
        Ok(known.filter(has).map(|line| line.gid).take(MAX_GROUPS).collect())
    }

    /// The file as a container has it; empty when there is none.
    fn read(&self, path: &Path) -> io::Result<String> {
        let Some(file) = self.find(path)? else { return Ok(String::new()) };
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The file at `path`, through links within the tree.
    fn find(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        let mut todo = steps(path);
        let (mut at, mut links) = (PathBuf::new(), 0);
        while let Some(step) = todo.pop() {
            if step == ".." {
                at.pop();
                continue;
            }
            match self.topmost(&at.join(&step))? {
                Seen::Folder => at.push(step),
                Seen::File(file) => return Ok(todo.is_empty().then_some(file)),
                Seen::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Ok(None);
                    }
                    if target.is_absolute() {
                        at = PathBuf::new();
                    }
                    todo.extend(steps(&target));
                }
                Seen::Nothing | Seen::Hidden | Seen::Other => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What shows at a path without links on its way.
    fn topmost(&self, path: &Path) -> io::Result<Seen> {
        let mut folders = 0;
        for layer in self.layers {
            match look(layer, path, &mut folders)? {
                Seen::Nothing => {}
                seen => return Ok(seen),
            }
        }
        Ok(Seen::Nothing)
    }
}

/// The words of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let word = |part: Component<'_>| match part {
        Component::Normal(word) => Some(word.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(word).collect()
}

/// What lies at a path of this layer, seen as overlayfs sees it: it looks at no layer below a whiteout or an opaque folder.
/// `folders` counts the steps that a layer above has as folders: what is none here is hidden by those.
fn look(layer: &Path, path: &Path, folders: &mut usize) -> io::Result<Seen> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = rustix::fs::openat(CWD, layer, flags | OFlags::DIRECTORY, Mode::empty())?;
    let (mut todo, mut missing, mut passed) = (steps(path), Seen::Nothing, 0);
    while let Some(step) = todo.pop() {
        if step == ".." {
            return Ok(Seen::Other);
        }
        let place = match rustix::fs::openat(&folder, &step, flags, Mode::empty()) {
            Ok(place) => place,
            Err(Errno::NOENT) => {
                *folders = passed.max(*folders);
                return Ok(missing);
            }
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&place)?;
        match (FileType::from_raw_mode(stat.st_mode), todo.is_empty()) {
            (FileType::Directory, true) => break,
            (FileType::Directory, false) => {
                if is_opaque(&place)? {
                    missing = Seen::Hidden;
                }
                (folder, passed) = (place, passed + 1);
            }
            (FileType::CharacterDevice, _) if stat.st_rdev == 0 => return Ok(Seen::Hidden),
            (FileType::RegularFile, true) => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                return Ok(Seen::File(rustix::fs::openat(&folder, &step, flags, Mode::empty())?));
            }
            (FileType::Symlink, true) => {
                let target = rustix::fs::readlinkat(&place, "", Vec::new())?;
                return Ok(Seen::Link(OsString::from_vec(target.into_bytes()).into()));
            }
            (
                FileType::RegularFile
                | FileType::Symlink
                | FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown,
                _,
            ) => return Ok(if passed < *folders { Seen::Hidden } else { Seen::Other }),
        }
    }
    Ok(Seen::Folder)
}

/// Whether this layer hides all layers below it. The kernel ignores the mark at a layer's root, so the layers below must be
/// left out of the stack.
pub(super) fn hides_all_below(layer: &Path) -> io::Result<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    is_opaque(&rustix::fs::openat(CWD, layer, flags, Mode::empty())?)
}

/// Whether nothing of the layers below shows in this folder.
fn is_opaque(folder: &OwnedFd) -> io::Result<bool> {
    let folder =
        rustix::fs::openat(folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut mark = [0; 1];
    match rustix::fs::fgetxattr(folder, OPAQUE, &mut mark) {
        Ok(length) => Ok(length == 1 && mark == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, home: fields.nth(1)? })
    }

    fn user(self) -> User {
        let home = Some(self.home.to_owned()).filter(|home| home.starts_with('/'));
        User { uid: self.uid, gid: self.gid, home, groups: Vec::new() }
    }
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> GroupLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Self { name, gid, members: fields.next().unwrap_or_default() })
    }
}
