//! The agent killed at each of its failpoints and at random moments, while Tasks come, go and end.

use std::time::Duration;

use berth_e2e::{Part, StoreForm, World, soak};
use berth_failpoint::PLACES;
use fastrand::Rng;

use super::fleet::Fleet;
use super::story::Story;

/// How long a part may take to reach the place at which it is killed.
const FALL: Duration = Duration::from_secs(30);

/// What makes an agent come by a place.
#[derive(Debug, Clone, Copy)]
enum Trigger {
    /// A Task comes.
    Grow,
    /// A Task goes.
    Shrink,
    /// A container ends.
    End,
    /// The agent starts.
    Start,
    /// A shim dies.
    Bereave,
}

fn trigger(place: &str) -> Trigger {
    match place {
        "agent.exit.heard" => Trigger::End,
        "agent.bury.before" => Trigger::Bereave,
        "agent.recover.before" | "agent.recover.after" | "agent.session.before" => Trigger::Start,
        "agent.forget.before" | "agent.acknowledge.before" => Trigger::Shrink,
        place if place.starts_with("agent.stop.") => Trigger::Shrink,
        place if place.starts_with("agent.cleanup.") => Trigger::Shrink,
        _ => Trigger::Grow,
    }
}

/// A run of kills in one world.
struct Kills {
    world: World,
    fleet: Fleet,
    chance: Rng,
    story: Story,
}

/// 60 kills over both stores, 500 in a soak: no container restarts for it, none runs twice, each end is told with its
/// code, nothing is left in the end.
pub fn an_agent_killed_anywhere_restarts_nothing(form: StoreForm) {
    let world = World::start(form);
    let fleet = Fleet::start(&world);
    let chance = Rng::with_seed(soak::seed() ^ u64::from(form == StoreForm::Embedded));
    let mut kills = Kills { world, fleet, chance, story: Story::default() };
    let mut places: Vec<&str> = PLACES.iter().copied().filter(|place| place.starts_with("agent.")).collect();
    kills.chance.shuffle(&mut places);
    places.iter().for_each(|place| kills.at(place));
    while kills.story.kills() < soak::counts(30, 250) {
        match kills.chance.choice(&places) {
            Some(place) if kills.chance.bool() => kills.at(place),
            Some(_) | None => kills.at_random(),
        }
    }
    let Kills { world, fleet, .. } = kills;
    fleet.end(&world);
    world.end();
}

impl Kills {
    /// Kills the agent when it comes by `place`.
    fn at(&mut self, place: &str) {
        let trigger = trigger(place);
        self.fleet.make_room(&self.world);
        let order = format!("{place} kill\n");
        if let Trigger::Start = trigger {
            self.world.kill(Part::Agent);
            self.story.killed("a quiet moment");
            self.world.arm(Part::Agent, &order);
            self.world.begin(Part::Agent);
        } else {
            self.world.arm(Part::Agent, &order);
            self.pull(trigger);
        }
        assert!(self.world.falls(Part::Agent, FALL), "the agent does not come by {place} on {trigger:?}");
        self.story.killed(place);
        self.comes_back();
    }

    /// Kills the agent at some moment after something began.
    fn at_random(&mut self) {
        let trigger =
            [Trigger::Grow, Trigger::Shrink, Trigger::End, Trigger::Bereave][self.chance.usize(..4)];
        self.fleet.make_room(&self.world);
        self.pull(trigger);
        let moment = Duration::from_millis(self.chance.u64(..800));
        std::thread::park_timeout(moment);
        self.world.kill(Part::Agent);
        self.story.killed(format!("{moment:?} after {trigger:?}"));
        self.comes_back();
    }

    fn pull(&mut self, trigger: Trigger) {
        match trigger {
            Trigger::Grow => self.fleet.grow(&self.world),
            Trigger::Shrink => self.fleet.shrink(&self.world),
            Trigger::End => self.end_one(0),
            Trigger::Bereave => self.fleet.bereave(&self.world),
            Trigger::Start => {}
        }
    }

    fn end_one(&mut self, which: usize) {
        let code = 1 + i64::try_from(self.story.kills() % 100).expect("a small number");
        self.fleet.end_one(&self.world, which, code);
    }

    /// A container ends while the agent is away; then another agent starts.
    fn comes_back(&mut self) {
        self.end_one(1);
        self.world.arm(Part::Agent, "");
        self.world.begin(Part::Agent);
        self.fleet.settles(&self.world);
    }
}
