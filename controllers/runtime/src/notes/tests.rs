use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use berth_client::Error;
use berth_types::Timestamp;
use berth_types::core::{Event, EventSource};
use berth_types::status::{Reason, Status};
use berth_types::task::Task;

use super::book::Book;
use super::pen::Pen;
use super::{Note, Weight, reference};

/// Keeps Events in memory, and counts the writes that were tried.
#[derive(Default)]
struct Paper {
    events: Mutex<BTreeMap<String, Event>>,
    tried: Mutex<u32>,
}

#[async_trait]
impl Pen for Paper {
    async fn create(&self, event: &Event) -> Result<(), Error> {
        *self.tried.lock().unwrap() += 1;
        let mut events = self.events.lock().unwrap();
        if events.contains_key(&event.metadata.name) {
            return Err(Error::from(Status::new(Reason::AlreadyExists, "")));
        }
        events.insert(event.metadata.name.clone(), event.clone());
        Ok(())
    }

    async fn count(&self, event: &Event, count: u32) -> Result<(), Error> {
        *self.tried.lock().unwrap() += 1;
        let mut events = self.events.lock().unwrap();
        let there = events.get_mut(&event.metadata.name);
        let there = there.ok_or_else(|| Error::from(Status::new(Reason::NotFound, "")))?;
        (there.count, there.last_timestamp) = (count, event.last_timestamp);
        Ok(())
    }

    async fn counted(&self, event: &Event) -> Result<u32, Error> {
        Ok(self.events.lock().unwrap()[&event.metadata.name].count)
    }
}

impl Paper {
    /// Reason, message and count of every Event.
    fn reads(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let mut lines: Vec<String> = events
            .values()
            .map(|event| format!("{} {} x{}", event.reason, event.message, event.count))
            .collect();
        lines.sort();
        lines
    }
}

fn book() -> Book {
    Book::new(EventSource { component: "test".into(), host: String::new() })
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn note(task: &str, message: &str) -> Note {
    Note::on(reference::<Task>("shop", task, &format!("uid-{task}")), Weight::Warning, "BackOff", message)
}

/// Writes what is due by then.
async fn settle(book: &mut Book, paper: &Paper, now: Timestamp) {
    while let Some(page) = book.take_due(now) {
        let written = paper.write(&page).await;
        book.written(&page.name, written, now);
    }
}

#[tokio::test]
async fn a_repeat_raises_the_count_of_one_event_and_is_written_seldom() {
    let (mut book, paper) = (book(), Paper::default());
    for second in 0..30 {
        book.note(note("web-1", "exited with 1"), at(second * 1000));
        settle(&mut book, &paper, at(second * 1000)).await;
    }
    settle(&mut book, &paper, at(60_000)).await;
    assert_eq!(paper.reads(), ["BackOff exited with 1 x30"]);
    assert_eq!(*paper.tried.lock().unwrap(), 4, "at once, then each 10 s");
}

#[tokio::test]
async fn another_message_reason_or_object_is_another_event() {
    let (mut book, paper) = (book(), Paper::default());
    for (task, message) in
        [("web-1", "exited with 1"), ("web-1", "exited with 2"), ("web-2", "exited with 1")]
    {
        book.note(note(task, message), at(0));
    }
    settle(&mut book, &paper, at(0)).await;
    assert_eq!(
        paper.reads(),
        ["BackOff exited with 1 x1", "BackOff exited with 1 x1", "BackOff exited with 2 x1"]
    );
}

#[tokio::test]
async fn a_writer_begun_anew_counts_on_and_one_whose_event_was_collected_begins_anew() {
    let paper = Paper::default();
    let mut first = book();
    first.note(note("web-1", "exited with 1"), at(0));
    settle(&mut first, &paper, at(0)).await;

    let mut second = book();
    second.note(note("web-1", "exited with 1"), at(1000));
    settle(&mut second, &paper, at(1000)).await;
    assert_eq!(paper.reads(), ["BackOff exited with 1 x2"]);

    paper.events.lock().unwrap().clear();
    second.note(note("web-1", "exited with 1"), at(20_000));
    settle(&mut second, &paper, at(20_000)).await;
    assert_eq!(paper.reads(), ["BackOff exited with 1 x1"]);
}

#[tokio::test]
async fn ten_thousand_objects_at_once_are_written_at_a_bounded_rate() {
    let (mut book, paper) = (book(), Paper::default());
    for n in 0..10_000 {
        book.note(note(&format!("web-{n}"), "does not fit"), at(0));
    }
    settle(&mut book, &paper, at(0)).await;
    assert_eq!(*paper.tried.lock().unwrap(), 50);
    for tick in 1..=10 {
        settle(&mut book, &paper, at(tick * 100)).await;
    }
    assert_eq!(*paper.tried.lock().unwrap(), 55, "five a second after the first");
    for second in 1..=3600 {
        settle(&mut book, &paper, at(second * 1000)).await;
    }
    assert_eq!(*paper.tried.lock().unwrap(), 500, "and no more than are kept in mind");
}

#[tokio::test]
async fn a_note_that_does_not_repeat_is_forgotten_though_no_other_comes() {
    let (mut book, paper) = (book(), Paper::default());
    for task in 0..20 {
        book.note(note(&format!("web-{task}"), "why"), at(0));
    }
    settle(&mut book, &paper, at(0)).await;
    let then = book.next_due(at(0)).expect("a time to forget");
    assert!(book.take_due(then).is_none());
    assert_eq!((book.kept(), book.next_due(then)), (0, None));
}

#[tokio::test]
async fn long_names_and_messages_are_cut_at_a_character() {
    let (mut book, paper) = (book(), Paper::default());
    book.note(note(&"w".repeat(253), &"ö".repeat(600)), at(0));
    settle(&mut book, &paper, at(0)).await;
    let events = paper.events.lock().unwrap();
    let (name, event) = events.iter().next().unwrap();
    assert_eq!((name.len(), event.message.len()), (217, 1000));
}
