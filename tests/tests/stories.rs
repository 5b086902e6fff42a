//! What users do with weir, told from outside with the real program; one module per story.
#![allow(clippy::unwrap_used, reason = "tests")]

mod stories {
    mod check;
    mod churn;
    mod dead_letters;
    mod delivery;
    mod demo;
    mod doors;
    mod examples;
    mod flights;
    mod groups;
    mod leaving;
    mod lifecycle;
    mod migration;
    mod operators;
    mod plugin_test;
    mod retention;
    mod replay;
    mod sinks;
    mod stock;
    mod transform;
    mod wrong_things;
}
