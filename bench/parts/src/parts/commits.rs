//! Commits to bytes and back.

use std::hint::black_box;

use bytes::Bytes;
use weir_log::Commit;
use weir_log::commit::Row;
use weir_partition::Bench;

use crate::count::{counted_part, warm};
use crate::events::EVENTS;
use crate::judged::{IDENTITY, REACHED_BY_THE_SECOND, commits, under_native_rule, without_rule};

pub fn encode_accepted() {
    encode(without_rule());
}

pub fn encode_judged() {
    encode(under_native_rule(REACHED_BY_THE_SECOND));
}

pub fn decode_accepted() {
    decode(without_rule());
}

pub fn decode_judged() {
    decode(under_native_rule(REACHED_BY_THE_SECOND));
}

fn encode(bench: Bench) {
    let [first, second] = two(bench);
    let mut row = Row::new(IDENTITY);
    row.push(&first).expect("the first commit");
    row.clear();
    counted_part(&mut || row.push(&second).expect("the next commit"));
    black_box(row.bytes());
}

fn decode(bench: Bench) {
    let [first, second] = two(bench);
    let mut row = Row::new(IDENTITY);
    row.push(&first).expect("the first commit");
    let before = row.clone();
    row.push(&second).expect("the next commit");
    let second = Bytes::copy_from_slice(&row.bytes()[before.bytes().len()..]);
    warm(|| drop(black_box(before.read_next(&second).expect("what was written"))));
}

fn two(bench: Bench) -> [Commit; 2] {
    commits(bench, 2, EVENTS).try_into().expect("two batches are two commits")
}
