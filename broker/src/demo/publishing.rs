//! The publisher of the demo: an event at a time, at a pace that can be watched, and each verdict
//! as it comes back; half way the rule is swapped under its feet.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use weir_client::{Delivery, Event, Producer, Verdict};
use weir_wire::admin::ChainChange;

use super::DemoError;
use super::ledger::Heard;
use super::screen::{Ink, Screen};

/// Flights per tick: 2,000 a second, five seconds for the sample. At full speed it would be over
/// before anyone saw a refusal arrive.
const FLIGHTS_PER_TICK: usize = 50;
/// See [`FLIGHTS_PER_TICK`].
const TICK: Duration = Duration::from_millis(25);
/// Verdicts awaited at a time: more than the producer has under way at this pace.
const DELIVERIES_MAX: usize = 8_192;
/// Refusals shown under each rule; the others are counted.
const REFUSALS_SHOWN: usize = 4;

/// Publishes all flights, starts `swap` when half of them are sent, and never stops for it;
/// only the last quarter waits until both rules have had a part of the flights.
pub async fn publish(
    producer: &Producer,
    flights: &[Event],
    swap: impl Future<Output = Result<ChainChange, DemoError>>,
    screen: Screen,
) -> Result<(Vec<Heard>, ChainChange), DemoError> {
    let (deliveries, listened) = mpsc::channel(DELIVERIES_MAX);
    let (half_way, is_half_way) = oneshot::channel();
    let (swapped, is_swapped) = oneshot::channel();
    let swapping = async {
        // A publisher that failed before says so itself.
        let _ = is_half_way.await;
        let change = swap.await;
        let _ = swapped.send(());
        change
    };
    let ((), heard, change) = tokio::try_join!(
        send(producer, flights, deliveries, half_way, is_swapped),
        listen(listened, screen),
        swapping
    )?;
    Ok((heard, change))
}

async fn send(
    producer: &Producer,
    flights: &[Event],
    deliveries: mpsc::Sender<Delivery>,
    half_way: oneshot::Sender<()>,
    swapped: oneshot::Receiver<()>,
) -> Result<(), DemoError> {
    let (half, last_quarter) = (flights.len() / 2, flights.len() / 4 * 3);
    let (mut half_way, mut swapped) = (Some(half_way), Some(swapped));
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for (index, flight) in flights.iter().enumerate() {
        if index.is_multiple_of(FLIGHTS_PER_TICK) {
            ticks.tick().await;
        }
        if half <= index
            && let Some(half_way) = half_way.take()
        {
            let _ = half_way.send(());
        }
        if last_quarter <= index
            && let Some(swapped) = swapped.take()
        {
            let _ = swapped.await;
        }
        let delivery = producer.send(flight.clone()).await?;
        if deliveries.send(delivery).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Hears every verdict in the order of sending, and shows the first refusals of each rule.
async fn listen(
    mut deliveries: mpsc::Receiver<Delivery>,
    screen: Screen,
) -> Result<Vec<Heard>, DemoError> {
    let mut all: Vec<Heard> = Vec::new();
    let (mut shown, mut shown_for) = (0, None);
    while let Some(delivery) = deliveries.recv().await {
        let outcome = delivery.await?;
        if shown_for != Some(outcome.chain_revision) {
            (shown, shown_for) = (0, Some(outcome.chain_revision));
        }
        let fate = match (outcome.verdict, outcome.offset) {
            (Verdict::Accepted, Some(offset)) => Ok(offset),
            (Verdict::Rejected(why), _) => {
                if shown < REFUSALS_SHOWN {
                    shown += 1;
                    let line = all.len() + 1;
                    screen.event(
                        Ink::Red,
                        "refused",
                        format!("flight {line}: {} ({})", why.message, why.code),
                    );
                }
                Err(why.code)
            }
            (other, _) => {
                return Err(DemoError::Broken(format!("a flight was answered {other:?}")));
            }
        };
        all.push(Heard { partition: outcome.partition, revision: outcome.chain_revision, fate });
    }
    Ok(all)
}
