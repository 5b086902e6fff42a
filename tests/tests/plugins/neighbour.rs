//! One who publishes to a topic beside a bomb, one event after another, and takes the time.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use weir_client::{Client, Event, ProducerOptions};
use weir_tests::bed::word;
use weir_tests::load::topic;

/// One who publishes to `quiet`.
pub struct Neighbour {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Neighbour {
    /// Begins.
    pub async fn start(client: &Client) -> Self {
        let options = ProducerOptions { batch_events: 1, ..ProducerOptions::default() };
        let producer = client.producer(&topic("quiet"), options).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut took = Vec::new();
            while !*stopped.borrow() {
                let began = Instant::now();
                let event = Event { value: Some("a".into()), ..Event::default() };
                let outcome = producer.send(event).await.unwrap().await.unwrap();
                assert_eq!(word(&outcome.verdict), "accepted");
                took.push(began.elapsed());
            }
            producer.close().await;
            took
        });
        Self { stop, task }
    }

    /// Half of its events and 99 of 100 took no longer, in µs.
    pub async fn stop(self) -> (u64, u64) {
        self.stop.send_replace(true);
        let mut took = self.task.await.unwrap();
        took.sort_unstable();
        assert!(!took.is_empty(), "the neighbour was not served at all");
        let rank = |percent: usize| took[(took.len() * percent).div_ceil(100) - 1].as_micros();
        (rank(50) as u64, rank(99) as u64)
    }
}
