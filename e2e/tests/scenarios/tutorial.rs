//! The README's tutorial, line by line: a reader gets what it shows.

use std::fs;
use std::process::Command;
use std::time::Duration;

use berth_e2e::wait::output;
use berth_e2e::{StoreForm, World, binary, workspace};

/// How long the whole tutorial may take.
const LIMIT: Duration = Duration::from_secs(300);

/// A command of the tutorial and the output that it shows.
struct Step {
    command: String,
    shown: Vec<String>,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { command: command.into(), shown: Vec::new() }),
                (None, Some(step)) => step.shown.push(line.into()),
                (None, None) => panic!("output before the first command: {line}"),
            },
        }
    }
    steps
}

/// Whether `line` reads as `shown`: blanks of any length are equal, `[..]` stands for anything without a blank at its
/// ends.
fn reads_as(line: &str, shown: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, shown) = (words(line), words(shown));
    let mut parts = shown.split("[..]");
    let mut rest = match line.strip_prefix(parts.next().unwrap_or_default()) {
        Some(rest) => rest,
        None => return false,
    };
    let mut open = false;
    for part in parts {
        let Some(at) = (if part.is_empty() { Some(rest.len()) } else { rest.find(part) }) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        open = part.is_empty();
    }
    rest.is_empty() || open
}

fn matches(output: &str, shown: &[String]) -> bool {
    let lines: Vec<&str> = output.lines().collect();
    let (shown, more) = match shown.split_last() {
        Some((last, before)) if last == "..." => (before, true),
        _ => (shown, false),
    };
    let enough = if more { lines.len() >= shown.len() } else { lines.len() == shown.len() };
    enough && lines.iter().zip(shown).all(|(line, shown)| reads_as(line, shown))
}

/// Every command of the tutorial prints what the README shows.
pub fn the_tutorial_is_true(form: StoreForm) {
    let world = World::empty(form);
    let readme = fs::read_to_string(workspace().join("README.md")).expect("README.md");
    let steps = steps(&readme);
    assert!(steps.len() >= 10, "the tutorial has {} commands", steps.len());
    // One shell for all of them, for a variable set by one line is used by the next.
    let mark = "== end of step ==";
    let script: String = steps.iter().map(|step| format!("{}\necho '{mark}'\n", step.command)).collect();
    let folder = binary("ctl").parent().expect("a binary lies in a folder").display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").expect("PATH"));
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .env("PATH", path)
        .env("BERTH_DATA", world.data())
        .env("BERTH_RUN", world.run())
        .env("CTL_SERVER", world.server())
        .envs(world.environment())
        .current_dir(workspace());
    let output = output(&mut shell, LIMIT).unwrap_or_else(|why| panic!("the tutorial: {why}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let outputs: Vec<&str> = said.split(&format!("{mark}\n")).collect();
    for (step, output) in steps.iter().zip(&outputs) {
        let shown = step.shown.join("\n");
        assert!(
            matches(output, &step.shown),
            "$ {}\nshown:\n{shown}\nseen:\n{output}\nerrors of all steps:\n{errors}",
            step.command
        );
    }
    assert_eq!(outputs.len(), steps.len() + 1, "every command ran");
}
