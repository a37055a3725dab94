//! Images: OCI layout folders, unpacked once per layer. Every image is hostile.
//!
//! A layer's folder carries its diff id and appears whole, by rename, after blob digest and diff id were both seen to
//! be right and all of its image was unpacked or failed. Layers are shared by all images that have them and stay until
//! collected.

mod layout;
#[cfg(test)]
mod tests;
mod tree;
mod unpack;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use crate::disk::Fullness;
use crate::runtime_spec::ImageSays;
use berth_removal::remove_tree;
use rustix::fs::{FlockOperation, flock};

pub use layout::{Blob, Digest};
pub use tree::Tree;
pub use unpack::{Caps, Disk};

use layout::Found;

/// Why an image cannot be used; trying again helps only once somebody changed it, or the disk.
///
/// No message quotes a value of a file: a layout may name any file of the node, and whoever reads a Task's status would
/// read it too.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of the layout cannot be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The layout is not one, or holds no such image.
    #[error("image folder {dir}: {why}")]
    Layout {
        /// The folder.
        dir: PathBuf,
        /// The rule.
        why: String,
    },
    /// Content is not what its digest says.
    #[error("{what} of image folder {dir} is damaged: its digest must be {expected}")]
    Digest {
        /// The folder.
        dir: PathBuf,
        /// Manifest, config or layer.
        what: &'static str,
        /// As named.
        expected: Digest,
    },
    /// A layer holds something that must not be unpacked.
    #[error("layer {layer} is refused: {why}")]
    Refused {
        /// Its diff id.
        layer: String,
        /// The rule and the entry.
        why: String,
    },
    /// The image's user cannot be told.
    #[error("the user that the image's config names: {why}")]
    User {
        /// The rule.
        why: String,
    },
    /// The disk is too full for it.
    #[error(
        "image folder {dir} does not fit: with what was unpacked of it, the disk of {folder} had {fullness} (limit \
         {limit} %); free some space there, or use a smaller image or a node with a larger disk"
    )]
    NoRoom {
        /// The image's folder.
        dir: PathBuf,
        /// Where layers are unpacked to.
        folder: PathBuf,
        /// When unpacking ended.
        fullness: Fullness,
        /// The most percent that may be in use.
        limit: u8,
        /// What the system said, if it refused a write.
        source: Option<io::Error>,
    },
    /// The disk is full below its limit: of files, or by a quota.
    #[error(
        "image folder {dir} does not fit: the disk of {folder} takes no more, for its files (inodes) or a quota are used \
         up; delete files there, or raise the quota"
    )]
    NoFiles {
        /// The image's folder.
        dir: PathBuf,
        /// Where layers are unpacked to.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A layer cannot be written.
    #[error("could not unpack layer {layer}")]
    Unpack {
        /// Its diff id.
        layer: String,
        /// What the system said.
        source: io::Error,
    },
}

/// An image whose layers are unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of its manifest.
    pub digest: String,
    /// Folders of the layers that show, topmost first.
    pub layers: Vec<PathBuf>,
    /// What its config says about commands.
    pub says: ImageSays,
    /// Who its config says it runs as.
    pub user: String,
}

/// Unpacked layers of this node.
#[derive(Debug)]
pub struct ImageStore {
    layers: PathBuf,
    caps: Caps,
    disk: Disk,
    /// One image is unpacked at a time: two Tasks of one image share the work.
    unpacking: Mutex<()>,
}

impl ImageStore {
    /// Layers in the folder `layers`, unpacked until `disk_limit` percent of its disk are in use.
    pub fn new(layers: PathBuf, disk_limit: u8) -> Self {
        let disk = Disk { folder: layers.clone(), limit: disk_limit };
        Self { layers, caps: Caps::default(), disk, unpacking: Mutex::new(()) }
    }

    /// Checks the image of the layout folder `dir` and unpacks what is missing.
    pub fn prepare(&self, dir: &Path, tag: Option<&str>) -> Result<Image, ImageError> {
        let found = layout::read(dir, tag)?;
        if !self.have_all(&found.diff_ids)? {
            self.unpack_missing(dir, &found)?;
        }
        let layers = stacked(found.diff_ids.iter().rev().map(|id| self.layer(id)))?;
        Ok(Image { digest: found.digest.to_string(), layers, says: found.says, user: found.user })
    }

    fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(diff_id.hex())
    }

    /// Where a layer is while it is not whole.
    fn staged(&self, diff_id: &Digest) -> PathBuf {
        self.layers.join(format!("{ASIDE}{}", diff_id.hex()))
    }

    fn have_all(&self, diff_ids: &[Digest]) -> Result<bool, ImageError> {
        for diff_id in diff_ids {
            if !self.has(diff_id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the layer is there. It is used now: it is not collected before a Task can name it.
    fn has(&self, diff_id: &Digest) -> Result<bool, ImageError> {
        let path = self.layer(diff_id);
        let use_now = || -> io::Result<bool> {
            let folder = File::open(&path)?;
            flock(&folder, FlockOperation::LockShared)?;
            folder.set_modified(SystemTime::now())?;
            // It may just have been collected.
            Ok(path.is_dir())
        };
        match use_now() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            outcome => outcome.map_err(|source| ImageError::Unpack { layer: diff_id.to_string(), source }),
        }
    }

    /// An image for which the disk has no room leaves nothing of it; what was whole before another fault stays.
    fn unpack_missing(&self, dir: &Path, found: &Found) -> Result<(), ImageError> {
        let _one = self.unpacking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let failed = |source| self.disk.unwritten(dir, &found.diff_ids[0], source);
        fs::create_dir_all(&self.layers).map_err(failed)?;
        let folder = lock(&self.layers).map_err(failed)?;
        let mut whole: Vec<&Digest> = Vec::new();
        let mut outcome = Ok(());
        for (blob, diff_id) in found.layers.iter().zip(&found.diff_ids) {
            outcome = match whole.contains(&diff_id) {
                true => Ok(()),
                false => self.stage(dir, blob, diff_id, &mut whole),
            };
            if outcome.is_err() {
                break;
            }
        }
        let has_room = |outcome: &Result<(), ImageError>| {
            !matches!(outcome, Err(ImageError::NoRoom { .. } | ImageError::NoFiles { .. }))
        };
        if has_room(&outcome)
            && let Err(source) = self.settle(&whole, &folder)
        {
            outcome = Err(failed(source));
        }
        if !has_room(&outcome) {
            // What cannot be removed now is removed before the next try.
            whole.iter().for_each(|diff_id| drop(remove_tree(&self.staged(diff_id))));
        }
        outcome
    }

    /// Unpacks a layer, if it is missing, to where it is whole and not in use.
    fn stage<'a>(
        &self,
        dir: &Path,
        blob: &Blob,
        diff_id: &'a Digest,
        whole: &mut Vec<&'a Digest>,
    ) -> Result<(), ImageError> {
        if self.has(diff_id)? {
            return Ok(());
        }
        let failed = |source| self.disk.unwritten(dir, diff_id, source);
        let staged = self.staged(diff_id);
        remove_tree(&staged).map_err(failed)?;
        fs::create_dir(&staged).map_err(failed)?;
        let unpacked = unpack::unpack(dir, blob, diff_id, &staged, &self.caps, &self.disk);
        match unpacked {
            Ok(()) => whole.push(diff_id),
            // What cannot be removed now is removed before the next try.
            Err(_) => drop(remove_tree(&staged)),
        }
        unpacked
    }

    /// All of a layer is on disk before its name is.
    fn settle(&self, whole: &[&Digest], layers: &File) -> io::Result<()> {
        if whole.is_empty() {
            return Ok(());
        }
        rustix::fs::syncfs(layers)?;
        for diff_id in whole {
            let staged = self.staged(diff_id);
            File::open(&staged)?.set_modified(SystemTime::now())?;
            fs::rename(staged, self.layer(diff_id))?;
        }
        layers.sync_all()
    }
}

/// The layers that show, topmost first, of all layers of an image in this order.
fn stacked(all: impl Iterator<Item = PathBuf>) -> Result<Vec<PathBuf>, ImageError> {
    let mut layers: Vec<PathBuf> = Vec::new();
    for layer in all {
        // What a layer does again hides what it did below, and overlayfs takes no folder twice.
        if layers.contains(&layer) {
            continue;
        }
        let is_last = tree::hides_all_below(&layer)
            .map_err(|source| ImageError::Read { path: layer.clone(), source })?;
        layers.push(layer);
        if is_last {
            break;
        }
    }
    Ok(layers)
}

/// What is unpacked or removed has a name that begins so.
const ASIDE: &str = "tmp-";

/// Beside this process, one that prepares a Task alone may unpack, and a sweep may collect.
fn lock(layers: &Path) -> io::Result<File> {
    let folder = File::open(layers)?;
    flock(&folder, FlockOperation::LockExclusive)?;
    Ok(folder)
}

/// Removes layers below `layers` that nobody in `used` needs and that were not asked for since `before`. One that cannot
/// be removed keeps no other.
pub fn collect(layers: &Path, used: &BTreeSet<PathBuf>, before: SystemTime) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(layers)? {
        let path = entry?.path();
        if used.contains(&path) {
            continue;
        }
        // For each anew: an image that is asked for does not wait until all are removed.
        let _lock = lock(layers)?;
        match collect_one(&path, before) {
            Ok(true) => removed += 1,
            Ok(false) => {}
            Err(error) => tracing::warn!(layer = %path.display(), %error, "an unused layer stays"),
        }
    }
    Ok(removed)
}

/// Whether the layer was old and is removed now.
fn collect_one(layer: &Path, before: SystemTime) -> io::Result<bool> {
    let folder = match File::open(layer) {
        Ok(folder) => folder,
        // Unpacked by now, and renamed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // An image that needs it looks at it without the lock of all layers.
    flock(&folder, FlockOperation::LockExclusive)?;
    if folder.metadata()?.modified()? >= before {
        return Ok(false);
    }
    let name = layer.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with(ASIDE) {
        remove_tree(layer)?;
        return Ok(true);
    }
    // Out of sight first: what is removed by half must not be taken for a layer.
    let aside = layer.with_file_name(format!("{ASIDE}{name}"));
    remove_tree(&aside)?;
    fs::rename(layer, &aside)?;
    drop(folder);
    remove_tree(&aside)?;
    Ok(true)
}
