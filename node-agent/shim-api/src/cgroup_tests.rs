use super::*;

const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
35 25 0:28 /docker/1 /mnt/view rw,relatime - cgroup cgroup rw,memory
36 25 0:28 / /mnt/again rw,relatime - cgroup cgroup rw,memory
";

#[test]
fn each_hierarchy_is_seen_once_and_views_into_it_are_not() {
    let seen = Hierarchies::from_mountinfo(HYBRID).subtree("/berth-1/task");
    let mut text = String::new();
    for root in &seen.roots {
        text += &format!("{} {:?}\n", root.mount.display(), root.form);
    }
    expect_test::expect![[r#"
        /sys/fs/cgroup/cpu,cpuacct/berth-1/task V1(["cpu", "cpuacct"])
        /sys/fs/cgroup/memory/berth-1/task V1(["memory"])
        /sys/fs/cgroup/systemd/berth-1/task V1(["name=systemd"])
        /sys/fs/cgroup/unified/berth-1/task V2
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_process_is_found_in_the_hierarchy_that_its_line_names() {
    let hierarchies = Hierarchies::from_mountinfo(HYBRID);
    let table = [
        ("4:memory:/a/b", "/sys/fs/cgroup/memory/a/b"),
        ("7:cpu,cpuacct:/", "/sys/fs/cgroup/cpu,cpuacct"),
        ("1:name=systemd:/x", "/sys/fs/cgroup/systemd/x"),
        ("0::/y", "/sys/fs/cgroup/unified/y"),
    ];
    for (line, folder) in table {
        assert_eq!(hierarchies.place(line), Some(folder.into()), "{line}");
    }
    assert_eq!(hierarchies.place("5:pids:/z"), None, "it is not mounted");
}

#[test]
fn oom_kills_are_read_in_both_versions_form() {
    let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
    let v2 = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\noom_group_kill 0\n";
    assert_eq!((count(v1, "oom_kill"), count(v2, "oom_kill"), count("", "oom_kill")), (2, 3, 0));
}
