//! What the relay is given, and what is remembered of what it says.

use weir_log::commit::Kind;
use weir_partition::{Chain, Origin, RelayLosses, SideNumber};
use weir_wire::dead_letter::DeadLetter;
use weir_wire::ids::{PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId, TopicName};

use crate::counting::{EMIT, REFUSE, counting};
use crate::house::{Ground, House, numbered, unnumbered};

pub async fn ordinals(house: &House, from: u64) -> Vec<u64> {
    let events = house.partition.outbox(from).await.unwrap();
    events.iter().map(|event| event.ordinal).collect()
}

#[tokio::test]
async fn only_durable_side_events_are_given() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(unnumbered(), &[EMIT, "one", EMIT]).await;
    ground.log.hold_durability();
    let waiting = house.submit(unnumbered(), &[EMIT]).await;
    house.all_is_appended().await;
    assert_eq!(house.snapshot().next_ordinal, 3);
    assert_eq!(ordinals(&house, 0).await, [0, 1]);
    assert_eq!(ordinals(&house, 1).await, [1]);
    assert_eq!(ordinals(&house, 2).await, [0; 0]);
    ground.log.release_durability();
    waiting.told().await;
    assert_eq!(ordinals(&house, 1).await, [1, 2]);
    let events = house.partition.outbox(0).await.unwrap();
    let values: Vec<_> = events.iter().map(|side| side.event.value.clone().unwrap()).collect();
    assert_eq!(values, ["notice a1", "notice a3", "notice a4"]);
}

#[tokio::test]
async fn what_was_relayed_is_recorded_with_the_next_commit_and_survives_a_crash() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(unnumbered(), &[EMIT, EMIT]).await;
    house.publish(unnumbered(), &[EMIT]).await;
    house.partition.relayed(2).await;
    house.partition.relayed(1).await;
    house.publish(unnumbered(), &["takes it along"]).await;
    house.partition.relayed(3).await;
    house.all_is_appended().await;
    assert_eq!(house.snapshot().relayed, 3);
    house.crash().await;
    let ground = ground.after_a_crash();
    let house = ground.open(counting(1, "a")).await;
    let now = house.snapshot();
    assert_eq!((now.relayed, now.next_ordinal, now.outbox_pending), (2, 3, 1));
    assert_eq!(ordinals(&house, now.relayed).await, [2], "once more than never");
}

#[tokio::test]
async fn a_relay_that_says_more_than_was_emitted_is_not_believed() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(unnumbered(), &[EMIT]).await;
    house.partition.relayed(2).await;
    house.partition.relayed(u64::MAX).await;
    assert_eq!(house.publish(unnumbered(), &[EMIT]).await, "@1");
    assert_eq!((house.snapshot().relayed, house.snapshot().outbox_pending), (0, 2));
    assert_eq!(ordinals(&house, 0).await, [0, 1]);
}

#[tokio::test]
async fn what_was_relayed_last_is_recorded_on_close() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(unnumbered(), &[EMIT]).await;
    house.partition.relayed(1).await;
    house.close().await;
    let ground = ground.after_a_crash();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!((house.snapshot().relayed, house.snapshot().outbox_pending), (1, 0));
    let last = ground.commits().await.pop().unwrap();
    assert_eq!((last.kind, last.relayed), (Kind::Mark, 1));
}

#[tokio::test]
async fn a_relay_hears_here_already_only_when_that_is_durable() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    ground.log.hold_durability();
    let mut first = house.submit(relayed(4), &["notice"]).await;
    let mut again = house.submit(relayed(4), &["notice"]).await;
    house.all_is_appended().await;
    first.is_still_waiting();
    again.is_still_waiting();
    ground.log.release_durability();
    assert_eq!(first.told().await, "@0");
    assert_eq!(again.told().await, "", "nothing was judged");
    assert_eq!(ground.stored().await, ["notice a1"]);
}

/// The record of a retry is its verdict: the event that was refused before the crash is kept once.
#[tokio::test]
async fn a_dead_letter_is_there_once_after_a_crash_and_a_retry() {
    let ground = Ground::new();
    let house = ground.open(keeping(counting(1, "a"))).await;
    assert_eq!(house.publish(numbered(7, 0), &["one", REFUSE]).await, "@0, refused 2");
    house.crash().await;
    let ground = ground.after_a_crash();
    let house = ground.open(keeping(counting(1, "a"))).await;
    let again = house.publish(numbered(7, 0), &["one", REFUSE]).await;
    assert_eq!(again, "@0, refused 2 again");
    let letters = house.partition.outbox(0).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].topic.as_str(), letters[0].hops), ("dead", 1));
    let letter = DeadLetter::read(&letters[0].event).unwrap().unwrap();
    assert_eq!((letter.code.as_str(), letter.reason.as_str()), ("refused", "2"));
    assert_eq!(letters[0].event.value.as_deref(), Some(REFUSE.as_bytes()));
    assert_eq!(house.snapshot().counts.dead_letters, 0, "kept before the crash");
}

#[tokio::test]
async fn what_a_relay_loses_is_counted_beside_what_the_partition_did() {
    let ground = Ground::new();
    let house = ground.open(keeping(counting(1, "a"))).await;
    house.publish(unnumbered(), &[REFUSE, EMIT]).await;
    house.partition.lost(RelayLosses { lost: 1, refused: 0 }).await;
    house.partition.lost(RelayLosses { lost: 0, refused: 2 }).await;
    house.partition.relayed(2).await;
    house.all_is_appended().await;
    let now = house.snapshot();
    assert_eq!((now.losses, now.counts.dead_letters), (RelayLosses { lost: 1, refused: 2 }, 1));
}

/// The same chain, which keeps what it refuses.
fn keeping(mut chain: Chain) -> Chain {
    let links = std::mem::take(&mut chain.links);
    let dead = || Some(TopicName::parse("dead").unwrap());
    chain.links = links.into_iter().map(|link| link.with_dead_letter(dead())).collect();
    chain
}

/// The side event of another partition with this number.
fn relayed(number: u32) -> Origin {
    Origin::Relay {
        id: ProducerId::relay(TopicId(9), PartitionId(0)),
        epoch: ProducerEpoch(0),
        numbers: vec![SideNumber { sequence: Sequence::new(number), hops: 1 }],
    }
}
