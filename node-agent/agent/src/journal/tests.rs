use berth_types::Timestamp;

use super::*;
use crate::disk::Fullness;
use crate::lives::Lives;
use crate::small_disk::on_a_disk_of;

fn session(number: u64) -> Record {
    Record::Session { number }
}

fn forgotten(task: &str) -> Record {
    Record::Forgotten { task: task.into() }
}

fn task(uid: &str) -> Record {
    let mut task = berth_types::task::Task::default();
    task.metadata.uid = uid.into();
    Record::Task { task: Box::new(task) }
}

fn large(uid: &str, bytes: usize) -> Record {
    let mut task = berth_types::task::Task::default();
    task.metadata.uid = uid.into();
    task.metadata.annotations.insert("note".into(), "x".repeat(bytes));
    Record::Task { task: Box::new(task) }
}

fn append(file: &mut JournalFile, records: Vec<Record>) {
    match file.append(records) {
        Ok(()) => {}
        Err(WriteError::CutOff(error) | WriteError::Unsure(error)) => panic!("{error}"),
    }
    match file.compact_if_due() {
        Ok(()) => {}
        Err(WriteError::CutOff(error) | WriteError::Unsure(error)) => panic!("{error}"),
    }
}

fn written(path: &Path, records: Vec<Record>) -> JournalFile {
    let mut file = JournalFile::open(path).unwrap();
    append(&mut file, records);
    file
}

#[test]
fn what_was_appended_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    written(&path, vec![session(3), task("a"), task("b"), forgotten("a"), session(2)]);
    let memory = JournalFile::open(&path).unwrap().memory;
    assert_eq!(memory.session, 3);
    assert_eq!(memory.tasks.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_is_torn_and_appending_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    written(&path, vec![session(1)]);
    let first = fs::read(&path).unwrap().len();
    written(&path, vec![session(2)]);
    let whole = fs::read(&path).unwrap();
    for length in first..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let mut file = JournalFile::open(&path).unwrap();
        assert_eq!(file.memory.session, 1, "torn after {length} bytes");
        append(&mut file, vec![session(7)]);
        assert_eq!(JournalFile::open(&path).unwrap().memory.session, 7);
    }
}

#[test]
fn damage_before_a_whole_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    written(&path, vec![session(1), session(2)]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[12] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(JournalFile::open(&path), Err(JournalError::Damaged { line: 1, .. })));
}

#[test]
fn a_journal_mostly_about_the_past_is_rewritten_and_remembers_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let mut file = written(&path, vec![session(9), task("kept")]);
    for n in 0..COMPACT_FROM {
        append(&mut file, vec![task(&n.to_string()), forgotten(&n.to_string())]);
    }
    assert!(file.records < COMPACT_FROM, "{} records", file.records);
    let memory = file.memory.clone();
    assert_eq!(JournalFile::open(&path).unwrap().memory, memory);
    assert_eq!(memory.tasks.keys().collect::<Vec<_>>(), ["kept"]);
}

#[test]
fn a_journal_of_few_large_records_about_the_past_is_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let large = |uid: &str| large(uid, 100_000);
    let mut file = written(&path, vec![large("kept")]);
    for n in 0..100 {
        append(&mut file, vec![large(&n.to_string()), forgotten(&n.to_string())]);
        // Four times the one that is needed, and what it may grow by between two looks.
        assert!(file.length < 4 * 110_000 + 2 * SPARE_BYTES, "{} bytes after {n}", file.length);
    }
    let memory = file.memory.clone();
    assert_eq!(JournalFile::open(&path).unwrap().memory, memory);
    assert_eq!(memory.tasks.keys().collect::<Vec<_>>(), ["kept"]);
}

#[test]
fn what_a_full_disk_refused_is_not_remembered_and_what_follows_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let mut file = written(&path, vec![session(1)]);
    // A handle that cannot be written stands for a disk that takes nothing.
    let writable = std::mem::replace(&mut file.file, File::open("/dev/full").unwrap());
    assert!(file.append(vec![session(2)]).is_err());
    file.file = writable;
    append(&mut file, vec![task("a")]);
    let memory = JournalFile::open(&path).unwrap().memory;
    assert_eq!((memory.session, memory.tasks.len()), (1, 1));
}

#[test]
fn a_boot_and_lives_that_found_no_room_are_written_before_whatever_is_written_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let boot = |id: &str| Record::Boot { id: id.into() };
    let lives = |id: &str| Lives::default().begun(id, Timestamp::from_millis(0));
    let mut file = written(&path, vec![boot("first"), Record::Lives(lives("first").ended())]);
    let writable = std::mem::replace(&mut file.file, File::open("/dev/full").unwrap());
    let begins = [lives("first"), lives("second")].map(Record::Lives).to_vec();
    for records in [begins, vec![boot("second")], vec![session(2)]] {
        assert!(file.append(records).is_err());
    }
    file.file = writable;
    append(&mut file, vec![task("a")]);
    let text = fs::read_to_string(&path).unwrap();
    let kinds = |line: &str| line.split('"').nth(1).unwrap().to_owned();
    assert_eq!(text.lines().map(kinds).collect::<Vec<_>>(), ["boot", "lives", "boot", "lives", "task"]);
    let memory = JournalFile::open(&path).unwrap().memory;
    assert_eq!((memory.boot.as_str(), memory.lives), ("second", lives("second")));
}

