//! I2: a Task runs on its node alone, one attempt of a container at a time, and nothing of it after its agent
//! acknowledged its end. Seen from the node's process table, never from what an agent says.

use std::collections::{BTreeMap, HashMap};

use super::Invariant;
use crate::history::evidence::Sighting;
use crate::history::key::{Key, told};
use crate::history::state::{Revision, State};
use crate::history::task;
use crate::history::violation::Breach;

/// A process may be seen so long after the end of its Task was seen: nanoseconds. The two are seen by different eyes.
const SLACK: u64 = 500_000_000;

/// An agent that starts runs a container of this name and of no Task, to see that it can.
const SELF_TEST: &str = "self-test";

/// Every process of a Task is where and when it may be.
pub struct Processes {
    sightings: Vec<Sighting>,
    lives: HashMap<Box<str>, Life>,
}

/// What the store says of a Task that was bound.
struct Life {
    key: String,
    node: Box<str>,
    ended: Option<(i64, u64)>,
}

/// What tells the attempts of a container apart.
type Attempt<'a> = (&'a str, &'a str, Option<u64>);

impl Processes {
    /// What the node probe saw.
    pub fn new(sightings: &[Sighting]) -> Self {
        Self { sightings: sightings.to_vec(), lives: HashMap::new() }
    }
}

impl Invariant for Processes {
    fn name(&self) -> &'static str {
        "I2 processes"
    }

    fn on_revision(&mut self, seen: &Revision<'_>, _broken: &mut Vec<Breach>) {
        if self.sightings.is_empty() {
            return;
        }
        for change in seen.changes {
            let Key::Object { kind: task::KIND, .. } = change.about else { continue };
            let Some(object) = change.now.or(change.was) else { continue };
            let node = task::spec(object).map(|spec| spec.node.clone()).unwrap_or_default();
            if node.is_empty() {
                continue;
            }
            let fresh = || Life { key: change.key.into(), node, ended: None };
            let life = self.lives.entry(object.meta.uid.clone()).or_insert_with(fresh);
            let over = change.now.is_none_or(task::is_over);
            if over && life.ended.is_none() {
                life.ended = Some((seen.rev, seen.at));
            }
        }
    }

    fn finish(&mut self, _last: &State, broken: &mut Vec<Breach>) {
        for sighting in &self.sightings {
            let life = self.lives.get(&*sighting.task);
            if let Some(why) = misplaced(sighting, life) {
                broken.push(breach(sighting, life, why));
            }
        }
        let mut containers: BTreeMap<(&str, &str), BTreeMap<Attempt<'_>, Vec<&Sighting>>> = BTreeMap::new();
        for sighting in &self.sightings {
            let container = containers.entry((&sighting.task, &sighting.container)).or_default();
            let attempt = (&*sighting.node, &*sighting.cgroup, sighting.attempt);
            container.entry(attempt).or_default().push(sighting);
        }
        for attempts in containers.into_values().filter(|attempts| attempts.len() > 1) {
            self.overlaps(&attempts.into_values().collect::<Vec<_>>(), broken);
        }
    }
}

impl Processes {
    /// Two attempts of one container must not have been seen at the same time.
    fn overlaps(&self, attempts: &[Vec<&Sighting>], broken: &mut Vec<Breach>) {
        for (number, one) in attempts.iter().enumerate() {
            for other in &attempts[number + 1..] {
                let pairs = one.iter().flat_map(|one| other.iter().map(move |other| (*one, *other)));
                let both =
                    |(one, other): &(&Sighting, &Sighting)| one.first < other.last && other.first < one.last;
                let Some((one, other)) = pairs.into_iter().find(both) else { continue };
                let why = format!("runs beside {}", process(other));
                broken.push(breach(one, self.lives.get(&*one.task), why));
            }
        }
    }
}

fn misplaced(sighting: &Sighting, life: Option<&Life>) -> Option<String> {
    let Some(life) = life else {
        let tried = sighting.container == SELF_TEST;
        return (!tried).then(|| "runs, and no such Task was ever bound".into());
    };
    if *life.node != *sighting.node {
        return Some(format!("runs, and its Task is bound to Node {}", life.node));
    }
    let (rev, at) = life.ended.filter(|(_, at)| *at > 0 && sighting.last > at + SLACK)?;
    let late = (sighting.last - at) / 1_000_000;
    Some(format!("runs {late} ms after its end was acknowledged in revision {rev}"))
}

