//! What is printed: a consumer's events, alone, as a group's member, or in the order of time.

use weir_client::{ClientError, ConsumedEvent, Consumer, MergedByTime, Receipt};

/// See the module's text.
pub enum Reading {
    /// Nobody remembers how far it came.
    Alone(Box<Consumer>),
    /// The group remembers what is done.
    Group(Box<Consumer>),
    /// All partitions in the order of time.
    ByTime(Box<MergedByTime>),
}

impl Reading {
    /// The next event, and for a group what says that it is done.
    pub async fn next(&mut self) -> Option<Result<(ConsumedEvent, Option<Receipt>), ClientError>> {
        let alone = |next: Option<Result<ConsumedEvent, _>>| Some(next?.map(|event| (event, None)));
        match self {
            Self::Alone(consumer) => alone(consumer.next().await),
            Self::ByTime(merged) => alone(merged.next().await),
            Self::Group(consumer) => {
                let next = consumer.next_tracked().await?;
                Some(next.map(|(event, receipt)| (event, Some(receipt))))
            }
        }
    }

    /// How many offsets were passed over since their events were gone.
    pub fn skipped(&self) -> u64 {
        match self {
            Self::Alone(consumer) | Self::Group(consumer) => consumer.skipped(),
            Self::ByTime(merged) => merged.skipped(),
        }
    }

    /// Commits what is done, and leaves.
    pub async fn close(self) -> Result<(), ClientError> {
        match self {
            Self::Alone(consumer) | Self::Group(consumer) => consumer.close().await,
            Self::ByTime(_) => Ok(()),
        }
    }
}