#[tokio::test]
async fn what_finds_no_room_is_not_said_to_be_journalled_and_later_appends_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let mut file = written(&path, vec![session(1)]);
    let whole = file.length;
    let good = std::mem::replace(&mut file.file, OpenOptions::new().write(true).open("/dev/full").unwrap());
    assert!(matches!(file.append(vec![session(2)]), Err(WriteError::CutOff(_) | WriteError::Unsure(_))));
    assert_eq!(file.length, whole);
    file.file = good;
    append(&mut file, vec![session(3)]);
    assert_eq!(JournalFile::open(&path).unwrap().memory.session, 3);
}

#[test]
fn an_error_of_a_full_disk_or_quota_says_so_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let file = written(&path, vec![session(1)]);
    for (kind, full) in [
        (io::ErrorKind::StorageFull, true),
        (io::ErrorKind::QuotaExceeded, true),
        (io::ErrorKind::ReadOnlyFilesystem, false),
    ] {
        let error = file.not_now(&io::Error::from(kind));
        let told = error.to_string();
        assert!(told.contains(&path.display().to_string()), "{told}");
        assert_eq!((error.is_full(), told.ends_with("; free some space there")), (full, full), "{told}");
    }
}

/// Appends until a compaction is tried, and gives what came of it.
fn fill(file: &mut JournalFile) -> Result<(), WriteError> {
    for number in 1.. {
        assert!(number < 10 * u64::try_from(COMPACT_FROM).unwrap(), "no compaction is due");
        let records = file.records;
        assert!(file.append(vec![session(number)]).is_ok());
        file.compact_if_due()?;
        if file.records < records {
            return Ok(());
        }
    }
    unreachable!("the loop ends")
}

#[test]
fn after_a_compaction_that_failed_at_any_step_nothing_is_appended_to_a_file_without_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let named = |file: &JournalFile| {
        use std::os::unix::fs::MetadataExt;
        file.file.metadata().unwrap().ino() == fs::metadata(&path).unwrap().ino()
    };

    // The new file cannot be made: a folder has its name.
    fs::create_dir(path.with_extension("new")).unwrap();
    let mut file = JournalFile::open(&path).unwrap();
    assert!(matches!(fill(&mut file), Err(WriteError::CutOff(_))));
    assert!(named(&file) && file.append(vec![task("a")]).is_ok());
    assert_eq!(JournalFile::open(&path).unwrap().memory, file.memory);
    fs::remove_dir(path.with_extension("new")).unwrap();

    // The rename may not last.
    file.sync_folder = |_| Err(io::ErrorKind::Other.into());
    assert!(matches!(fill(&mut file), Err(WriteError::Unsure(_))));
    assert!(named(&file));
    assert_eq!(JournalFile::open(&path).unwrap().memory, file.memory);

    // What a crash left of an earlier try is removed, and stops no other.
    let crash = || fs::write(path.with_extension("new"), "half a").unwrap();
    crash();
    let mut file = JournalFile::open(&path).unwrap();
    assert!(!path.with_extension("new").exists());
    crash();
    assert!(fill(&mut file).is_ok());
    assert!(named(&file) && file.append(vec![task("b")]).is_ok());
    assert_eq!(JournalFile::open(&path).unwrap().memory.tasks.keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_compaction_that_finds_no_room_leaves_nothing_beside_the_journal() {
    on_a_disk_of(16, |disk| {
        let path = disk.join("journal");
        let mut file = written(&path, vec![large("kept", 1 << 20)]);
        for n in 0..5 {
            let past = vec![large(&n.to_string(), 1 << 20), forgotten(&n.to_string())];
            assert!(file.append(past).is_ok());
        }
        let left = || Fullness::look(disk).unwrap().left_below(100);
        // Half of what is to be written.
        let filler = usize::try_from(left() - (1 << 19)).unwrap();
        fs::write(disk.join("filler"), vec![1; filler]).unwrap();
        let before = left();
        assert!(matches!(file.compact_if_due(), Err(WriteError::CutOff(_))));
        assert!(!path.with_extension("new").exists());
        assert_eq!(left(), before);
    });
}

#[tokio::test]
async fn a_rename_that_may_not_last_ends_the_journal_and_nothing_later_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let mut file = JournalFile::open(&path).unwrap();
    file.sync_folder = |_| Err(io::ErrorKind::Other.into());
    let (queue, appends) = mpsc::unbounded_channel();
    let served = std::thread::spawn(move || file.serve(appends));
    let journal = Journal { queue };
    let mut acknowledged = 0;
    while journal.append(vec![session(acknowledged + 1)]).await.is_ok() {
        acknowledged += 1;
        assert!(acknowledged < 10_000, "the journal goes on");
    }
    journal.broken().await;
    served.join().unwrap();
    assert_eq!(JournalFile::open(&path).unwrap().memory.session, acknowledged);
}
