//! The seed of the validator's hash maps. A component has no entropy, on purpose: the same event
//! gives the same verdict, so the seed is one and the same. Whoever aims at the maps with colliding
//! names burns the fuel of their own event, which then is a fault and no verdict.

/// Any constant will do.
const SEED: &[u8] = b"weir: one event, one verdict";

/// getrandom calls this where it is built with `--cfg getrandom_backend="custom"`, as
/// `cargo xtask guests` does.
#[expect(unsafe_code, reason = "the signature is getrandom's, whose buffers are pointers")]
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    dest: *mut u8,
    len: usize,
) -> Result<(), getrandom::Error> {
    // SAFETY: getrandom promises `len` bytes at `dest` that may be written; zeroed first, they are
    // initialised before there is a slice of them.
    let bytes = unsafe {
        dest.write_bytes(0, len);
        std::slice::from_raw_parts_mut(dest, len)
    };
    for (byte, seed) in bytes.iter_mut().zip(SEED.iter().cycle()) {
        *byte = *seed;
    }
    Ok(())
}
