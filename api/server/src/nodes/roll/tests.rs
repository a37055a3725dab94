use super::*;

const JUDGE_AFTER: Duration = Duration::from_secs(15);
const GRACE: Duration = Duration::from_secs(10);

struct World {
    roll: Roll,
    start: Instant,
}

/// A world in which this server sees, from second 0 on.
fn world() -> World {
    let start = Instant::now();
    let mut roll = Roll::new(JUDGE_AFTER, GRACE, start);
    roll.recovered(Trouble::View, start);
    roll.recovered(Trouble::Lease, start);
    World { roll, start }
}

impl World {
    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn session(&mut self, second: u64, node: &str, uid: &str, server: &str) {
        let now = self.at(second);
        self.roll.session_is(node, session(uid, server), now);
    }

    fn says(&self, second: u64) -> String {
        let now = self.at(second);
        let mut text = if self.roll.believed(now) { "believed".to_owned() } else { "not believed".into() };
        for (name, uid, sight) in self.roll.sights(now) {
            text += &match sight {
                Sight::Present => format!(", {name}/{uid} present"),
                Sight::Absent(since) => format!(", {name}/{uid} away {}s", (now - since).as_secs()),
            };
        }
        text
    }
}

fn session(uid: &str, server: &str) -> Session {
    let value =
        SessionValue { server: server.into(), node_uid: uid.into(), boot_id: "boot".into(), number: 1 };
    Session { value, rev: 1 }
}

fn server() -> ServerValue {
    ServerValue { endpoints: Vec::new() }
}

#[test]
fn a_node_is_present_while_its_session_names_a_living_server() {
    let mut world = world();
    world.roll.node_is("n1", "u1", world.at(20));
    assert_eq!(world.says(21), "believed, n1/u1 away 1s");
    world.roll.server_is("s1", server());
    world.session(22, "n1", "u1", "s1");
    assert_eq!(world.says(500), "believed, n1/u1 present");
    world.roll.session_gone("n1", world.at(600));
    assert_eq!(world.says(602), "believed, n1/u1 away 2s");
}

#[test]
fn nodes_of_a_lost_server_have_time_to_open_a_session_elsewhere() {
    let mut world = world();
    world.roll.server_is("s1", server());
    world.roll.server_is("s2", server());
    for node in ["n1", "n2"] {
        world.roll.node_is(node, "u", world.at(0));
        world.session(0, node, "u", "s1");
    }
    world.roll.server_gone("s1", world.at(100));
    assert_eq!(world.roll.next_due(world.at(100)), Some(world.at(110)));
    assert_eq!(world.says(109), "believed, n1/u present, n2/u present");
    world.session(109, "n2", "u", "s2");
    assert_eq!(world.says(112), "believed, n1/u away 2s, n2/u present");
}

#[test]
fn a_session_may_be_seen_before_the_key_of_its_server() {
    let mut world = world();
    world.roll.node_is("n1", "u1", world.at(0));
    world.session(20, "n1", "u1", "s1");
    world.roll.server_is("s1", server());
    assert_eq!(world.says(500), "believed, n1/u1 present");
}

#[test]
fn the_session_of_an_earlier_incarnation_does_not_count() {
    let mut world = world();
    world.roll.server_is("s1", server());
    world.roll.node_is("n1", "u1", world.at(0));
    world.session(0, "n1", "u1", "s1");
    world.roll.node_gone("n1");
    assert_eq!(world.says(20), "believed");
    world.roll.node_is("n1", "u2", world.at(30));
    assert_eq!(world.says(31), "believed, n1/u2 away 1s");
}

#[test]
fn nobody_is_judged_until_a_while_after_the_last_trouble() {
    let mut world = world();
    assert_eq!([world.says(14), world.says(15)], ["not believed", "believed"]);
    world.roll.trouble(Trouble::Lease);
    world.roll.trouble(Trouble::View);
    world.roll.recovered(Trouble::Lease, world.at(50));
    assert_eq!(world.says(100), "not believed");
    world.roll.recovered(Trouble::View, world.at(100));
    assert_eq!([world.says(114), world.says(115)], ["not believed", "believed"]);
}

#[test]
fn the_first_server_of_an_empty_cluster_judges_at_once_and_only_the_first_time() {
    let start = Instant::now();
    let mut roll = Roll::new(JUDGE_AFTER, GRACE, start);
    let alone = BTreeMap::from([("me".to_owned(), server())]);
    let seen = Snapshot { servers: alone.clone(), ..Snapshot::default() };
    assert!(seen.is_fresh(Some("me")) && !seen.is_fresh(Some("another")) && !seen.is_fresh(None));
    let joined = Snapshot {
        nodes: BTreeMap::from([("n1".into(), "u1".into())]),
        servers: alone,
        ..Snapshot::default()
    };
    assert!(!joined.is_fresh(Some("me")));
    roll.nobody_was_here();
    roll.recovered(Trouble::View, start);
    roll.recovered(Trouble::Lease, start);
    assert!(roll.believed(start));
    roll.trouble(Trouble::View);
    roll.recovered(Trouble::View, start);
    assert!(!roll.believed(start));
}

#[test]
fn what_changed_while_the_store_was_not_followed_counts_from_when_it_is_seen() {
    let mut world = world();
    world.roll.server_is("s1", server());
    for node in ["n1", "n2", "n3"] {
        world.roll.node_is(node, "u", world.at(0));
        world.session(0, node, "u", "s1");
    }
    let seen = Snapshot {
        nodes: BTreeMap::from([("n1".into(), "u".into()), ("n2".into(), "u".into())]),
        sessions: BTreeMap::from([("n1".into(), session("u", "s1"))]),
        servers: BTreeMap::from([("s1".into(), server())]),
    };
    world.roll.replace(seen, world.at(60));
    assert_eq!(world.says(61), "believed, n1/u present, n2/u away 1s");
}
