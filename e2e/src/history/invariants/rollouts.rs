//! I4: a rollout stays within the bounds of its App. Judged are the steps that a controller takes, on the App and its
//! Tasks as they stood before: what nodes, probes and people take away is not its doing.

use std::collections::{HashMap, HashSet};

use super::Invariant;
use crate::history::Object;
use crate::history::key::{self, Key, told};
use crate::history::rollout::{Fleet, Member, Open};
use crate::history::spec::{AppSpec, Rollout, Spec};
use crate::history::state::{Change, Revision};
use crate::history::task;
use crate::history::violation::Breach;

/// No Create beyond replicas + maxSurge, no stop that leaves fewer available than replicas - maxUnavailable.
#[derive(Default)]
pub struct Rollouts {
    /// By uid of the App.
    fleets: HashMap<Box<str>, Fleet>,
    /// By key of the App: the specs that its controller may still act on.
    open: HashMap<String, Open>,
    /// uids of Nodes that were deleted.
    gone: HashSet<Box<str>>,
}

/// Of many Tasks that are stopped at once, so many are named.
const NAMED: usize = 5;

/// Who stops Tasks by itself. Others that lead are told by their epoch.
const CONTROLLERS: [&str; 4] = ["app-controller", "garbage-collector", "node-controller", "scheduler"];

impl Invariant for Rollouts {
    fn name(&self) -> &'static str {
        "I4 rollouts"
    }

    fn on_revision(&mut self, seen: &Revision<'_>, broken: &mut Vec<Breach>) {
        let mut apps: Vec<Touched<'_>> = Vec::new();
        for change in seen.changes {
            let Some((uid, app_key)) = app_of(change) else { continue };
            let step = (change, self.step(change));
            match apps.iter_mut().find(|touched| touched.uid == uid) {
                Some(touched) => touched.steps.push(step),
                None => apps.push(Touched { uid, app_key, steps: vec![step] }),
            }
        }
        for touched in &apps {
            self.judge(seen, touched, broken);
        }
        seen.changes.iter().for_each(|change| self.learn(change));
    }
}

/// The Tasks of one App that a revision changes.
struct Touched<'a> {
    uid: &'a str,
    app_key: String,
    steps: Vec<(&'a Change<'a>, Step)>,
}

impl<'a> Touched<'a> {
    fn with(&self, wanted: Step) -> impl Iterator<Item = &'a Change<'a>> {
        self.steps.iter().filter(move |(_, step)| *step == wanted).map(|(change, _)| *change)
    }
}

/// What a revision does to a Task.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A controller makes it.
    Create,
    /// A controller tells it to stop.
    Stop,
    /// Anything else.
    Other,
}

/// uid and key of the App that a Task belongs to.
fn app_of<'a>(change: &Change<'a>) -> Option<(&'a str, String)> {
    let Key::Object { kind: task::KIND, namespace, .. } = change.about else { return None };
    let owner = change.now.or(change.was)?.meta.owner()?;
    (*owner.kind == *"App").then(|| (&*owner.uid, key::app(namespace, &owner.name)))
}

fn step(change: &Change<'_>) -> Step {
    let by_controller = change.now.is_some_and(|now| {
        let header = &now.stored.header;
        header.epoch != 0 || CONTROLLERS.contains(&header.writer.as_str())
    });
    match (change.was, change.now) {
        (None, Some(_)) if by_controller => Step::Create,
        (Some(was), Some(now)) if by_controller && now.is_deleting() && !was.is_deleting() => Step::Stop,
        (_, _) => Step::Other,
    }
}

impl Rollouts {
    /// What is done to a Task; nothing any more to one whose Node is gone, the operator's word that nothing of it runs.
    fn step(&self, change: &Change<'_>) -> Step {
        let node = change.was.and_then(|task| match &*task.spec {
            Spec::Task(spec) => Some(&*spec.node_uid),
            Spec::App(_) | Spec::Node(_) | Spec::Lease(_) | Spec::Other => None,
        });
        if node.is_some_and(|node| self.gone.contains(node)) { Step::Other } else { step(change) }
    }

