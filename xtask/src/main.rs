//! The project's chores. `cargo xtask help` lists them.
mod codegen;
fn main() { codegen::run(false).expect("codegen"); }
