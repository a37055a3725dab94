//! The default of a field by its path, as a manifest would write it: what an apply states of a line that was removed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::App;
use crate::defaults::Update;
use crate::task::{Probe, TaskSpec};

/// What `app` means without the field at `path` (as `spec.replicas`); `None` if nothing replaces the field.
pub(crate) fn of_app(app: &Value, path: &str) -> Option<Value> {
    // Without a copy of the whole object for the labels and annotations of a large one.
    if !path.starts_with("spec.") {
        return None;
    }
    let app: App = serde_json::from_value(app.clone()).ok()?;
    if let Some(path) = path.strip_prefix("spec.template.spec.") {
        return of_task(&app.spec.template.spec, path);
    }
    Some(match path {
        "spec.replicas" => app.spec.replicas().into(),
        "spec.minReadySeconds" => seconds(app.spec.min_ready()),
        "spec.progressDeadlineSeconds" => seconds(app.spec.progress_deadline()),
        "spec.revisionHistoryLimit" => app.spec.revisions_kept().into(),
        "spec.strategy" => json!({"type": app.spec.update().as_str(), "rollingUpdate": bounds()}),
        "spec.strategy.type" => app.spec.update().as_str().into(),
        _ if app.spec.update() != Update::Rolling => return None,
        "spec.strategy.rollingUpdate" => bounds(),
        "spec.strategy.rollingUpdate.maxSurge" => bounds()["maxSurge"].clone(),
        "spec.strategy.rollingUpdate.maxUnavailable" => bounds()["maxUnavailable"].clone(),
        _ => return None,
    })
}

fn of_task(task: &TaskSpec, path: &str) -> Option<Value> {
    let restarts = task.restarts();
    Some(match path {
        "terminationGracePeriodSeconds" => seconds(task.grace()),
        "drainDelaySeconds" => seconds(task.drain_delay()),
        "unreachable" => json!({"replaceAfterSeconds": seconds(task.replace_after())}),
        "unreachable.replaceAfterSeconds" => seconds(task.replace_after()),
        "restart" => json!({
            "inPlace": restarts.in_place,
            "withinSeconds": seconds(restarts.within),
            "initialDelaySeconds": seconds(restarts.initial_delay),
            "maxDelaySeconds": seconds(restarts.max_delay),
        }),
        "restart.inPlace" => restarts.in_place.into(),
        "restart.withinSeconds" => seconds(restarts.within),
        "restart.initialDelaySeconds" => seconds(restarts.initial_delay),
        "restart.maxDelaySeconds" => seconds(restarts.max_delay),
        _ => return of_probe(path.strip_prefix("containers[")?.rsplit_once("Probe.")?.1),
    })
}

/// The default of a field of a probe. A probe that is gone as a whole has no default.
fn of_probe(field: &str) -> Option<Value> {
    let probe = Probe::default();
    Some(match field {
        "initialDelaySeconds" => seconds(probe.initial_delay()),
        "periodSeconds" => seconds(probe.period()),
        "timeoutSeconds" => seconds(probe.timeout()),
        "successThreshold" => probe.successes().into(),
        "failureThreshold" => probe.failures().into(),
        _ => return None,
    })
}

/// The bounds of a rolling update that names none.
fn bounds() -> Value {
    let quarter = crate::portion::DEFAULT;
    json!({"maxSurge": quarter, "maxUnavailable": quarter})
}

fn seconds(time: Duration) -> Value {
    time.as_secs().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kind;
    use crate::shape::Shape;

    #[test]
    fn the_default_of_every_field_that_has_one_is_known_by_its_path() {
        for (path, default) in [
            ("spec.replicas", json!(1)),
            ("spec.progressDeadlineSeconds", json!(600)),
            ("spec.revisionHistoryLimit", json!(10)),
            ("spec.strategy.type", json!("RollingUpdate")),
            ("spec.strategy.rollingUpdate.maxSurge", json!("25%")),
            ("spec.template.spec.terminationGracePeriodSeconds", json!(30)),
            ("spec.template.spec.restart.maxDelaySeconds", json!(60)),
            ("spec.template.spec.unreachable", json!({"replaceAfterSeconds": 15})),
            ("spec.template.spec.containers[name=\"a.bProbe.c\"].livenessProbe.failureThreshold", json!(3)),
        ] {
            assert_eq!(of_app(&json!({}), path), Some(default), "{path}");
        }
        for path in [
            "metadata.labels.a",
            "spec.template.spec.containers[name=\"a\"].readinessProbe",
            "spec.template.spec.containers[name=\"a\"].resources.limits.memory",
        ] {
            assert_eq!(of_app(&json!({}), path), None, "{path}");
        }
        let recreate = json!({"spec": {"strategy": {"type": "Recreate"}}});
        assert_eq!(of_app(&recreate, "spec.strategy.rollingUpdate.maxSurge"), None);
    }

    /// Paths of the fields below `shape`, an item of a list as `[name="a"]`.
    fn paths(shape: &Shape, path: &str, found: &mut Vec<String>) {
        match shape {
            Shape::Object(fields) => {
                for (name, inner) in &fields.known {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    paths(inner, &path, found);
                    found.push(path);
                }
            }
            Shape::List(inner, _) => paths(inner, &format!("{path}[name=\"a\"]"), found),
            Shape::Any | Shape::Scalar(_) | Shape::Map(_) => {}
        }
    }

    /// The schema says `N when absent` of the same fields.
    #[test]
    fn each_default_that_the_schema_names_is_the_one_that_stands_in() {
        let kind = Kind::of::<App>();
        let mut all = Vec::new();
        paths(kind.shape(), "", &mut all);
        let mut compared = 0;
        // The default of `minReadySeconds` depends on the template.
        let fields = all.iter().filter(|path| path.starts_with("spec.") && *path != "spec.minReadySeconds");
        for path in fields {
            let Some(said) = described(kind.schema(), path).and_then(said_default) else { continue };
            let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(of_app(&json!({}), path).map(text), Some(said), "{path}");
            compared += 1;
        }
        assert!(compared >= 14, "{compared}");
    }

    /// Who needs a `$` finds here how to write it.
    #[test]
    fn the_fields_with_references_say_what_two_signs_and_an_unknown_name_give() {
        let container = "spec.template.spec.containers[name=\"a\"]";
        for field in ["command", "args", "env[name=\"a\"].value"] {
            let path = format!("{container}.{field}");
            let said = described(Kind::of::<App>().schema(), &path).unwrap_or_default();
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            for rule in
                ["`$(NAME)` is replaced from the ", "unknown `$(NAME)` stays as it is", "`$$` gives `$`"]
            {
                assert!(said.contains(rule), "{path}: {said}");
            }
        }
    }

    fn described<'a>(schema: &'a Value, path: &str) -> Option<&'a str> {
        let mut schema = schema;
        for step in path.split('.') {
            let (name, item) = step.split_once('[').map_or((step, false), |(name, _)| (name, true));
            schema = &schema["properties"][name];
            schema = if item { &schema["items"] } else { schema };
        }
        schema["description"].as_str()
    }

    /// `2` of `...; 2 when absent.`
    fn said_default(description: &str) -> Option<String> {
        let before = description.split_once(" when absent")?.0;
        let word = before.rsplit([' ', ';']).next()?;
        word.starts_with(|c: char| c.is_ascii_digit()).then(|| word.to_owned())
    }
}
