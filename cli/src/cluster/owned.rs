//! Which processes belong to the folders of a cluster: those whose arguments name exactly what `ctl up` gives to its
//! parts. A cluster whose folders lie inside ours names other paths.

use std::path::{Path, PathBuf};

use super::folders::Home;
use super::processes::Running;

/// What a shim locks in the sandbox of its Task, and keeps open.
const LOCK: &str = "shim.lock";

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

/// Whether a process is the shim of a Task whose sandbox is in the data folder, or of a self-test in the run folder.
pub fn is_own_shim(shim: &Running, home: &Home) -> bool {
    let Some(sandbox) = shim.is_shim().then(|| sandbox_of(shim)).flatten() else { return false };
    let folder = sandbox.parent().unwrap_or(&sandbox);
    [home.sandboxes(), home.self_test_sandboxes()].iter().any(|ours| shim.finds(folder, ours))
}

/// The sandbox of a shim's Task, the folder with its bundle, named by the Task's uid. The path of the shim's open lock
/// tells, which follows the sandbox when a folder around it is moved; a shim that only starts is known by the path that it
/// was given.
pub fn sandbox_of(shim: &Running) -> Option<PathBuf> {
    let lock = shim.open_file(LOCK).or_else(|| shim.args.get(1).map(PathBuf::from))?;
    lock.parent().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::cluster::processes::Process;

    /// A process that has nothing open but this.
    struct Other(Child);

    impl Other {
        fn with(input: impl Into<Stdio>) -> Self {
            Self(Command::new("sleep").arg("1000").stdin(input).spawn().expect("sleep starts"))
        }

        fn process(&self) -> Process {
            Process::of(i32::try_from(self.0.id()).unwrap()).expect("it runs")
        }
    }

    impl Drop for Other {
        fn drop(&mut self) {
            self.0.kill().expect("an own child");
            self.0.wait().expect("an own child");
        }
    }

    #[test]
    fn a_shim_belongs_to_the_folder_that_its_lock_is_in_wherever_that_is_moved() {
        let top = tempfile::tempdir().unwrap();
        let home = |name: &str| Home { data: top.path().join(name), run: top.path().join("run") };
        let (original, copy, linked, renamed) =
            (home("original"), home("copy"), home("linked"), home("renamed"));
        let sandbox = |home: &Home| {
            let sandbox = home.sandboxes().join("u1");
            fs::create_dir_all(&sandbox).unwrap();
            File::create(sandbox.join(LOCK)).unwrap()
        };
        let other = Other::with(sandbox(&original));
        let shim = || Running {
            process: other.process(),
            executable: "/memfd:berth-shim (deleted)".into(),
            args: vec!["berth-shim".into(), original.sandboxes().join("u1/bundle.json").into()],
        };
        let owners = || [&original, &copy, &linked, &renamed].map(|home| is_own_shim(&shim(), home));
        drop(sandbox(&copy));
        let lock = |home: &Home| home.sandboxes().join("u1").join(LOCK);
        fs::create_dir_all(lock(&linked).parent().unwrap()).unwrap();
        fs::hard_link(lock(&original), lock(&linked)).unwrap();
        assert_eq!(owners(), [true, false, false, false], "copies beside it");
        fs::rename(&original.data, &renamed.data).unwrap();
        assert_eq!(owners(), [false, false, false, true], "renamed, and the copies are there still");
        drop(sandbox(&original));
        assert_eq!(owners(), [false, false, false, true], "a copy at its old place");
        fs::remove_dir_all(renamed.sandboxes().join("u1")).unwrap();
        assert_eq!(owners(), [false, false, false, true], "its sandbox was removed");
    }

    #[test]
    fn a_part_belongs_to_the_folders_that_it_names_and_to_none_around_them() {
        let home = Home { data: "/nonexistent/d".into(), run: "/nonexistent/r".into() };
        let other = Other::with(Stdio::null());
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
            (
                "/memfd:berth-shim (deleted)",
                "/nonexistent/r/node/self-test/tasks/u/bundle.json",
                false,
                false,
                true,
            ),
            (
                "/memfd:berth-shim (deleted)",
                "/nonexistent/r/in/node/self-test/tasks/u/bundle.json",
                false,
                false,
                false,
            ),
            ("/b/tail", "/nonexistent/d/node/tasks/u/bundle.json", false, false, false),
        ] {
            let words = ["x"].into_iter().chain(args.split(' '));
            let (process, executable) = (other.process(), program.into());
            let one = Running { process, executable, args: words.map(Into::into).collect() };
            let found = (keeps_data_in(&one, &home), runs_on(&one, &home), is_own_shim(&one, &home));
            assert_eq!(found, (data, run, shim), "{program} {args}");
        }
    }
}
