use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    duration: Duration::from_secs(10),
    renew_every: Duration::from_secs(2),
    give_up_after: Duration::from_secs(8),
};

/// The Lease in the store, as the server keeps it: a write needs the version that it was decided on, a change of the
/// holder begins an epoch.
#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    revision: i64,
    epoch: i64,
    /// Which holder each epoch belongs to.
    holders: Vec<(i64, String)>,
}

impl Server {
    fn seen(&self) -> Seen {
        self.lease.clone().map_or(Seen::Absent, |lease| Seen::Present(Box::new(lease)))
    }

    fn write(&mut self, wanted: Move) -> Option<Lease> {
        let (mut lease, expected) = match wanted {
            Move::Create(lease) => (*lease, None),
            Move::Update(lease) => (*lease.clone(), Some(lease.metadata.resource_version.clone())),
            Move::Wait(_) | Move::Stop => return None,
        };
        if self.lease.as_ref().map(|lease| lease.metadata.resource_version.clone()) != expected {
            return None;
        }
        self.revision += 1;
        lease.metadata.resource_version = (self.revision * 1024).to_string();
        let holder = lease.spec.holder_identity.clone();
        if self.lease.as_ref().is_none_or(|old| old.spec.holder_identity != holder) {
            self.epoch = self.revision;
            self.holders.push((self.epoch, holder));
        }
        self.lease = Some(lease.clone());
        Some(lease)
    }
}

struct World {
    server: Server,
    start: Instant,
}

