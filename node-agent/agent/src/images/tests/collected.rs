//! Layers that nobody needs are removed.

use std::os::unix::fs::MetadataExt;
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;

#[test]
fn a_layer_is_collected_once_nobody_needs_it_and_it_was_not_asked_for_lately() {
    let layout = Layout::of(&[tar(&[Item::File("f", b"x")])]);
    let data = tempfile::tempdir().unwrap();
    let layers = data.path().join("layers");
    let store = ImageStore::new(layers.clone(), 100);
    let image = store.prepare(layout.dir.path(), None).unwrap();
    let (all, none) = (image.layers.iter().cloned().collect(), BTreeSet::new());
    let later = SystemTime::now() + Duration::from_secs(60);
    assert_eq!(collect(&layers, &all, later).unwrap(), 0);
    assert_eq!(collect(&layers, &none, SystemTime::now() - Duration::from_secs(60)).unwrap(), 0);
    assert_eq!(collect(&layers, &none, later).unwrap(), 1);
    assert_eq!(fs::read_dir(&layers).unwrap().count(), 0);
    assert_eq!(store.prepare(layout.dir.path(), None).unwrap(), image);
}

#[test]
fn what_cannot_be_collected_keeps_no_layer_and_what_is_aside_keeps_its_name() {
    let data = tempfile::tempdir().unwrap();
    let layers = data.path().join("layers");
    for name in ["a", "b", "c", "tmp-d", "stuck"] {
        fs::create_dir_all(layers.join(name).join("full")).unwrap();
    }
    // A layer that somebody mounted something on cannot be renamed; here, what is mounted is the layer.
    let stuck = layers.join("stuck");
    rustix::mount::mount_bind(&stuck, &stuck).unwrap();
    let collected = collect(&layers, &BTreeSet::new(), SystemTime::now() + Duration::from_secs(60));
    rustix::mount::unmount(&stuck, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(collected.unwrap(), 4);
    let left: Vec<_> = fs::read_dir(&layers).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["stuck"]);
}

#[test]
fn a_layer_is_not_collected_while_an_image_is_prepared() {
    let data = tempfile::tempdir().unwrap();
    let layers = data.path().join("layers");
    fs::create_dir_all(layers.join("a")).unwrap();
    let preparing = lock(&layers).unwrap();
    let folder = layers.clone();
    let collecting = std::thread::spawn(move || {
        let (none, later) = (BTreeSet::new(), SystemTime::now() + Duration::from_secs(60));
        collect(&folder, &none, later)
    });
    let names = || fs::read_dir(&layers).unwrap().count();
    wait_for_its_lock(&collecting, &layers);
    assert_eq!(names(), 1);
    drop(preparing);
    assert_eq!(collecting.join().unwrap().unwrap(), 1);
    assert_eq!(names(), 0);
}

/// Waits until a thread waits for the lock on a file.
fn wait_for_its_lock<T>(thread: &JoinHandle<T>, path: &Path) {
    let file = fs::metadata(path).unwrap();
    let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    let id = format!(" {major:02x}:{minor:02x}:{} ", file.ino());
    // `2: -> FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`: the arrow is before those who wait.
    let waits = |line: &str| line.contains("->") && line.contains(&id);
    let locks = || fs::read_to_string("/proc/locks").unwrap();
    while !locks().lines().any(waits) {
        assert!(!thread.is_finished(), "it did not wait for {id}: {}", locks());
        std::thread::sleep(Duration::from_millis(5));
    }
}
