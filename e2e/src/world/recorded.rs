//! A world is recorded from its first moment, and judged when it ends.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::{Part, StoreForm, World};
use crate::load::Records;
use crate::record::{Recorder, Recording, Source};
use crate::{soak, workspace};

/// Where an apiserver of a test build tells the raw history of its store.
const RAW_HISTORY: &str = "BERTH_RAW_HISTORY";

impl World {
    /// Begins the recording. In a release build there is none: the apiserver tells nothing there, and what is measured
    /// is not to be disturbed.
    pub(super) fn record(&mut self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let folder = self.dir().join("record");
        fs::create_dir_all(&folder).expect("the world's folder is writable");
        let source = match &self.etcd {
            Some(etcd) => Source::Etcd(etcd.urls()),
            None => Source::Apiserver { socket: self.raw_history(), store: self.data().join("store") },
        };
        let recorder = Recorder::start(self.dir(), &folder, source);
        if let Some(etcd) = &mut self.etcd {
            etcd.record(recorder.tape().clone());
        }
        self.recorder = Some(recorder);
    }

    fn raw_history(&self) -> PathBuf {
        self.dir().join("raw.sock")
    }

    /// What a process that a test starts itself must find in its environment so that the world's store is recorded:
    /// `ctl up` hands it on to its apiserver.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        match self.plan.form {
            StoreForm::Embedded => vec![(RAW_HISTORY, format!("unix:{}", self.raw_history().display()))],
            StoreForm::Etcd(_) => Vec::new(),
        }
    }

    /// What was recorded up to now.
    ///
    /// # Panics
    /// In a release build.
    pub fn recorder(&self) -> &Recorder {
        self.recorder.as_ref().expect("a world of a test build is recorded until it ends")
    }

    pub(super) fn record_node(&mut self, part: Part) {
        if let (Some((node, folder)), Some(recorder)) = (part.node(), &mut self.recorder) {
            recorder.node(folder, node);
        }
    }

    /// Waits until the recorder has come to what the store holds; what kept it from that is told with the verdict.
    pub(super) fn catch_up(&mut self) {
        if let Some(recorder) = &self.recorder {
            self.late = self.late.take().or(recorder.catch_up().err());
        }
    }

    /// Ends the recording and judges it, once; every part has ended.
    ///
    /// # Panics
    /// When a promise was broken, or the recording cannot be believed.
    pub(super) fn judge(&mut self) {
        let Some(recorder) = self.recorder.take() else { return };
        let recording = self.complete(recorder.finish());
        let verdict = recording.judge();
        soak::tally(soak::Counted::Events, verdict.events);
        if !verdict.is_clean() {
            let kept = self.keep(&recording);
            panic!("{verdict}\nkept in {}", kept.display());
        }
    }

    /// Ends the world and its recording, for somebody else to judge. What the world leaves is removed, and not looked
    /// for.
    ///
    /// # Panics
    /// In a release build.
    pub fn end_unjudged(mut self) -> Recording {
        self.catch_up();
        self.stop_all();
        let recorder = self.recorder.take().expect("a world of a test build is recorded until it ends");
        self.complete(recorder.finish())
    }

    /// Says what the history shows of a world that failed already.
    pub(super) fn look_back(&mut self) {
        let Some(recorder) = self.recorder.take() else { return };
        let recording = self.complete(recorder.break_off());
        // A second panic would hide the first.
        match catch_unwind(AssertUnwindSafe(|| recording.judge())) {
            Ok(verdict) => eprintln!("--- history ---\n{verdict}"),
            Err(_) => eprintln!("--- history ---\ncould not be judged"),
        }
        eprintln!("kept in {}", self.keep(&recording).display());
    }

    /// Takes what a load noted: it is judged with the rest when the world ends.
    pub fn told(&mut self, records: Records) {
        self.told.answers.extend(records.answers);
        self.told.watches.extend(records.watches);
    }

    fn complete(&mut self, recording: Recording) -> Recording {
        let Records { answers, watches, .. } = std::mem::take(&mut self.told);
        soak::tally(soak::Counted::Operations, answers.len());
        let mut recording =
            Recording { seed: soak::seed(), answers, watches, settled: self.settled_so_far(), ..recording };
        recording.forced = self.plan.forced();
        recording.wrong.extend(self.late.take());
        recording.faults.extend(self.faults.all());
        recording
    }

    /// Keeps the recording and the logs of all parts where the next run of the scenario with this seed overwrites it.
    fn keep(&self, recording: &Recording) -> PathBuf {
        let simple = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let scenario: String = soak::running().chars().map(simple).collect();
        let folder = workspace().join("e2e/failed").join(format!("{scenario}-{}", recording.seed));
        drop(fs::remove_dir_all(&folder));
        recording.keep(&folder).expect("e2e/failed is writable");
        let folders = [self.data().join("log"), self.dir().to_path_buf()];
        let files = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        for path in files.map(|entry| entry.path()) {
            if let (Some("log"), Some(name)) =
                (path.extension().and_then(|end| end.to_str()), path.file_name())
            {
                drop(fs::copy(&path, folder.join(name)));
            }
        }
        folder
    }
}
