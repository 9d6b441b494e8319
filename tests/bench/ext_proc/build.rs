//! Turns the protocol into Rust, without a `protoc`.

use std::error::Error;

const PROTO: &str = "proto/ext_proc.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let files = protox::compile([PROTO], ["proto"])?;
    // `Bytes`: what is read stays where tonic received it.
    tonic_prost_build::configure().build_client(false).bytes(".").compile_fds(files)?;
    Ok(())
}
