//! Compiles the wire contract with `protoc`, which the client of etcd needs too.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=berth.proto");
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure().emit_rerun_if_changed(false).compile_with_config(
        config,
        &["berth.proto"],
        &["."],
    )?;
    Ok(())
}
