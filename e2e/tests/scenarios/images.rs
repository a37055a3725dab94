//! Images of several layers, as a container sees them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_e2e::wait::eventually;
use berth_e2e::world::SOON;
use berth_e2e::{StoreForm, World, workspace};

/// A layer: its entries in this order, folders with a slash at the end. A file holds the number of its layer.
const LAYERS: [&[&str]; 3] = [
    &[
        "kept",
        "removed",
        "replaced",
        "folder-removed/a",
        "folder-removed/b/c",
        "folder-merged/1",
        "opaque/1",
        "opaque/deep/1",
        "opaque-late/1",
        "again-folder/1",
        "again-folder-late/1",
        "again-below/1",
        "again-file",
        "again-file-late",
        "file-to-folder",
        "folder-to-file/1",
        "in-two-steps/a",
    ],
    &[
        ".wh.removed",
        "replaced",
        ".wh.folder-removed",
        "folder-merged/2",
        "opaque/.wh..wh..opq",
        "opaque/2",
        "opaque-late/2",
        "opaque-late/.wh..wh..opq",
        // Removed below and made again, in both orders.
        ".wh.again-folder",
        "again-folder/",
        "again-folder/2",
        "again-folder-late/",
        "again-folder-late/2",
        ".wh.again-folder-late",
        // The folder is not mentioned for itself.
        ".wh.again-below",
        "again-below/2",
        ".wh.again-file",
        "again-file",
        "again-file-late",
        ".wh.again-file-late",
        // A layer's own file is not hidden by its whiteout, nor is what nobody has.
        "own",
        ".wh.own",
        ".wh.nowhere",
        ".wh.file-to-folder",
        "file-to-folder/2",
        ".wh.folder-to-file",
        "folder-to-file",
        ".wh.in-two-steps",
    ],
    &["in-two-steps/b", "opaque/deep/3", "removed-thrice/3", ".wh.kept-not"],
];

/// What the layers make together: each file with the number of the layer that it comes from.
const SEEN: &str = "again-below/2 2
again-file 2
again-file-late 2
again-folder-late/2 2
again-folder/2 2
file-to-folder/2 2
folder-merged/1 1
folder-merged/2 2
folder-to-file 2
in-two-steps/b 3
kept 1
opaque-late/2 2
opaque/2 2
opaque/deep/3 3
own 2
removed-thrice/3 3
replaced 2
";

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let status = Command::new(program).args(arguments).current_dir(folder).status();
    assert!(status.expect("the program starts").success(), "{program} {arguments:?}");
}

/// A tar of these entries below `data/`, in their order.
fn tar(work: &Path, number: usize, entries: &[&str]) -> PathBuf {
    let folder = work.join(number.to_string());
    let mut names = vec!["data/".to_owned()];
    for entry in entries {
        let path = folder.join("data").join(entry);
        fs::create_dir_all(if entry.ends_with('/') { &path } else { path.parent().expect("a folder") })
            .expect("the work folder is writable");
        if !entry.ends_with('/') {
            fs::write(&path, number.to_string()).expect("the work folder is writable");
        }
        names.push(format!("data/{entry}"));
    }
    let tar = work.join(format!("{number}.tar"));
    let mut arguments = vec!["--no-recursion", "--owner=0", "--group=0", "--mode=a+rX", "-cf"];
    arguments.push(tar.to_str().expect("the path is UTF-8"));
    arguments.extend(names.iter().map(String::as_str));
    run("tar", &arguments, &folder);
    tar
}

/// What is seen of these layers below one whose root is opaque and one above that.
const SEEN_OF_OPAQUE: &str = "above 5
entire 4
";

/// A tar of all that an image has, whose root hides what the layers below have.
fn opaque_tar(work: &Path, image: &str) -> PathBuf {
    let bundle = work.join("bundle");
    run("umoci", &["unpack", "--image", image, bundle.to_str().expect("the path is UTF-8")], work);
    let root = bundle.join("rootfs");
    fs::create_dir(root.join("data")).expect("the work folder is writable");
    fs::write(root.join("data/entire"), "4").expect("the work folder is writable");
    fs::write(root.join(".wh..wh..opq"), "").expect("the work folder is writable");
    let tar = work.join("4.tar");
    run("tar", &["--mode=a+rX", "-cf", tar.to_str().expect("the path is UTF-8"), "."], &root);
    tar
}

/// Adds a layer to an image, under another tag.
fn add_layer(image: &str, tag: &str, tar: &Path) {
    let work = tar.parent().expect("a folder");
    let tar = tar.to_str().expect("the path is UTF-8");
    run("umoci", &["raw", "add-layer", "--image", image, "--tag", tag, tar], work);
}

/// Files that were removed, replaced and made again in upper layers, and folders that hide those below, are seen inside a
/// container as the layers mean them.
pub fn a_container_sees_what_its_layers_make_together(form: StoreForm) {
    let world = World::start(form);
    let (layout, work) = (world.dir().join("image"), world.dir().join("layers"));
    let layout = layout.to_str().expect("the path is UTF-8");
    let (image, opaque) = (format!("{layout}:v1"), format!("{layout}:opaque"));
    fs::create_dir(&work).expect("the world's folder is writable");
    let make = workspace().join("e2e/make-image");
    run(make.to_str().expect("the path is UTF-8"), &[layout, "v1", "x"], world.dir());
    let whole = opaque_tar(&work, &image);
    for (number, entries) in (1..).zip(LAYERS) {
        add_layer(&image, "v1", &tar(&work, number, entries));
    }
    add_layer(&image, "opaque", &whole);
    add_layer(&opaque, "opaque", &tar(&work, 5, &["above"]));
    for (tag, seen) in [("v1", SEEN), ("opaque", SEEN_OF_OPAQUE)] {
        world.apply(&looks(layout, tag)).ok();
        let said = eventually("the Task has looked around", SOON, || {
            let run = world.ctl(&["logs", &format!("app/looks-{tag}")]);
            if run.stdout.contains("looked") { Ok(run.stdout) } else { Err(format!("{run:?}")) }
        });
        let expected: String = seen.lines().map(|line| format!("seen {line}\n")).collect();
        assert_eq!(said, format!("{expected}looked\n"), "{tag}");
    }
    world.settles();
    world.ctl(&["delete", "app/looks-v1", "app/looks-opaque"]).ok();
    world.end();
}

/// An App that says what is in `/data` of an image.
fn looks(layout: &str, tag: &str) -> String {
    let script = "cd /data && for f in $(find . -type f | sort); do echo \"seen ${f#./} $(cat $f)\"; done; \
                  find . ! -type f ! -type d; ls -a . / | grep wh; echo looked; exec sleep 1000";
    format!(
        "apiVersion: berth.dev/v1
kind: App
metadata: {{name: looks-{tag}}}
spec:
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: oci:{layout}:{tag}
          command: [sh, -c, '{script}']
          resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
"
    )
}