    fn judge(&mut self, seen: &Revision<'_>, touched: &Touched<'_>, broken: &mut Vec<Breach>) {
        let Touched { uid, app_key, steps } = touched;
        if !self.fleets.contains_key(*uid) {
            self.fleets.insert((*uid).into(), Fleet::default());
        }
        let fleet = self.fleets.get_mut(*uid).expect("it was put in");
        let app = seen.before.get(app_key).filter(|app| *app.meta.uid == **uid && !app.is_deleting());
        let spec = app.filter(|_| !is_leaving(seen, app_key)).and_then(spec_of);
        let whats = match spec {
            Some(spec) => {
                let whats =
                    [stops(seen, fleet, &self.open[app_key], touched), mixes(seen, fleet, spec, touched)];
                whats.into_iter().flatten().collect()
            }
            None => Vec::new(),
        };
        let mut tell = |fleet: &Fleet, what: String| {
            let keys = fleet.members().map(|(key, _)| key).chain([app_key.as_str()]);
            broken.push(Breach::new(seen.rev, what, keys));
        };
        whats.into_iter().for_each(|what| tell(fleet, what));
        for (change, _) in steps {
            fleet.set(change.key, change.now.map(|now| Member::read(now, seen.at)), seen.at);
        }
        if let Some(what) = spec.and_then(|spec| creates(fleet, spec, touched)) {
            tell(fleet, what);
        }
        if fleet.is_empty() {
            self.fleets.remove(*uid);
        }
    }

    fn learn(&mut self, change: &Change<'_>) {
        if let (Key::Object { kind: "berth.dev/nodes", .. }, Some(was), None) =
            (change.about, change.was, change.now)
        {
            self.gone.insert(was.meta.uid.clone());
        }
        let Key::Object { kind: "berth.dev/apps", .. } = change.about else { return };
        match change.now.and_then(|app| Some((app, spec_of(app)?))) {
            Some((app, spec)) => self.open.entry(change.key.into()).or_default().learn(app, spec),
            None => drop(self.open.remove(change.key)),
        }
    }
}

/// Whether all that is in the namespace of an App was told to go.
fn is_leaving(seen: &Revision<'_>, app_key: &str) -> bool {
    let Key::Object { namespace, .. } = Key::read(app_key) else { return false };
    seen.before.get(&key::namespace(namespace)).is_some_and(Object::is_deleting)
}

fn spec_of(app: &Object) -> Option<AppSpec> {
    match &*app.spec {
        Spec::App(spec) => Some(*spec),
        Spec::Task(_) | Spec::Node(_) | Spec::Lease(_) | Spec::Other => None,
    }
}

/// Whether Tasks are stopped that were counted on, by every spec that the controller may act on.
fn stops(seen: &Revision<'_>, fleet: &Fleet, open: &Open, touched: &Touched<'_>) -> Option<String> {
    let told_to: Vec<&str> = touched.with(Step::Stop).map(|change| change.key).collect();
    if told_to.is_empty() {
        return None;
    }
    let mut newest = None;
    for spec in open.specs() {
        let available = |key: &&&str| fleet.get(key).is_some_and(|member| member.is_available(seen.at, spec));
        let stopped: Vec<String> = told_to.iter().filter(available).map(|key| told(key)).collect();
        let left = fleet.left(&told_to, seen.at, spec);
        if stopped.is_empty() || left >= spec.keep {
            return None;
        }
        newest = Some((stopped, left, spec));
    }
    let (mut stopped, left, spec) = newest?;
    if stopped.len() > NAMED {
        let more = format!("and {} more", stopped.len() - NAMED);
        stopped.splice(NAMED.., [more]);
    }
    Some(format!(
        "{} is to keep {} of {} available, and is left {left} when its controller stops {}",
        told(&touched.app_key),
        spec.keep,
        spec.replicas,
        stopped.join(", ")
    ))
}

