use berth_types::quantity::{Bytes, Millicores};
use expect_test::expect;

use super::*;

fn node() -> NodeSays {
    NodeSays {
        hidden_folders: vec!["/run".into(), "/var/lib/berth".into()],
        hidden_files: vec!["/etc/shadow".into()],
        shown_to_images: vec![("/run/resolved/resolv.conf".into(), "/etc/resolv.conf".into())],
        hosts: "/etc/hosts".into(),
        shown_in_views: vec!["/run/resolved/resolv.conf".into()],
        rlimits: vec![Rlimit { name: "RLIMIT_NOFILE".into(), soft: 1024, hard: 20_000 }],
        oom_score_adj: 500,
    }
}

fn program() -> Program {
    Program {
        name: "web".into(),
        root: Root::Host,
        command: vec!["busybox".into(), "httpd".into()],
        args: vec!["-p".into(), "$(PORT)".into()],
        working_dir: String::new(),
        env: vec![("PORT".into(), "31000".into()), ("URL".into(), "http://h:$(PORT)".into())],
        user: None,
        group: None,
        cpu_request: Some(Millicores(500)),
        cpu_limit: Some(Millicores(1500)),
        memory_limit: Some(Bytes(64 << 20)),
        pids_limit: None,
        readiness: None,
        liveness: None,
    }
}

fn blueprint<'a>(program: &'a Program, node: &'a NodeSays) -> Blueprint<'a> {
    Blueprint {
        program,
        image: ImageSays::default(),
        user: User { uid: 1000, gid: 100, home: None, groups: vec![7] },
        root: "/data/root".into(),
        cgroup: "/berth-1/0123/web".into(),
        hostname: "web-1".into(),
        hosts: "/data/hosts".into(),
        node,
        sandbox: Some("/data/sandbox".into()),
    }
}

