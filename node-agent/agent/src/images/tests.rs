use std::io::Write;

use crate::runtime_spec::User;
use crate::small_disk::on_a_disk_of;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::unpack::SPARE;
use super::*;

mod collected;

/// A layout folder being made.
struct Layout {
    dir: tempfile::TempDir,
}

fn hex(bytes: &[u8]) -> String {
    Digest::of(Sha256::new_with_prefix(bytes)).hex().to_owned()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

impl Layout {
    fn of(layers: &[Vec<u8>]) -> Self {
        let layout = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(layout.dir.path().join("blobs/sha256")).unwrap();
        let packed: Vec<serde_json::Value> = layers.iter().map(|tar| layout.add(&gzipped(tar))).collect();
        let diff_ids: Vec<String> = layers.iter().map(|tar| format!("sha256:{}", hex(tar))).collect();
        let config = serde_json::json!({
            "config": { "Entrypoint": ["/bin/serve"], "Env": ["A=b"], "User": "web" },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = layout.add(config.to_string().as_bytes());
        let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": packed });
        let mut manifest = layout.add(manifest.to_string().as_bytes());
        manifest["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "v1" });
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(layout.dir.path().join("index.json"), index.to_string()).unwrap();
        layout
    }

    fn add(&self, bytes: &[u8]) -> serde_json::Value {
        let digest = hex(bytes);
        fs::write(self.dir.path().join("blobs/sha256").join(&digest), bytes).unwrap();
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        })
    }

    fn prepare(&self) -> (tempfile::TempDir, Result<Image, ImageError>) {
        self.prepare_tag(Some("v1"))
    }

    /// The only image of the layout.
    fn prepare_any(&self) -> (tempfile::TempDir, Result<Image, ImageError>) {
        self.prepare_tag(None)
    }

    fn prepare_tag(&self, tag: Option<&str>) -> (tempfile::TempDir, Result<Image, ImageError>) {
        let data = tempfile::tempdir().unwrap();
        let image = ImageStore::new(data.path().join("layers"), 100).prepare(self.dir.path(), tag);
        (data, image)
    }

    /// The manifest of the only image, to be changed and added again under another digest.
    fn manifest(&self) -> serde_json::Value {
        let json = |path: &Path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let index: serde_json::Value = json(&self.dir.path().join("index.json"));
        let digest = index["manifests"][0]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        json(&self.dir.path().join("blobs/sha256").join(digest))
    }

    /// The same layout with this manifest for its only image.
    fn with_manifest(self, manifest: &serde_json::Value) -> Self {
        let index = serde_json::json!({ "manifests": [self.add(manifest.to_string().as_bytes())] });
        fs::write(self.dir.path().join("index.json"), index.to_string()).unwrap();
        self
    }
}

enum Item<'a> {
    Folder(&'a str),
    File(&'a str, &'a [u8]),
    Link(EntryType, &'a str, &'a str),
    Special(EntryType, &'a str),
}

/// A tar whose names are written as they are, whatever they are.
fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for item in items {
        let (kind, name, target, data): (_, _, _, &[u8]) = match item {
            Item::Folder(name) => (EntryType::Directory, name, "", b""),
            Item::File(name, data) => (EntryType::Regular, name, "", data),
            Item::Link(kind, name, target) => (*kind, name, *target, b""),
            Item::Special(kind, name) => (*kind, name, "", b""),
        };
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(data.len() as u64);
        let raw = header.as_mut_bytes();
        raw[..name.len()].copy_from_slice(name.as_bytes());
        raw[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn refusal(items: &[Item<'_>]) -> String {
    let layout = Layout::of(&[tar(items)]);
    let (data, image) = layout.prepare();
    let error = image.expect_err("it must be refused");
    let left: Vec<_> = fs::read_dir(data.path().join("layers")).unwrap().collect();
    assert!(left.is_empty(), "a refused layer left {left:?}");
    match error {
        ImageError::Refused { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_image_unpacks_once_with_its_user_and_whiteouts() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let passwd = b"root:x:0:0::/root:/bin/sh\nweb:x:1000:100::/srv:/bin/sh\n";
    let lower = tar(&[Item::Folder("etc/"), Item::File("etc/passwd", passwd), Item::File("old", b"1")]);
    let upper = tar(&[
        Item::File("bin/serve", b"#!"),
        Item::File(".wh.old", b""),
        Item::File("new/.wh..wh..opq", b""),
    ]);
    let layout = Layout::of(&[lower.clone(), upper.clone()]);
    let (_data, image) = layout.prepare();
    let image = image.unwrap();
    assert!(image.layers[0].ends_with(hex(&upper)) && image.layers[1].ends_with(hex(&lower)));
    assert!(fs::symlink_metadata(image.layers[0].join("old")).unwrap().file_type().is_char_device());
    assert_eq!(fs::metadata(image.layers[0].join("bin/serve")).unwrap().permissions().mode() & 0o7777, 0o755);
    let tree = Tree::new(&image.layers);
    let user =
        |uid, gid, home: Option<&str>| User { uid, gid, home: home.map(str::to_owned), groups: vec![] };
    assert_eq!(tree.user(&image.user).unwrap(), user(1000, 100, Some("/srv")));
    assert_eq!(tree.user("7:8").unwrap(), user(7, 8, None));
    assert_eq!(tree.user("").unwrap(), user(0, 0, Some("/root")));
    for refused in ["nobody", "4294967295", "7:4294967295", "web:nobody"] {
        assert!(tree.user(refused).is_err(), "{refused}");
    }
    assert!(tree.lacks_folder(Path::new("/srv")) && !tree.lacks_folder(Path::new("/etc")));
}

#[test]
fn a_user_has_every_group_of_the_images_group_file_and_files_are_read_through_links_within_the_image() {
    use EntryType::Symlink;
    let passwd = b"root:x:0:0::/root:/bin/sh\nweb:x:1000:100::/srv:/bin/sh\n";
    let group = b"root:x:0:\nextra:x:2000:other,web\nno:x:3000:webx\nmore:x:4000:web\nbad:x:4294967295:web\n";
    for (case, links) in [
        (
            "absolute",
            [Item::Link(Symlink, "etc/passwd", "/usr/lib/p"), Item::Link(Symlink, "etc/group", "/usr/lib/g")],
        ),
        (
            "relative",
            [
                Item::Link(Symlink, "etc/passwd", "../usr/lib/p"),
                Item::Link(Symlink, "etc/group", "../usr/lib/g"),
            ],
        ),
        (
            "above the root",
            [
                Item::Link(Symlink, "etc/passwd", "../../../usr/lib/p"),
                Item::Link(Symlink, "etc/group", "/../usr/./lib/g"),
            ],
        ),
        ("a folder", [Item::Link(Symlink, "etc", "usr/etc"), Item::File("usr/etc/.keep", b"")]),
    ] {
        let below = tar(&[
            Item::File("usr/lib/p", passwd),
            Item::File("usr/lib/g", group),
            Item::Link(Symlink, "usr/etc/passwd", "/usr/lib/p"),
            Item::Link(Symlink, "usr/etc/group", "../lib/g"),
        ]);
        let layout = Layout::of(&[below, tar(&links)]);
        let (_data, image) = layout.prepare();
        let image = image.unwrap();
        let tree = Tree::new(&image.layers);
        for (named, gid) in [("web", 100), ("1000", 100), ("web:extra", 2000), ("1000:5", 5)] {
            let user = User { uid: 1000, gid, home: Some("/srv".into()), groups: vec![2000, 4000] };
            assert_eq!(tree.user(named).unwrap(), user, "{case}: {named}");
        }
        assert!(tree.user("7").unwrap().groups.is_empty(), "{case}");
    }
}

#[test]
fn a_link_that_leads_out_of_the_image_or_in_circles_is_no_file() {
    use EntryType::Symlink;
    let outside = tempfile::tempdir().unwrap();
    let passwd = outside.path().join("passwd");
    fs::write(&passwd, "web:x:1000:100::/srv:/bin/sh\n").unwrap();
    let out = passwd.to_str().unwrap();
    let up = format!("{}{out}", "../".repeat(9));
    for target in [out, up.as_str(), "passwd", "/etc/passwd/below"] {
        let layout = Layout::of(&[tar(&[Item::Link(Symlink, "etc/passwd", target)])]);
        let (_data, image) = layout.prepare();
        let image = image.unwrap();
        assert!(Tree::new(&image.layers).user("web").is_err(), "{target}");
    }
}

#[test]
fn an_entry_that_leads_out_of_the_image_is_refused_and_nothing_is_written() {
    let outside = tempfile::tempdir().unwrap();
    let outside_path = outside.path().to_str().unwrap();
    for items in [
        &[Item::File("../../escape", b"x")][..],
        &[Item::File("a/../../escape", b"x")],
        &[Item::Link(EntryType::Symlink, "out", outside_path), Item::File("out/escape", b"x")],
        &[Item::Link(EntryType::Symlink, "out", "../../../../../../tmp"), Item::File("out/escape", b"x")],
        &[Item::Link(EntryType::Link, "shadow", "../../../etc/shadow")],
        &[Item::Link(EntryType::Symlink, "etc", "/etc"), Item::Link(EntryType::Link, "p", "etc/passwd")],
        &[Item::File("f", b"x"), Item::File("f/below", b"x")],
        &[Item::Special(EntryType::Char, "null")],
        &[Item::Special(EntryType::Block, "disk")],
        &[Item::File(".wh...", b"")],
    ] {
        let why = refusal(items);
        assert!(!why.is_empty());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

#[test]
fn an_absolute_name_stays_in_the_image() {
    let layout = Layout::of(&[tar(&[Item::File("/berth-absolute-name", b"x")])]);
    let (_data, image) = layout.prepare();
    assert!(image.unwrap().layers[0].join("berth-absolute-name").is_file());
    assert!(!Path::new("/berth-absolute-name").exists());
}

#[test]
fn a_layer_that_unpacks_to_too_much_is_refused() {
    let zeros = vec![0u8; 40 << 20];
    let why = refusal(&[Item::File("bomb", &zeros)]);
    assert_eq!(why, "it unpacks to more than 200 times its size");
}

/// So many MiB that are packed to about a hundredth.
fn packs_well(mebibytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut bytes = vec![0; mebibytes << 20];
    bytes.chunks_mut(65_536).for_each(|chunk| random.fill(&mut chunk[..512]));
    bytes
}

#[test]
fn an_image_stops_short_of_the_limit_of_its_disk_and_leaves_nothing() {
    let layers = [packs_well(8), packs_well(40)].map(|big| tar(&[Item::File("big", &big)]));
    let (large, small) = (Layout::of(&layers), Layout::of(&layers[..1]));
    on_a_disk_of(48, move |disk| {
        for limit in [60, 100] {
            let folder = disk.join(limit.to_string());
            let store = ImageStore::new(folder.clone(), limit);
            let before = Fullness::look(disk).unwrap();
            let error = store.prepare(large.dir.path(), None).unwrap_err();
            let text = error.to_string();
            let (dir, at) = (large.dir.path().display(), folder.display());
            assert!(text.starts_with(&format!("image folder {dir} does not fit: ")), "{text}");
            assert!(text.contains(&format!("the disk of {at} had ")), "{text}");
            assert!(text.contains(&format!("(limit {limit} %); free some space there")), "{text}");
            let ImageError::NoRoom { fullness, .. } = error else { panic!("{error:?}") };
            assert!(fullness.left_below(limit) > SPARE - (4 << 20), "{fullness} at {limit} %");
            // The first layer, which fitted, is gone too.
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
            let after = Fullness::look(disk).unwrap();
            assert!(after.used < before.used + (1 << 20), "{before} and then {after}");
            store.prepare(small.dir.path(), None).unwrap();
            remove_tree(&folder).unwrap();
        }
    });
}

#[test]
fn folders_that_a_layer_only_implies_stop_short_of_the_limit_of_its_disk_too() {
    const PATHS: usize = 60;
    let fits = "x".repeat(512 << 10).into_bytes();
    // As deep as a short name can be; the tar has less than the megabyte after which the disk is looked at.
    let paths: Vec<String> = (0..PATHS).map(|n| format!("{n:02}{}", "/a".repeat(48))).collect();
    let deep = paths.iter().map(|path| Item::File(path, b""));
    let layer = tar(&[Item::File("fits", &fits)].into_iter().chain(deep).collect::<Vec<_>>());
    assert!(layer.len() < 1 << 20, "{} bytes", layer.len());
    let layout = Layout::of(&[layer]);
    on_a_disk_of(48, move |disk| {
        let left = || Fullness::look(disk).unwrap().left_below(100);
        // Before the layer there is room, and after its first file there is not.
        let filler = left() - SPARE - (256 << 10);
        fs::write(disk.join("filler"), vec![1; usize::try_from(filler).unwrap()]).unwrap();
        assert!(left() >= SPARE);
        let folder = disk.join("layers");
        let error = ImageStore::new(folder.clone(), 100).prepare(layout.dir.path(), None).unwrap_err();
        assert!(matches!(error, ImageError::NoRoom { .. }), "{error:?}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    });
}

#[test]
fn an_image_whose_writing_meets_a_full_disk_leaves_nothing() {
    use nix::mount::{MsFlags, mount};
    let names: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let many: Vec<Item> = names.iter().map(|name| Item::File(name, b"")).collect();
    let layout = Layout::of(&[tar(&[Item::File("f", b"x")]), tar(&many)]);
    // The second layer has no room for its folder, or for its files.
    for files in [4, 100] {
        let dir = layout.dir.path().to_owned();
        on_a_disk_of(48, move |disk| {
            let (none, most) = (None::<&str>, format!("nr_inodes={files}"));
            mount(none, disk, none, MsFlags::MS_REMOUNT, Some(most.as_str())).unwrap();
            let folder = disk.join("layers");
            let error = ImageStore::new(folder.clone(), 100).prepare(&dir, None).unwrap_err();
            let text = berth_daemon::chain(&error);
            assert!(matches!(error, ImageError::NoFiles { .. }), "{text}");
            assert!(text.ends_with(": No space left on device (os error 28)"), "{text}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{files} files");
        });
    }
}

#[test]
fn content_that_is_not_what_its_digest_says_is_refused() {
    let good = tar(&[Item::File("f", b"x")]);
    let other = tar(&[Item::File("f", b"y")]);
    for what in ["a layer", "manifest"] {
        let layout = Layout::of(std::slice::from_ref(&good));
        let blobs = layout.dir.path().join("blobs/sha256");
        for entry in fs::read_dir(&blobs).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read(&path).unwrap();
            let is_layer = text.starts_with(&[0x1f, 0x8b]);
            if is_layer == (what == "a layer") {
                fs::write(&path, if is_layer { gzipped(&other) } else { b"{}".to_vec() }).unwrap();
            }
        }
        match layout.prepare().1 {
            Err(ImageError::Digest { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_layer_whose_diff_id_lies_is_refused() {
    let layout = Layout::of(&[tar(&[Item::File("f", b"x")])]);
    let mut found = layout::read(layout.dir.path(), None).unwrap();
    let data = tempfile::tempdir().unwrap();
    let store = ImageStore::new(data.path().join("layers"), 100);
    found.diff_ids = vec![found.digest.clone()];
    let error = store.unpack_missing(layout.dir.path(), &found).unwrap_err();
    assert!(matches!(error, ImageError::Digest { what: "an unpacked layer", .. }), "{error}");
    assert_eq!(fs::read_dir(data.path().join("layers")).unwrap().count(), 0);
}

#[test]
fn a_pipe_or_device_in_place_of_a_file_of_the_layout_keeps_nobody_waiting() {
    let good = tar(&[Item::File("f", b"x")]);
    for is_layer in [false, true] {
        for device in [false, true] {
            let layout = Layout::of(std::slice::from_ref(&good));
            let found = layout::read(layout.dir.path(), None).unwrap();
            let path = match is_layer {
                true => layout::blob_path(layout.dir.path(), &found.layers[0].digest),
                false => layout.dir.path().join("index.json"),
            };
            fs::remove_file(&path).unwrap();
            match device {
                true => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                false => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            }
            let error = berth_daemon::chain(&layout.prepare().1.unwrap_err());
            assert!(error.ends_with("must be a regular file"), "{error}");
        }
    }
}

/// To open a device may do something, and to open a pipe lets its writer go on.
#[test]
fn a_pipe_or_device_in_place_of_a_file_of_the_layout_is_not_opened() {
    use rustix::fs::{CWD, FileType, Mode, inotify};
    for is_layer in [false, true] {
        // The device is that of /dev/zero.
        for (kind, device) in [(FileType::Fifo, 0), (FileType::CharacterDevice, rustix::fs::makedev(1, 5))] {
            let layout = Layout::of(&[tar(&[Item::File("f", b"x")])]);
            let found = layout::read(layout.dir.path(), None).unwrap();
            let place = match is_layer {
                true => layout.dir.path().join("aside"),
                false => layout.dir.path().join("index.json"),
            };
            let _ = fs::remove_file(&place);
            rustix::fs::mknodat(CWD, &place, kind, Mode::RWXU, device).unwrap();
            if is_layer {
                let blob = layout::blob_path(layout.dir.path(), &found.layers[0].digest);
                fs::remove_file(&blob).unwrap();
                std::os::unix::fs::symlink(&place, blob).unwrap();
            }
            let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
            inotify::add_watch(&watch, &place, inotify::WatchFlags::OPEN).unwrap();
            let error = berth_daemon::chain(&layout.prepare().1.unwrap_err());
            assert!(error.ends_with("must be a regular file"), "{error}");
            let opened = rustix::io::read(&watch, &mut [0; 256]);
            assert_eq!(opened, Err(rustix::io::Errno::AGAIN), "{kind:?} was opened, layer: {is_layer}");
        }
    }
}

#[test]
fn a_file_that_the_kernel_makes_up_is_no_file_of_a_layout() {
    for target in ["/proc/self/status", "/sys/devices/system/cpu/online"] {
        let layout = Layout::of(&[tar(&[Item::File("f", b"x")])]);
        let found = layout::read(layout.dir.path(), None).unwrap();
        let blob = layout::blob_path(layout.dir.path(), &found.layers[0].digest);
        fs::remove_file(&blob).unwrap();
        std::os::unix::fs::symlink(target, blob).unwrap();
        let error = berth_daemon::chain(&layout.prepare().1.unwrap_err());
        assert!(error.ends_with("must be a regular file on a disk"), "{target}: {error}");
    }
}

#[test]
fn what_an_upper_layer_hides_is_not_seen() {
    use EntryType::Symlink;
    let below = tar(&[
        Item::File("etc/passwd", b"evil:x:4242:4242::/:/bin/sh\n"),
        Item::File("srv/app/f", b"x"),
        Item::File("usr/lib/passwd", b"evil:x:4242:4242::/:/bin/sh\n"),
    ]);
    for (case, upper, evil, app) in [
        ("nothing is hidden", &[Item::File("new", b"x")][..], true, false),
        ("an opaque folder", &[Item::File("etc/.wh..wh..opq", b""), Item::Folder("srv/")], false, false),
        (
            "an opaque folder above",
            &[Item::File("srv/.wh..wh..opq", b""), Item::File("srv/other", b"x")],
            true,
            true,
        ),
        (
            "a folder of its own in an opaque one",
            &[
                Item::Link(Symlink, "etc/passwd", "/usr/lib/passwd"),
                Item::File("usr/.wh..wh..opq", b""),
                Item::Folder("usr/lib/"),
                Item::File("srv/.wh..wh..opq", b""),
                Item::Folder("srv/app/"),
            ],
            false,
            false,
        ),
        ("whiteouts", &[Item::File("etc/.wh.passwd", b""), Item::File("srv/.wh.app", b"")], false, true),
        ("whiteouts above", &[Item::File(".wh.etc", b""), Item::File(".wh.srv", b"")], false, true),
        // Made in the writable layer, a folder would hide these.
        ("a file above", &[Item::File(".wh.etc", b""), Item::File("srv", b"x")], false, false),
        ("a link above", &[Item::File(".wh.etc", b""), Item::Link(Symlink, "srv", "/run")], false, false),
    ] {
        // The topmost layer has nothing to do with it.
        let layout = Layout::of(&[below.clone(), tar(upper), tar(&[Item::File("top", b"x")])]);
        let (_data, image) = layout.prepare();
        let image = image.unwrap();
        let tree = Tree::new(&image.layers);
        assert_eq!(tree.user("evil").is_ok(), evil, "{case}");
        assert_eq!(tree.lacks_folder(Path::new("/srv/app")), app, "{case}");
    }
}

#[test]
fn a_layer_that_an_image_has_twice_is_stacked_once() {
    let (twice, between) = (tar(&[Item::File("f", b"x")]), tar(&[Item::File(".wh.f", b"")]));
    let layout = Layout::of(&[twice.clone(), between.clone(), twice.clone()]);
    let (_data, image) = layout.prepare();
    let names: Vec<_> = image.unwrap().layers.iter().map(|l| l.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, [hex(&twice).as_str(), hex(&between).as_str()]);
}

#[test]
fn what_lies_below_a_layer_with_an_opaque_root_is_not_stacked() {
    let below = tar(&[Item::File("etc/passwd", b"evil:x:4242:4242::/:/bin/sh\n"), Item::File("srv/f", b"x")]);
    let opaque = |name| tar(&[Item::File(name, b""), Item::File("own", b"x")]);
    let above = tar(&[Item::File("above", b"x")]);
    let inner = tar(&[Item::File("srv/.wh..wh..opq", b"")]);
    let (first, second) = (opaque(".wh..wh..opq"), opaque("./.wh..wh..opq"));
    for (case, layers, shown) in [
        ("at the root", vec![&below, &first, &above], vec![&above, &first]),
        ("topmost", vec![&below, &above, &first], vec![&first]),
        ("at the bottom", vec![&first, &above], vec![&above, &first]),
        ("two of them", vec![&first, &below, &second, &above], vec![&above, &second]),
        ("again above it", vec![&above, &below, &first, &above], vec![&above, &first]),
        ("it again", vec![&first, &above, &first], vec![&first]),
        ("at another folder", vec![&below, &inner], vec![&inner, &below]),
    ] {
        let layout = Layout::of(&layers.into_iter().cloned().collect::<Vec<_>>());
        let (data, image) = layout.prepare();
        let store = ImageStore::new(data.path().join("layers"), 100);
        // The second time, all of them are unpacked already.
        for image in [image.unwrap(), store.prepare(layout.dir.path(), Some("v1")).unwrap()] {
            let name = |layer: &PathBuf| layer.file_name().unwrap().to_str().unwrap().to_owned();
            let names: Vec<_> = image.layers.iter().map(name).collect();
            let shown: Vec<_> = shown.iter().map(|layer| hex(layer)).collect();
            assert_eq!(names, shown, "{case}");
            let tree = Tree::new(&image.layers);
            let hides = !shown.contains(&hex(&below));
            assert_eq!(tree.user("evil").is_err(), hides, "{case}");
            assert_eq!(tree.lacks_folder(Path::new("/srv")), hides, "{case}");
        }
    }
}

#[test]
fn a_tag_that_is_not_there_is_told_with_those_that_are() {
    let layout = Layout::of(&[tar(&[Item::File("f", b"x")])]);
    let error = layout::read(layout.dir.path(), Some("v2")).unwrap_err().to_string();
    let expected = "has no image with tag `v2`; images in its index.json: 1, of these with a tag \
                    (`org.opencontainers.image.ref.name`): 1";
    assert!(error.ends_with(expected), "{error}");
}

/// Whatever file of the node a layout is made of, its refusal must not show what is in that file.
#[test]
fn a_refusal_quotes_no_value_of_a_file() {
    const SECRET: &str = "s3cret";
    const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
    const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    let text = SECRET.repeat(200).into_bytes();
    let named = tar(&[Item::File("../s3cret/key", b"x"), Item::File("f", b"x")]);
    let good = || Layout::of(&[tar(&[Item::File("f", b"x")])]);
    let index = |text: String| {
        let layout = good();
        fs::write(layout.dir.path().join("index.json"), text).unwrap();
        layout
    };
    let manifest = |change: &dyn Fn(&mut serde_json::Value)| {
        let layout = good();
        let mut manifest = layout.manifest();
        change(&mut manifest);
        layout.with_manifest(&manifest)
    };
    let config = |config: serde_json::Value| {
        let layout = good();
        let mut manifest = layout.manifest();
        manifest["config"] = layout.add(config.to_string().as_bytes());
        layout.with_manifest(&manifest)
    };
    let linked = |media_type: &str, content: &[u8]| {
        let layout = good();
        let secret = layout.dir.path().join("secret");
        fs::write(&secret, content).unwrap();
        let mut manifest = layout.manifest();
        manifest["layers"][0]["mediaType"] = media_type.into();
        manifest["layers"][0]["size"] = content.len().into();
        manifest["layers"][0]["digest"] = format!("sha256:{}", "0".repeat(64)).into();
        let blobs = layout.dir.path().join("blobs/sha256");
        std::os::unix::fs::symlink(secret, blobs.join("0".repeat(64))).unwrap();
        layout.with_manifest(&manifest)
    };
    let user = |user: &str| {
        let id = layout::read(good().dir.path(), None).unwrap().diff_ids[0].to_string();
        config(serde_json::json!({ "config": { "User": user }, "rootfs": { "diff_ids": [id] } }))
    };
    for (case, layout) in [
        ("text for the index", index(SECRET.into())),
        ("a JSON text for the index", index(format!("\"{SECRET}\""))),
        ("a text for the manifests", index(format!("{{\"manifests\": \"{SECRET}\"}}"))),
        ("a digest of the index", index(index_of(&format!("\"{SECRET}\""), "1"))),
        ("a size of the index", index(index_of("\"\"", &format!("\"{SECRET}\"")))),
        ("a digest of a layer", manifest(&|m| m["layers"][0]["digest"] = SECRET.into())),
        ("a type of a layer", manifest(&|m| m["layers"][0]["mediaType"] = SECRET.into())),
        ("a digest of the config", manifest(&|m| m["config"]["digest"] = SECRET.into())),
        ("a field of the config", config(serde_json::json!({ "config": { "Env": SECRET }, "rootfs": 1 }))),
        ("a diff id", config(serde_json::json!({ "rootfs": { "diff_ids": [SECRET] } }))),
        ("a user", user(SECRET)),
        ("a group", user(&format!("7:{SECRET}"))),
        ("a tar", linked(TAR, &text)),
        ("a gzip", linked(GZIP, &text)),
        ("a name in a tar of another digest", linked(TAR, &named)),
        ("a name in a gzip of another digest", linked(GZIP, &gzipped(&named))),
    ] {
        let (_data, image) = layout.prepare_any();
        let refused = match image {
            Ok(image) => Tree::new(&image.layers).user(&image.user).map(drop),
            Err(error) => Err(error),
        };
        let error = berth_daemon::chain(&refused.expect_err(case));
        assert!(!error.contains(SECRET), "{case}: {error}");
    }
    let several = index(format!("{{\"manifests\": [{}]}}", [SECRET, SECRET].map(tagged).join(",")));
    let error = several.prepare_any().1.unwrap_err().to_string();
    assert!(error.contains("index.json: 2,") && !error.contains(SECRET), "{error}");
}

fn index_of(digest: &str, size: &str) -> String {
    format!("{{\"manifests\": [{{\"digest\": {digest}, \"size\": {size}}}]}}")
}

fn tagged(tag: &str) -> String {
    let annotation = format!("{{\"org.opencontainers.image.ref.name\": \"{tag}\"}}");
    format!("{{\"digest\": \"\", \"size\": 1, \"annotations\": {annotation}}}")
}

#[test]
fn an_index_that_is_a_link_is_not_read_and_a_blob_that_is_one_is() {
    let layout = Layout::of(&[tar(&[Item::File("f", b"x")])]);
    let found = layout::read(layout.dir.path(), None).unwrap();
    let blob = layout::blob_path(layout.dir.path(), &found.layers[0].digest);
    let aside = |path: &Path| {
        let there = layout.dir.path().join("aside").join(path.file_name().unwrap());
        fs::create_dir_all(there.parent().unwrap()).unwrap();
        fs::rename(path, &there).unwrap();
        std::os::unix::fs::symlink(there, path).unwrap();
    };
    aside(&blob);
    layout.prepare().1.unwrap();
    aside(&layout.dir.path().join("index.json"));
    let error = berth_daemon::chain(&layout.prepare().1.unwrap_err());
    assert!(error.ends_with("index.json: must be a regular file"), "{error}");
}
