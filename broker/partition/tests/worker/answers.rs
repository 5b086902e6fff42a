//! When answers leave, and in which order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use weir_wire::ids::Timestamp;

use crate::counting::{ASK, DEFECT, REFUSE, SLOW, counting};
use crate::house::{Ground, Waiting, batch, numbered, soon, tell, unnumbered};

#[tokio::test]
async fn an_answer_leaves_only_after_the_tail_has_passed_its_commit() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(7, 0), &["first"]).await;
    ground.log.hold_durability();
    let mut accepted = house.submit(numbered(7, 1), &["one", "two"]).await;
    let mut refused = house.submit(numbered(7, 3), &[REFUSE]).await;
    house.all_is_appended().await;
    accepted.is_still_waiting();
    refused.is_still_waiting();
    ground.log.release_durability();
    assert_eq!(accepted.told().await, "@1, @2");
    assert_eq!(refused.told().await, "refused 4");
}

#[tokio::test]
async fn a_refusal_waits_for_the_events_it_rests_upon() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(house.publish(unnumbered(), &[ASK]).await, "asked 0");
    ground.log.hold_durability();
    let counted = house.submit(unnumbered(), &["one"]).await;
    let mut asked = house.submit(unnumbered(), &[ASK]).await;
    house.all_is_appended().await;
    asked.is_still_waiting();
    ground.log.release_durability();
    assert_eq!(counted.told().await, "@0");
    assert_eq!(asked.told().await, "asked 1");
}

#[tokio::test]
async fn a_refusal_that_rests_upon_an_event_the_log_lost_is_not_told() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    ground.log.hold_durability();
    let counted = house.submit(unnumbered(), &["one"]).await;
    let asked = house.submit(unnumbered(), &[ASK]).await;
    house.all_is_appended().await;
    ground.log.fail_next_sync();
    ground.log.release_durability();
    assert_eq!(counted.told().await, "storage-broken");
    assert_eq!(asked.told().await, "storage-broken");
}

#[tokio::test]
async fn answers_of_one_submitter_come_in_order() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    ground.log.hold_durability();
    let answers = FuturesUnordered::new();
    let submit = async |number: usize, origin, payload: &str| {
        let waiting = house.submit(origin, &[payload]).await;
        answers.push(async move { (number, waiting.told().await) });
    };
    for round in 0..40_u32 {
        let number = round as usize * 2;
        submit(number, numbered(7, round), "one").await;
        submit(number + 1, unnumbered(), ASK).await;
    }
    house.all_is_appended().await;
    ground.log.release_durability();
    let came: Vec<(usize, String)> = soon(answers.collect()).await;
    for (place, (number, told)) in came.iter().enumerate() {
        let round = place / 2;
        let expected = match place % 2 {
            0 => format!("@{round}"),
            _ => format!("asked {}", round + 1),
        };
        assert_eq!((*number, told), (place, &expected));
    }
}

#[tokio::test]
async fn a_retry_before_the_first_attempt_is_durable_waits_for_it_and_hears_the_same() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    ground.log.hold_durability();
    let events = &["one", REFUSE, "two"];
    let first = house.submit(numbered(7, 0), events).await;
    let mut retry = house.submit(numbered(7, 0), events).await;
    house.all_is_appended().await;
    let mut late_retry = house.submit(numbered(7, 0), events).await;
    house.all_is_appended().await;
    retry.is_still_waiting();
    late_retry.is_still_waiting();
    ground.log.release_durability();
    assert_eq!(first.told().await, "@0, refused 2, @1");
    assert_eq!(retry.told().await, "@0, refused 2, @1 again");
    assert_eq!(late_retry.told().await, "@0, refused 2, @1 again");
    assert_eq!(house.publish(unnumbered(), &[ASK]).await, "asked 3");
    assert_eq!(house.snapshot().counts.duplicates, 6);
}

#[tokio::test]
async fn a_retry_of_two_batches_at_once_hears_both() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(7, 0), &["one", REFUSE]).await;
    house.publish(numbered(7, 2), &["two"]).await;
    let told = house.publish(numbered(7, 0), &["one", REFUSE, "two"]).await;
    assert_eq!(told, "@0, refused 2, @1 again");
    house.publish(numbered(8, 0), &["between"]).await;
    house.publish(numbered(7, 3), &["three"]).await;
    let told = house.publish(numbered(7, 2), &["two", "three"]).await;
    assert_eq!(told, "out-of-order-sequence", "an answer has room for one first offset");
}