impl World {
    fn new() -> Self {
        Self { server: Server::default(), start: Instant::now() }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn candidate(&self, process: &str, second: u64) -> Candidate {
        Candidate::new("berth-system", "app", process, TIMING, self.at(second))
    }

    fn sees(&self, candidate: &mut Candidate, second: u64) {
        candidate.saw(self.server.seen(), self.at(second));
    }

    fn next(&self, candidate: &mut Candidate, second: u64) -> Move {
        candidate.next(self.at(second), Timestamp::from_millis(i64::try_from(second).unwrap() * 1000))
    }

    /// The candidate looks, decides, and its write is answered.
    fn turn(&mut self, candidate: &mut Candidate, second: u64) -> String {
        self.sees(candidate, second);
        let wanted = self.next(candidate, second);
        let said = match &wanted {
            Move::Wait(until) => format!("waits until {}", (*until - self.start).as_secs()),
            Move::Stop => "stops".into(),
            Move::Create(_) => "creates".into(),
            Move::Update(_) if candidate.epoch().is_some() => "renews".into(),
            Move::Update(_) => "takes".into(),
        };
        match self.server.write(wanted) {
            Some(lease) => {
                candidate.wrote(lease, self.at(second));
                format!("{said}, leads {:?}", candidate.epoch().unwrap())
            }
            None => said,
        }
    }
}

#[test]
fn a_standby_waits_as_long_as_it_sees_changes() {
    let mut world = World::new();
    let (mut one, mut two) = (world.candidate("one", 0), world.candidate("two", 0));
    assert_eq!(world.turn(&mut one, 0), "creates, leads 1");
    assert_eq!(world.turn(&mut two, 1), "waits until 11");
    assert_eq!(world.turn(&mut one, 2), "renews, leads 1");
    assert_eq!(world.turn(&mut two, 5), "waits until 15");
    assert_eq!(world.turn(&mut two, 14), "waits until 15");
    assert_eq!(world.turn(&mut two, 15), "takes, leads 3");
    assert_eq!(world.turn(&mut one, 15), "waits until 25");
    assert_eq!(one.epoch(), None);
}

#[test]
fn a_leader_that_cannot_renew_stops_before_a_standby_may_take_over() {
    let mut world = World::new();
    let mut one = world.candidate("one", 0);
    assert_eq!(world.turn(&mut one, 0), "creates, leads 1");
    assert!(matches!(world.next(&mut one, 2), Move::Update(_)));
    one.failed(world.at(2), Duration::from_millis(500));
    assert!(matches!(world.next(&mut one, 7), Move::Update(_)));
    assert_eq!(world.next(&mut one, 8), Move::Stop);
    assert_eq!(one.epoch(), None);
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_once() {
    let mut world = World::new();
    let (mut one, mut two) = (world.candidate("one", 0), world.candidate("two", 0));
    world.turn(&mut one, 0);
    let released = one.release().expect("it leads");
    assert!(world.server.write(Move::Update(Box::new(released))).is_some());
    assert_eq!(world.turn(&mut two, 1), "takes, leads 3");
    assert_eq!(two.release().unwrap().spec.holder_identity, "");
}

#[test]
fn a_write_that_was_not_answered_begins_no_term_and_the_next_one_is_a_new_epoch() {
    let mut world = World::new();
    let mut one = world.candidate("one", 0);
    world.sees(&mut one, 0);
    let wanted = world.next(&mut one, 0);
    assert!(world.server.write(wanted).is_some());
    one.failed(world.at(3), Duration::from_millis(500));
    assert_eq!(world.turn(&mut one, 4), "takes, leads 2");
    assert_eq!(world.server.holders, [(1, "one-1".into()), (2, "one-2".into())]);
}

#[test]
fn a_lease_of_an_ended_term_is_given_back_though_the_next_term_was_asked_for() {
    let mut world = World::new();
    let mut one = world.candidate("one", 0);
    world.sees(&mut one, 0);
    let wanted = world.next(&mut one, 0);
    assert!(world.server.write(wanted).is_some());
    world.sees(&mut one, 1);
    assert!(matches!(world.next(&mut one, 1), Move::Update(_)));
    let released = one.release().expect("the Lease of its first term is its own");
    assert_eq!(released.spec.holder_identity, "");
}

#[test]
fn a_late_view_changes_nothing() {
    let mut world = World::new();
    let mut one = world.candidate("one", 0);
    world.turn(&mut one, 0);
    let old = world.server.seen();
    world.turn(&mut one, 2);
    one.saw(old, world.at(3));
    assert_eq!(world.turn(&mut one, 4), "renews, leads 1");
}

#[test]
fn a_renewal_is_a_change_even_when_the_clock_stands() {
    let mut world = World::new();
    let mut one = world.candidate("one", 0);
    world.turn(&mut one, 0);
    let before = world.server.lease.clone().unwrap().spec.renew_time;
    let Move::Update(renewal) = one.next(world.at(2), Timestamp::from_millis(0)) else {
        panic!("no renewal")
    };
    assert!(renewal.spec.renew_time > before);
}

#[test]
fn a_lease_that_somebody_deleted_ends_the_term() {
    let mut world = World::new();
    let mut one = world.candidate("one", 0);
    world.turn(&mut one, 0);
    world.server.lease = None;
    assert_eq!(world.turn(&mut one, 1), "creates, leads 2");
}

/// What happens to one of the candidates at one second.
#[derive(Debug, Clone)]
enum Happens {
    /// It looks and acts; the answer of its write is lost or not.
    Turn { answered: bool },
    /// It acts on what it saw before.
    Blind,
    /// It sends a write of its term, as a leader that stood still may do at any time.
    Acts,
}

fn happens() -> impl Strategy<Value = (usize, u64, Happens)> {
    let what = prop_oneof![
        4 => Just(Happens::Turn { answered: true }),
        1 => Just(Happens::Turn { answered: false }),
        2 => Just(Happens::Blind),
        3 => Just(Happens::Acts),
    ];
    (0..3_usize, 0..6_u64, what)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..berth_cases::cases(1_000) })]

    #[test]
    fn each_epoch_belongs_to_one_term_and_no_older_epoch_writes_after_a_newer(
        story in prop::collection::vec(happens(), 1..120)
    ) {
        let mut world = World::new();
        let mut candidates: Vec<Candidate> =
            ["one", "two", "three"].iter().map(|name| world.candidate(name, 0)).collect();
        let (mut second, mut newest, mut epochs) = (0, 0, vec![None; 3]);
        for (who, pause, what) in story {
            second += pause;
            let candidate = &mut candidates[who];
            match what {
                Happens::Turn { answered: true } => { world.turn(candidate, second); }
                Happens::Turn { answered: false } => {
                    world.sees(candidate, second);
                    let wanted = world.next(candidate, second);
                    world.server.write(wanted);
                    candidate.failed(world.at(second), Duration::from_secs(1));
                }
                Happens::Blind => {
                    let wanted = world.next(candidate, second);
                    if let Some(lease) = world.server.write(wanted) {
                        candidate.wrote(lease, world.at(second));
                    }
                }
                Happens::Acts => if let Some(epoch) = epochs[who] {
                    // The server takes a write of the present epoch alone.
                    if epoch == world.server.epoch {
                        prop_assert!(epoch >= newest);
                        newest = epoch;
                    }
                }
            }
            // A process may act on the last term it had, even one that ended meanwhile.
            epochs[who] = candidates[who].epoch().or(epochs[who]);
            if let Some(epoch) = candidates[who].epoch() {
                let holder = candidates[who].identity();
                prop_assert!(world.server.holders.contains(&(epoch, holder)));
            }
        }
        let mut leaders: Vec<i64> = world.server.holders.iter().map(|(epoch, _)| *epoch).collect();
        leaders.dedup();
        prop_assert_eq!(leaders.len(), world.server.holders.len());
    }

    #[test]
    fn one_candidate_that_is_left_leads_within_the_lease(
        story in prop::collection::vec(happens(), 0..60)
    ) {
        let mut world = World::new();
        let mut candidates: Vec<Candidate> =
            ["one", "two", "three"].iter().map(|name| world.candidate(name, 0)).collect();
        let mut second = 0;
        for (who, pause, what) in story {
            second += pause;
            if matches!(what, Happens::Turn { .. }) {
                world.turn(&mut candidates[who], second);
            }
        }
        let last = &mut candidates[0];
        let mut leads = false;
        for later in 0..=11 {
            leads |= world.turn(last, second + later).contains("leads");
        }
        prop_assert!(leads);
    }
}
