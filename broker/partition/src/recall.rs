//! Reads back what was judged before: the log has the verdicts, the view only where they stand.

use weir_log::planted::{Bug, is_planted};
use weir_log::{Commit, PartitionLog, ReadError};
use weir_views::producers::Piece;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::Position;

use crate::answer::Answer;

/// The recorded verdicts of a batch that was judged before and is durable.
pub(crate) async fn recall(log: &dyn PartitionLog, pieces: Vec<Piece>) -> Result<Answer, Fault> {
    let mut answer: Option<Answer> = None;
    for piece in pieces {
        let commit = read_one(log, piece.position).await?;
        let mut before = commit.verdicts.slice(0, piece.from).accepted();
        if is_planted(Bug::RecallFirstOnly) {
            before = 0;
        }
        let verdicts = commit.verdicts.slice(piece.from, piece.count);
        if verdicts.len() != piece.count {
            return Err(not_as_remembered(piece.position));
        }
        let part = Answer {
            first_offset: commit.first_offset.plus(before.into()),
            verdicts,
            time: commit.time,
            chain: commit.chain,
            consumed: commit.consumed.is_some(),
            duplicate: true,
        };
        answer = Some(match answer {
            None => part,
            Some(earlier) => joined(earlier, part)?,
        });
    }
    answer.ok_or_else(|| Fault::new(Code::Internal, "a remembered batch without verdicts"))
}

/// Two recorded answers as one: possible where the accepted events stand one behind the other.
fn joined(mut earlier: Answer, later: Answer) -> Result<Answer, Fault> {
    let end = earlier.first_offset.plus(earlier.verdicts.accepted().into());
    if earlier.verdicts.accepted() == 0 {
        earlier.first_offset = later.first_offset;
    } else if later.verdicts.accepted() > 0 && end != later.first_offset {
        return Err(Fault::new(
            Code::OutOfOrderSequence,
            "these events were judged in several batches with others between them; ask for their \
             verdicts in batches as they were first sent",
        ));
    }
    earlier.consumed |= later.consumed;
    earlier.verdicts.append(later.verdicts);
    Ok(earlier)
}

/// The commit at a durable position.
pub(crate) async fn read_one(log: &dyn PartitionLog, position: Position) -> Result<Commit, Fault> {
    let commits = log.read(position, 1).await.map_err(unreadable)?;
    match commits.into_iter().next() {
        Some(stored) if stored.position == position => Ok(stored.commit),
        _ => Err(not_as_remembered(position)),
    }
}

/// A defect, but only of this answer: whoever asked hears it, the others go on.
fn not_as_remembered(position: Position) -> Fault {
    Fault::new(
        Code::Internal,
        format!(
            "position {position} of the log does not hold what was remembered; please report it"
        ),
    )
}

fn unreadable(error: ReadError) -> Fault {
    let code = match error {
        ReadError::Corrupt { .. } => Code::Corrupt,
        ReadError::OutOfRange { .. } => Code::Expired,
        ReadError::Io(_) => Code::StorageBroken,
        ReadError::Closed => Code::ShuttingDown,
    };
    Fault::new(code, error.to_string())
}
