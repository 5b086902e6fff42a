//! Writes `sdk/wire/src/proto.rs` from `proto/weir.proto`, so that a build needs no schema compiler.

use std::path::Path;

/// Generates the control frames; with `check`, changes nothing and fails where they are not current.
pub fn run(check: bool) -> Result<(), String> {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/wire");
    let schema =
        protox::compile(["weir.proto"], [wire.join("proto")]).map_err(|e| e.to_string())?;
    let out = std::env::temp_dir().join(format!("weir-codegen-{}", std::process::id()));
    std::fs::create_dir_all(&out).map_err(|e| e.to_string())?;
    prost_build::Config::new().out_dir(&out).compile_fds(schema).map_err(|e| e.to_string())?;
    let generated = std::fs::read_to_string(out.join("weir.v1.rs")).map_err(|e| e.to_string())?;
    std::fs::remove_dir_all(&out).map_err(|e| e.to_string())?;
    let target = wire.join("src/proto.rs");
    if check {
        let current = std::fs::read_to_string(&target).map_err(|e| e.to_string())?;
        return if current == generated {
            Ok(())
        } else {
            Err("sdk/wire/src/proto.rs is not what proto/weir.proto says; run `cargo xtask codegen`".into())
        };
    }
    std::fs::write(target, generated).map_err(|e| e.to_string())
}
