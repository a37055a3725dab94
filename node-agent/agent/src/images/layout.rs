//! An OCI image layout folder: index, manifest, config; each read only as what its digest says.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, FsWord, Mode, OFlags};
use serde::Deserialize;
use serde_json::error::Category;
use sha2::{Digest as _, Sha256};

use super::ImageError;
use crate::runtime_spec::ImageSays;

/// The largest index, manifest or config that is read, in bytes.
const MAX_JSON: u64 = 4 << 20;
/// The most layers: more do not fit into the options of a mount.
const MAX_LAYERS: usize = 128;
/// File systems whose files the kernel makes up as they are read: proc, sysfs, debugfs, tracefs, securityfs, cgroup, cgroup2
/// and configfs, by the numbers of `linux/magic.h`.
const MADE_UP: [FsWord; 8] =
    [0x9fa0, 0x6265_6572, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0x0027_e0eb, 0x6367_7270, 0x6265_6570];
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A sha256 digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let valid = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        valid.then(|| Self(hex.into()))
    }

    pub(super) fn of(hasher: Sha256) -> Self {
        Self(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digest without its algorithm.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// A blob that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Of its bytes.
    pub digest: Digest,
    /// How many.
    pub size: u64,
    /// How they are packed.
    pub packing: Packing,
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
}

/// What a layout says of one image.
#[derive(Debug)]
pub struct Found {
    pub digest: Digest,
    /// Lowest first.
    pub layers: Vec<Blob>,
    /// Lowest first, as many.
    pub diff_ids: Vec<Digest>,
    pub says: ImageSays,
    pub user: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize, Clone)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    config: Process,
    rootfs: RootFs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Process {
    user: String,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: String,
}

impl Process {
    /// No word with a NUL can be given to a program.
    fn has_nul(&self) -> bool {
        let lists = [&self.env, &self.entrypoint, &self.cmd];
        let words = lists.into_iter().flatten().flatten().chain([&self.working_dir]);
        words.into_iter().any(|word| word.contains('\0'))
    }
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Reads what the layout in `dir` says of the image with this tag, or of its only one.
pub fn read(dir: &Path, tag: Option<&str>) -> Result<Found, ImageError> {
    let refused = |why: String| ImageError::Layout { dir: dir.into(), why };
    let index = read_whole(&dir.join("index.json"), Links::Refused)?;
    let index: Index = parse(dir, "index.json", &index)?;
    let mut chosen = choose(&index, tag).map_err(refused)?;
    if chosen.media_type.contains("image.index") || chosen.media_type.contains("manifest.list") {
        let inner: Index = parse(dir, "the inner index", &read_blob(dir, &chosen, "index")?)?;
        chosen = choose(&inner, None).map_err(refused)?;
    }
    let manifest: Manifest = parse(dir, "the manifest", &read_blob(dir, &chosen, "manifest")?)?;
    let config: Config = parse(dir, "the config", &read_blob(dir, &manifest.config, "config")?)?;
    let layers = (1..).zip(&manifest.layers).map(blob).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let diff_ids = config.rootfs.diff_ids.iter().map(|id| digest(id, "each diff id of the config"));
    let diff_ids = diff_ids.collect::<Result<Vec<_>, _>>().map_err(refused)?;
    if layers.is_empty() || layers.len() != diff_ids.len() || layers.len() > MAX_LAYERS {
        return Err(refused(format!(
            "must have 1 to {MAX_LAYERS} layers and a diff id for each, got {} and {}",
            layers.len(),
            diff_ids.len()
        )));
    }
    let process = config.config;
    if process.has_nul() {
        return Err(refused(
            "its config has a NUL in the command, a variable or the working directory".into(),
        ));
    }
    Ok(Found {
        digest: digest(&chosen.digest, "the manifest's digest").map_err(refused)?,
        layers,
        diff_ids,
        user: process.user.clone(),
        says: says(process),
    })
}

fn choose(index: &Index, tag: Option<&str>) -> Result<Descriptor, String> {
    let tagged =
        |d: &&Descriptor| tag.is_none_or(|tag| d.annotations.get(REF_NAME).is_some_and(|t| t == tag));
    let mut found: Vec<&Descriptor> = index.manifests.iter().filter(tagged).collect();
    if found.len() > 1 {
        let ours = |d: &&Descriptor| {
            let platform = d.platform.as_ref();
            platform.is_some_and(|p| p.os == "linux" && p.architecture == oci_architecture())
        };
        found.retain(ours);
    }
    match (found.as_slice(), tag) {
        ([one], _) => Ok((*one).clone()),
        ([], Some(tag)) => Err(format!("has no image with tag `{tag}`; {}", tags(index))),
        (_, _) => Err(format!("must hold one image, or the tag must say which; {}", tags(index))),
    }
}

fn tags(index: &Index) -> String {
    let (images, tagged) = (index.manifests.len(), |d: &&Descriptor| d.annotations.contains_key(REF_NAME));
    let tagged = index.manifests.iter().filter(tagged).count();
    format!("images in its index.json: {images}, of these with a tag (`{REF_NAME}`): {tagged}")
}

fn oci_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(text: &str, what: &str) -> Result<Digest, String> {
    Digest::parse(text).ok_or_else(|| format!("{what} must be `sha256:` and 64 hex digits"))
}

fn blob((position, descriptor): (usize, &Descriptor)) -> Result<Blob, String> {
    let kind = descriptor.media_type.as_str();
    let packing = if kind.ends_with("tar+gzip") || kind.ends_with("tar.gzip") {
        Packing::Gzip
    } else if kind.ends_with(".tar") {
        Packing::Plain
    } else {
        return Err(format!("the mediaType of layer {position} must be tar or tar+gzip"));
    };
    let digest = digest(&descriptor.digest, &format!("the digest of layer {position}"))?;
    Ok(Blob { digest, size: descriptor.size, packing })
}

pub(super) fn blob_path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs").join("sha256").join(digest.hex())
}

fn read_blob(dir: &Path, descriptor: &Descriptor, what: &'static str) -> Result<Vec<u8>, ImageError> {
    let expected = digest(&descriptor.digest, &format!("the digest of the {what}"))
        .map_err(|why| ImageError::Layout { dir: dir.into(), why })?;
    let bytes = read_whole(&blob_path(dir, &expected), Links::Followed)?;
    if Digest::of(Sha256::new_with_prefix(&bytes)) != expected {
        return Err(ImageError::Digest { dir: dir.into(), what, expected });
    }
    Ok(bytes)
}

/// Whether a file of a layout may be a link to one. Tools link blobs, which are checked by their digest; nothing checks
/// what an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Followed,
    Refused,
}

