//! Judging a batch of 1,000 events. The partition has judged one before, and its rule knows the keys.

use std::hint::black_box;

use weir_partition::{Bench, Planned};

use crate::count::counted_part;
use crate::events::{EVENTS, NOW, batch};
use crate::judged::{
    NEVER_REACHED, REACHED_BY_THE_SECOND, under_daily_limit, under_native_rule, without_rule,
};

pub fn bare() {
    second_batch(without_rule());
}

pub fn native_accepting() {
    second_batch(under_native_rule(NEVER_REACHED));
}

pub fn native_refusing() {
    second_batch(under_native_rule(REACHED_BY_THE_SECOND));
}

pub fn plugin_accepting() {
    second_batch(under_daily_limit(NEVER_REACHED));
}

pub fn plugin_refusing() {
    second_batch(under_daily_limit(REACHED_BY_THE_SECOND));
}

fn second_batch(mut bench: Bench) {
    let [first, second] = [0, 1].map(|number| batch(number, EVENTS));
    match bench.plan(&first, NOW).expect("a batch that is judged") {
        Planned::Commit(commit) => bench.apply(&commit),
        Planned::Nothing(_) => panic!("a numbered batch is stored"),
    }
    counted_part(&mut || drop(black_box(bench.plan(&second, NOW))));
}
