use super::*;

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

fn append(file: &mut JournalFile, records: Vec<Record>) {
    match file.append(records) {
        Ok(()) => file.compact_if_due().unwrap(),
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

#[tokio::test]
async fn what_finds_no_room_is_not_said_to_be_journalled_and_later_appends_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let mut file = written(&path, vec![session(1)]);
    let whole = file.length;
    let good = std::mem::replace(&mut file.file, OpenOptions::new().write(true).open("/dev/full").unwrap());
    assert!(matches!(file.append(vec![session(2)]), Err(WriteError::CutOff(_) | WriteError::Unsure(_))));
    assert_eq!(file.length, whole);
    let told = file.not_now(&io::Error::from(io::ErrorKind::StorageFull)).to_string();
    assert!(
        told.contains(&path.display().to_string()) && told.ends_with("; free some space there"),
        "{told}"
    );
    file.file = good;
    append(&mut file, vec![session(3)]);
    assert_eq!(JournalFile::open(&path).unwrap().memory.session, 3);
}
