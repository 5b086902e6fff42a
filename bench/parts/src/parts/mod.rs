//! The parts, along the road.

mod batches;
mod admission;
mod commits;
mod views;
mod segments;

/// One part.
pub struct Part {
    /// By which its count is kept.
    pub name: &'static str,
    /// For the table.
    pub about: &'static str,
    /// Sets it up, and does it once counted.
    pub run: fn(),
}

/// All of them.
pub const ALL: &[Part] = &[
    Part {
        name: "record-batch-open",
        about: "a batch of 1,000 events of 128 B verified and parsed",
        run: batches::open,
    },
    Part {
        name: "record-batch-iterate",
        about: "the records of an opened batch of 1,000",
        run: batches::iterate,
    },
    Part {
        name: "record-batch-build",
        about: "a batch of 1,000 events built",
        run: batches::build,
    },
    Part {
        name: "partition-for-key",
        about: "the partitions of 1,000 keys",
        run: batches::partition,
    },
    Part {
        name: "admission-bare",
        about: "1,000 events judged without a plugin",
        run: admission::bare,
    },
    Part {
        name: "admission-native-accepting",
        about: "1,000 events judged by daily-limit in Rust, all accepted",
        run: admission::native_accepting,
    },
    Part {
        name: "admission-native-refusing",
        about: "the same, 500 refused, 250 notices",
        run: admission::native_refusing,
    },
    Part {
        name: "admission-plugin-accepting",
        about: "1,000 events judged by the component daily-limit, all accepted",
        run: admission::plugin_accepting,
    },
    Part {
        name: "admission-plugin-refusing",
        about: "the same, 500 refused, 250 notices",
        run: admission::plugin_refusing,
    },
    Part {
        name: "commit-encode-accepted",
        about: "the commit of 1,000 accepted events written",
        run: commits::encode_accepted,
    },
    Part {
        name: "commit-encode-judged",
        about: "the same with 250 state changes, 500 refusals, 250 notices",
        run: commits::encode_judged,
    },
    Part {
        name: "commit-decode-accepted",
        about: "the commit of 1,000 accepted events verified and read",
        run: commits::decode_accepted,
    },
    Part {
        name: "commit-decode-judged",
        about: "the same with 250 state changes, 500 refusals, 250 notices",
        run: commits::decode_judged,
    },
    Part {
        name: "view-apply-accepted",
        about: "the commit of 1,000 accepted events applied to a view",
        run: views::apply_accepted,
    },
    Part {
        name: "view-apply-judged",
        about: "the same with 250 state changes and 1,000 verdicts",
        run: views::apply_judged,
    },
    Part { name: "view-pack", about: "ten views of 1,000 keys written as rows", run: views::pack },
    Part {
        name: "view-unpack",
        about: "the rows of a view of 10,000 keys read back",
        run: views::unpack,
    },
    Part {
        name: "segment-recovery",
        about: "a segment of 100 judged commits of 100 events opened",
        run: segments::recovery,
    },
    Part {
        name: "segment-replay",
        about: "the same read and applied to a view",
        run: segments::replay,
    },
    Part {
        name: "segment-fetch",
        about: "a chunk of 1 MiB of it fetched for a consumer",
        run: segments::fetch,
    },
];
