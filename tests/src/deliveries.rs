//! What a group's members were given, held against what at least once means: everything, in order,
//! and again only behind the last commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use weir_client::ConsumedEvent;
use weir_wire::ids::{Offset, PartitionId};

/// All clones are one book.
#[derive(Debug, Clone)]
pub struct Deliveries {
    book: Arc<Mutex<Book>>,
    /// Ticks with every event that is given for the first time.
    news: watch::Sender<u64>,
}

/// See [`Deliveries`].
#[derive(Debug, Default)]
pub struct Book {
    /// Below it everything was given, per partition.
    given: BTreeMap<PartitionId, u64>,
    /// The next number of each key.
    keys: BTreeMap<Vec<u8>, u64>,
    /// What was last seen to be committed.
    committed: BTreeMap<PartitionId, u64>,
    /// Events that were given again.
    pub repeats: u64,
    /// What must not be.
    pub wrong: Vec<String>,
}

/// One member: where it goes on in each partition it was given events of.
#[derive(Debug, Default)]
pub struct Life(BTreeMap<PartitionId, u64>);

impl Deliveries {
    /// Nothing was given yet.
    pub fn new() -> Self {
        Self { book: Arc::default(), news: watch::Sender::new(0) }
    }

    /// The book itself.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member is given an event, whose value is its number among those of its key.
    pub fn given(&self, life: &mut Life, event: &ConsumedEvent) {
        if self.book().given(life, event) {
            self.news.send_modify(|ticks| *ticks += 1);
        }
    }

    /// Returns when everything below `ends` was given.
    pub async fn reach(&self, ends: &BTreeMap<PartitionId, u64>) {
        let mut news = self.news.subscribe();
        while !self.book().has_reached(ends) {
            news.changed().await.expect("it is our own");
        }
    }
}

impl Default for Deliveries {
    fn default() -> Self {
        Self::new()
    }
}

impl Book {
    fn given(&mut self, Life(life): &mut Life, consumed: &ConsumedEvent) -> bool {
        let ConsumedEvent { partition, offset: Offset(offset), event, .. } = consumed;
        let committed = self.committed.get(partition).copied().unwrap_or(0);
        let goes_on = life.insert(*partition, offset + 1) == Some(*offset);
        if !goes_on && *offset < committed {
            let sentence = format!("{partition}/{offset} again, although {committed} is committed");
            self.wrong.push(sentence);
        }
        let next = self.given.entry(*partition).or_default();
        if *offset < *next {
            self.repeats += 1;
            return false;
        }
        if *next < *offset {
            self.wrong.push(format!("{partition}/{offset} although {next} was never given"));
        }
        *next = offset + 1;
        let key = event.key.as_deref().unwrap_or_default().to_vec();
        let text = event.value.as_deref().unwrap_or_default();
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let due = self.keys.entry(key).or_default();
        if number != Some(*due) {
            self.wrong.push(format!("{partition}/{offset} is {number:?} of its key, not {due}"));
        }
        *due += 1;
        true
    }

    /// The broker says what is committed. Asked by one caller, one time after another.
    pub fn committed(&mut self, offsets: Vec<(PartitionId, Offset)>) {
        for (partition, Offset(offset)) in offsets {
            let before = self.committed.insert(partition, offset).unwrap_or(0);
            if offset < before {
                self.wrong.push(format!("{partition} went back from {before} to {offset}"));
            }
            let given = self.given.get(&partition).copied().unwrap_or(0);
            if given < offset {
                self.wrong.push(format!("{partition}/{offset} committed, {given} given"));
            }
        }
    }

    /// What was last seen to be committed of a partition.
    pub fn committed_of(&self, partition: PartitionId) -> u64 {
        self.committed.get(&partition).copied().unwrap_or(0)
    }

    fn has_reached(&self, ends: &BTreeMap<PartitionId, u64>) -> bool {
        ends.iter().all(|(at, end)| *end <= self.given.get(at).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_client::Event;
    use weir_wire::ids::TopicName;

    fn given(book: &mut Book, life: &mut Life, offset: u64) {
        let event = ConsumedEvent {
            topic: TopicName::parse("t").unwrap(),
            partition: PartitionId(0),
            offset: Offset(offset),
            event: Event { value: Some(offset.to_string().into()), ..Event::default() },
        };
        book.given(life, &event);
    }

    #[test]
    fn repeats_behind_the_last_commit_are_counted_and_all_else_is_wrong() {
        let (mut book, mut first, mut second) = (Book::default(), Life::default(), Life::default());
        (0..4).for_each(|offset| given(&mut book, &mut first, offset));
        book.committed(vec![(PartitionId(0), Offset(2))]);
        given(&mut book, &mut second, 2);
        assert_eq!((book.repeats, book.wrong.len()), (1, 0));
        given(&mut book, &mut Life::default(), 1);
        assert!(book.wrong.pop().unwrap().contains("although 2 is committed"));
        given(&mut book, &mut first, 6);
        assert!(book.wrong.remove(0).contains("although 4 was never given"));
        book.wrong.clear();
        book.committed(vec![(PartitionId(0), Offset(1))]);
        assert!(book.wrong.pop().unwrap().contains("went back"));
        book.committed(vec![(PartitionId(0), Offset(9))]);
        assert!(book.wrong.pop().unwrap().contains("9 committed, 7 given"));
    }
}