/// Whether a Recreate makes a Task while one of another Revision is there.
fn mixes(seen: &Revision<'_>, fleet: &Fleet, spec: AppSpec, touched: &Touched<'_>) -> Option<String> {
    if spec.rollout != Rollout::Recreate {
        return None;
    }
    let made = touched.with(Step::Create).next()?;
    let revision = Member::read(made.now?, seen.at).revision;
    let mut others = fleet.members().filter(|(_, member)| member.counts && member.revision != revision);
    let (other, member) = others.next()?;
    let (app, made, other) = (told(&touched.app_key), told(made.key), told(other));
    Some(format!("{app} is to recreate: {made} of {revision} is made beside {other} of {}", member.revision))
}

/// Whether more Tasks are made than the App may have.
fn creates(fleet: &Fleet, spec: AppSpec, touched: &Touched<'_>) -> Option<String> {
    let made = touched.with(Step::Create).last()?;
    let (app, made) = (told(&touched.app_key), told(made.key));
    let counted = fleet.counted();
    (counted > spec.most).then(|| {
        format!("{app} asks for {}, may have {}, and has {counted} with {made}", spec.replicas, spec.most)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::history::invariants::trial::Trial;
    use crate::history::key;
    use crate::history::story::Story;

    /// An App of four that may miss one and have one more, all of them available.
    fn four() -> Story {
        let mut story = Story::new();
        story.node("n1", "16").by("app-controller");
        let update = json!({"maxSurge": 1, "maxUnavailable": 1});
        story.app("web", json!({"replicas": 4, "strategy": {"rollingUpdate": update}}));
        for name in ["w0", "w1", "w2", "w3"] {
            story.ready("web", name, "n1");
        }
        story
    }

    #[test]
    fn a_controller_makes_and_stops_within_the_bounds() {
        Trial::of("I4 rollouts", four)
            .forcing(&["app-controller", "garbage-collector"])
            .keeps(|story| {
                story.task("web", "w4", "1").stop("w0").phase("w0", "Failed").task("web", "w5", "1")
            })
            .keeps(|story| {
                story.phase("w0", "Failed").phase("w1", "Failed").by("ctl").stop("w2").stop("w3")
            })
            .keeps(|story| story.scale("web", 2).stop("w0").stop("w1").stop("w2"))
            .keeps(|story| {
                // It acts on two before it has seen four.
                story.scale("web", 2).observed("web").scale("web", 4).stop("w0").stop("w1").stop("w2")
            })
            .keeps(|story| {
                story.task_condition("w0", "Reachable", "False", "GivenUp").task("web", "w4", "1");
                story.task("web", "w5", "1")
            })
            .keeps(|story| story.remove_node("n1").by("garbage-collector").stop("w0").stop("w1"))
            .keeps(|story| {
                let leaving = json!({"metadata": {"uid": "ns", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
                story.put(&key::namespace("shop"), leaving).by("garbage-collector").stop("w0").stop("w1")
            })
            .breaks("a second one is missing", |story| {
                story.stop("w0").stop("w1")
            })
            .breaks("two in one revision", |story| {
                story.together(|story| story.stop("w0").stop("w1"))
            })
            .breaks("one was lost before", |story| {
                story.task_condition("w3", "Reachable", "False", "NodeNotReady").stop("w0")
            })
            .breaks("one is not ready", |story| {
                story.task_condition("w3", "Ready", "False", "Probe").stop("w0")
            })
            .breaks("it has seen four again", |story| {
                story.scale("web", 2).observed("web").scale("web", 4).observed("web").stop("w0").stop("w1")
            })
            .breaks("one too many is made", |story| {
                story.task("web", "w4", "1").task("web", "w5", "1")
            })
            .breaks("those that stop are there", |story| {
                story.stop("w0").task("web", "w4", "1").task("web", "w5", "1")
            })
            .breaks("a leader of another name", |story| {
                let epoch = story.lead("x/drain", "one");
                story.by_leader("drain", epoch).stop("w0").stop("w1")
            })
            .shows(expect_test::expect![[r#"
                a second one is missing
                  24: App shop/web is to keep 3 of 4 available, and is left 2 when its controller stops Task shop/w1 (shown by 2 12 17 22 23 24)
                two in one revision
                  23: App shop/web is to keep 3 of 4 available, and is left 2 when its controller stops Task shop/w0, Task shop/w1 (shown by 2 7 12 17 22 23 23)
                one was lost before
                  24: App shop/web is to keep 3 of 4 available, and is left 2 when its controller stops Task shop/w0 (shown by 2 7 12 17 23 24)
                one is not ready
                  24: App shop/web is to keep 3 of 4 available, and is left 2 when its controller stops Task shop/w0 (shown by 2 7 12 17 23 24)
                it has seen four again
                  28: App shop/web is to keep 3 of 4 available, and is left 2 when its controller stops Task shop/w1 (shown by 12 17 22 26 27 28)
                one too many is made
                  24: App shop/web asks for 4, may have 5, and has 6 with Task shop/w5 (shown by 2 3 8 13 18 23 24)
                those that stop are there
                  25: App shop/web asks for 4, may have 5, and has 6 with Task shop/w5 (shown by 2 3 8 13 18 24 25)
                a leader of another name
                  25: App shop/web is to keep 3 of 4 available, and is left 2 when its controller stops Task shop/w1 (shown by 2 12 17 22 24 25)
            "#]]);
    }

    #[test]
    fn a_task_is_available_when_it_was_ready_for_long_enough() {
        fn slow() -> Story {
            let mut story = Story::new();
            story.node("n1", "16").by("app-controller");
            story.app("web", json!({"replicas": 2, "minReadySeconds": 10}));
            story.ready("web", "w0", "n1").ready("web", "w1", "n1").wait(20_000).ready("web", "w2", "n1");
            story
        }
        Trial::of("I4 rollouts", slow)
            .forcing(&["app-controller"])
            .keeps(|story| story.stop("w2"))
            .keeps(|story| story.wait(10_000).stop("w0"))
            .breaks("the new one is not available yet", |story| {
                story.wait(5_000).stop("w0")
            })
            .breaks("it was not ready meanwhile", |story| {
                story.wait(5_000).task_condition("w2", "Ready", "False", "Probe");
                story.task_condition("w2", "Ready", "True", "Probe").wait(6_000).stop("w0")
            })
            .shows(expect_test::expect![[r#"
                the new one is not available yet
                  18: App shop/web is to keep 2 of 2 available, and is left 1 when its controller stops Task shop/w0 (shown by 2 7 12 18)
                it was not ready meanwhile
                  20: App shop/web is to keep 2 of 2 available, and is left 1 when its controller stops Task shop/w0 (shown by 2 7 12 18 20)
            "#]]);
    }

    #[test]
    fn a_recreate_mixes_no_revisions() {
        fn two() -> Story {
            let mut story = Story::new();
            story.node("n1", "16").by("app-controller");
            story.app("web", json!({"replicas": 2, "strategy": {"type": "Recreate"}}));
            story.ready("web", "w0", "n1").ready("web", "w1", "n1");
            story
        }
        let of_r2 = |task: &mut serde_json::Value| task["spec"]["revision"] = "r2".into();
        let spoil = |events: &mut Vec<crate::history::Event>| {
            let last = events.last_mut().unwrap().now.as_mut().unwrap();
            let mut task = serde_json::from_str(&last.json).unwrap();
            of_r2(&mut task);
            last.json = task.to_string().into();
        };
        let mut early = two();
        early.stop("w0").stop("w1").phase("w0", "Failed").task("web", "w2", "1");
        Trial::of("I4 rollouts", two)
            .forcing(&["app-controller"])
            .keeps(|story| {
                story
                    .stop("w0")
                    .stop("w1")
                    .phase("w0", "Failed")
                    .phase("w1", "Failed")
                    .task("web", "w2", "1")
            })
            .breaks_log("made beside the old", early.events(), spoil)
            .breaks("more than asked for", |story| {
                story.task("web", "w2", "1")
            })
            .shows(expect_test::expect![[r#"
                made beside the old
                  16: App shop/web is to recreate: Task shop/w2 of r2 is made beside Task shop/w1 of r1 (shown by 2 8 9 10 11 12 14)
                more than asked for
                  13: App shop/web asks for 2, may have 2, and has 3 with Task shop/w2 (shown by 2 3 8 13)
            "#]]);
    }
}
