//! The four compressions of Kafka, in the forms that Java's client writes and reads.
//!
//! Promises: what comes out of a decompressor is counted while it comes out, so no input makes the
//! buffer for it larger than the cap. A decompressor's own buffers come on top, for as long as it
//! works: hardly anything for what producers send; at most 8 MiB in zstd and 16 MiB in lz4.
//! A damaged input, or one with bytes behind its end, is refused.
//!
//! snappy is framed as xerial's snappy-java does, since Kafka's clients do; a bare block, which some
//! others send, is read as well:
//! ```text
//! | 82 'SNAPPY' 00 | version u32 = 1 | compatible u32 = 1 | { block bytes u32 | snappy block } ... |
//! ```

use std::io::{self, Read, Write};

use super::{BatchError, Compression};

const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// What snappy-java compresses as one block.
const XERIAL_BLOCK_BYTES: usize = 32 << 10;
/// zstd's own default, and Kafka's.
const ZSTD_LEVEL: i32 = 3;
/// The window that a zstd frame may ask for, as a power of two: the 8 MiB that the format tells
/// every decoder to support. Levels up to 19 stay within it.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What the first buffer for decompressed bytes is to the compressed ones: what JSON often shrinks by.
const EXPECTED_RATIO: usize = 4;

/// Adds `plain`, compressed, to `out`.
pub(super) fn compress(compression: Compression, plain: &[u8], out: &mut Vec<u8>) {
    match compression {
        Compression::None => {
            out.extend_from_slice(plain);
            Ok(())
        }
        Compression::Gzip => compress_gzip(plain, out),
        Compression::Snappy => compress_snappy(plain, out),
        Compression::Lz4 => compress_lz4(plain, out),
        Compression::Zstd => compress_zstd(plain, out),
    }
    .expect("compressing into memory has nothing to fail on");
}

fn compress_gzip(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(plain)?;
    encoder.finish().map(drop)
}

fn compress_snappy(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(XERIAL_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK_BYTES) {
        let at = out.len();
        out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
        let bytes = encoder.compress(block, &mut out[at + 4..])?;
        // A block is 32 KiB before and hardly more after.
        out[at..at + 4].copy_from_slice(&(bytes as u32).to_be_bytes());
        out.truncate(at + 4 + bytes);
    }
    Ok(())
}

fn compress_lz4(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(plain)?;
    encoder.finish().map(drop).map_err(io::Error::from)
}

fn compress_zstd(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
    // With its size in its head, a frame asks for a window no larger than itself.
    encoder.set_pledged_src_size(Some(plain.len() as u64))?;
    encoder.write_all(plain)?;
    encoder.finish().map(drop)
}

/// What `packed` was before it was compressed, if that is at most `bytes_max` bytes.
pub(super) fn decompress(
    compression: Compression,
    packed: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, BatchError> {
    let plain = match compression {
        Compression::None => read_capped(packed, packed, bytes_max),
        Compression::Gzip => {
            read_capped(flate2::bufread::MultiGzDecoder::new(packed), packed, bytes_max)
        }
        Compression::Snappy => decompress_snappy(packed, bytes_max),
        Compression::Lz4 => decompress_lz4(packed, bytes_max),
        Compression::Zstd => decompress_zstd(packed, bytes_max),
    };
    plain
        .map_err(|error| BatchError::Decompress { compression, detail: error.to_string() })?
        .ok_or(BatchError::DecompressedTooLarge { bytes_max })
}

fn decompress_lz4(mut packed: &[u8], bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    // The decoder takes the end of its input for the end of the frame, which Java's does not. So
    // its input has no end: what is missing reads as ones, and sooner or later as the length of a
    // block of 2 GiB, which is refused. Behind a whole frame the decoder stops.
    let all = packed;
    let endless = Read::chain(&mut packed, io::repeat(0xFF));
    let plain = read_capped(lz4_flex::frame::FrameDecoder::new(endless), all, bytes_max)?;
    if plain.is_some() && !packed.is_empty() {
        return Err(invalid("bytes follow the frame"));
    }
    Ok(plain)
}

fn decompress_zstd(packed: &[u8], bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    read_capped(decoder, packed, bytes_max)
}

fn decompress_snappy(packed: &[u8], bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut plain = Vec::new();
    if !packed.starts_with(XERIAL_MAGIC) {
        return Ok(decompress_block(packed, &mut plain, bytes_max)?.then_some(plain));
    }
    // Only the one version that is written: other readers take the rest for a bare block.
    let mut rest =
        packed.strip_prefix(XERIAL_HEADER).ok_or(invalid("its header is no version 1"))?;
    while !rest.is_empty() {
        let (bytes, behind) = rest.split_first_chunk().ok_or(invalid("a block is cut off"))?;
        let (block, behind) = behind
            .split_at_checked(u32::from_be_bytes(*bytes) as usize)
            .ok_or(invalid("a block is cut off"))?;
        if !decompress_block(block, &mut plain, bytes_max)? {
            return Ok(None);
        }
        rest = behind;
    }
    Ok(Some(plain))
}

/// Adds the bytes of one snappy block to `plain`; `false` if they do not fit.
fn decompress_block(block: &[u8], plain: &mut Vec<u8>, bytes_max: usize) -> io::Result<bool> {
    let bytes = snap::raw::decompress_len(block)?;
    let at = plain.len();
    if bytes > bytes_max - at {
        return Ok(false);
    }
    grow(plain, at + bytes, bytes_max);
    let written = snap::raw::Decoder::new().decompress(block, &mut plain[at..])?;
    plain.truncate(at + written);
    Ok(true)
}

/// Reads to the end; `None` if that is more than `bytes_max` bytes away.
fn read_capped(
    mut reader: impl Read,
    packed: &[u8],
    bytes_max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut plain = Vec::new();
    let mut filled = 0;
    loop {
        if filled == plain.len() {
            if filled == bytes_max {
                // One byte more tells a full buffer from one that is too small.
                return Ok((reader.read(&mut [0])? == 0).then_some(plain));
            }
            let wanted = (2 * filled).max(EXPECTED_RATIO * packed.len()).max(1).min(bytes_max);
            grow(&mut plain, wanted, bytes_max);
        }
        match reader.read(&mut plain[filled..])? {
            0 => {
                plain.truncate(filled);
                return Ok(Some(plain));
            }
            bytes => filled += bytes,
        }
    }
}

/// Makes `plain` of this size, at least doubling what it holds room for but never above the cap.
fn grow(plain: &mut Vec<u8>, bytes: usize, bytes_max: usize) {
    if bytes > plain.capacity() {
        let capacity = bytes.max(2 * plain.capacity()).min(bytes_max);
        plain.reserve_exact(capacity - plain.len());
    }
    plain.resize(bytes, 0);
}

fn invalid(detail: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}
