//! Streams: input is at its end, output is the plugin's log. All are always ready.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sync::io::streams;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult, subscribe,
};

use super::World;

/// Bytes of one write at most: what `check-write` grants.
const WRITE_BYTES_MAX: u64 = 4 << 10;

impl World<'_> {
    fn write_out(&mut self, bytes: &[u8]) -> StreamResult<()> {
        self.lines.write_bytes(bytes);
        Ok(())
    }

    /// Zeroes are no text: they are counted against the log's limit in pieces that cost little.
    fn write_zeroes_out(&mut self, len: u64) -> StreamResult<()> {
        if WRITE_BYTES_MAX < len {
            return Err(StreamError::trap("wrote more zeroes than check-write allows"));
        }
        self.write_out(&vec![0; len as usize])
    }
}

impl streams::Host for World<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        Ok(match error {
            StreamError::Closed => streams::StreamError::Closed,
            StreamError::LastOperationFailed(error) => {
                streams::StreamError::LastOperationFailed(self.inert.table.push(error)?)
            }
            StreamError::Trap(error) => return Err(error),
        })
    }
}

impl streams::HostInputStream for World<'_> {
    fn read(&mut self, _: Resource<DynInputStream>, _len: u64) -> StreamResult<Vec<u8>> {
        Err(StreamError::Closed)
    }
    fn blocking_read(&mut self, _: Resource<DynInputStream>, _len: u64) -> StreamResult<Vec<u8>> {
        Err(StreamError::Closed)
    }
    fn skip(&mut self, _: Resource<DynInputStream>, _len: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }
    fn blocking_skip(&mut self, _: Resource<DynInputStream>, _len: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }
    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.inert.table, stream)
    }
    fn drop(&mut self, stream: Resource<DynInputStream>) -> Result<()> {
        self.inert.table.delete(stream)?;
        Ok(())
    }
}

impl streams::HostOutputStream for World<'_> {
    fn check_write(&mut self, _: Resource<DynOutputStream>) -> StreamResult<u64> {
        Ok(WRITE_BYTES_MAX)
    }
    fn write(&mut self, _: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        self.write_out(&bytes)
    }
    fn blocking_write_and_flush(
        &mut self,
        _: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        self.write_out(&bytes)
    }
    fn flush(&mut self, _: Resource<DynOutputStream>) -> StreamResult<()> {
        Ok(())
    }
    fn blocking_flush(&mut self, _: Resource<DynOutputStream>) -> StreamResult<()> {
        Ok(())
    }
    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.inert.table, stream)
    }
    fn write_zeroes(&mut self, _: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        self.write_zeroes_out(len)
    }
    fn blocking_write_zeroes_and_flush(
        &mut self,
        _: Resource<DynOutputStream>,
        len: u64,
    ) -> StreamResult<()> {
        self.write_zeroes_out(len)
    }
    fn splice(
        &mut self,
        _: Resource<DynOutputStream>,
        _source: Resource<DynInputStream>,
        _len: u64,
    ) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }
    fn blocking_splice(
        &mut self,
        _: Resource<DynOutputStream>,
        _source: Resource<DynInputStream>,
        _len: u64,
    ) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }
    fn drop(&mut self, stream: Resource<DynOutputStream>) -> Result<()> {
        self.inert.table.delete(stream)?;
        Ok(())
    }
}
