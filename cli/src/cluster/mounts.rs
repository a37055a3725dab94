//! Mounts below our folders.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

/// Mount points at or below `folder`, the last mounted first.
pub fn below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points =
        table.lines().rev().filter_map(|line| line.split(' ').nth(4)).map(unescaped).map(PathBuf::from);
    points.filter(|point| point.starts_with(folder)).collect()
}

/// Unmounts everything below `folder` (not `folder` itself, which may be a disk of its own); how many there were.
pub fn unmount_below(folder: &Path) -> usize {
    let points: Vec<PathBuf> = below(folder).into_iter().filter(|point| point != folder).collect();
    points.iter().filter(|point| unmount(point.as_path(), UnmountFlags::DETACH).is_ok()).count()
}

/// A path as mountinfo writes it: blanks and backslashes as octal numbers.
pub fn unescaped(path: &str) -> String {
    let replace = |text: String, (code, plain): (&str, &str)| text.replace(code, plain);
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")].into_iter().fold(path.into(), replace)
}
