//! A stream that gives a consumer what is in a partition.

use quinn::SendStream;
use weir_wire::fault::Fault;
use weir_wire::filter::Filter;
use weir_wire::ids::{Offset, PartitionId};
use weir_wire::proto;
use weir_wire::proto::server_frame::Kind as Say;

use super::Office;
use super::frames::send_with;
use crate::subscription::Subscription;

/// Sends until everything asked for was sent, the client stops the stream, or a read fails.
pub async fn run(
    out: &mut SendStream,
    office: &Office,
    request: proto::SubscribeRequest,
) -> Result<(), Fault> {
    let topic = office.desk.topic(&request.topic)?;
    let partition = topic.partition(PartitionId(request.partition))?.clone();
    let filter = request.filter.map(Filter::from_proto).transpose()?.flatten();
    // The topic may be deleted while the consumer waits: hold the partition, not the topic.
    drop(topic);
    let mut subscription = Subscription::new(
        partition,
        Offset(request.from_offset),
        request.until_offset.map(Offset),
        request.chunk_bytes_max,
        filter,
    );
    loop {
        let next = tokio::select! {
            next = subscription.next() => next?,
            // Whether it stopped or vanished: nobody reads any more.
            _ = out.stopped() => return Ok(()),
        };
        let Some((mut batches, next_offset, high_watermark)) = next else { return Ok(()) };
        let fetched =
            proto::Fetched { next_offset: next_offset.0, high_watermark: high_watermark.0 };
        if send_with(out, Say::Fetched(fetched), &mut batches).await.is_err() {
            return Ok(());
        }
    }
}