fn process(sighting: &Sighting) -> String {
    let Sighting { node, pid, cgroup, attempt, .. } = sighting;
    let attempt = attempt.map_or(String::new(), |attempt| format!(" attempt {attempt}"));
    format!("pid {pid}{attempt} in {cgroup} on Node {node}")
}

fn breach(sighting: &Sighting, life: Option<&Life>, why: String) -> Breach {
    let task = life.map_or(sighting.task.clone(), |life| told(&life.key));
    let what = format!("container {} of {task}, {}, {why}", sighting.container, process(sighting));
    let keys: Vec<String> = life.map(|life| life.key.clone()).into_iter().collect();
    Breach { at: sighting.first, ..Breach::new(0, what, keys) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::evidence::Run;
    use crate::history::invariants::trial::Trial;
    use crate::history::judge::judge;
    use crate::history::story::Story;

    const SECOND: u64 = 1_000_000_000;

    /// A Task bound on `n1` in the first second, at its end in the tenth.
    fn run(sightings: Vec<Sighting>) -> Run {
        let mut story = Story::new();
        story.node("n1", "2").task("", "a", "1").bind("a", "n1").phase("a", "Running");
        let uid = story.object("/berth/berth.dev/tasks/shop/a").unwrap()["metadata"]["uid"]
            .as_str()
            .unwrap()
            .to_string();
        story.wait(10_000).phase("a", "Failed");
        let own = |sighting: Sighting| Sighting {
            task: if sighting.task.is_empty() { uid.clone() } else { sighting.task },
            ..sighting
        };
        Run { events: story.events(), processes: sightings.into_iter().map(own).collect(), ..Run::default() }
    }

    fn seen(pid: i32, attempt: u64, seconds: std::ops::Range<u64>) -> Sighting {
        Sighting {
            node: "n1".into(),
            container: "main".into(),
            cgroup: "/berth/a/main".into(),
            attempt: Some(attempt),
            pid,
            first: seconds.start * SECOND,
            last: seconds.end * SECOND,
            ..Sighting::default()
        }
    }

    #[test]
    fn a_process_runs_on_its_tasks_node_alone_and_until_its_end() {
        let tried = Sighting { task: "eeee".into(), container: "self-test".into(), ..seen(6, 1, 0..1) };
        let fine = run(vec![tried, seen(7, 1, 1..4), seen(8, 1, 2..4), seen(9, 2, 4..10)]);
        let violations = judge(&fine);
        assert!(violations.is_empty(), "{}", violations[0]);
        let elsewhere = Sighting { node: "n2".into(), ..seen(9, 2, 6..8) };
        let copy = Sighting { cgroup: "/other/a/main".into(), ..seen(9, 1, 3..8) };
        let stranger = Sighting { task: "ffff".into(), ..seen(9, 1, 3..8) };
        Trial::of("I2 processes", Story::new)
            .breaks_run("two attempts at once", &run(vec![seen(7, 1, 1..5), seen(8, 2, 4..9)]))
            .breaks_run("two copies", &run(vec![seen(7, 1, 1..5), copy]))
            .breaks_run("on another node", &run(vec![seen(7, 1, 1..5), elsewhere]))
            .breaks_run("after its end", &run(vec![seen(7, 1, 1..12)]))
            .breaks_run("of nobody", &run(vec![stranger]))
            .shows(expect_test::expect![[r#"
                two attempts at once
                  0: container main of Task shop/a, pid 7 attempt 1 in /berth/a/main on Node n1, runs beside pid 8 attempt 2 in /berth/a/main on Node n1 (shown by 3)
                two copies
                  0: container main of Task shop/a, pid 7 attempt 1 in /berth/a/main on Node n1, runs beside pid 9 attempt 1 in /other/a/main on Node n1 (shown by 3)
                on another node
                  0: container main of Task shop/a, pid 9 attempt 2 in /berth/a/main on Node n2, runs, and its Task is bound to Node n1 (shown by 3)
                after its end
                  0: container main of Task shop/a, pid 7 attempt 1 in /berth/a/main on Node n1, runs 1994 ms after its end was acknowledged in revision 5 (shown by 5)
                of nobody
                  0: container main of ffff, pid 9 attempt 1 in /berth/a/main on Node n1, runs, and no such Task was ever bound (shown by )
            "#]]);
    }
}
