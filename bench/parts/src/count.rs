//! The one function whose instructions are collected.

/// Does `part`, counted. `cargo xtask instructions` tells valgrind to collect while this function is
/// on the stack, by its name.
// A function of its own and not a generic one, so that there is one symbol; and not the last thing it
// does, so that the call is no jump that valgrind would take for its end.
#[inline(never)]
pub fn counted_part(part: &mut dyn FnMut()) {
    part();
    std::hint::black_box(());
}

/// Does `part` once to warm up and once counted.
pub fn warm(mut part: impl FnMut()) {
    part();
    counted_part(&mut part);
}
