use std::os::unix::fs::MetadataExt;

use berth_types::task::{Container, SecurityContext, Task};
use serde_json::{Value, json};

use super::*;

struct Node {
    dir: tempfile::TempDir,
    homes: Homes,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new(&dir.path().join("data"), &dir.path().join("run"), "p");
        let node = crate::machine::node_says(&[]).unwrap();
        Self { homes: Homes::new(places, node, Views::Allowed), dir }
    }

    /// The runtime spec and the sandbox of a Task without image that asks for these ids.
    fn furnished(&self, uid: Option<u32>, gid: Option<u32>) -> (Value, fs::Metadata) {
        let mut task = Task::default();
        (task.metadata.uid, task.metadata.name) = ("0123456789abcdef".repeat(2), "web-1".into());
        task.spec.containers = vec![Container {
            name: "main".into(),
            command: vec!["true".into()],
            security_context: Some(SecurityContext { run_as_user: uid, run_as_group: gid }),
            ..Container::default()
        }];
        let assignment = Assignment::try_from(&task).unwrap();
        self.homes.make(&assignment).unwrap();
        let start = self.homes.furnish(&assignment, &assignment.containers[0], 0).unwrap();
        let spec = serde_json::from_slice(&fs::read(start.bundle.join("config.json")).unwrap()).unwrap();
        let folder = self.dir.path().join("data/tasks").join(assignment.uid.as_str());
        (spec, fs::metadata(folder.join("c/main/sandbox")).unwrap())
    }
}

#[test]
fn a_task_without_image_is_root_only_on_request_and_owns_its_sandbox() {
    for (asked, expected) in [
        ((None, None), (65534, 65534)),
        ((Some(0), None), (0, 0)),
        ((Some(1000), None), (1000, 65534)),
        ((None, Some(100)), (65534, 100)),
        ((Some(0), Some(100)), (0, 100)),
    ] {
        let (spec, sandbox) = Node::new().furnished(asked.0, asked.1);
        let user = &spec["process"]["user"];
        assert_eq!((&user["uid"], &user["gid"]), (&json!(expected.0), &json!(expected.1)), "{asked:?}");
        assert_eq!((sandbox.uid(), sandbox.gid()), expected, "{asked:?}");
    }
}

#[test]
fn a_container_finds_its_host_name_in_its_hosts_file() {
    let node = Node::new();
    let (spec, _) = node.furnished(None, None);
    let mounts = spec["mounts"].as_array().unwrap();
    let hosts = mounts.iter().rfind(|mount| mount["destination"] == "/etc/hosts").unwrap();
    let text = fs::read_to_string(hosts["source"].as_str().unwrap()).unwrap();
    let nodes = fs::read_to_string("/etc/hosts").unwrap_or_default();
    assert_eq!(text, hosts_file(&nodes, "web-1"));
    assert_eq!(spec["hostname"], "web-1");
}
