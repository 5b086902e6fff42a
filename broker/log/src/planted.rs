//! Bugs that tests plant, to see that they are caught: a simulation that catches nothing proves
//! nothing.
//!
//! Only builds with debug assertions can have one, and only a thread that asks for it has it. In a
//! release [`is_planted`] is a constant `false`.

use std::cell::Cell;

/// One way of being wrong. Each stands in the code where somebody could really make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say what is wrong")]
pub enum Bug {
    AckBeforeSync,
    ReadBeforeSync,
    IgnoreChecksums,
    ReuseOffset,
    LoseStateChange,
    ForgetDuplicates,
    ForgetRelayed,
    RelayMarkEarly,
    TimeFalls,
    SwapGap,
    CommitOffsetsEarly,
    IgnoreTheMark,
    SyncEndsEarly,
    RollUnsynced,
    AnswerAtClose,
    LookAfterFetch,
    SyncFailureIgnored,
    MarkBeforeSync,
    TailNotWrittenAgain,
    CutWithoutProof,
    RefusalBeforeSync,
    ForgetRefusals,
    HorizonOffByOne,
    CheckpointEarly,
    OutboxForgotten,
    RecallFirstOnly,
    GroupNotTakenBack,
    CleanVerdicts,
    CompareSkipped,
    GivenWhileUnderWay,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in what this thread does, or takes it out.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this thread has that bug.
#[inline]
pub fn is_planted(bug: Bug) -> bool {
    cfg!(debug_assertions) && PLANTED.get() == Some(bug)
}
