//! Images: OCI layout folders, unpacked once per layer. Every image is hostile.
//!
//! A layer's folder carries its diff id and appears whole, by rename, after blob digest and diff id were both seen to
//! be right. Layers are shared by all images that have them and stay until collected.

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

use crate::runtime_spec::ImageSays;
use berth_removal::remove_tree;
use rustix::fs::{FlockOperation, flock};

pub use layout::{Blob, Digest};
pub use tree::Tree;
pub use unpack::Caps;

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
    /// Folders of its layers, topmost first.
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
    /// One layer is unpacked at a time: two Tasks of one image share the work.
    unpacking: Mutex<()>,
}

impl ImageStore {
    /// Layers in the folder `layers`.
    pub fn new(layers: PathBuf) -> Self {
        Self { layers, caps: Caps::default(), unpacking: Mutex::new(()) }
    }

    /// Checks the image of the layout folder `dir` and unpacks what is missing.
    pub fn prepare(&self, dir: &Path, tag: Option<&str>) -> Result<Image, ImageError> {
        let found = layout::read(dir, tag)?;
        let mut layers = Vec::new();
        for (blob, diff_id) in found.layers.iter().zip(&found.diff_ids) {
            layers.push(self.layer(dir, blob, diff_id)?);
        }
        layers.reverse();
        // What a layer does again hides what it did below, and overlayfs takes no folder twice.
        let mut seen = BTreeSet::new();
        layers.retain(|layer| seen.insert(layer.clone()));
        Ok(Image { digest: found.digest.to_string(), layers, says: found.says, user: found.user })
    }

    fn layer(&self, dir: &Path, blob: &Blob, diff_id: &Digest) -> Result<PathBuf, ImageError> {
        let target = self.layers.join(diff_id.hex());
        let _one = self.unpacking.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let failed = |source| ImageError::Unpack { layer: diff_id.to_string(), source };
        fs::create_dir_all(&self.layers).map_err(failed)?;
        let _lock = lock(&self.layers).map_err(failed)?;
        if target.is_dir() {
            // Used now: it is not collected before a Task can name it.
            File::open(&target).and_then(|folder| folder.set_modified(SystemTime::now())).map_err(failed)?;
            return Ok(target);
        }
        let beside = self.layers.join(format!("{ASIDE}{}", diff_id.hex()));
        remove_tree(&beside).map_err(failed)?;
        fs::create_dir(&beside).map_err(failed)?;
        let unpacked = unpack::unpack(dir, blob, diff_id, &beside, &self.caps)
            .and_then(|()| settle(&beside, &target, &self.layers).map_err(failed));
        if unpacked.is_err() {
            // What cannot be removed now is removed before the next try.
            let _ = remove_tree(&beside);
        }
        unpacked.map(|()| target)
    }
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
    let written = match fs::symlink_metadata(layer) {
        Ok(meta) => meta.modified()?,
        // Unpacked by now, and renamed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if written >= before {
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
    remove_tree(&aside)?;
    Ok(true)
}

/// All of the layer is on disk before its name is.
fn settle(beside: &Path, target: &Path, layers: &Path) -> io::Result<()> {
    let folder = File::open(beside)?;
    folder.set_modified(SystemTime::now())?;
    rustix::fs::syncfs(folder)?;
    fs::rename(beside, target)?;
    File::open(layers)?.sync_all()
}
