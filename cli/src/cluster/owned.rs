//! Which processes belong to the folders of a cluster: those whose arguments name exactly what `ctl up` gives to its
//! parts. A cluster whose folders lie inside ours names other paths.

use std::ffi::OsStr;
use std::path::Path;

use super::folders::Home;
use super::processes::Running;

/// What a shim reads from the sandbox of its Task.
const BUNDLE: &str = "bundle.json";

/// Whether a part of Berth keeps its data in the data folder.
pub fn keeps_data_in(part: &Running, home: &Home) -> bool {
    part.is("apiserver") && part.names(&home.store())
        || part.is("node-agent") && part.names(&home.agent_data())
}

/// Whether a part of Berth runs on the run folder. An agent that only uses the API there runs elsewhere.
pub fn runs_on(part: &Running, home: &Home) -> bool {
    let uses_socket = part.is("apiserver") || part.is("controllers");
    uses_socket && part.names(&home.socket()) || part.is("node-agent") && part.names(&home.agent_run())
}

/// Whether a process is the shim of a Task whose sandbox is in the data folder. The folder may have been renamed since
/// the shim started: then its bundle is gone, and the sandbox of its Task is here. Where the folder was copied, the
/// bundle is still in the original.
pub fn is_own_shim(shim: &Running, home: &Home) -> bool {
    let Some(sandbox) = sandbox_of(shim).filter(|_| shim.is_shim()) else { return false };
    let (Some(tasks), Some(task)) = (sandbox.parent(), sandbox.file_name()) else { return false };
    shim.finds(tasks, &home.sandboxes())
        || !shim.has(&sandbox.join(BUNDLE)) && home.sandboxes().join(task).is_dir()
}

/// uid of the Task whose shim this is: the name of the folder with its bundle.
pub fn task_of(shim: &Running) -> Option<&OsStr> {
    sandbox_of(shim)?.file_name()
}

fn sandbox_of(shim: &Running) -> Option<&Path> {
    Path::new(shim.args.get(1)?).parent()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::processes::Process;

    #[test]
    fn a_shim_belongs_to_the_renamed_folder_of_its_task_and_to_no_copy() {
        let top = tempfile::tempdir().unwrap();
        let home = |name: &str| Home { data: top.path().join(name), run: top.path().join("run") };
        let (original, other) = (home("original"), home("other"));
        for (sandbox, bundle) in
            [(original.sandboxes().join("u1"), true), (other.sandboxes().join("u1"), false)]
        {
            std::fs::create_dir_all(&sandbox).unwrap();
            if bundle {
                std::fs::write(sandbox.join(BUNDLE), "{}").unwrap();
            }
        }
        let shim = |task: &str| Running {
            process: Process::own(),
            executable: "/memfd:berth-shim (deleted)".into(),
            args: vec!["berth-shim".into(), original.sandboxes().join(task).join(BUNDLE).into()],
        };
        let owners = |task: &str| [&original, &other].map(|home| is_own_shim(&shim(task), home));
        assert_eq!(owners("u1"), [true, false], "a copy");
        let renamed = home("renamed");
        std::fs::rename(&original.data, &renamed.data).unwrap();
        assert!(is_own_shim(&shim("u1"), &renamed), "renamed");
        assert!(!is_own_shim(&shim("u2"), &renamed), "a Task that is not there");
    }

    #[test]
    fn a_part_belongs_to_the_folders_that_it_names_and_to_none_around_them() {
        let home = Home { data: "/nonexistent/d".into(), run: "/nonexistent/r".into() };
        for (program, args, data, run, shim) in [
            (
                "/b/apiserver",
                "--store embedded:/nonexistent/d/store --listen unix:/nonexistent/r/api.sock",
                true,
                true,
                false,
            ),
            (
                "/b/apiserver",
                "--store memory --listen=unix:/x,unix:/nonexistent/r/api.sock",
                false,
                true,
                false,
            ),
            (
                "/b/apiserver",
                "--store embedded:/nonexistent/d/in/store --listen unix:/nonexistent/r/in/api.sock",
                false,
                false,
                false,
            ),
            ("/b/controllers", "--server unix:/nonexistent/r/api.sock", false, true, false),
            ("/b/controllers", "--server unix:/nonexistent/r/in/api.sock", false, false, false),
            ("/b/node-agent", "--data /nonexistent/d/node --run /nonexistent/r/node", true, true, false),
            (
                "/b/node-agent",
                "--data /nonexistent/d/in/node --run /nonexistent/r/in/node",
                false,
                false,
                false,
            ),
            (
                "/b/node-agent",
                "--server unix:/nonexistent/r/api.sock --data /x/node --run /y/node",
                false,
                false,
                false,
            ),
            ("/b/other", "--data /nonexistent/d/node --run /nonexistent/r/node", false, false, false),
            ("/memfd:berth-shim (deleted)", "/nonexistent/d/node/tasks/u/bundle.json", false, false, true),
            (
                "/memfd:berth-shim (deleted)",
                "/nonexistent/d/in/node/tasks/u/bundle.json",
                false,
                false,
                false,
            ),
            (
                "/memfd:berth-shim (deleted)",
                "/nonexistent/d/node/tasks/u/in/bundle.json",
                false,
                false,
                false,
            ),
            ("/b/tail", "/nonexistent/d/node/tasks/u/bundle.json", false, false, false),
        ] {
            let words = ["x"].into_iter().chain(args.split(' '));
            let (process, executable) = (Process::own(), program.into());
            let one = Running { process, executable, args: words.map(Into::into).collect() };
            let found = (keeps_data_in(&one, &home), runs_on(&one, &home), is_own_shim(&one, &home));
            assert_eq!(found, (data, run, shim), "{program} {args}");
        }
    }
}
