//! Looking into stacked layers without mounting them, and without following a link that an image made.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use super::ImageError;
use crate::runtime_spec::User;

/// The largest passwd or group file that is read.
const MAX_FILE: u64 = 1 << 20;

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
    /// A whiteout, or anything but a folder or file: what lies below does not show.
    Covered,
    Folder,
    File(rustix::fd::OwnedFd),
}

impl<'a> Tree<'a> {
    /// The tree that these layers make.
    pub fn new(layers: &'a [PathBuf]) -> Self {
        Self { layers }
    }

    /// Whether no layer has anything at `dir`.
    pub fn lacks_folder(&self, dir: &Path) -> bool {
        self.layers.iter().all(|layer| matches!(look(layer, dir), Ok(Seen::Nothing)))
    }

    /// The user that `text` names: `uid`, `uid:gid`, `name`, `name:group`; empty is root. Names are read from the
    /// tree's own passwd and group files.
    pub fn user(&self, text: &str) -> Result<User, ImageError> {
        let refused = |why: String| ImageError::User { why };
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let user = if user.is_empty() { "0" } else { user };
        let passwd = self.read(Path::new("etc/passwd")).map_err(|e| refused(e.to_string()))?;
        let known = passwd.lines().filter_map(PasswdLine::parse);
        let found = match user.parse::<u32>() {
            Ok(uid) => known.filter(|line| line.uid == uid).map(PasswdLine::user).next().unwrap_or(User {
                uid,
                gid: 0,
                home: None,
            }),
            Err(_) => known
                .filter(|line| line.name == user)
                .map(PasswdLine::user)
                .next()
                .ok_or_else(|| refused("its passwd file has no such name".into()))?,
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
        let gid = text.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
        });
        gid.ok_or_else(|| "its group file has no such name".to_owned())
    }

    /// The file as the topmost layer has it; empty when there is none.
    fn read(&self, path: &Path) -> io::Result<String> {
        for layer in self.layers {
            match look(layer, path)? {
                Seen::Nothing => {}
                Seen::Covered | Seen::Folder => break,
                Seen::File(file) => {
                    let mut bytes = Vec::new();
                    std::fs::File::from(file).take(MAX_FILE).read_to_end(&mut bytes)?;
                    return Ok(String::from_utf8_lossy(&bytes).into_owned());
                }
            }
        }
        Ok(String::new())
    }
}

fn look(layer: &Path, path: &Path) -> io::Result<Seen> {
    let root =
        rustix::fs::openat(CWD, layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let open = |flags| rustix::fs::openat2(&root, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    let place = match open(OFlags::PATH) {
        Ok(place) => place,
        Err(rustix::io::Errno::NOENT) => return Ok(Seen::Nothing),
        // A link, a whiteout on the way, a way out.
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR | rustix::io::Errno::XDEV) => {
            return Ok(Seen::Covered);
        }
        Err(error) => return Err(error.into()),
    };
    match FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) {
        FileType::Directory => Ok(Seen::Folder),
        FileType::RegularFile => Ok(Seen::File(open(OFlags::RDONLY | OFlags::NONBLOCK)?)),
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Ok(Seen::Covered),
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
        User { uid: self.uid, gid: self.gid, home }
    }
}
