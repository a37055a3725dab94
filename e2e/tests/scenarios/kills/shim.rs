//! Shims killed at each of their failpoints and at quiet moments.

use berth_e2e::wait::eventually;
use berth_e2e::world::SOON;
use berth_e2e::{Part, StoreForm, World, hits, soak};
use berth_failpoint::PLACES;
use fastrand::Rng;

use super::fleet::{CHURN, Fleet, Last};
use super::story::Story;

/// A run of kills in one world.
struct Kills {
    world: World,
    fleet: Fleet,
    chance: Rng,
    story: Story,
}

/// 15 kills and more over both stores, each place in one of them; 100 in a soak: the Task's containers end and start
/// again, an end that was recorded is told with its code, never two copies, nothing is left in the end.
pub fn a_killed_shim_is_noticed_and_nothing_runs_twice(form: StoreForm) {
    let world = World::start(form);
    let mut fleet = Fleet::start(&world);
    // The shim of a Task that comes is killed: its containers start again.
    fleet.excuse(CHURN);
    let half = usize::from(form == StoreForm::Embedded);
    let chance = Rng::with_seed(soak::seed() ^ half as u64);
    let mut kills = Kills { world, fleet, chance, story: Story::default() };
    let places: Vec<&str> = PLACES.iter().copied().filter(|place| place.starts_with("shim.")).collect();
    for place in places.iter().skip(half).step_by(2) {
        kills.at(place);
    }
    kills.at_rest();
    while kills.story.kills() < soak::counts(8, 50) {
        match kills.chance.choice(&places) {
            Some(place) if kills.chance.bool() => kills.at(place),
            Some(_) | None => kills.at_rest(),
        }
    }
    let Kills { world, fleet, .. } = kills;
    fleet.end(&world);
    world.end();
}

impl Kills {
    /// Kills whichever shim comes by `place` first.
    fn at(&mut self, place: &str) {
        self.fleet.make_room(&self.world);
        let before = self.hits(place);
        self.story.killed(place);
        // Every shim that the agent starts reads the agent's orders.
        self.world.arm(Part::Agent, &format!("{place} kill\n"));
        let code = 1 + i64::try_from(self.story.kills() % 100).expect("a small number");
        match place {
            "shim.exit.seen" => self.fleet.end_with_shim(&self.world, code, Last::Seen),
            "shim.exit.written" => self.fleet.end_with_shim(&self.world, code, Last::Recorded),
            place if place.starts_with("shim.kill.") || place.starts_with("shim.shutdown.") => {
                self.fleet.shrink(&self.world);
            }
            _ => self.fleet.grow(&self.world),
        }
        eventually(&format!("a shim came by {place}"), SOON, || match self.hits(place) {
            hits if hits > before => Ok(()),
            hits => Err(format!("{hits} hits")),
        });
        self.world.arm(Part::Agent, "");
        self.fleet.settles(&self.world);
    }

    fn at_rest(&mut self) {
        self.story.killed("a quiet moment");
        self.fleet.bereave(&self.world);
        self.fleet.settles(&self.world);
    }

    fn hits(&self, place: &str) -> u64 {
        hits::counted_in(&self.world.hits()).get(place).copied().unwrap_or(0)
    }
}
