//! Cuts the Tasks that are created together to what one call of the store takes beside their App.

use std::collections::BTreeMap;

use berth_client::Write;
use berth_types::app::App;
use berth_types::parcel::Parcel;
use berth_types::{Condition, ConditionStatus};

use super::execute;
use super::observed::{Observed, Wanted, number_of};
use super::plan::{Action, MOST_CREATED, NewTask, Plan};

/// The most bytes of an App and of the Tasks that are created beside it. A call of the store takes 1.4 MB; the rest is
/// left to the App's new status and to what the server adds.
const TOGETHER: usize = 1_300_000;
/// Bytes that the server adds to a Task: uid, times, status, its key.
const ADDED: usize = 1_000;

/// Leaves out the Tasks that are too many bytes for one call; the next look creates them. If not even the first fits,
/// none is created and the status says why. The App has `managed_bytes` more than `app`: its `managedFields`.
pub fn fit(plan: &mut Plan, app: &App, managed_bytes: usize, seen: &Observed) {
    let mut too_large = None;
    for action in &mut plan.wave {
        let Action::Create { counter, tasks } = action else { continue };
        let sizes = sizes(seen, tasks);
        let of_app = managed_bytes + serde_json::to_vec(app).map_or(0, |json| json.len());
        let of_first = sizes.first().copied().unwrap_or(0);
        if of_app + of_first > TOGETHER {
            too_large = Some((of_app, of_first));
            continue;
        }
        let mut call = Parcel::of(MOST_CREATED, TOGETHER).beside(of_app);
        let kept = sizes.iter().take_while(|of_task| call.takes(**of_task)).count();
        if kept < tasks.len() {
            tasks.truncate(kept);
            let last = tasks.last().map_or(0, |task| number_of(&task.name));
            *counter = i64::try_from(last).unwrap_or(i64::MAX - 1) + 1;
        }
    }
    if let Some((of_app, of_task)) = too_large {
        plan.wave.retain(|action| !matches!(action, Action::Create { .. }));
        refuse(plan, seen.app, of_app, of_task);
    }
}

/// Bytes of each Task; those of one Revision differ in their names and numbers alone.
fn sizes(seen: &Observed, tasks: &[NewTask]) -> Vec<usize> {
    let mut of_revision: BTreeMap<&str, usize> = BTreeMap::new();
    let size = |born: &NewTask| Write::create(&execute::task(seen, born)).size() + ADDED;
    tasks.iter().map(|born| *of_revision.entry(&born.revision).or_insert_with(|| size(born))).collect()
}

fn refuse(plan: &mut Plan, wanted: &Wanted, of_app: usize, of_task: usize) {
    let message = format!(
        "no Task is created: the App has {of_app} bytes and a Task of its template {of_task}, together at most \
         {TOGETHER} are stored at once; make spec.template smaller"
    );
    for type_ in ["Available", "Progressing"] {
        let Some(old) = Condition::find(&plan.status.conditions, type_).cloned() else { continue };
        if type_ == "Available" && old.status == ConditionStatus::True {
            continue;
        }
        Condition { message: message.clone(), observed_generation: wanted.generation, ..old }
            .set(&mut plan.status.conditions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_types::app::AppStatus;
    use berth_types::meta::ObjectMeta;
    use berth_types::revision::{Revision, RevisionSpec};
    use berth_types::task::{Container, EnvVar};
    use berth_types::{Timestamp, app::TaskTemplate};

    fn template(bytes: usize) -> TaskTemplate {
        let mut template = TaskTemplate::default();
        let env = EnvVar { name: "A".into(), value: "x".repeat(bytes) };
        template.spec.containers = vec![Container { env: vec![env], ..Container::default() }];
        template
    }

    /// A hundred new Tasks; those from the eleventh on are of a Revision of so many bytes.
    fn planned(of_template: usize, of_others: usize, annotation: usize, managed_bytes: usize) -> Plan {
        let mut app = App { metadata: ObjectMeta::named("shop", "web"), ..App::default() };
        app.metadata.annotations.insert("note".into(), "x".repeat(annotation));
        app.spec.template = template(of_template);
        let wanted = Wanted::read(&app).unwrap();
        let spec = RevisionSpec { template: template(of_others), ..RevisionSpec::default() };
        let other = Revision { metadata: ObjectMeta::named("shop", "other"), spec, ..Revision::default() };
        let born = |n: u32| NewTask {
            name: format!("web-{n}"),
            revision: if n < 20 { wanted.revision.clone() } else { "other".into() },
            ordinal: n,
            failed_before: 0,
            restarts_before: 0,
        };
        let wave = vec![Action::Create { counter: 110, tasks: (10..110).map(born).collect() }];
        let start = Timestamp::from_millis(0);
        let condition = Condition::new("Available", ConditionStatus::False, "", "", start);
        let status = AppStatus { conditions: vec![condition], ..AppStatus::default() };
        let mut plan = Plan { wave, status, wake: None };
        let (held, now) = (|_: &str| false, Timestamp::from_millis(0));
        let seen = Observed { app: &wanted, tasks: &[], revisions: &[other], held: &held, now };
        fit(&mut plan, &app, managed_bytes, &seen);
        plan
    }

    #[test]
    fn tasks_created_together_are_cut_by_bytes_and_the_counter_follows_the_last() {
        for (of_template, of_others, annotation, managed_bytes, expected) in [
            (100, 100, 0, 0, 100..=100),
            (14_000, 14_000, 0, 0, 80..=90),
            (14_000, 14_000, 200_000, 0, 66..=76),
            (14_000, 14_000, 0, 200_000, 66..=76),
            (300_000, 300_000, 0, 0, 3..=3),
            (300_000, 300_000, 0, 600_000, 1..=1),
            (600_000, 600_000, 0, 0, 1..=1),
            (100, 300_000, 0, 0, 14..=14),
        ] {
            let plan = planned(of_template, of_others, annotation, managed_bytes);
            let [Action::Create { counter, tasks }] = &plan.wave[..] else { panic!("{:?}", plan.wave) };
            assert!(expected.contains(&tasks.len()), "{of_template}, {of_others}: {}", tasks.len());
            assert_eq!(*counter, 10 + tasks.len() as i64);
        }
    }

    #[test]
    fn an_app_beside_which_no_task_fits_says_so_in_its_status() {
        for (of_template, managed_bytes) in [(700_000, 0), (300_000, 750_000)] {
            let plan = planned(of_template, of_template, 0, managed_bytes);
            assert_eq!(plan.wave, []);
            let message = &plan.status.conditions[0].message;
            assert!(message.contains("make spec.template smaller"), "{message}");
        }
    }
}