#[test]
fn a_container_without_image_gets_a_hardened_view_of_the_node() {
    let (program, node) = (program(), node());
    let spec = runtime_spec(&blueprint(&program, &node)).unwrap();
    serde_json::from_value::<oci_spec::runtime::Spec>(spec.clone()).unwrap();
    let mut text = format!("{}\n{}\n{}\n", spec["process"], spec["linux"]["resources"], spec["root"]);
    for mount in spec["mounts"].as_array().unwrap() {
        let word = |key: &str| mount[key].as_str().unwrap().to_owned();
        let options: Vec<&str> =
            mount["options"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        text +=
            &format!("{} {} {} {}\n", word("destination"), word("type"), word("source"), options.join(","));
    }
    expect![[r#"
        {"args":["busybox","httpd","-p","31000"],"capabilities":{"ambient":[],"bounding":[],"effective":[],"inheritable":[],"permitted":[]},"cwd":"/sandbox","env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOME=/sandbox","HOSTNAME=web-1","PORT=31000","URL=http://h:31000"],"noNewPrivileges":true,"oomScoreAdj":500,"rlimits":[{"hard":20000,"soft":1024,"type":"RLIMIT_NOFILE"}],"terminal":false,"user":{"additionalGids":[7],"gid":100,"uid":1000,"umask":18}}
        {"cpu":{"period":100000,"quota":150000,"shares":512},"devices":[{"access":"rwm","allow":false}],"memory":{"limit":67108864,"swap":67108864},"pids":{"limit":1024}}
        {"path":"/data/root","readonly":true}
        /proc proc proc nosuid,noexec,nodev
        /dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k
        /dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620
        /dev/shm tmpfs tmpfs nosuid,noexec,nodev,mode=1777,size=65536k
        /dev/mqueue mqueue mqueue nosuid,noexec,nodev
        /sys sysfs sysfs nosuid,noexec,nodev,ro
        /tmp tmpfs tmpfs nosuid,nodev,mode=1777,size=536870912
        /run tmpfs tmpfs nosuid,nodev,noexec,mode=755,size=1024k
        /var/lib/berth tmpfs tmpfs nosuid,nodev,noexec,mode=755,size=1024k
        /etc/shadow bind /dev/null bind,nosuid,noexec,ro,rprivate
        /sandbox bind /data/sandbox rbind,nosuid,nodev,rw,rprivate
        /run/resolved/resolv.conf bind /run/resolved/resolv.conf bind,nosuid,nodev,noexec,ro,rprivate
        /etc/hosts bind /data/hosts bind,nosuid,nodev,noexec,ro,rprivate
    "#]].assert_eq(&text);
}

#[test]
fn an_image_gives_what_the_manifest_does_not() {
    let node = node();
    let image = ImageSays {
        entrypoint: vec!["/bin/serve".into()],
        cmd: vec!["--all".into()],
        env: vec![("PATH".into(), "/bin".into())],
        working_dir: "/srv".into(),
    };
    let words = |items: &[&str]| items.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (command, args, expected) in [
        (vec![], vec![], vec!["/bin/serve", "--all"]),
        (vec![], vec!["-x"], vec!["/bin/serve", "-x"]),
        (vec!["sh"], vec![], vec!["sh"]),
        (vec!["sh"], vec!["-c"], vec!["sh", "-c"]),
    ] {
        let mut program = program();
        program.root = Root::Layout { dir: "/i".into(), tag: None };
        (program.command, program.args) = (words(&command), words(&args));
        let plan = Blueprint { image: image.clone(), sandbox: None, ..blueprint(&program, &node) };
        let spec = runtime_spec(&plan).unwrap();
        assert_eq!(spec["process"]["args"], json!(expected));
        assert_eq!(spec["process"]["cwd"], json!("/srv"));
        assert_eq!(spec["process"]["env"][0], json!("PATH=/bin"));
        assert_eq!(spec["root"]["readonly"], json!(false));
    }
    let mut program = program();
    (program.command, program.args) = (vec![], vec![]);
    assert!(runtime_spec(&blueprint(&program, &node)).is_err());
}

#[test]
fn what_no_process_can_be_started_with_is_refused_by_name() {
    let mut node = node();
    let growing = (0..20).map(|n: usize| match n {
        0 => ("V0".into(), "0123456789".into()),
        n => (format!("V{n}"), format!("$(V{})", n - 1).repeat(10)),
    });
    let program = Program { env: growing.collect(), ..program() };
    assert_eq!(
        runtime_spec(&blueprint(&program, &node)).unwrap_err().to_string(),
        "container web: variable V5 has 1000003 bytes with its name once its references are replaced; at most 131071 are allowed"
    );

    let program = Program { env: Vec::new(), ..program };
    // A stack limit of the node that is lower than ours leaves less for all together.
    node.rlimits.push(Rlimit { name: "RLIMIT_STACK".into(), soft: 1 << 20, hard: 1 << 20 });
    let large = |n: u32| (format!("V{n}"), "x".repeat(100_000));
    let image = ImageSays { env: (0..3).map(large).collect(), ..ImageSays::default() };
    let plan = Blueprint { image, ..blueprint(&program, &node) };
    assert_eq!(
        runtime_spec(&plan).unwrap_err().to_string(),
        "container web: variables and command together exceed 253952 bytes, starting at variable V2"
    );
}

#[test]
fn a_containers_hosts_file_is_the_nodes_with_its_own_name() {
    for (nodes, expected) in [
        ("", "127.0.0.1 web-1\n"),
        ("127.0.0.1 localhost\n", "127.0.0.1 localhost\n127.0.0.1 web-1\n"),
        ("10.0.0.1 other", "10.0.0.1 other\n127.0.0.1 web-1\n"),
    ] {
        assert_eq!(hosts_file(nodes, "web-1"), expected);
    }
}

#[test]
fn what_an_image_says_is_not_expanded_and_may_be_referred_to() {
    let node = node();
    let words = |items: &[&str]| items.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let image = ImageSays {
        entrypoint: words(&["echo", "$$", "$(PRICE)"]),
        env: vec![("PRICE".into(), "$$5 $(PATH)".into())],
        ..ImageSays::default()
    };
    let program = Program { command: Vec::new(), args: words(&["$(PRICE)", "$$"]), ..program() };
    let spec = runtime_spec(&Blueprint { image, ..blueprint(&program, &node) }).unwrap();
    assert_eq!(spec["process"]["args"], json!(["echo", "$$", "$(PRICE)", "$$5 $(PATH)", "$"]));
    assert!(spec["process"]["env"].as_array().unwrap().contains(&json!("PRICE=$$5 $(PATH)")));
}