/// Opens a file of a layout, which must be one: to open a pipe or a device may do something or keep us waiting, and what
/// the kernel makes up tells of the node. So its place is looked at first, and then this very place is opened.
pub(super) fn open(path: &Path, links: Links) -> Result<File, ImageError> {
    let failed = |source| ImageError::Read { path: path.into(), source };
    let must_be = |what: &str| failed(std::io::Error::other(format!("must be {what}")));
    let follow = match links {
        Links::Followed => OFlags::empty(),
        Links::Refused => OFlags::NOFOLLOW,
    };
    let looked = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC | follow, Mode::empty());
    let place = looked.map_err(|error| failed(error.into()))?;
    let stat = rustix::fs::fstat(&place).map_err(|error| failed(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(must_be("a regular file"));
    }
    let disk = rustix::fs::fstatfs(&place).map_err(|error| failed(error.into()))?;
    if MADE_UP.contains(&disk.f_type) {
        return Err(must_be("a regular file on a disk"));
    }
    let place = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(place).map_err(failed)
}

fn read_whole(path: &Path, links: Links) -> Result<Vec<u8>, ImageError> {
    let failed = |source| ImageError::Read { path: path.into(), source };
    let file = open(path, links)?;
    let mut bytes = Vec::new();
    file.take(MAX_JSON + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_JSON {
        return Err(failed(std::io::Error::other(format!("must be at most {MAX_JSON} bytes"))));
    }
    Ok(bytes)
}

fn parse<T: for<'de> Deserialize<'de>>(dir: &Path, what: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let fault = match error.classify() {
            Category::Io | Category::Syntax => "is not JSON",
            Category::Eof => "ends too early",
            Category::Data => "has a field that is missing or of another type than OCI asks for",
        };
        let why = format!("{what} {fault} (line {}, column {})", error.line(), error.column());
        ImageError::Layout { dir: dir.into(), why }
    })
}

fn says(process: Process) -> ImageSays {
    let pair = |word: String| {
        let (name, value) = word.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    ImageSays {
        entrypoint: process.entrypoint.unwrap_or_default(),
        cmd: process.cmd.unwrap_or_default(),
        env: process.env.unwrap_or_default().into_iter().filter_map(pair).collect(),
        working_dir: process.working_dir,
    }
}