#[tokio::test]
async fn partition_time_never_falls_when_the_clock_goes_back() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    let mut times = Vec::new();
    for clock_ms in [2_000, 500, 3_000, 0] {
        ground.clock_ms.store(clock_ms, Ordering::Relaxed);
        let answer = house.submit(unnumbered(), &["tick"]).await.answer().await;
        times.push(answer.unwrap().time.0);
    }
    house.crash().await;
    let ground = ground.after_a_crash();
    let house = ground.open(counting(1, "a")).await;
    let answer = house.submit(unnumbered(), &["tick"]).await.answer().await;
    times.push(answer.unwrap().time.0);
    assert_eq!(times, [2_000, 2_000, 3_000, 3_000, 3_000]);
    assert_eq!(house.snapshot().time, Timestamp(3_000));
}

#[tokio::test]
async fn what_took_long_to_judge_does_not_wait_for_the_rest_of_its_group() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    let slow = house.submit(numbered(7, 0), &[SLOW]).await;
    // Taken together with it; what was not given to the log before this one is lost.
    let _ends_here = house.submit(numbered(7, 1), &[DEFECT]).await;
    assert!(house.has_panicked().await);
    assert_eq!(slow.told().await, "storage-broken", "nobody is left to say that it is stored");
    assert_eq!(ground.after_a_crash().stored().await, ["slow a1"]);
}

#[tokio::test]
async fn close_answers_everything_taken() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    ground.log.hold_durability();
    let one = house.submit(numbered(7, 0), &["one"]).await;
    house.all_is_appended().await;
    let two = house.submit(numbered(7, 1), &["two"]).await;
    let retry = house.submit(numbered(7, 1), &["two"]).await;
    let door = house.partition.clone();
    house.close().await;
    assert_eq!(one.told().await, "@0");
    assert_eq!(two.told().await, "@1");
    let retried = retry.told().await;
    assert!(["@1 again", "shutting-down"].contains(&retried.as_str()), "{retried}");
    let late = door.submit(batch(unnumbered(), &["late"])).await.map(drop);
    assert_eq!(late.unwrap_err().code.as_str(), "shutting-down");
    assert_eq!(ground.after_a_crash().stored().await, ["one a1", "two a2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_concurrent_submitters_lose_nothing_and_double_nothing() {
    const SUBMITTERS: u64 = 24;
    const BATCHES: u32 = 40;
    let ground = Ground::new();
    let house = Arc::new(ground.open(counting(1, "a")).await);
    let submitters: Vec<_> = (1..=SUBMITTERS)
        .map(|id| {
            let door = house.partition.clone();
            tokio::spawn(async move {
                for number in 0..BATCHES {
                    let payloads = [format!("{id}.{number}"), REFUSE.to_owned()];
                    let payloads = [payloads[0].as_str(), payloads[1].as_str()];
                    let mut answers = Vec::new();
                    for _ in 0..2 {
                        let sent = batch(numbered(id, number * 2), &payloads);
                        let pending = door.submit(sent).await.unwrap();
                        answers.push(Waiting::new(pending).answer().await);
                    }
                    assert_eq!(format!("{} again", tell(&answers[0])), tell(&answers[1]));
                }
            })
        })
        .collect();
    for submitter in submitters {
        soon(submitter).await.unwrap();
    }
    let counted = SUBMITTERS * u64::from(BATCHES);
    assert_eq!(house.publish(unnumbered(), &[ASK]).await, format!("asked {}", counted * 2));
    let mut snapshot = house.partition.snapshot();
    let all_judged = snapshot.wait_for(|now| now.counts.rejected == counted + 1);
    let counts = soon(all_judged).await.unwrap().counts;
    assert_eq!((counts.accepted, counts.duplicates), (counted, counted * 2));
    let stored: BTreeSet<String> = ground
        .stored()
        .await
        .iter()
        .map(|value| value.split(' ').next().unwrap().to_owned())
        .collect();
    let sent: BTreeSet<String> = (1..=SUBMITTERS)
        .flat_map(|id| (0..BATCHES).map(move |number| format!("{id}.{number}")))
        .collect();
    assert_eq!(stored, sent);
    assert_eq!(ground.stored().await.len() as u64, counted);
}
