//! Of several conditions of one kind at once, each keeps a Task away when it is the only one that fails.

use serde_json::{Value, json};

use super::*;

/// A Task that asks for several things of every kind, and gets exactly what the node has.
fn spec() -> Value {
    let container = |cpu: u32, fixed: u16, names: [&str; 2]| {
        let requests = json!({ "cpu": format!("{cpu}m"), "memory": cpu, "disk": cpu * 2 });
        let ports = json!([{ "name": names[0], "hostPort": fixed }, { "name": names[1] }]);
        json!({ "resources": { "requests": requests }, "ports": ports })
    };
    json!({
        "nodeSelector": { "arch": "arm", "disk": "ssd", "zone": "a" },
        "tolerations": [
            { "key": "gpu", "value": "a100", "effect": "NoSchedule" },
            { "key": "old", "operator": "Exists" },
            { "key": "tenant", "value": "x" },
        ],
        "containers": [
            container(300, 81, ["a", "b"]), container(300, 82, ["c", "d"]), container(400, 31002, ["e", "f"]),
        ],
    })
}

/// What the node has.
struct Machine {
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    free: Room,
    held: BTreeMap<u16, u32>,
    free_ports: usize,
}

fn taint(key: &str, value: &str) -> Taint {
    Taint { key: key.into(), value: value.into(), effect: "NoSchedule".into() }
}

fn machine() -> Machine {
    let labels = [("arch", "arm"), ("disk", "ssd"), ("zone", "a"), ("other", "label")];
    Machine {
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        taints: vec![taint("gpu", "a100"), taint("old", "yes"), taint("tenant", "x")],
        free: Room { cpu: Millicores(1000), memory: Bytes(1000), disk: Bytes(2000) },
        held: BTreeMap::from([(80, 1), (443, 2), (31000, 1)]),
        // Of five ports one is held, and the Task fixes another.
        free_ports: 4,
    }
}

fn misfit(spec: Value, machine: &Machine) -> Option<Misfit> {
    let ask = Ask::of(&serde_json::from_value(json!({ "spec": spec })).unwrap()).unwrap();
    ask.misfit(&Offer {
        standing: Standing::Open,
        labels: &machine.labels,
        taints: &machine.taints,
        free: machine.free,
        held_ports: &machine.held,
        port_range: Some((31000, 31004)),
        free_ports: machine.free_ports,
        shunned_ports: &BTreeMap::new(),
    })
}

#[test]
fn each_thing_that_a_task_asks_for_keeps_it_away_alone() {
    assert_eq!(misfit(spec(), &machine()), None);
    let mut table = vec![
        ("/nodeSelector/arch".to_owned(), json!("x86"), Misfit::Unselected),
        ("/nodeSelector/disk".into(), json!("hdd"), Misfit::Unselected),
        ("/nodeSelector/zone".into(), json!("b"), Misfit::Unselected),
        ("/tolerations/0/key".into(), json!("cpu"), Misfit::Tainted),
        ("/tolerations/0/value".into(), json!("h100"), Misfit::Tainted),
        ("/tolerations/0/effect".into(), json!("NoExecute"), Misfit::Tainted),
        ("/tolerations/1/key".into(), json!("new"), Misfit::Tainted),
        ("/tolerations/2/key".into(), json!("owner"), Misfit::Tainted),
        ("/tolerations/2/value".into(), json!("y"), Misfit::Tainted),
    ];
    for (n, container) in [(0, 300), (1, 300), (2, 400)] {
        let at = |field: &str| format!("/containers/{n}/{field}");
        for held in [80, 443, 31000] {
            table.push((at("ports/0/hostPort"), json!(held), Misfit::PortTaken));
        }
        let one_more = format!("{}m", container + 1);
        table.push((at("resources/requests/cpu"), json!(one_more), Misfit::ShortOfCpu(1)));
        table.push((at("resources/requests/memory"), json!(container + 2), Misfit::ShortOfMemory(2)));
        table.push((at("resources/requests/disk"), json!(container * 2 + 3), Misfit::ShortOfDisk(3)));
        let ports = json!([{ "name": "x" }, { "name": "y" }, { "name": "z" }]);
        table.push((at("ports"), ports, Misfit::TooFewPorts));
    }
    for (pointer, value, expected) in table {
        let mut changed = spec();
        *changed.pointer_mut(&pointer).unwrap_or_else(|| panic!("no {pointer}")) = value.clone();
        assert_eq!(misfit(changed, &machine()), Some(expected), "{pointer} is {value}");
    }
    for n in 0..3 {
        let mut changed = spec();
        changed["tolerations"].as_array_mut().unwrap().remove(n);
        assert_eq!(misfit(changed, &machine()), Some(Misfit::Tainted), "without toleration {n}");
    }
}

#[test]
fn each_thing_that_a_node_lacks_keeps_a_task_away_alone() {
    for label in ["arch", "disk", "zone"] {
        let mut machine = machine();
        machine.labels.remove(label);
        assert_eq!(misfit(spec(), &machine), Some(Misfit::Unselected), "without label {label}");
    }
    for n in 0..4 {
        let mut machine = machine();
        machine.taints.insert(n, taint("strange", "x"));
        assert_eq!(misfit(spec(), &machine), Some(Misfit::Tainted), "a fourth taint at {n}");
    }
    for n in 0..3 {
        let mut machine = machine();
        machine.taints[n].effect = "Other".into();
        machine.taints[n].value = "other".into();
        let expected = (n != 1).then_some(Misfit::Tainted);
        assert_eq!(
            misfit(spec(), &machine),
            expected,
            "taint {n} differs, `old` is tolerated whatever it is"
        );
    }
    for port in [81, 82, 31002] {
        let mut machine = machine();
        machine.held.insert(port, 1);
        assert_eq!(misfit(spec(), &machine), Some(Misfit::PortTaken), "port {port} is held");
    }
    let short = |lose: fn(&mut Machine)| {
        let mut machine = machine();
        lose(&mut machine);
        misfit(spec(), &machine)
    };
    assert_eq!(short(|machine| machine.free.cpu.0 -= 1), Some(Misfit::ShortOfCpu(1)));
    assert_eq!(short(|machine| machine.free.memory.0 -= 1), Some(Misfit::ShortOfMemory(1)));
    assert_eq!(short(|machine| machine.free.disk.0 -= 1), Some(Misfit::ShortOfDisk(1)));
    assert_eq!(short(|machine| machine.free_ports -= 1), Some(Misfit::TooFewPorts));
}
